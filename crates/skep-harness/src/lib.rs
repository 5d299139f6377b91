//! One agent run: the own loop, and the engine's half of every harness.
//!
//! Two halves that meet only in [`task`] and [`event`]. The engine's half is pure: [`launch_plan`]
//! says how to start a harness, [`LineReader`] reads what it prints, [`outcome`] reads what it left.
//! The agent's half is [`agent_main`], a process inside the fence: an HTTP client of the gateway,
//! never a server.
//!
//! Does not know which store the engine has, which provider answers, or how the fence is made.
//! Invariant: what a worker says is kept apart from what is so. A contract is read strictly or is
//! missing, and nothing in this crate decides whether it is true.

mod agent;
pub mod event;
pub mod launch;
pub mod limits;
pub mod outcome;
pub mod review;
pub mod task;

pub use agent::{AgentEnd, AgentSetup, SetupError, agent_main, run};
pub use event::{EndReason, HarnessEvent, LineReader, RefusedBy};
pub use launch::{
    AGENT_COMMAND, GitIdentity, HarnessKind, LaunchError, LaunchPlan, RunContext, RunPaths,
    launch_plan,
};
pub use outcome::{ContractError, ProcessExit, RunOutcome, outcome, read_contract};
pub use review::{Criterion, Defect, ReviewError, ReviewReport, ReviewVerdict, Severity};
pub use task::{AgentLimits, AgentTask};
