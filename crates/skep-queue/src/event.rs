//! What the queue writes to the ledger. Together the events of a job give its state.
//!
//! Ids, numbers and words of the vocabulary only; names of owners, projects and models stay in
//! the rows.

use crate::enqueue::NewJob;
use crate::refusal::RefusalReason;
use serde::{Deserialize, Serialize};
use skep_db::{DbError, Tx};
use skep_ledger::Payload;
use skep_types::{
    AttemptId, AttemptState, FailureClass, Fence, JobId, JobKind, JobState, NodeId, Purpose, Tier,
};

macro_rules! event {
    ($(#[$meta:meta])* $name:ident, $kind:literal { $($(#[$fmeta:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),+ }

        impl skep_ledger::Payload for $name {
            const KIND: &'static str = $kind;
            const VERSION: i64 = 1;
        }
    };
}

pub(crate) use event;

event! {
    /// A job was asked for.
    JobQueued, "job_queued" {
        /// Its number.
        number: i64,
        /// What kind of work it is.
        kind: JobKind,
        /// Why it is done.
        purpose: Purpose,
        /// What its data is.
        tier: Tier,
        /// The greater number goes first.
        priority: i64,
        /// Not claimed before this time.
        run_at_ms: i64,
        /// How many attempts may count.
        attempts_max: i64,
        /// The job it is a part of.
        parent: Option<JobId>,
    }
}

impl JobQueued {
    /// The event of a job that was written with `number`, to run from `run_at_ms` on.
    pub(crate) fn of(new: &NewJob, number: i64, run_at_ms: i64) -> Self {
        Self {
            number,
            kind: new.kind,
            purpose: new.purpose,
            tier: new.tier,
            priority: new.priority,
            run_at_ms,
            attempts_max: new.attempts_max,
            parent: new.parent.clone(),
        }
    }
}

event! {
    /// A job that was just asked for waits for others.
    JobWaits, "job_waits" {
        /// `blocked`, or `waiting_children` for one that waits for its parts.
        state: JobState,
        /// How many things it waits for.
        edges: i64,
    }
}

event! {
    /// A job will not start, because something it waited for did not come about.
    JobSkipped, "job_skipped" {
        /// The parent.
        cause: Option<JobId>,
        /// The state that the parent ended in; `done` if it left no such artifact.
        state: JobState,
    }
}

event! {
    /// A skipped job waits again, because the job that it was skipped for was retried.
    JobReopened, "job_reopened" {
        /// The retried job.
        because: JobId,
    }
}

event! {
    /// A job left an artifact.
    ArtifactLeft, "artifact_left" {
        /// The fence of the attempt.
        fence: Fence,
        /// SHA-256 of its bytes, in hexadecimal.
        digest: String,
        /// Its size.
        bytes: i64,
    }
}

event! {
    /// More requests came for a debounced job, and its start was put off.
    JobPutOff, "job_put_off" {
        /// Not claimed before this time.
        run_at_ms: i64,
    }
}

event! {
    /// A node took a job.
    JobClaimed, "job_claimed" {
        /// The claim's fence.
        fence: Fence,
        /// The node.
        node: NodeId,
        /// The state it was found in.
        from: JobState,
        /// The state it is in.
        to: JobState,
        /// The attempt, if the claim starts a worker.
        attempt: Option<AttemptId>,
    }
}

event! {
    /// The worker of an attempt started.
    AttemptStarted, "attempt_started" {
        /// The attempt.
        attempt: AttemptId,
        /// Its fence.
        fence: Fence,
    }
}

event! {
    /// An attempt ended or was parked.
    AttemptEnded, "attempt_ended" {
        /// The attempt.
        attempt: AttemptId,
        /// Its fence.
        fence: Fence,
        /// How it ended.
        state: AttemptState,
        /// Why it did not succeed.
        failure: Option<FailureClass>,
        /// Whether it used up one of the job's attempts.
        counted: bool,
        /// Whether the model that was asked for answered; absent if either is not known.
        model_as_requested: Option<bool>,
    }
}

event! {
    /// A job went from one state to another.
    JobAdvanced, "job_advanced" {
        /// The state before.
        from: JobState,
        /// The state after.
        to: JobState,
        /// Why it failed or waits.
        failure: Option<FailureClass>,
        /// Not claimed before this time.
        run_at_ms: i64,
        /// The fence of whoever did it; absent for a change without a lease.
        fence: Option<Fence>,
        /// Whether the lease goes on.
        lease_kept: bool,
    }
}

event! {
    /// A job ended under its lease, and with it the attempt that was under way.
    JobFinished, "job_finished" {
        /// The state before.
        from: JobState,
        /// The state after; a job that gives up does not end as it was asked to.
        to: JobState,
        /// Why it failed.
        failure: Option<FailureClass>,
        /// The fence of whoever did it.
        fence: Fence,
        /// How the attempt ended, if one was under way.
        attempt: Option<AttemptState>,
        /// Whether the attempt used up one of the job's attempts.
        counted: bool,
        /// Whether the model that was asked for answered; absent if either is not known.
        model_as_requested: Option<bool>,
    }
}

event! {
    /// A person paused a queue; the subject is the home.
    QueuePaused, "queue_paused" {
        /// The queue; `*` for every queue.
        queue: String,
    }
}

event! {
    /// A person let a paused queue go on; the subject is the home.
    QueueResumed, "queue_resumed" {
        /// The queue; `*` for every queue.
        queue: String,
    }
}

event! {
    /// A job was ended by a person.
    JobCancelled, "job_cancelled" {
        /// The state before.
        from: JobState,
        /// The node that worked on it.
        node: Option<NodeId>,
    }
}

event! {
    /// An ended job was brought back by a person.
    JobRetried, "job_retried" {
        /// The state before.
        from: JobState,
        /// How many attempts may count now.
        attempts_max: i64,
    }
}

event! {
    /// A node died, or did not extend its lease.
    LeaseLost, "lease_lost" {
        /// The node.
        node: NodeId,
        /// The attempt that was under way.
        attempt: Option<AttemptId>,
        /// The state before.
        from: JobState,
        /// The state after.
        to: JobState,
        /// How often this has happened to the job.
        losses: i64,
    }
}

event! {
    /// A change was asked for and refused.
    TransitionRefused, "transition_refused" {
        /// Why.
        reason: RefusalReason,
        /// The state the job is in.
        state: Option<JobState>,
        /// The state that was asked for; absent for a change of an attempt.
        to: Option<JobState>,
        /// The fence that was shown.
        fence: Option<Fence>,
    }
}

/// Appends an event about `job` that may have put it, or another, in the line, and wakes whoever
/// claims.
pub(crate) async fn record<P: Payload>(
    tx: &mut Tx<'_>,
    job: &JobId,
    payload: &P,
) -> Result<(), DbError> {
    skep_ledger::append(tx, job.as_str(), payload).await?;
    tx.wake(crate::TOPIC);
    Ok(())
}

/// Appends an event about `job` that put nobody in the line.
pub(crate) async fn note<P: Payload>(
    tx: &mut Tx<'_>,
    job: &JobId,
    payload: &P,
) -> Result<(), DbError> {
    Ok(skep_ledger::append(tx, job.as_str(), payload).await?)
}
