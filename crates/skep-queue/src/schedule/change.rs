//! Adding, pausing, resuming and removing schedules, and the one place where a row is written.

use super::error::ScheduleError;
use super::event::{
    FiringEnded, ScheduleAdded, SchedulePaused, ScheduleRemoved, ScheduleResumed, record,
};
use super::plan::next_due;
use super::read::{read, read_firings};
use super::row::{Firing, Schedule};
use super::timing::Timing;
use crate::limits::{
    CATCH_UP_MAX, CATCH_UP_WINDOW_MS_MAX, FAILURES_MAX, INTERVAL_MS_MIN, JITTER_MS_MAX,
    NAME_BYTES_MAX, OVERLAP_MAX, SCHEDULE_REASON_BYTES_MAX, SCHEDULES_MAX,
};
use skep_db::{DbError, Tx, params};
use skep_types::{CatchUp, FailureClass, FiringState, JobId, Overlap, ScheduleId, ScheduleState};

/// A schedule to be added.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSchedule {
    /// A fresh id.
    pub id: ScheduleId,
    /// What people call it: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// On whose authority it runs.
    pub owner: String,
    /// When it fires.
    pub timing: Timing,
    /// How much later than its slot a firing may be due, in milliseconds.
    pub jitter_ms: i64,
    /// What it does when a run is under way.
    pub overlap: Overlap,
    /// With `allow`: how many runs go on side by side.
    pub overlap_max: i64,
    /// What it does about slots that passed.
    pub catch_up: CatchUp,
    /// With `all`: how many of them are fired.
    pub catch_up_max: i64,
    /// With `all`: how old a slot may be, in milliseconds.
    pub catch_up_window_ms: i64,
    /// After how many failures in a row it pauses itself; 0 for never.
    pub failures_max: i64,
}

/// Adds a schedule. Its first slot is the first one after now.
pub async fn add(tx: &mut Tx<'_>, new: &NewSchedule) -> Result<Schedule, ScheduleError> {
    validate(new)?;
    let sql = "SELECT COUNT(*) AS count FROM schedule WHERE state <> 'removed'";
    let count: i64 = tx.query_one(sql, &[]).await?.get("count")?;
    if count >= SCHEDULES_MAX {
        return Err(ScheduleError::TooMany {
            limit: SCHEDULES_MAX,
        });
    }
    let now = tx.now_ms().await?;
    let mut schedule = fresh(new, now);
    schedule.due_ms = next_due(&schedule.rules()?, now).map(|due| due.due_ms);
    if !insert(tx, &schedule).await? {
        return Err(ScheduleError::Exists {
            name: new.name.clone(),
        });
    }
    let event = ScheduleAdded {
        due_ms: schedule.due_ms,
        jitter_ms: schedule.jitter_ms,
        overlap: schedule.overlap,
        catch_up: schedule.catch_up,
        failures_max: schedule.failures_max,
    };
    record(tx, &schedule.id, &event).await?;
    Ok(schedule)
}

/// Stops a schedule from firing. What is under way goes on; what waits is given up.
pub async fn pause(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    reason: Option<&str>,
) -> Result<Schedule, ScheduleError> {
    let too_long = |text: &str| text.len() > SCHEDULE_REASON_BYTES_MAX || text.contains('\0');
    if reason.is_some_and(too_long) {
        return Err(ScheduleError::Invalid {
            field: "reason",
            reason: "must be a sentence",
        });
    }
    let mut schedule = lock(tx, id).await?.ok_or(ScheduleError::NotFound)?;
    match schedule.state {
        ScheduleState::Active | ScheduleState::AutoPaused => {}
        ScheduleState::Removed => return Err(ScheduleError::NotFound),
        state @ ScheduleState::Paused => return Err(ScheduleError::State { state }),
    }
    stop(
        tx,
        &mut schedule,
        ScheduleState::Paused,
        reason.map(str::to_owned),
    )
    .await?;
    save(tx, &mut schedule).await?;
    Ok(schedule)
}

