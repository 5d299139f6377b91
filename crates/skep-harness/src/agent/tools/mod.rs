//! The tools: one module each, and the table that finds them by name.
//!
//! Owns the state the tools share. Invariant: a tool never fails the run. Whatever goes wrong
//! becomes words for the model, and a wall that refused is named.

mod edit;
pub(crate) mod finish;
#[cfg(test)]
mod fixture;
mod list;
mod read;
mod run;
mod search;
mod text_file;
mod write;

use crate::agent::workspace::{Refusal, Workspace};
use crate::event::RefusedBy;
use crate::task::AgentTask;
use finish::Finisher;
use run::Runner;
use serde::de::DeserializeOwned;
use skep_types::Role;
use std::sync::Arc;

/// What a tool gives back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    /// For the model.
    pub(crate) text: String,
    /// Whether the tool did what it was asked to.
    pub(crate) ok: bool,
    /// The command's exit code.
    pub(crate) exit_code: Option<i32>,
    /// Which wall refused.
    pub(crate) refused_by: Option<RefusedBy>,
    /// Whether a file may have changed.
    pub(crate) changed: bool,
    /// Whether the run is over.
    pub(crate) finished: bool,
}

impl Reply {
    fn ok(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ok: true,
            ..Self::default()
        }
    }

    pub(crate) fn error(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    fn changed(text: impl Into<String>) -> Self {
        Self {
            changed: true,
            ..Self::ok(text)
        }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self {
            refused_by: refusal.by,
            ..Self::error(refusal.message)
        }
    }
}

/// Names of the tools, as the definitions have them.
const READ: &str = "read";
const LIST: &str = "list";
const SEARCH: &str = "search";
const EDIT: &str = "edit";
const WRITE: &str = "write";
const RUN: &str = "run";
const FINISH: &str = "finish";

/// The tools of one run.
pub(crate) struct Toolbox {
    role: Role,
    workspace: Arc<Workspace>,
    runner: Runner,
    finisher: Finisher,
}

impl Toolbox {
    pub(crate) fn new(
        task: &AgentTask,
        workspace: Arc<Workspace>,
        environment: Vec<(String, String)>,
        finisher: Finisher,
    ) -> Self {
        Self {
            role: task.role,
            runner: Runner::new(Arc::clone(&workspace), environment, &task.limits),
            workspace,
            finisher,
        }
    }

    /// Whether calls of this tool may run beside each other: they change nothing.
    pub(crate) fn is_reading(name: &str) -> bool {
        matches!(name, READ | LIST | SEARCH)
    }

    /// Whether this call ends the run, so that every other call of its turn goes first.
    pub(crate) fn is_finish(name: &str) -> bool {
        name == FINISH
    }

    /// After how long the tool itself ends this call, in milliseconds, where it does.
    pub(crate) fn timeout_ms(&self, name: &str, input: &str) -> Option<u64> {
        if name != RUN {
            return None;
        }
        let input = parse::<run::Input>(name, input).ok()?;
        Some(self.runner.limit_ms(&input))
    }

    /// Carries out a call.
    pub(crate) async fn call(&self, name: &str, input: &str) -> Reply {
        if !Self::is_reading(name) {
            return self.effect(name, input).await;
        }
        let workspace = Arc::clone(&self.workspace);
        let (name, input) = (name.to_owned(), input.to_owned());
        let read = move || reading(&workspace, &name, &input);
        match tokio::task::spawn_blocking(read).await {
            Ok(reply) => reply,
            Err(error) => Reply::error(format!("the tool broke: {error}")),
        }
    }

    async fn effect(&self, name: &str, input: &str) -> Reply {
        let may_write = match self.role {
            Role::Builder => true,
            Role::Observer | Role::Director => false,
        };
        let done = match name {
            EDIT if may_write => {
                parse(name, input).and_then(|input| edit::edit(&self.workspace, &input))
            }
            WRITE if may_write => {
                parse(name, input).and_then(|input| write::write(&self.workspace, &input))
            }
            EDIT | WRITE => Err(Refusal::policy(format!(
                "the role {} has no `{name}`",
                self.role
            ))),
            RUN => match parse(name, input) {
                Ok(input) => return self.runner.run(&input).await,
                Err(refusal) => Err(refusal),
            },
            FINISH => return self.finisher.finish(self.role, input).await,
            _ => Err(unknown(name)),
        };
        done.map_or_else(Reply::from, Reply::changed)
    }
}

fn reading(workspace: &Workspace, name: &str, input: &str) -> Reply {
    let done = match name {
        READ => parse(name, input).and_then(|input| read::read(workspace, &input)),
        LIST => parse(name, input).and_then(|input| list::list(workspace, &input)),
        SEARCH => parse(name, input).and_then(|input| search::search(workspace, &input)),
        _ => Err(unknown(name)),
    };
    done.map_or_else(Reply::from, Reply::ok)
}

/// Reads a tool's input, or says to the model what is wrong with it.
fn parse<T: DeserializeOwned>(name: &str, input: &str) -> Result<T, Refusal> {
    serde_json::from_str(input)
        .map_err(|error| Refusal::plain(format!("the input of `{name}` is not valid: {error}")))
}

fn unknown(name: &str) -> Refusal {
    let shown = &name[..name.floor_char_boundary(64)];
    Refusal::plain(format!("there is no tool `{shown}`"))
}
