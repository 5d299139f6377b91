//! The vocabulary: typed identifiers, units, states and the result contract.
//!
//! Knows no IO and nothing asynchronous. Every other crate speaks in these words, and a word has
//! one spelling: the string forms here are what the database, the API and the ledger hold.

pub mod contract;
pub mod failure;
pub mod id;
pub mod money;
pub mod policy;
pub mod schedule;
pub mod scope;
pub mod state;
mod text_enum;
pub mod topic;
pub mod verdict;

pub use contract::{ContractStatus, ResultContract};
pub use failure::FailureClass;
pub use id::{AttemptId, BudgetId, CallId, EventId, Fence, JobId, KeyId, NodeId, ScheduleId};
pub use money::{MicroUsd, TokenCounts};
pub use policy::{EdgeWhen, Gate, JobKind, NodeRole, Purpose, Role, Tier};
pub use schedule::{CatchUp, FiringCause, FiringState, Overlap, ScheduleState, SlotShift};
pub use scope::{Scope, ScopeError};
pub use state::{AttemptState, DeliveryState, IllegalTransition, JobState, LandingState};
pub use text_enum::UnknownWord;
pub use topic::{AlarmKind, DeadReason, EffectState};
pub use verdict::{Finding, FindingOutcome, Verdict};