/// Stops a schedule that cannot go on by itself, for a reason that a person has to look into.
/// `false`: it was changed since `version`.
pub async fn halt(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    version: i64,
    reason: &str,
) -> Result<bool, DbError> {
    let locked = lock_at(tx, id, version).await?;
    let Some(mut schedule) = locked.filter(|found| found.state == ScheduleState::Active) else {
        return Ok(false);
    };
    let reason = Some(reason.to_owned());
    stop(tx, &mut schedule, ScheduleState::AutoPaused, reason).await?;
    save(tx, &mut schedule).await?;
    Ok(true)
}

/// Lets a schedule fire again, from now on: what passed in the meantime was meant to.
pub async fn resume(tx: &mut Tx<'_>, id: &ScheduleId) -> Result<Schedule, ScheduleError> {
    let mut schedule = lock(tx, id).await?.ok_or(ScheduleError::NotFound)?;
    match schedule.state {
        ScheduleState::Paused | ScheduleState::AutoPaused => {}
        ScheduleState::Removed => return Err(ScheduleError::NotFound),
        state @ ScheduleState::Active => return Err(ScheduleError::State { state }),
    }
    let now = tx.now_ms().await?;
    schedule.state = ScheduleState::Active;
    schedule.pause_reason = None;
    schedule.failures = 0;
    schedule.cursor_ms = now;
    schedule.due_ms = next_due(&schedule.rules()?, now).map(|due| due.due_ms);
    save(tx, &mut schedule).await?;
    let event = ScheduleResumed {
        due_ms: schedule.due_ms,
    };
    record(tx, id, &event).await?;
    Ok(schedule)
}

/// Removes a schedule. Its jobs go on, its history stays, its name is free.
pub async fn remove(tx: &mut Tx<'_>, id: &ScheduleId) -> Result<Schedule, ScheduleError> {
    let mut schedule = lock(tx, id).await?.ok_or(ScheduleError::NotFound)?;
    let from = schedule.state;
    if from == ScheduleState::Removed {
        return Err(ScheduleError::NotFound);
    }
    cancel_open(
        tx,
        &schedule,
        &[FiringState::Waiting, FiringState::Checking],
    )
    .await?;
    schedule.state = ScheduleState::Removed;
    schedule.pause_reason = None;
    schedule.due_ms = None;
    save(tx, &mut schedule).await?;
    record(tx, id, &ScheduleRemoved { from }).await?;
    Ok(schedule)
}

/// The schedule, locked until the transaction ends. Taken before any firing of it.
pub(super) async fn lock(tx: &mut Tx<'_>, id: &ScheduleId) -> Result<Option<Schedule>, DbError> {
    let rows = read(tx, "id = ?1 /*lock*/", params![id.as_str()]).await?;
    Ok(rows.into_iter().next())
}

/// As [`lock`], if nobody has changed it since `version`.
pub(super) async fn lock_at(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    version: i64,
) -> Result<Option<Schedule>, DbError> {
    let locked = lock(tx, id).await?;
    Ok(locked.filter(|schedule| schedule.version == version))
}

/// Writes a locked schedule with the next version.
pub(super) async fn save(tx: &mut Tx<'_>, schedule: &mut Schedule) -> Result<(), DbError> {
    schedule.changed_at_ms = tx.now_ms().await?;
    schedule.version += 1;
    let sql = "UPDATE schedule SET state = ?2, pause_reason = ?3, version = ?4, cursor_ms = ?5,
        due_ms = ?6, failures = ?7, missed = ?8, last_success_ms = ?9, last_success_job = ?10,
        last_failure_ms = ?11, last_failure_job = ?12, changed_at_ms = ?13 WHERE id = ?1";
    let row = params![
        schedule.id.as_str(),
        schedule.state.as_str(),
        schedule.pause_reason.as_deref(),
        schedule.version,
        schedule.cursor_ms,
        schedule.due_ms,
        schedule.failures,
        schedule.missed,
        schedule.last_success_ms,
        schedule.last_success_job.as_ref().map(JobId::as_str),
        schedule.last_failure_ms,
        schedule.last_failure_job.as_ref().map(JobId::as_str),
        schedule.changed_at_ms,
    ];
    tx.execute(sql, row).await.map(drop)
}

