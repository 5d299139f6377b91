//! Taking a slot: its row, what it makes of runs under way, and the schedule's step beyond it, in
//! the transaction in which the caller queues the job.

use super::change::{cancel_open, lock, lock_at, note_failure, record_end, save, save_firing};
use super::error::ScheduleError;
use super::event::{ScheduleClockSetBack, ScheduleFired, ScheduleMissed, record};
use super::plan::{Admission, Missed, Step, admit, next_due};
use super::read::{firing, standing};
use super::row::{Firing, Schedule};
use crate::limits::{FIRING_KEPT_MS, MANUAL_SLOTS_MAX};
use skep_db::{DbError, Tx, params};
use skep_types::{FailureClass, FiringCause, FiringState, JobId, ScheduleId, ScheduleState};

/// What the start of a firing is, as its caller prepared it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A job of this id, queued in the same transaction if the firing comes out `running`.
    Job(JobId),
    /// A pre-check, which some node runs.
    Check,
    /// It cannot start.
    Refused {
        /// `failed` or `skipped_overlap`.
        state: FiringState,
        /// Why it failed.
        failure: Option<FailureClass>,
        /// The same in words.
        reason: String,
    },
}

/// What was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The schedule as it is now.
    pub schedule: Schedule,
    /// The firing; `None` if the step had none, or its slot had been taken before.
    pub firing: Option<Firing>,
    /// Jobs of earlier runs that the caller is to cancel in the same transaction.
    pub replaced: Vec<JobId>,
}

/// Takes a planned step. `start` may be left out when the firing will not start anyway.
///
/// `None`: the schedule was changed since `version`, or the start is needed after all. Nothing was
/// changed; the caller looks again.
pub async fn fire_planned(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    version: i64,
    step: &Step,
    start: Option<&Start>,
) -> Result<Option<Begun>, DbError> {
    let locked = lock_at(tx, id, version).await?;
    let Some(mut schedule) = locked.filter(|found| found.state == ScheduleState::Active) else {
        return Ok(None);
    };
    let taken = match step.fire {
        Some((slot_ms, _)) => firing(tx, id, slot_ms)
            .await?
            .is_some_and(|found| found.state != FiringState::Missed),
        None => false,
    };
    let fire = step.fire.filter(|_| !taken);
    let admission = admission(tx, &schedule).await?;
    if fire.is_some() && starts(admission) && start.is_none() {
        return Ok(None);
    }
    if let Some(missed) = &step.missed {
        miss(tx, &mut schedule, missed).await?;
    }
    schedule.cursor_ms = step.cursor_ms;
    schedule.due_ms = step.due_ms;
    let mut begun = Begun {
        schedule,
        firing: None,
        replaced: Vec::new(),
    };
    if let Some((slot_ms, cause)) = fire {
        begin(tx, &mut begun, slot_ms, cause, admission, start).await?;
    }
    prune(tx, &begun.schedule).await?;
    save(tx, &mut begun.schedule).await?;
    // Whoever sleeps until the next due time learns that it is another.
    tx.wake(super::TOPIC);
    Ok(Some(begun))
}

/// Begins a run on a person's word, whether the schedule is paused or not. Its slot is now; the
/// schedule's own slots are not touched.
pub async fn fire_now(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    version: i64,
    start: &Start,
) -> Result<Begun, ScheduleError> {
    let schedule = lock(tx, id).await?.ok_or(ScheduleError::NotFound)?;
    if schedule.state == ScheduleState::Removed {
        return Err(ScheduleError::NotFound);
    }
    if schedule.version != version {
        return Err(ScheduleError::Moved);
    }
    let admission = admission(tx, &schedule).await?;
    if admission == Admission::Skip {
        return Err(ScheduleError::Busy);
    }
    let slot_ms = manual_slot(tx, id).await?.ok_or(ScheduleError::Moved)?;
    let mut begun = Begun {
        schedule,
        firing: None,
        replaced: Vec::new(),
    };
    let cause = FiringCause::Manual;
    begin(tx, &mut begun, slot_ms, cause, admission, Some(start)).await?;
    save(tx, &mut begun.schedule).await?;
    Ok(begun)
}

/// A free slot from now on. The schedule's own slots are whole seconds, so that a run asked for by a
/// person never takes one.
async fn manual_slot(tx: &mut Tx<'_>, id: &ScheduleId) -> Result<Option<i64>, DbError> {
    let now = tx.now_ms().await?;
    for slot_ms in now..now + MANUAL_SLOTS_MAX {
        if slot_ms % 1_000 != 0 && firing(tx, id, slot_ms).await?.is_none() {
            return Ok(Some(slot_ms));
        }
    }
    Ok(None)
}

