//! The one place where a live job's row changes its state, gives up its lease or leaves the
//! table.

use crate::attempt::end_open_attempt;
use crate::flow::order_ms;
use crate::graph::{Ended, settle};
use crate::line::Line;
use crate::row::{Job, job_columns, live_job_columns};
use skep_db::{DbError, Kind, List, Rows, Tx, Value, params};
use skep_types::{AttemptState, FailureClass, JobId, JobState};

/// A change that was found legal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) to: JobState,
    pub(crate) failure: Option<FailureClass>,
    /// When it goes on by itself; `None` for at once, or for not by itself.
    pub(crate) run_at_ms: Option<i64>,
    pub(crate) losses: i64,
    /// What becomes of an attempt that is still open when the lease goes; `None` keeps the lease.
    pub(crate) release: Option<AttemptState>,
}

/// The live job, locked until the transaction ends.
pub(crate) async fn lock(tx: &mut Tx<'_>, job: &JobId) -> Result<Option<Job>, DbError> {
    let sql = concat!(
        "SELECT ",
        live_job_columns!(),
        " FROM job WHERE id = ?1 /*lock*/"
    );
    let row = tx.query_opt(sql, params![job.as_str()]).await?;
    row.as_ref().map(Job::from_row).transpose()
}

/// Applies `change` to a locked job; the answer is the job as it is then.
pub(crate) async fn apply(tx: &mut Tx<'_>, mut job: Job, change: Change) -> Result<Job, DbError> {
    let now = tx.now_ms().await?;
    if let Some(state) = change.release
        && let Some(held) = job.held.take()
    {
        skep_authority::withdraw(tx, &[&job.id]).await?;
        end_open_attempt(tx, &mut job, held.node, state, change.failure).await?;
    }
    job.state = change.to;
    job.failure = change.failure;
    job.run_at_ms = change.run_at_ms.unwrap_or(now);
    job.losses = change.losses;
    job.changed_at_ms = now;
    if change.to.is_terminal() {
        job.ended_at_ms = Some(now);
        move_to_history(tx, &[&job]).await?;
    } else {
        write(tx, &job, change.run_at_ms.is_some(), now).await?;
    }
    Ok(job)
}

async fn write(tx: &mut Tx<'_>, job: &Job, timed: bool, now: i64) -> Result<(), DbError> {
    let sql = "UPDATE job SET state = ?2, failure = ?3, run_at_ms = ?4, losses = ?5,
        changed_at_ms = ?6, lease_node = ?7, lease_until_ms = ?8, attempt_open = ?9,
        order_ms = ?10, line = ?11 WHERE id = ?1";
    let held = job.held.as_ref();
    let line = match held {
        Some(_) => Line::None,
        None => Line::of_state(job.state, timed, job.run_at_ms, now),
    };
    let values = params![
        job.id.as_str(),
        job.state.as_str(),
        job.failure.map(FailureClass::as_str),
        job.run_at_ms,
        job.losses,
        now,
        held.map(|held| held.node.as_str()),
        held.map(|held| held.until_ms),
        job.attempt_open,
        order_ms(job.run_at_ms, job.priority),
        line,
    ];
    tx.execute_later(sql, values).await?;
    Ok(())
}

/// Moves ended jobs, as they are in memory, out of the table that is searched for work, and
/// settles whatever waited for them.
pub(crate) async fn move_to_history(tx: &mut Tx<'_>, jobs: &[&Job]) -> Result<(), DbError> {
    let rows = jobs.iter().map(|job| history_values(job));
    tx.execute_rows_later(WRITE_HISTORY, &Rows::new(&HISTORY_KINDS, rows))
        .await?;
    let numbers = List::of_ints(jobs.iter().map(|job| job.number));
    let sql = "DELETE FROM job WHERE number /*in list*/";
    tx.execute_list_later(sql, &[], &numbers).await?;
    let ended: Vec<Ended> = jobs
        .iter()
        .map(|job| Ended {
            job: job.id.clone(),
            state: job.state,
            part_of: job.parent.clone(),
        })
        .collect();
    settle(tx, &ended).await
}

const WRITE_HISTORY: &str = concat!(
    "WITH r (",
    job_columns!(),
    ", ended_at_ms) AS (/*rows*/) INSERT INTO job_history (",
    job_columns!(),
    ", ended_at_ms) SELECT ",
    job_columns!(),
    ", ended_at_ms FROM r"
);

const HISTORY_KINDS: [Kind; 25] = {
    use Kind::{Int, Text};
    [
        Int, Text, Text, Text, Text, Text, Text, Int, Text, Int, Int, Int, Int, Text, Text, Int,
        Int, Text, Text, Text, Int, Text, Text, Int, Int,
    ]
};

fn history_values(job: &Job) -> [Value; 25] {
    let key = job.flow.key.as_ref();
    [
        job.number.into(),
        job.id.as_str().into(),
        job.kind.as_str().into(),
        job.purpose.as_str().into(),
        (&job.owner).into(),
        (&job.project).into(),
        job.tier.as_str().into(),
        job.priority.into(),
        job.state.as_str().into(),
        job.run_at_ms.into(),
        job.attempts_used.into(),
        job.attempts_max.into(),
        job.losses.into(),
        job.parent.as_ref().map(JobId::as_str).into(),
        job.failure.map(FailureClass::as_str).into(),
        job.created_at_ms.into(),
        job.changed_at_ms.into(),
        (&job.flow.queue).into(),
        job.flow.backend.as_ref().into(),
        key.map(|key| &key.name).into(),
        key.map(|key| key.running_max).into(),
        job.flow.singleton.as_ref().into(),
        job.flow.debounce.as_ref().into(),
        job.fence.0.into(),
        job.ended_at_ms.into(),
    ]
}
