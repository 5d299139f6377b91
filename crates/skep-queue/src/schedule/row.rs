//! A schedule and a firing as their rows hold them. Times are milliseconds since 1970 by the
//! store's clock.

use super::error::TimingError;
use super::plan::Rules;
use super::timing::Timing;
use skep_db::{DbError, Row};
use skep_types::{
    CatchUp, FailureClass, FiringCause, FiringState, JobId, NodeId, Overlap, ScheduleId,
    ScheduleState,
};

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// What people call it; unique among those that are not removed.
    pub name: String,
    /// On whose authority it runs.
    pub owner: String,
    /// Where it stands.
    pub state: ScheduleState,
    /// Why it was paused, in words.
    pub pause_reason: Option<String>,
    /// When it fires, as [`Timing::text`] has it.
    pub timing: String,
    /// In which time zone.
    pub zone: String,
    /// From where an interval counts.
    pub anchor_ms: i64,
    /// How much later than its slot a firing may be due.
    pub jitter_ms: i64,
    /// What it does when a run is under way.
    pub overlap: Overlap,
    /// With `allow`: how many runs go on side by side.
    pub overlap_max: i64,
    /// What it does about slots that passed.
    pub catch_up: CatchUp,
    /// With `all`: how many of them are fired.
    pub catch_up_max: i64,
    /// With `all`: how old a slot may be.
    pub catch_up_window_ms: i64,
    /// After how many failures in a row it pauses itself; 0 for never.
    pub failures_max: i64,
    /// Raised by every change; a change demands the version that it was decided on.
    pub version: i64,
    /// Every slot up to here is accounted for.
    pub cursor_ms: i64,
    /// When the first slot after the cursor is due; `None` if none comes.
    pub due_ms: Option<i64>,
    /// Failures in a row.
    pub failures: i64,
    /// Slots missed since it was added.
    pub missed: i64,
    /// When a run last succeeded.
    pub last_success_ms: Option<i64>,
    /// The job of that run.
    pub last_success_job: Option<JobId>,
    /// When a run last failed.
    pub last_failure_ms: Option<i64>,
    /// The job of that run, if it had one.
    pub last_failure_job: Option<JobId>,
    /// When it was added.
    pub created_at_ms: i64,
    /// When it last changed.
    pub changed_at_ms: i64,
}

/// What became of one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    /// The schedule.
    pub schedule: ScheduleId,
    /// The slot; for missed ones the last of the range. A manual run's is the instant it was asked
    /// for, which is never a whole second.
    pub slot_ms: i64,
    /// Why it was begun.
    pub cause: FiringCause,
    /// Where it stands.
    pub state: FiringState,
    /// Its job.
    pub job: Option<JobId>,
    /// Why it failed.
    pub failure: Option<FailureClass>,
    /// The same in words.
    pub reason: Option<String>,
    /// Raised by every claim of its pre-check.
    pub fence: i64,
    /// The node that runs its pre-check.
    pub node: Option<NodeId>,
    /// Until when that node has time.
    pub lease_until_ms: Option<i64>,
    /// What the pre-check ended with; absent if it ran into its limit.
    pub precheck_exit_code: Option<i64>,
    /// Where the pre-check's output lies, relative to the home.
    pub precheck_log: Option<String>,
    /// The first of the missed slots.
    pub missed_from_ms: Option<i64>,
    /// How many slots were missed.
    pub missed_count: i64,
    /// When it was begun.
    pub begun_at_ms: i64,
    /// When it ended.
    pub ended_at_ms: Option<i64>,
}

pub(super) const SCHEDULE_COLUMNS: &str = "id, name, owner, state, pause_reason, timing, zone, \
    anchor_ms, jitter_ms, overlap, overlap_max, catch_up, catch_up_max, catch_up_window_ms, \
    failures_max, version, cursor_ms, due_ms, failures, missed, last_success_ms, \
    last_success_job, last_failure_ms, last_failure_job, created_at_ms, changed_at_ms";

pub(super) const FIRING_COLUMNS: &str = "schedule_id, slot_ms, cause, state, job_id, failure, \
    reason, fence, node, lease_until_ms, precheck_exit_code, precheck_log, missed_from_ms, \
    missed_count, begun_at_ms, ended_at_ms";

impl Schedule {
    /// What decides when it fires. Fails if the row was written by a newer program.
    pub fn rules(&self) -> Result<Rules, TimingError> {
        Ok(Rules {
            seed: self.id.as_str().to_owned(),
            timing: Timing::parse(&self.timing, &self.zone)?,
            anchor_ms: self.anchor_ms,
            jitter_ms: self.jitter_ms,
            catch_up: self.catch_up,
            catch_up_max: self.catch_up_max,
            catch_up_window_ms: self.catch_up_window_ms,
        })
    }

    pub(super) fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row.parse("id")?,
            name: row.get("name")?,
            owner: row.get("owner")?,
            state: row.parse("state")?,
            pause_reason: row.get("pause_reason")?,
            timing: row.get("timing")?,
            zone: row.get("zone")?,
            anchor_ms: row.get("anchor_ms")?,
            jitter_ms: row.get("jitter_ms")?,
            overlap: row.parse("overlap")?,
            overlap_max: row.get("overlap_max")?,
            catch_up: row.parse("catch_up")?,
            catch_up_max: row.get("catch_up_max")?,
            catch_up_window_ms: row.get("catch_up_window_ms")?,
            failures_max: row.get("failures_max")?,
            version: row.get("version")?,
            cursor_ms: row.get("cursor_ms")?,
            due_ms: row.get("due_ms")?,
            failures: row.get("failures")?,
            missed: row.get("missed")?,
            last_success_ms: row.get("last_success_ms")?,
            last_success_job: row.parse_opt("last_success_job")?,
            last_failure_ms: row.get("last_failure_ms")?,
            last_failure_job: row.parse_opt("last_failure_job")?,
            created_at_ms: row.get("created_at_ms")?,
            changed_at_ms: row.get("changed_at_ms")?,
        })
    }
}

impl Firing {
    pub(super) fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            schedule: row.parse("schedule_id")?,
            slot_ms: row.get("slot_ms")?,
            cause: row.parse("cause")?,
            state: row.parse("state")?,
            job: row.parse_opt("job_id")?,
            failure: row.parse_opt("failure")?,
            reason: row.get("reason")?,
            fence: row.get("fence")?,
            node: row.parse_opt("node")?,
            lease_until_ms: row.get("lease_until_ms")?,
            precheck_exit_code: row.get("precheck_exit_code")?,
            precheck_log: row.get("precheck_log")?,
            missed_from_ms: row.get("missed_from_ms")?,
            missed_count: row.get("missed_count")?,
            begun_at_ms: row.get("begun_at_ms")?,
            ended_at_ms: row.get("ended_at_ms")?,
        })
    }
}
