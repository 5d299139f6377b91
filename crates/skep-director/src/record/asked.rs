//! What a job was asked with, whichever kind it is of.
//!
//! Each kind has a record of its own; whoever shows or lists jobs of every kind reads it here.

use super::{CallRow, Dispatch, ShellRow, call, dispatch, shell};
use skep_db::{DbError, Tx};
use skep_queue::Job;
use skep_types::{Gate, JobId, JobKind, Role, Tier};

/// The record of one job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    Agent(Box<Dispatch>),
    Call(Box<CallRow>),
    Shell(Box<ShellRow>),
}

/// Reads the record of `job`.
pub(crate) async fn asked(tx: &mut Tx<'_>, job: &Job) -> Result<Asked, DbError> {
    Ok(match job.kind {
        JobKind::Agent | JobKind::Pipeline => Asked::Agent(Box::new(dispatch(tx, &job.id).await?)),
        JobKind::Call => Asked::Call(Box::new(call(tx, &job.id).await?)),
        JobKind::Shell => Asked::Shell(Box::new(shell(tx, &job.id).await?)),
    })
}

impl Asked {
    /// The record of an agent's job: the only kind that writes to a repository.
    pub(crate) fn agent(&self) -> Option<&Dispatch> {
        match self {
            Self::Agent(dispatch) => Some(dispatch),
            Self::Call(_) | Self::Shell(_) => None,
        }
    }

    /// What every kind has in common, in the shape of an agent's record.
    pub(crate) fn common(&self) -> Dispatch {
        match self {
            Self::Agent(dispatch) => (**dispatch).clone(),
            Self::Call(call) => Dispatch {
                model: Some(call.model.clone()),
                budget: call.budget,
                timeout_ms: Some(call.timeout_ms),
                ..self.observing(&call.job, call.tier)
            },
            Self::Shell(shell) => Dispatch {
                repo: shell.repo.clone(),
                vault: shell.vault.clone(),
                base_commit: shell.base_commit.clone(),
                base_from: shell.base_from.clone(),
                scope: shell.scope.clone(),
                command: shell.command.clone(),
                timeout_ms: Some(shell.timeout_ms),
                ..self.observing(&shell.job, shell.tier)
            },
        }
    }

    /// The record of a job that changes nothing and is checked by nobody.
    fn observing(&self, job: &JobId, tier: Tier) -> Dispatch {
        Dispatch {
            job: job.clone(),
            instruction: self.instruction(),
            repo: None,
            vault: None,
            base_commit: None,
            base_from: None,
            target_branch: None,
            scope: Vec::new(),
            role: Role::Observer,
            tier,
            worker: self.worker().to_owned(),
            harness: self.worker().to_owned(),
            model: None,
            command: Vec::new(),
            checks: Vec::new(),
            gate: Gate::G0,
            budget: None,
            waivers: Vec::new(),
            reviewer: None,
            reviews: None,
            reviewed_commit: None,
            rework_rounds_max: 0,
            artifacts: Vec::new(),
            timeout_ms: None,
        }
    }

    /// What is to be done, in words.
    pub(crate) fn instruction(&self) -> String {
        match self {
            Self::Agent(dispatch) => dispatch.instruction.clone(),
            Self::Call(call) => call.question.prompt().to_owned(),
            Self::Shell(shell) => shell.command.join(" "),
        }
    }

    /// Who does it.
    pub(crate) fn worker(&self) -> &str {
        match self {
            Self::Agent(dispatch) => &dispatch.worker,
            Self::Call(call) => &call.worker,
            Self::Shell(_) => JobKind::Shell.as_str(),
        }
    }
}
