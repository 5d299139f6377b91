//! The steps of a history, as data: what was asked, by whom, and what became of the request.
//!
//! A step names the jobs and leases of earlier steps by the numbers of those steps, so that a
//! history from which steps were dropped still means the same; a step whose names are gone is
//! passed over.

use super::turn::{POLICIES, Place};
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

/// The job at `place` of those that step `asked` asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct JobName {
    pub(crate) asked: StepId,
    pub(crate) place: usize,
}

/// How many at a time a request names at most.
pub(crate) const BATCH: usize = 4;

/// A job that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// An idempotency key that others may have used.
    pub(crate) key: Option<u8>,
    pub(crate) priority: i64,
    pub(crate) delay_ms: i64,
    /// 0 is refused.
    pub(crate) attempts_max: u8,
    pub(crate) place: Place,
    pub(crate) name: Option<Name>,
}

/// What makes several requests one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// As long as the job lives.
    Singleton,
    /// As long as it has not started, which every request puts off.
    Debounce { quiet_ms: u16, wait_max_ms: u16 },
}

/// How a claim ends, with the attempt that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) lease: LeaseName,
    pub(crate) to: JobState,
    pub(crate) state: AttemptState,
    pub(crate) failure: Option<FailureClass>,
    pub(crate) counts: bool,
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
    /// A client asks for a job.
    Enqueue(Wanted),
    /// A client asks for several jobs at once: all or none.
    EnqueueAll([Option<Wanted>; BATCH]),
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
    /// A node ends several claims at once, each by itself.
    FinishAll {
        node: usize,
        endings: [Option<Ending>; BATCH],
    },
    Wake {
        job: JobName,
        from: JobState,
        to: JobState,
    },
    Cancel {
        job: JobName,
    },
    Retry {
        job: JobName,
        extra: i64,
    },
    /// A node takes back what it holds and does not know of.
    GiveBack {
        node: usize,
    },
    /// An operator pauses a queue, or lets it go on.
    PauseQueue {
        queue: &'static str,
    },
    ResumeQueue {
        queue: &'static str,
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
    /// An operator sets other limits, and every node learns of them.
    Limits { set: usize },
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

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}", self.asked)?;
        match self.place {
            0 => Ok(()),
            place => write!(f, ".{place}"),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (priority, attempts) = (self.priority, self.attempts_max);
        write!(f, "priority {priority}, {attempts} attempts")?;
        if self.delay_ms > 0 {
            write!(f, ", in {} ms", self.delay_ms)?;
        }
        if let Some(key) = self.key {
            write!(f, ", key {key}")?;
        }
        match self.name {
            Some(Name::Singleton) => f.write_str(", the only one")?,
            Some(Name::Debounce {
                quiet_ms,
                wait_max_ms,
            }) => write!(f, ", after {quiet_ms} ms of quiet or {wait_max_ms}")?,
            None => {}
        }
        self.place.fmt(f)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (to, state) = (self.to, self.state);
        write!(f, "{} as {to}, its attempt {state}", self.lease)?;
        f.write_str(if self.counts { ", counts" } else { "" })
    }
}

/// What there is, one after the other.
fn listed(
    f: &mut fmt::Formatter<'_>,
    begin: &str,
    items: &[Option<impl fmt::Display>],
) -> fmt::Result {
    f.write_str(begin)?;
    for (place, item) in items.iter().flatten().enumerate() {
        write!(f, "{} {item}", if place > 0 { ";" } else { "" })?;
    }
    Ok(())
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
            Self::Limits { set } => write!(f, "the limits are now: {}", POLICIES[*set]),
            Self::Tick { ms } => write!(f, "the clock jumps by {ms} ms"),
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enqueue(wanted) => write!(f, "enqueue, {wanted}"),
            Self::EnqueueAll(wanted) => listed(f, "enqueue at once:", wanted),
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
            Self::FinishAll { node, endings } => {
                listed(f, &format!("node {node} ends at once:"), endings)
            }
            Self::Wake { job, from, to } => write!(f, "wake {job} from {from} to {to}"),
            Self::Cancel { job } => write!(f, "cancel {job}"),
            Self::Retry { job, extra } => write!(f, "retry {job} with {extra} more"),
            Self::GiveBack { node } => write!(f, "node {node} gives back what it does not know of"),
            Self::PauseQueue { queue } => write!(f, "pause queue {queue}"),
            Self::ResumeQueue { queue } => write!(f, "resume queue {queue}"),
            Self::Reconcile { node } => write!(f, "node {node} takes back what lapsed"),
        }
    }
}
