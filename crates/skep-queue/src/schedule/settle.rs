//! The end of a run: the job has come to its end, and the schedule counts it.

use super::change::{lock, note_failure, note_success, record_end, save, save_firing};
use super::read::firing;
use skep_db::{DbError, Tx};
use skep_types::{FailureClass, FiringState, JobState, ScheduleId};

/// How the job of a firing ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEnd {
    /// The state it ended in.
    pub state: JobState,
    /// Why it failed.
    pub failure: Option<FailureClass>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What a schedule made of the end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// How the firing ended.
    pub state: FiringState,
    /// Failures in a row.
    pub failures: i64,
    /// Whether the schedule paused itself.
    pub auto_paused: bool,
}

/// Ends the firing of a slot whose job has ended. `None`: it has ended before, or its job lives.
pub async fn job_ended(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    slot_ms: i64,
    end: &JobEnd,
) -> Result<Option<Settled>, DbError> {
    let Some(state) = outcome(end.state) else {
        return Ok(None);
    };
    let Some(mut schedule) = lock(tx, id).await? else {
        return Ok(None);
    };
    let running = firing(tx, id, slot_ms)
        .await?
        .filter(|found| found.state == FiringState::Running);
    let Some(mut firing) = running else {
        return Ok(None);
    };
    firing.state = state;
    firing.failure = end.failure.filter(|_| state == FiringState::Failed);
    firing.ended_at_ms = Some(end.at_ms);
    save_firing(tx, &mut firing).await?;
    let mut auto_paused = false;
    match (state, &firing.job) {
        (FiringState::Succeeded, Some(job)) => note_success(&mut schedule, job, end.at_ms),
        (FiringState::Failed, job) => {
            auto_paused = note_failure(tx, &mut schedule, job.as_ref(), end.at_ms).await?;
        }
        // Whoever ended it had a reason that says nothing about the schedule.
        _ => {}
    }
    record_end(tx, &schedule, &firing).await?;
    save(tx, &mut schedule).await?;
    Ok(Some(Settled {
        state,
        failures: schedule.failures,
        auto_paused,
    }))
}

/// What the end of a job is for its firing; `None` while the job lives.
const fn outcome(state: JobState) -> Option<FiringState> {
    match state {
        JobState::Done => Some(FiringState::Succeeded),
        JobState::Failed | JobState::Quarantined => Some(FiringState::Failed),
        JobState::Cancelled | JobState::Skipped => Some(FiringState::Cancelled),
        JobState::Draft
        | JobState::Queued
        | JobState::Blocked
        | JobState::Running
        | JobState::Paused
        | JobState::WaitingQuota
        | JobState::WaitingBudget
        | JobState::WaitingHuman
        | JobState::WaitingChildren
        | JobState::WaitingCallback
        | JobState::Backoff
        | JobState::Verifying
        | JobState::InReview
        | JobState::Rework
        | JobState::Landing => None,
    }
}
