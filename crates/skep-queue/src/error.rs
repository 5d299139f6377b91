//! What can go wrong with a job, one type per operation.

use crate::refusal::RefusalReason;
use skep_db::DbError;
use skep_types::{AttemptState, Fence, IllegalTransition, JobId, JobState};

const STALE_HINT: &str = "the job was cancelled, ended or taken over; look at `skep job show`";
const LIST_HINT: &str = "`skep job list` names every job";

/// Why a job was not enqueued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The idempotency key stands for another request.
    #[error("enqueue the job: its idempotency key was used for another request, {existing}")]
    Conflict {
        /// The job of the other request.
        existing: JobId,
    },
    /// A field is out of its bounds.
    #[error("enqueue the job: {field} {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// It would be a part of a part of a part, beyond
    /// [`TREE_DEPTH_MAX`](crate::limits::TREE_DEPTH_MAX).
    #[error("enqueue the job: it would be {depth} levels below its root")]
    TooDeep {
        /// How deep it would be.
        depth: i64,
    },
    /// Too many jobs were asked for below one root, beyond
    /// [`TREE_JOBS_MAX`](crate::limits::TREE_JOBS_MAX).
    #[error("enqueue the job: it would be number {count} below its root")]
    TooWide {
        /// How many there would be.
        count: i64,
    },
    /// The store failed.
    #[error("enqueue the job")]
    Db(#[from] DbError),
}

/// Why a job did not change its state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdvanceError {
    /// The fence is not the current one.
    #[error("advance the job: its fence is stale")]
    Stale {
        /// The fence that somebody holds now; `None` if nobody does.
        current: Option<Fence>,
    },
    /// The state machine has no such transition.
    #[error("advance the job: {0}")]
    Illegal(IllegalTransition),
    /// There is no such live job.
    #[error("advance the job: there is no such job")]
    NotFound,
    /// What is said of its attempt is too long, or holds a zero byte.
    #[error("advance the job: its attempt's model or session is too long or holds a zero byte")]
    Invalid,
    /// The store failed.
    #[error("advance the job")]
    Db(#[from] DbError),
}

/// Why an attempt did not change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// The fence is not the current one.
    #[error("change the attempt: its fence is stale")]
    Stale {
        /// The fence that somebody holds now; `None` if nobody does.
        current: Option<Fence>,
    },
    /// The attempt is not in a state from which this change goes.
    #[error("change the attempt from {from} to {to}")]
    Illegal {
        /// The state it is in.
        from: AttemptState,
        /// The state that was asked for.
        to: AttemptState,
    },
    /// This claim has no such attempt.
    #[error("change the attempt: the claim has no such attempt")]
    NotFound,
    /// A field is out of its bounds.
    #[error("change the attempt: {field} {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// The store failed.
    #[error("change the attempt")]
    Db(#[from] DbError),
}

/// Why a queue was not paused or resumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PauseError {
    /// No queue can have this name.
    #[error("pause or resume the queue: that is no queue's name")]
    Name,
    /// The store failed.
    #[error("pause or resume the queue")]
    Db(#[from] DbError),
}

impl PauseError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Name => "bad_queue_name",
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name => Some(
                "a queue is named with 1 to 40 small letters, digits, `-` and `_`; \
                 `*` stands for every queue"
                    .into(),
            ),
            Self::Db(_) => None,
        }
    }
}

/// Why a waiting job was not woken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WakeError {
    /// The state machine has no such transition.
    #[error("wake the job: {0}")]
    Illegal(IllegalTransition),
    /// The store failed.
    #[error("wake the job")]
    Db(#[from] DbError),
}

/// Why a job was not cancelled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// There is no such job.
    #[error("cancel the job: there is no such job")]
    NotFound,
    /// The job has ended already.
    #[error("cancel the job: it has ended as {state}")]
    Ended {
        /// How.
        state: JobState,
    },
    /// The store failed.
    #[error("cancel the job")]
    Db(#[from] DbError),
}

/// Why a job was not tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError {
    /// There is no such job.
    #[error("retry the job: there is no such job")]
    NotFound,
    /// The job has not ended.
    #[error("retry the job: it has not ended, it is {state}")]
    Live {
        /// Where it stands.
        state: JobState,
    },
    /// A job that ended like this one is not run again.
    #[error("retry the job: {0}")]
    Illegal(IllegalTransition),
    /// The store failed.
    #[error("retry the job")]
    Db(#[from] DbError),
}

impl EnqueueError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "idempotency_conflict",
            Self::Invalid { .. } => "job_invalid",
            Self::TooDeep { .. } => "graph_too_deep",
            Self::TooWide { .. } => "graph_too_wide",
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooDeep { .. } | Self::TooWide { .. } => {
                Some("a job that keeps asking for jobs is a runaway; look at its root".into())
            }
            Self::Conflict { existing } => Some(format!(
                "look at `skep job show {existing}`, or send the request with a key of its own"
            )),
            Self::Invalid { .. } | Self::Db(_) => None,
        }
    }
}

impl AdvanceError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale_fence",
            Self::Illegal(_) => "illegal_transition",
            Self::NotFound => "job_not_found",
            Self::Invalid => "attempt_invalid",
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Stale { .. } => Some(STALE_HINT.into()),
            Self::Illegal(_) | Self::NotFound | Self::Invalid | Self::Db(_) => None,
        }
    }

    /// What [`record_refusal`](crate::record_refusal) is told, if this is a refusal.
    pub const fn refusal(&self) -> Option<RefusalReason> {
        match self {
            Self::Stale { .. } => Some(RefusalReason::Stale),
            Self::Illegal(_) => Some(RefusalReason::Illegal),
            Self::NotFound | Self::Invalid | Self::Db(_) => None,
        }
    }
}

impl AttemptError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale_fence",
            Self::Illegal { .. } => "illegal_transition",
            Self::NotFound => "attempt_not_found",
            Self::Invalid { .. } => "attempt_invalid",
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Stale { .. } => Some(STALE_HINT.into()),
            Self::Illegal { .. } | Self::NotFound | Self::Invalid { .. } | Self::Db(_) => None,
        }
    }

    /// What [`record_refusal`](crate::record_refusal) is told, if this is a refusal.
    pub const fn refusal(&self) -> Option<RefusalReason> {
        match self {
            Self::Stale { .. } => Some(RefusalReason::Stale),
            Self::Illegal { .. } => Some(RefusalReason::Illegal),
            Self::NotFound | Self::Invalid { .. } | Self::Db(_) => None,
        }
    }
}

impl WakeError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Illegal(_) => "illegal_transition",
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it: nothing that a person could.
    pub const fn hint(&self) -> Option<String> {
        None
    }

    /// What [`record_refusal`](crate::record_refusal) is told, if this is a refusal.
    pub const fn refusal(&self) -> Option<RefusalReason> {
        match self {
            Self::Illegal(_) => Some(RefusalReason::Illegal),
            Self::Db(_) => None,
        }
    }
}

impl CancelError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "job_not_found",
            Self::Ended { .. } => "job_ended",
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ended { .. } => Some("there is nothing left to cancel".into()),
            Self::NotFound => Some(LIST_HINT.into()),
            Self::Db(_) => None,
        }
    }
}

impl RetryError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "job_not_found",
            Self::Live { .. } => "job_not_ended",
            Self::Illegal(_) => "illegal_transition",
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Illegal(_) => Some("run the work again as a new job".into()),
            Self::Live { .. } => Some("wait for its end, or cancel it first".into()),
            Self::NotFound => Some(LIST_HINT.into()),
            Self::Db(_) => None,
        }
    }
}