/// Starts a firing that waited, once nothing of the schedule is under way. `None` as in
/// [`fire_planned`].
pub async fn begin_waiting(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    version: i64,
    slot_ms: i64,
    start: &Start,
) -> Result<Option<Begun>, DbError> {
    let Some(schedule) = lock_at(tx, id, version).await? else {
        return Ok(None);
    };
    let waiting = firing(tx, id, slot_ms)
        .await?
        .filter(|found| found.state == FiringState::Waiting);
    let Some(mut waiting) = waiting else {
        return Ok(None);
    };
    if standing(tx, id).await?.active > 0 {
        return Ok(None);
    }
    let now = tx.now_ms().await?;
    apply_start(&mut waiting, start, now);
    save_firing(tx, &mut waiting).await?;
    let mut begun = Begun {
        schedule,
        firing: Some(waiting.clone()),
        replaced: Vec::new(),
    };
    settle_begun(tx, &mut begun.schedule, &waiting).await?;
    save(tx, &mut begun.schedule).await?;
    Ok(Some(begun))
}

/// Follows a clock that was set back: slots after now come again, and those that have a firing are
/// not fired twice. `false`: the schedule was changed since `version`.
pub async fn follow_clock(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    version: i64,
) -> Result<bool, ScheduleError> {
    let locked = lock_at(tx, id, version).await?;
    let Some(mut schedule) = locked.filter(|found| found.state == ScheduleState::Active) else {
        return Ok(false);
    };
    let now = tx.now_ms().await?;
    let event = ScheduleClockSetBack {
        cursor_ms: schedule.cursor_ms,
        now_ms: now,
    };
    schedule.cursor_ms = schedule.cursor_ms.min(now);
    schedule.due_ms = next_due(&schedule.rules()?, schedule.cursor_ms).map(|due| due.due_ms);
    save(tx, &mut schedule).await?;
    record(tx, id, &event).await?;
    Ok(true)
}

/// Puts the next due time of a schedule right, where it was computed from other rules of its time
/// zone. `false`: the schedule was changed since `version`.
pub async fn set_due(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    version: i64,
    due_ms: Option<i64>,
) -> Result<bool, DbError> {
    let locked = lock_at(tx, id, version).await?;
    let Some(mut schedule) = locked.filter(|found| found.state == ScheduleState::Active) else {
        return Ok(false);
    };
    schedule.due_ms = due_ms;
    save(tx, &mut schedule).await?;
    tx.wake(super::TOPIC);
    Ok(true)
}

async fn admission(tx: &mut Tx<'_>, schedule: &Schedule) -> Result<Admission, DbError> {
    let found = standing(tx, &schedule.id).await?;
    Ok(admit(
        schedule.overlap,
        schedule.overlap_max,
        found.active,
        found.waiting,
    ))
}

const fn starts(admission: Admission) -> bool {
    matches!(admission, Admission::Start | Admission::Replace)
}

async fn begin(
    tx: &mut Tx<'_>,
    begun: &mut Begun,
    slot_ms: i64,
    cause: FiringCause,
    admission: Admission,
    start: Option<&Start>,
) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let mut firing = new_firing(&begun.schedule, slot_ms, cause, now);
    match (admission, start) {
        (Admission::Wait, _) => {}
        (Admission::Start | Admission::Replace, Some(start)) => {
            apply_start(&mut firing, start, now);
        }
        (Admission::Start | Admission::Replace, None) | (Admission::Skip, _) => {
            firing.state = FiringState::SkippedOverlap;
            firing.ended_at_ms = Some(now);
        }
    }
    if admission == Admission::Replace && !firing.state.is_terminal() {
        let open = [
            FiringState::Waiting,
            FiringState::Checking,
            FiringState::Running,
        ];
        let ended = cancel_open(tx, &begun.schedule, &open).await?;
        begun.replaced = ended.into_iter().filter_map(|firing| firing.job).collect();
    }
    insert(tx, &firing).await?;
    settle_begun(tx, &mut begun.schedule, &firing).await?;
    begun.firing = Some(firing);
    Ok(())
}

/// Puts the beginning on record, and a failure that came with it.
async fn settle_begun(
    tx: &mut Tx<'_>,
    schedule: &mut Schedule,
    firing: &Firing,
) -> Result<(), DbError> {
    let event = ScheduleFired {
        slot_ms: firing.slot_ms,
        cause: firing.cause,
        state: firing.state,
        job: firing.job.clone(),
    };
    record(tx, &schedule.id, &event).await?;
    if firing.state == FiringState::Failed {
        let at_ms = tx.now_ms().await?;
        note_failure(tx, schedule, None, at_ms).await?;
        record_end(tx, schedule, firing).await?;
    }
    Ok(())
}

