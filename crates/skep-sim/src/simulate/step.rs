//! The steps of a history, as data: what was asked, by whom, and what became of the request.
//!
//! A step names the jobs and leases of earlier steps by the numbers of those steps, so that a
//! history from which steps were dropped still means the same; a step whose names are gone is
//! passed over.

use skep_queue::Advance;
use skep_types::{AttemptState, FailureClass, JobState};
use std::fmt;

/// The number of a step; stays with it when others are dropped.
pub(crate) type StepId = u32;

/// The lease at `place` of what the claim of step `claim` was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseName {
    pub(crate) claim: StepId,
    pub(crate) place: usize,
}

/// What becomes of a request on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Done and answered.
    Answered,
    /// Never arrives: its sender dies or is cut off before.
    Lost,
    /// Dies within its transaction, before the commit: nothing may remain.
    DiesBefore,
    /// Dies after the commit, before the answer: its sender does not know.
    DiesAfter,
    /// The store runs its transaction twice, as after a serialization failure.
    RunTwice,
    /// Is under way for as long as it takes until a `Deliver`.
    Delayed,
}

/// A request of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A client asks for a job; `key` is an idempotency key that others may have used.
    Enqueue {
        key: Option<u8>,
        priority: i64,
        delay_ms: i64,
        attempts_max: i64,
    },
    Claim {
        node: usize,
        slots: usize,
    },
    /// A node extends all that it believes to hold.
    Heartbeat {
        node: usize,
    },
    Start {
        lease: LeaseName,
    },
    End {
        lease: LeaseName,
        state: AttemptState,
        failure: Option<FailureClass>,
        counts: bool,
    },
    Advance {
        lease: LeaseName,
        to: JobState,
        how: Advance,
    },
    /// `End` and `Advance` in one transaction, as the product does it.
    Finish {
        lease: LeaseName,
        state: AttemptState,
        failure: Option<FailureClass>,
        to: JobState,
        how: Advance,
    },
    Wake {
        job: StepId,
        from: JobState,
        to: JobState,
    },
    Cancel {
        job: StepId,
    },
    Retry {
        job: StepId,
        extra: i64,
    },
    /// A node takes back what lapsed.
    Reconcile {
        node: usize,
    },
}

/// One step of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A request is sent.
    Send { ask: Ask, fate: Fate },
    /// The request of an earlier step arrives: late, or once more.
    Deliver { of: StepId },
    /// A node dies and forgets everything.
    Crash { node: usize },
    /// A node stands still: it keeps its beliefs and does nothing.
    Pause { node: usize },
    /// A paused node goes on; a dead one starts, and takes back what it held.
    Resume { node: usize },
    /// The store's clock jumps, backwards if negative.
    Tick { ms: i64 },
}

/// A history: its steps under their numbers.
pub(crate) type History = Vec<(StepId, Step)>;

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {}.{}", self.claim, self.place)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { ask, fate } => {
                write!(f, "{ask}")?;
                f.write_str(match fate {
                    Fate::Answered => "",
                    Fate::Lost => " [never arrives]",
                    Fate::DiesBefore => " [dies before the commit]",
                    Fate::DiesAfter => " [commits, the answer is lost]",
                    Fate::RunTwice => " [its transaction is run twice]",
                    Fate::Delayed => " [is delayed]",
                })
            }
            Self::Deliver { of } => write!(f, "the request of step {of} arrives"),
            Self::Crash { node } => write!(f, "node {node} dies"),
            Self::Pause { node } => write!(f, "node {node} stands still"),
            Self::Resume { node } => write!(f, "node {node} goes on"),
            Self::Tick { ms } => write!(f, "the clock jumps by {ms} ms"),
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enqueue {
                key,
                priority,
                delay_ms,
                attempts_max,
            } => {
                write!(f, "enqueue, priority {priority}, {attempts_max} attempts")?;
                if *delay_ms > 0 {
                    write!(f, ", in {delay_ms} ms")?;
                }
                key.map_or(Ok(()), |key| write!(f, ", key {key}"))
            }
            Self::Claim { node, slots } => write!(f, "node {node} claims up to {slots}"),
            Self::Heartbeat { node } => write!(f, "node {node} renews its leases"),
            Self::Start { lease } => write!(f, "start the attempt of {lease}"),
            Self::End {
                lease,
                state,
                counts,
                ..
            } => write!(f, "end the attempt of {lease} as {state}, counts: {counts}"),
            Self::Advance { lease, to, how } => {
                let kept = if how.keep_lease { ", lease kept" } else { "" };
                write!(f, "advance {lease} to {to}{kept}")
            }
            Self::Finish {
                lease,
                state,
                to,
                how,
                ..
            } => {
                let kept = if how.keep_lease { ", lease kept" } else { "" };
                write!(f, "end {lease} as {state} and advance to {to}{kept}")
            }
            Self::Wake { job, from, to } => write!(f, "wake job {job} from {from} to {to}"),
            Self::Cancel { job } => write!(f, "cancel job {job}"),
            Self::Retry { job, extra } => write!(f, "retry job {job} with {extra} more"),
            Self::Reconcile { node } => write!(f, "node {node} takes back what lapsed"),
        }
    }
}
