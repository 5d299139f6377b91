//! The line: which live jobs wait for a slot, in which lane and in which order.
//!
//! A job that waits for a slot is in the line; one whose time has not come stands beside it, so
//! that it is in nobody's way. Only [`admit_due`] brings it in.

use crate::event::{JobAdvanced, note};
use crate::limits::DUE_JOBS_MAX;
use skep_db::{DbError, List, Tx, Value, params};
use skep_types::{JobId, JobState};

/// Where a live job stands with regard to the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// It waits for something else, or somebody holds it.
    None,
    /// It waits for a slot.
    Ready,
    /// It will wait for a slot when its time has come.
    Later,
}

impl Line {
    /// A job that waits for a slot from `run_at_ms` on.
    pub(crate) const fn of_due(run_at_ms: i64, now: i64) -> Self {
        if run_at_ms <= now {
            Self::Ready
        } else {
            Self::Later
        }
    }

    /// A job that nobody holds; `timed`: a wait that is over at `run_at_ms`, as a backoff always is.
    pub(crate) const fn of_state(state: JobState, timed: bool, run_at_ms: i64, now: i64) -> Self {
        if state.is_claimable() {
            Self::of_due(run_at_ms, now)
        } else if matches!(state, JobState::Backoff) || timed && queued_when_due(state) {
            // Not at once even if it is due: on its way into the line its state changes.
            Self::Later
        } else {
            Self::None
        }
    }
}

impl From<Line> for i64 {
    fn from(line: Line) -> Self {
        match line {
            Line::None => 0,
            Line::Ready => 1,
            Line::Later => 2,
        }
    }
}

impl From<Line> for Value {
    fn from(line: Line) -> Self {
        i64::from(line).into()
    }
}

/// Whether a job that waits like this is queued when its time has come.
const fn queued_when_due(state: JobState) -> bool {
    matches!(
        state,
        JobState::Backoff | JobState::WaitingQuota | JobState::WaitingBudget
    )
}

/// Finds jobs whose time has come: `?1` is the time, `?2` how many.
pub const DUE: &str = "SELECT number, id, state, failure, run_at_ms FROM job
    WHERE line = 2 AND run_at_ms <= ?1 ORDER BY run_at_ms LIMIT ?2 /*skip locked*/";

/// Brings the jobs in whose time has come.
pub(crate) async fn admit_due(tx: &mut Tx<'_>) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let due = tx.query(DUE, params![now, DUE_JOBS_MAX]).await?;
    let mut numbers: Vec<i64> = Vec::with_capacity(due.len());
    for row in &due {
        numbers.push(row.get("number")?);
        let from: JobState = row.parse("state")?;
        if queued_when_due(from) {
            let id: JobId = row.parse("id")?;
            let event = JobAdvanced {
                from,
                to: JobState::Queued,
                failure: row.parse_opt("failure")?,
                run_at_ms: row.get("run_at_ms")?,
                fence: None,
                lease_kept: false,
            };
            note(tx, &id, &event).await?;
        }
    }
    let sql = "UPDATE job SET line = 1,
            changed_at_ms = CASE WHEN state IN ('backoff', 'waiting_quota', 'waiting_budget')
                THEN CAST(?1 AS BIGINT) ELSE changed_at_ms END,
            state = CASE WHEN state IN ('backoff', 'waiting_quota', 'waiting_budget')
                THEN 'queued' ELSE state END
        WHERE number /*in list*/";
    let list = List::of_ints(numbers);
    tx.execute_list_later(sql, params![now], &list).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_slot_can_take_up_is_in_the_line() {
        for state in JobState::ALL.iter().copied() {
            let line = |timed, run_at_ms| Line::of_state(state, timed, run_at_ms, 10);
            let (due, later) = if state.is_claimable() {
                (Line::Ready, Line::Later)
            } else if queued_when_due(state) {
                assert!(state.to(JobState::Queued).is_ok(), "{state}");
                let untimed = line(false, 0) != Line::None;
                assert_eq!(untimed, state == JobState::Backoff, "{state}");
                (Line::Later, Line::Later)
            } else {
                (Line::None, Line::None)
            };
            assert_eq!((line(true, 10), line(true, 11)), (due, later), "{state}");
        }
    }
}