/// Counts a success.
pub(super) fn note_success(schedule: &mut Schedule, job: &JobId, at_ms: i64) {
    schedule.failures = 0;
    schedule.last_success_ms = Some(at_ms);
    schedule.last_success_job = Some(job.clone());
}

/// Counts a failure. The schedule pauses itself once there are too many in a row; the answer says
/// whether it did.
pub(super) async fn note_failure(
    tx: &mut Tx<'_>,
    schedule: &mut Schedule,
    job: Option<&JobId>,
    at_ms: i64,
) -> Result<bool, DbError> {
    schedule.failures += 1;
    schedule.last_failure_ms = Some(at_ms);
    schedule.last_failure_job = job.cloned();
    let is_too_many = schedule.failures_max > 0 && schedule.failures >= schedule.failures_max;
    if schedule.state != ScheduleState::Active || !is_too_many {
        return Ok(false);
    }
    let reason = format!("{} runs in a row failed", schedule.failures);
    stop(tx, schedule, ScheduleState::AutoPaused, Some(reason)).await?;
    Ok(true)
}

/// Ends every firing of the schedule that is in one of `states`.
pub(super) async fn cancel_open(
    tx: &mut Tx<'_>,
    schedule: &Schedule,
    states: &[FiringState],
) -> Result<Vec<Firing>, DbError> {
    let now = tx.now_ms().await?;
    let open = "schedule_id = ?1 AND state IN ('waiting', 'checking', 'running')";
    let mut ended = read_firings(tx, open, params![schedule.id.as_str()]).await?;
    ended.retain(|firing| states.contains(&firing.state));
    for firing in &mut ended {
        firing.state = FiringState::Cancelled;
        firing.ended_at_ms = Some(now);
        save_firing(tx, firing).await?;
        record_end(tx, schedule, firing).await?;
    }
    Ok(ended)
}

/// Writes what may change of a firing. One that is not being checked belongs to no node.
pub(super) async fn save_firing(tx: &mut Tx<'_>, firing: &mut Firing) -> Result<(), DbError> {
    if firing.state != FiringState::Checking {
        firing.node = None;
        firing.lease_until_ms = None;
    }
    let sql = "UPDATE schedule_firing SET state = ?3, job_id = ?4, failure = ?5, reason = ?6,
        fence = ?7, node = ?8, lease_until_ms = ?9, precheck_exit_code = ?10, precheck_log = ?11,
        ended_at_ms = ?12 WHERE schedule_id = ?1 AND slot_ms = ?2";
    let row = params![
        firing.schedule.as_str(),
        firing.slot_ms,
        firing.state.as_str(),
        firing.job.as_ref().map(JobId::as_str),
        firing.failure.map(FailureClass::as_str),
        firing.reason.as_deref(),
        firing.fence,
        firing.node.as_ref().map(skep_types::NodeId::as_str),
        firing.lease_until_ms,
        firing.precheck_exit_code,
        firing.precheck_log.as_deref(),
        firing.ended_at_ms,
    ];
    tx.execute(sql, row).await.map(drop)
}

/// Puts the end of a firing on record.
pub(super) async fn record_end(
    tx: &mut Tx<'_>,
    schedule: &Schedule,
    firing: &Firing,
) -> Result<(), DbError> {
    let event = FiringEnded {
        slot_ms: firing.slot_ms,
        state: firing.state,
        job: firing.job.clone(),
        failure: firing.failure,
        failures: schedule.failures,
    };
    record(tx, &schedule.id, &event).await
}

