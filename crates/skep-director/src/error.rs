//! What a use case answers when it cannot do what was asked, with a stable code and a hint.

use skep_api::ErrorBody;
use skep_db::DbError;
use skep_queue::{AdvanceError, AttemptError, RefusalReason};

/// A refused or failed use case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectorError {
    /// The request cannot be carried out as it stands; nothing was changed.
    #[error("{message}")]
    Usage {
        /// Stable, for scripts.
        code: &'static str,
        /// One sentence.
        message: String,
        /// What to do next.
        hint: String,
    },
    /// A policy forbids it; nothing was changed.
    #[error("{message}")]
    Policy {
        /// Stable, for scripts.
        code: &'static str,
        /// One sentence.
        message: String,
        /// What to do next.
        hint: String,
    },
    /// There is no such thing.
    #[error("there is no {noun} `{reference}`")]
    NotFound {
        /// What was looked for.
        noun: &'static str,
        /// By which name.
        reference: String,
    },
    /// The thing is not in a state that allows it; nothing was changed.
    #[error("{message}")]
    Conflict {
        /// Stable, for scripts.
        code: &'static str,
        /// One sentence.
        message: String,
        /// What to do next.
        hint: String,
    },
    /// The store failed.
    #[error("use the database")]
    Db(#[from] DbError),
    /// Something outside the store failed.
    #[error("{operation}")]
    Outside {
        /// What was being done.
        operation: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl DirectorError {
    pub(crate) fn usage(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Usage {
            code,
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub(crate) fn policy(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Policy {
            code,
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub(crate) fn conflict(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Conflict {
            code,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A record that this crate wrote lacks something: a defect, not the user's doing.
    pub(crate) fn incomplete(what: &'static str) -> Self {
        Self::conflict(
            "record_incomplete",
            what,
            "submit the job again, and report this as a defect",
        )
    }

    pub(crate) fn outside(
        operation: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Outside {
            operation: operation.into(),
            source: Box::new(source),
        }
    }

    /// Whether the store is why, and may answer when it is asked again.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Db(error) => error.may_pass(),
            Self::Outside { source, .. } => {
                let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**source);
                while let Some(error) = cause {
                    if let Some(error) = error.downcast_ref::<DbError>() {
                        return error.may_pass();
                    }
                    cause = error.source();
                }
                false
            }
            Self::Usage { .. }
            | Self::NotFound { .. }
            | Self::Policy { .. }
            | Self::Conflict { .. } => false,
        }
    }

    /// Why the queue refused a move, where that is what went wrong.
    pub(crate) fn queue_refusal(&self) -> Option<RefusalReason> {
        let Self::Outside { source, .. } = self else {
            return None;
        };
        let advance = source
            .downcast_ref::<AdvanceError>()
            .and_then(AdvanceError::refusal);
        advance.or_else(|| {
            source
                .downcast_ref::<AttemptError>()
                .and_then(AttemptError::refusal)
        })
    }

    /// The error as every surface shows it.
    pub fn body(&self) -> ErrorBody {
        let (code, hint, exit) = match self {
            Self::Usage { code, hint, .. } => (*code, hint.clone(), 2),
            Self::Policy { code, hint, .. } => (*code, hint.clone(), 3),
            Self::Conflict { code, hint, .. } => (*code, hint.clone(), 1),
            Self::NotFound { noun, .. } => {
                let hint = match *noun {
                    "topic" | "group" => "`skep topic list` shows the topics there are",
                    "message" => "`skep topic dead TOPIC` lists the dead letters",
                    "alarm" => "`skep alarm list --all` shows the alarms there are",
                    "schedule" => "`skep schedule list` shows the schedules there are",
                    _ => "`skep job list` shows the jobs there are",
                };
                ("not_found", hint.to_owned(), 4)
            }
            Self::Db(error) => {
                let (code, hint) = error.storage_fault().map_or(
                    ("database_failed", "`skep doctor` says what is wrong"),
                    crate::room::explain,
                );
                (code, hint.to_owned(), 5)
            }
            Self::Outside { .. } => (
                "outside_failed",
                "`skep doctor` says what is wrong".to_owned(),
                5,
            ),
        };
        ErrorBody {
            code: code.to_owned(),
            message: describe(self),
            hint: Some(hint),
            exit,
        }
    }
}

/// The message and its causes in one line, each said once.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
