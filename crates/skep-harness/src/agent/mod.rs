//! The own loop: ask the model, carry out its tool calls, until it finishes or a guard ends it.
//!
//! Runs as a process of its own inside the fence. Owns nothing but the process's edges: standard
//! output for events, standard error for the reason of a failure, the exit code. Invariant: a run
//! ends with a contract in its place or with one classed `ended` event, never with neither.

mod conversation;
mod git;
mod guard;
mod journal;
mod model_client;
mod prompt;
mod session;
mod setup;
mod tools;
mod turn;
mod workspace;

pub use setup::{AgentSetup, SetupError};

use crate::event::{EndReason, HarnessEvent};
use guard::Stop;
use journal::write_event;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use session::Session;
use skep_types::FailureClass;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

/// The exit code of a run that a guard ended.
const EXIT_ENDED: u8 = 1;
/// The exit code of a run that could not begin.
const EXIT_SETUP: u8 = 2;

/// Threads for reading calls. They wait for the disk more than they compute.
const READING_THREADS: usize = 4;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEnd {
    /// The contract lies in its place.
    Finished,
    /// A guard, or the model's absence, ended it.
    Ended {
        /// Which one.
        reason: EndReason,
        /// What it counts as.
        class: FailureClass,
        /// In words; may hold a provider's, never the key.
        detail: String,
    },
}

/// The hidden command `__agent`: one run, events on standard output, the reason of a failure on
/// standard error. Exit code 0 with a contract, 1 without, 2 if the run could not begin.
pub fn agent_main() -> ExitCode {
    let mut events = io::stdout().lock();
    let end =
        start(&mut events).unwrap_or_else(|problem| end_early(&mut events, setup_stop(problem)));
    match end {
        AgentEnd::Finished => ExitCode::SUCCESS,
        AgentEnd::Ended { reason, detail, .. } => {
            // Whoever does not hear this sees the exit code.
            let _ = writeln!(io::stderr(), "agent ended: {detail}");
            ExitCode::from(match reason {
                EndReason::Setup => EXIT_SETUP,
                EndReason::ModelCall
                | EndReason::Refusal
                | EndReason::ContextWindow
                | EndReason::Steps
                | EndReason::RepeatedCall
                | EndReason::NoProgress
                | EndReason::NoFinish
                | EndReason::Unheard => EXIT_ENDED,
            })
        }
    }
}

/// One run, from its first request to its contract or its end. Events go to `events`, one JSON
/// document a line.
pub async fn run(setup: AgentSetup, events: &mut dyn Write) -> AgentEnd {
    match session::prepare(setup) {
        Ok(prepared) => Session::begin(prepared, events).run().await,
        Err(problem) => end_early(events, setup_stop(problem)),
    }
}

fn start(events: &mut dyn Write) -> Result<AgentEnd, String> {
    // Commands that the agent runs have the same user id; without this they could read the key out
    // of this process's environment and memory.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| format!("failed to close this process's memory to others: {error}"))?;
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let setup = AgentSetup::from_environment(variables).map_err(|error| chain(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READING_THREADS)
        .build()
        .map_err(|error| format!("failed to start the runtime: {error}"))?;
    let end = runtime.block_on(run(setup, events));
    // A search that is still reading has nobody to answer to.
    runtime.shutdown_background();
    Ok(end)
}

fn setup_stop(problem: String) -> Stop {
    Stop::new(EndReason::Setup, FailureClass::Unknown, problem)
}

fn end_early(events: &mut dyn Write, stop: Stop) -> AgentEnd {
    // The exit code says the same to an engine that no longer reads.
    let _ = write_event(events, &stop.event());
    stop.into()
}

/// An error with its causes, each once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

impl Stop {
    fn event(&self) -> HarnessEvent {
        HarnessEvent::Ended {
            reason: self.reason,
            class: self.class,
        }
    }
}

impl From<Stop> for AgentEnd {
    fn from(stop: Stop) -> Self {
        Self::Ended {
            reason: stop.reason,
            class: stop.class,
            detail: stop.detail,
        }
    }
}
