//! What can go wrong between asking for a fence and the end of the worker in it.

use crate::level::IsolationLevel;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a fence does not stand, or why its worker is not known to be dead. Messages complete
/// "failed to run the worker: ".
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A path of the spec is not allowed.
    #[error("{} {reason}", path.display())]
    Spec {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A path of the spec cannot be read.
    #[error("{} cannot be read", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The order is too large or not text.
    #[error("the order for the launcher {reason}")]
    Order {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The level that was asked for cannot be had here. Nothing ran.
    #[error("isolation level `{level}` is not available: {refusal}")]
    IsolationUnavailable {
        /// The level.
        level: IsolationLevel,
        /// The step that failed.
        refusal: Refusal,
    },
    /// What the launcher measured from inside is not what the level promises. Nothing ran.
    #[error("the fence is not what level `{level}` promises: {what}")]
    ProofMismatch {
        /// The level.
        level: IsolationLevel,
        /// What differs.
        what: String,
    },
    /// The fence stands but the command does not start in it.
    #[error("the command does not start: {0}")]
    Command(Refusal),
    /// The launcher cannot be started or talked to.
    #[error("the launcher cannot be reached")]
    Launcher(#[source] io::Error),
    /// The launcher ended, or answered out of turn, before it was done.
    #[error("the launcher {0}")]
    LauncherLost(&'static str),
    /// Something inside could not be killed.
    #[error("the end of the worker is not certain: {0}")]
    NotEnded(Refusal),
    /// A step took longer than its limit.
    #[error("{what} took longer than {limit_ms} ms")]
    TimedOut {
        /// The step.
        what: &'static str,
        /// Its limit in milliseconds.
        limit_ms: u64,
    },
}

impl SandboxError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Spec { .. } | Self::Path { .. } | Self::Order { .. } => "fence_invalid",
            Self::IsolationUnavailable { .. } | Self::ProofMismatch { .. } => {
                "isolation_unavailable"
            }
            Self::Command(_) => "command_not_started",
            Self::Launcher(_) | Self::LauncherLost(_) => "launcher_lost",
            Self::NotEnded(_) => "worker_not_ended",
            Self::TimedOut { .. } => "fence_timed_out",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::IsolationUnavailable { refusal, .. } => Some(
                refusal
                    .hint
                    .clone()
                    .unwrap_or_else(|| "run `skep doctor` for what this machine lacks".to_owned()),
            ),
            Self::Spec { .. } | Self::Path { .. } => {
                Some("check `[toolchain] read_only` and the job's scope".to_owned())
            }
            Self::Command(_) => {
                Some("the program must exist inside the fence: under /usr, the repository or a toolchain root".to_owned())
            }
            Self::Order { .. }
            | Self::ProofMismatch { .. }
            | Self::Launcher(_)
            | Self::LauncherLost(_)
            | Self::NotEnded(_)
            | Self::TimedOut { .. } => None,
        }
    }
}

/// One step of raising a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The launcher's own preconditions.
    Launcher,
    /// New namespaces and the map of user ids.
    Namespaces,
    /// The mounts of the new root.
    Mounts,
    /// A fresh `/proc`.
    Proc,
    /// The loopback interface and the gateway's listener.
    Network,
    /// Supervision of the process tree.
    Supervision,
    /// Limits of resources.
    Limits,
    /// Giving up capabilities.
    Capabilities,
    /// Landlock.
    Landlock,
    /// Seccomp.
    Seccomp,
    /// Reading back what was applied.
    Proof,
    /// Opening a path that the spec names.
    Path,
    /// Starting the command.
    Command,
}

impl Step {
    /// The step as a phrase.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Launcher => "prepare the launcher",
            Self::Namespaces => "enter new namespaces",
            Self::Mounts => "build the new root",
            Self::Proc => "mount a fresh /proc",
            Self::Network => "bring the loopback up",
            Self::Supervision => "supervise the processes",
            Self::Limits => "set the limits",
            Self::Capabilities => "drop the capabilities",
            Self::Landlock => "apply landlock",
            Self::Seccomp => "apply seccomp",
            Self::Proof => "measure the fence",
            Self::Path => "open a path of the fence",
            Self::Command => "start the command",
        }
    }
}

/// A step that the launcher could not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The step.
    pub step: Step,
    /// What was being done, as in a path or the name of a call.
    pub detail: String,
    /// The system's error number, if it gave one.
    pub errno: Option<i32>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Refusal {
    pub(crate) fn new(step: Step, detail: impl Into<String>, errno: Option<i32>) -> Self {
        Self {
            step,
            detail: detail.into(),
            errno,
            hint: None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} ({}", self.step.as_str(), self.detail)?;
        if let Some(errno) = self.errno {
            write!(f, ": {}", io::Error::from_raw_os_error(errno))?;
        }
        f.write_str(")")
    }
}

/// Names the step at which a system call failed.
pub(crate) trait AtStep<T> {
    fn at(self, step: Step, detail: &str) -> Result<T, Refusal>;
}

impl<T> AtStep<T> for Result<T, rustix::io::Errno> {
    fn at(self, step: Step, detail: &str) -> Result<T, Refusal> {
        self.map_err(|errno| Refusal::new(step, detail, Some(errno.raw_os_error())))
    }
}

impl<T> AtStep<T> for io::Result<T> {
    fn at(self, step: Step, detail: &str) -> Result<T, Refusal> {
        self.map_err(|error| match error.raw_os_error() {
            Some(errno) => Refusal::new(step, detail, Some(errno)),
            None => Refusal::new(step, format!("{detail}: {error}"), None),
        })
    }
}