fn apply_start(firing: &mut Firing, start: &Start, now: i64) {
    match start {
        Start::Job(job) => {
            firing.state = FiringState::Running;
            firing.job = Some(job.clone());
        }
        Start::Check => firing.state = FiringState::Checking,
        Start::Refused {
            state,
            failure,
            reason,
        } => {
            firing.state = *state;
            firing.failure = *failure;
            firing.reason = Some(reason.clone());
            firing.ended_at_ms = Some(now);
        }
    }
}

async fn miss(tx: &mut Tx<'_>, schedule: &mut Schedule, missed: &Missed) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let count = missed.count - taken_before(tx, schedule, missed).await?;
    if count <= 0 {
        return Ok(());
    }
    let mut row = new_firing(schedule, missed.last_ms, FiringCause::Slot, now);
    row.state = FiringState::Missed;
    row.missed_from_ms = Some(missed.first_ms);
    row.missed_count = count;
    row.ended_at_ms = Some(now);
    insert(tx, &row).await?;
    schedule.missed += count;
    let event = ScheduleMissed {
        first_slot_ms: missed.first_ms,
        last_slot_ms: missed.last_ms,
        count,
    };
    record(tx, &schedule.id, &event).await
}

/// How many slots of the range were taken before the clock was set back.
async fn taken_before(
    tx: &mut Tx<'_>,
    schedule: &Schedule,
    missed: &Missed,
) -> Result<i64, DbError> {
    let sql = "SELECT COUNT(*) AS count FROM schedule_firing
        WHERE schedule_id = ?1 AND slot_ms BETWEEN ?2 AND ?3
            AND state <> 'missed' AND cause <> 'manual'";
    let range = params![schedule.id.as_str(), missed.first_ms, missed.last_ms];
    tx.query_one(sql, range).await?.get("count")
}

fn new_firing(schedule: &Schedule, slot_ms: i64, cause: FiringCause, now: i64) -> Firing {
    Firing {
        schedule: schedule.id.clone(),
        slot_ms,
        cause,
        state: FiringState::Waiting,
        job: None,
        failure: None,
        reason: None,
        fence: 0,
        node: None,
        lease_until_ms: None,
        precheck_exit_code: None,
        precheck_log: None,
        missed_from_ms: None,
        missed_count: 0,
        begun_at_ms: now,
        ended_at_ms: None,
    }
}

/// A slot that is on record as missed comes again only after the clock was set back; then what
/// happens now is what counts. Every other row stays as it is.
async fn insert(tx: &mut Tx<'_>, f: &Firing) -> Result<(), DbError> {
    let sql = "INSERT INTO schedule_firing (schedule_id, slot_ms, cause, state, job_id, failure,
            reason, fence, missed_from_ms, missed_count, begun_at_ms, ended_at_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, ?11)
        ON CONFLICT (schedule_id, slot_ms) DO UPDATE SET cause = excluded.cause,
            state = excluded.state, job_id = excluded.job_id, failure = excluded.failure,
            reason = excluded.reason, missed_from_ms = excluded.missed_from_ms,
            missed_count = excluded.missed_count, begun_at_ms = excluded.begun_at_ms,
            ended_at_ms = excluded.ended_at_ms
        WHERE schedule_firing.state = 'missed'";
    let row = params![
        f.schedule.as_str(),
        f.slot_ms,
        f.cause.as_str(),
        f.state.as_str(),
        f.job.as_ref().map(JobId::as_str),
        f.failure.map(FailureClass::as_str),
        f.reason.as_deref(),
        f.missed_from_ms,
        f.missed_count,
        f.begun_at_ms,
        f.ended_at_ms,
    ];
    tx.execute(sql, row).await.map(drop)
}

/// Forgets firings that ended long ago.
async fn prune(tx: &mut Tx<'_>, schedule: &Schedule) -> Result<(), DbError> {
    let before = tx.now_ms().await? - FIRING_KEPT_MS;
    let sql = "DELETE FROM schedule_firing WHERE schedule_id = ?1 AND slot_ms < ?2
        AND state NOT IN ('waiting', 'checking', 'running') AND ended_at_ms < ?2";
    tx.execute(sql, params![schedule.id.as_str(), before])
        .await
        .map(drop)
}