async fn stop(
    tx: &mut Tx<'_>,
    schedule: &mut Schedule,
    state: ScheduleState,
    reason: Option<String>,
) -> Result<(), DbError> {
    cancel_open(tx, schedule, &[FiringState::Waiting]).await?;
    schedule.state = state;
    schedule.pause_reason = reason;
    let event = SchedulePaused {
        state,
        failures: schedule.failures,
    };
    record(tx, &schedule.id, &event).await
}

fn fresh(new: &NewSchedule, now: i64) -> Schedule {
    Schedule {
        id: new.id.clone(),
        name: new.name.clone(),
        owner: new.owner.clone(),
        state: ScheduleState::Active,
        pause_reason: None,
        timing: new.timing.text(),
        zone: new.timing.zone().name().to_owned(),
        anchor_ms: now - now.rem_euclid(INTERVAL_MS_MIN),
        jitter_ms: new.jitter_ms,
        overlap: new.overlap,
        overlap_max: new.overlap_max,
        catch_up: new.catch_up,
        catch_up_max: new.catch_up_max,
        catch_up_window_ms: new.catch_up_window_ms,
        failures_max: new.failures_max,
        version: 1,
        cursor_ms: now,
        due_ms: None,
        failures: 0,
        missed: 0,
        last_success_ms: None,
        last_success_job: None,
        last_failure_ms: None,
        last_failure_job: None,
        created_at_ms: now,
        changed_at_ms: now,
    }
}

/// `false`: the name is taken.
async fn insert(tx: &mut Tx<'_>, s: &Schedule) -> Result<bool, DbError> {
    let sql = "INSERT INTO schedule (id, name, owner, state, timing, zone, anchor_ms, jitter_ms,
            overlap, overlap_max, catch_up, catch_up_max, catch_up_window_ms, failures_max,
            version, cursor_ms, due_ms, failures, missed, created_at_ms, changed_at_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, 0, 0,
            ?18, ?18) ON CONFLICT DO NOTHING";
    let row = params![
        s.id.as_str(),
        &s.name,
        &s.owner,
        s.state.as_str(),
        &s.timing,
        &s.zone,
        s.anchor_ms,
        s.jitter_ms,
        s.overlap.as_str(),
        s.overlap_max,
        s.catch_up.as_str(),
        s.catch_up_max,
        s.catch_up_window_ms,
        s.failures_max,
        s.version,
        s.cursor_ms,
        s.due_ms,
        s.created_at_ms,
    ];
    Ok(tx.execute(sql, row).await? == 1)
}

fn validate(new: &NewSchedule) -> Result<(), ScheduleError> {
    let is_name = |text: &str| {
        let sign = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(sign)
    };
    let is_owner = |text: &str| (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.contains('\0');
    let bounds = [
        (
            "name",
            is_name(&new.name),
            "takes letters, digits, `-`, `_` and `.`",
        ),
        (
            "owner",
            is_owner(&new.owner),
            "must hold 1 to 200 bytes of text",
        ),
        (
            "jitter",
            (0..=JITTER_MS_MAX).contains(&new.jitter_ms),
            "must be from 0s to 12h",
        ),
        (
            "overlap_max",
            (1..=OVERLAP_MAX).contains(&new.overlap_max),
            "must be from 1 to 100",
        ),
        (
            "catch_up_max",
            (1..=CATCH_UP_MAX).contains(&new.catch_up_max),
            "must be from 1 to 100",
        ),
        (
            "catch_up_window",
            (1..=CATCH_UP_WINDOW_MS_MAX).contains(&new.catch_up_window_ms),
            "must be from 1s to 30d",
        ),
        (
            "pause_after",
            (0..=FAILURES_MAX).contains(&new.failures_max),
            "must be from 0 to 1000",
        ),
    ];
    match bounds.into_iter().find(|(_, holds, _)| !holds) {
        Some((field, _, reason)) => Err(ScheduleError::Invalid { field, reason }),
        None => Ok(()),
    }
}
