//! Reading schedules and their firings.

use super::row::{FIRING_COLUMNS, Firing, SCHEDULE_COLUMNS, Schedule};
use crate::limits::{DUE_SCHEDULES_MAX, LIST_FIRINGS_MAX, OPEN_FIRINGS_MAX, SCHEDULES_MAX};
use crate::read::Page;
use skep_db::{DbError, Row, Tx, Value, params};
use skep_types::{JobId, ScheduleId};

/// What of a schedule is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Runs and pre-checks that have begun.
    pub active: i64,
    /// Runs that wait for these.
    pub waiting: i64,
}

/// The schedule with this id, removed or not.
pub async fn schedule(tx: &mut Tx<'_>, id: &ScheduleId) -> Result<Option<Schedule>, DbError> {
    let rows = read(tx, "id = ?1", params![id.as_str()]).await?;
    Ok(rows.into_iter().next())
}

/// The schedule of this name that is not removed.
pub async fn schedule_by_name(tx: &mut Tx<'_>, name: &str) -> Result<Option<Schedule>, DbError> {
    let rows = read(tx, "name = ?1 AND state <> 'removed'", params![name]).await?;
    Ok(rows.into_iter().next())
}

/// Every schedule that is not removed, by name. There are at most [`SCHEDULES_MAX`].
pub async fn schedules(tx: &mut Tx<'_>) -> Result<Vec<Schedule>, DbError> {
    let rest = "state <> 'removed' ORDER BY name LIMIT ?1";
    read(tx, rest, params![SCHEDULES_MAX]).await
}

/// Every schedule that fires.
pub async fn active_schedules(tx: &mut Tx<'_>) -> Result<Vec<Schedule>, DbError> {
    let rest = "state = 'active' ORDER BY id LIMIT ?1";
    read(tx, rest, params![SCHEDULES_MAX]).await
}

/// The schedules whose time has come, the longest due first.
pub async fn due_schedules(tx: &mut Tx<'_>, now_ms: i64) -> Result<Vec<Schedule>, DbError> {
    let rest = "state = 'active' AND due_ms IS NOT NULL AND due_ms <= ?1 ORDER BY due_ms LIMIT ?2";
    read(tx, rest, params![now_ms, DUE_SCHEDULES_MAX]).await
}

/// The schedules that have accounted for slots after `ms`.
pub async fn schedules_ahead(tx: &mut Tx<'_>, ms: i64) -> Result<Vec<Schedule>, DbError> {
    let rest = "state = 'active' AND cursor_ms > ?1 ORDER BY id LIMIT ?2";
    read(tx, rest, params![ms, DUE_SCHEDULES_MAX]).await
}

/// When the next schedule is due.
pub async fn next_due_ms(tx: &mut Tx<'_>) -> Result<Option<i64>, DbError> {
    let sql = "SELECT due_ms FROM schedule WHERE state = 'active' AND due_ms IS NOT NULL
        ORDER BY due_ms LIMIT 1";
    let row = tx.query_opt(sql, &[]).await?;
    row.map(|row| row.get("due_ms")).transpose()
}

/// Every firing that has not ended, of all schedules.
pub async fn open_firings(tx: &mut Tx<'_>) -> Result<Vec<Firing>, DbError> {
    let rest = "state IN ('waiting', 'checking', 'running')
        ORDER BY schedule_id, slot_ms LIMIT ?1";
    read_firings(tx, rest, params![OPEN_FIRINGS_MAX]).await
}

/// Every firing of one schedule that has not ended.
pub async fn open_firings_of(tx: &mut Tx<'_>, id: &ScheduleId) -> Result<Vec<Firing>, DbError> {
    let rest = "schedule_id = ?1 AND state IN ('waiting', 'checking', 'running')
        ORDER BY slot_ms LIMIT ?2";
    read_firings(tx, rest, params![id.as_str(), OPEN_FIRINGS_MAX]).await
}

/// How many runs of a schedule are under way and how many wait.
pub async fn standing(tx: &mut Tx<'_>, id: &ScheduleId) -> Result<Standing, DbError> {
    let sql = "SELECT state, COUNT(*) AS count FROM schedule_firing
        WHERE schedule_id = ?1 AND state IN ('waiting', 'checking', 'running') GROUP BY state";
    let mut standing = Standing::default();
    for row in tx.query(sql, params![id.as_str()]).await? {
        let count: i64 = row.get("count")?;
        if row.get::<String>("state")? == "waiting" {
            standing.waiting += count;
        } else {
            standing.active += count;
        }
    }
    Ok(standing)
}

/// The firing of one slot.
pub async fn firing(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    slot_ms: i64,
) -> Result<Option<Firing>, DbError> {
    let rest = "schedule_id = ?1 AND slot_ms = ?2";
    let rows = read_firings(tx, rest, params![id.as_str(), slot_ms]).await?;
    Ok(rows.into_iter().next())
}

/// The firing that made `job`.
pub async fn firing_of_job(tx: &mut Tx<'_>, job: &JobId) -> Result<Option<Firing>, DbError> {
    let rows = read_firings(tx, "job_id = ?1 LIMIT 1", params![job.as_str()]).await?;
    Ok(rows.into_iter().next())
}

/// The firings of a schedule, the newest first, up to `limit` from before `cursor` on.
pub async fn firings(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    cursor: Option<i64>,
    limit: i64,
) -> Result<Page<Firing>, DbError> {
    let limit = limit.clamp(1, LIST_FIRINGS_MAX);
    let rest = "schedule_id = ?1 AND slot_ms < ?2 ORDER BY slot_ms DESC LIMIT ?3";
    let before = cursor.unwrap_or(i64::MAX);
    let mut items = read_firings(tx, rest, params![id.as_str(), before, limit + 1]).await?;
    // One row more than asked for tells whether there is a next piece.
    let kept = usize::try_from(limit).unwrap_or(1);
    let more = items.len() > kept;
    items.truncate(kept);
    let next_cursor = items.last().filter(|_| more).map(|firing| firing.slot_ms);
    Ok(Page { items, next_cursor })
}

pub(super) async fn read(
    tx: &mut Tx<'_>,
    rest: &str,
    params: &[Value],
) -> Result<Vec<Schedule>, DbError> {
    let sql = format!("SELECT {SCHEDULE_COLUMNS} FROM schedule WHERE {rest}");
    let rows = tx.query(&sql, params).await?;
    rows.iter().map(Schedule::from_row).collect()
}

pub(super) async fn read_firings(
    tx: &mut Tx<'_>,
    rest: &str,
    params: &[Value],
) -> Result<Vec<Firing>, DbError> {
    let sql = format!("SELECT {FIRING_COLUMNS} FROM schedule_firing WHERE {rest}");
    let rows: Vec<Row> = tx.query(&sql, params).await?;
    rows.iter().map(Firing::from_row).collect()
}
