//! The one place where a live job's row changes its state, gives up its lease or leaves the
//! table.

use crate::attempt::end_open_attempts;
use crate::row::{Job, job_columns, live_job_columns};
use skep_db::{DbError, Tx, params};
use skep_types::{AttemptState, FailureClass, JobId, JobState};

/// A change that was found legal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) to: JobState,
    pub(crate) failure: Option<FailureClass>,
    pub(crate) run_at_ms: i64,
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
        && job.held.take().is_some()
    {
        skep_authority::withdraw(tx, &job.id).await?;
        end_open_attempts(tx, &job.id, state, change.failure).await?;
    }
    job.state = change.to;
    job.failure = change.failure;
    job.run_at_ms = change.run_at_ms;
    job.losses = change.losses;
    job.changed_at_ms = now;
    if change.to.is_terminal() {
        job.ended_at_ms = Some(now);
        move_to_history(tx, &job).await?;
    } else {
        let sql = "UPDATE job SET state = ?2, failure = ?3, run_at_ms = ?4, losses = ?5,
            changed_at_ms = ?6, lease_node = ?7, lease_until_ms = ?8 WHERE id = ?1";
        let held = job.held.as_ref();
        tx.execute(
            sql,
            params![
                job.id.as_str(),
                job.state.as_str(),
                job.failure.map(FailureClass::as_str),
                job.run_at_ms,
                job.losses,
                now,
                held.map(|held| held.node.as_str()),
                held.map(|held| held.until_ms),
            ],
        )
        .await?;
    }
    Ok(job)
}

async fn move_to_history(tx: &mut Tx<'_>, job: &Job) -> Result<(), DbError> {
    let sql = concat!(
        "INSERT INTO job_history (",
        job_columns!(),
        ", ended_at_ms)
        SELECT number, id, kind, purpose, owner, project, tier, priority, CAST(?2 AS TEXT),
            CAST(?3 AS BIGINT), attempts_used, attempts_max, CAST(?4 AS BIGINT), parent,
            CAST(?5 AS TEXT), created_at_ms, CAST(?6 AS BIGINT), CAST(?6 AS BIGINT)
        FROM job WHERE id = ?1"
    );
    tx.execute(
        sql,
        params![
            job.id.as_str(),
            job.state.as_str(),
            job.run_at_ms,
            job.losses,
            job.failure.map(FailureClass::as_str),
            job.changed_at_ms,
        ],
    )
    .await?;
    tx.execute("DELETE FROM job WHERE id = ?1", params![job.id.as_str()])
        .await?;
    Ok(())
}
