//! What is sent to the queue, what it answers, and how its transaction goes on the way.

use skep_queue::{Advance, AttemptEnd, Claim, ClaimRequest, Finish, Job, Lease, LostLease, NewJob};
use skep_types::{AttemptId, JobId, JobState, NodeId};

/// A request, complete: sending it again sends the same.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Enqueue(NewJob),
    EnqueueAll(Vec<NewJob>),
    Claim(ClaimRequest),
    Heartbeat {
        node: NodeId,
        jobs: Vec<JobId>,
    },
    Start {
        lease: Lease,
        attempt: AttemptId,
    },
    End {
        lease: Lease,
        attempt: AttemptId,
        end: AttemptEnd,
    },
    Advance {
        lease: Lease,
        to: JobState,
        how: Advance,
    },
    Finish {
        lease: Lease,
        attempt: AttemptId,
        end: AttemptEnd,
        to: JobState,
        how: Advance,
    },
    FinishAll(Vec<Finish>),
    Wake {
        job: JobId,
        from: JobState,
        to: JobState,
    },
    Cancel {
        job: JobId,
    },
    Retry {
        job: JobId,
        extra: i64,
    },
    PauseQueue(String),
    ResumeQueue(String),
    Reconcile {
        restarted: Option<NodeId>,
    },
    GiveBack {
        node: NodeId,
        at_work: Vec<JobId>,
    },
}

/// What the queue answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The job, and whether this request made it.
    Enqueued(JobId, bool),
    /// The same for each of several.
    EnqueuedAll(Vec<(JobId, bool)>),
    Claimed(Vec<Claim>),
    /// What the node still holds.
    Held(Vec<JobId>),
    /// The attempt changed.
    Changed,
    /// The job as it is now.
    Moved(Box<Job>),
    /// Each of several jobs as it ended, or why it did not.
    Finished(Vec<Result<Job, Refusal>>),
    /// Whether it was waiting.
    Woken(bool),
    /// The state that the job was in.
    Cancelled(JobState),
    /// Whether the queue was not as it was asked to be.
    Switched(bool),
    TakenBack(Vec<LostLease>),
    Refused(Refusal),
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The fence is not current.
    Stale,
    /// There is no such transition.
    Illegal,
    /// There is no such job, or the claim has no such attempt.
    NotFound,
    /// The job has ended.
    Ended(JobState),
    /// The job has not ended.
    Live(JobState),
    /// The key stands for another request.
    Conflict(JobId),
    /// What is asked for is out of its bounds.
    Invalid,
    /// An id was used before.
    Taken,
}

/// How the transaction of a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// To its end.
    Commits,
    /// Its process dies before the commit.
    Dies,
    /// It is undone and run once more.
    RunTwice,
}

impl Request {
    /// The leases that are shown.
    pub(crate) fn leases(&self) -> Vec<&Lease> {
        match self {
            Self::Start { lease, .. }
            | Self::End { lease, .. }
            | Self::Advance { lease, .. }
            | Self::Finish { lease, .. } => vec![lease],
            Self::FinishAll(finishes) => finishes.iter().map(|finish| &finish.lease).collect(),
            Self::Enqueue(_)
            | Self::EnqueueAll(_)
            | Self::Claim(_)
            | Self::Heartbeat { .. }
            | Self::Wake { .. }
            | Self::Cancel { .. }
            | Self::Retry { .. }
            | Self::PauseQueue(_)
            | Self::ResumeQueue(_)
            | Self::Reconcile { .. }
            | Self::GiveBack { .. } => Vec::new(),
        }
    }

    /// The jobs that are asked for.
    pub(crate) fn wanted(&self) -> &[NewJob] {
        match self {
            Self::Enqueue(new) => std::slice::from_ref(new),
            Self::EnqueueAll(new) => new,
            Self::Claim(_)
            | Self::Heartbeat { .. }
            | Self::Start { .. }
            | Self::End { .. }
            | Self::Advance { .. }
            | Self::Finish { .. }
            | Self::FinishAll(_)
            | Self::Wake { .. }
            | Self::Cancel { .. }
            | Self::Retry { .. }
            | Self::PauseQueue(_)
            | Self::ResumeQueue(_)
            | Self::Reconcile { .. }
            | Self::GiveBack { .. } => &[],
        }
    }
}

impl Answer {
    /// Why nothing was changed, in the place of each lease that `request` shows.
    pub(crate) fn refusals(&self, request: &Request) -> Vec<Option<Refusal>> {
        match self {
            Self::Finished(answers) => {
                let refusal = |answer: &Result<Job, Refusal>| answer.as_ref().err().cloned();
                answers.iter().map(refusal).collect()
            }
            Self::Refused(refusal) => vec![Some(refusal.clone()); request.leases().len()],
            Self::Enqueued(..)
            | Self::EnqueuedAll(_)
            | Self::Claimed(_)
            | Self::Held(_)
            | Self::Changed
            | Self::Moved(_)
            | Self::Woken(_)
            | Self::Cancelled(_)
            | Self::Switched(_)
            | Self::TakenBack(_) => vec![None; request.leases().len()],
        }
    }
}
