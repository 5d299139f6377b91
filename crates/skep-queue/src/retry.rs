//! Bringing an ended job back.

use crate::error::RetryError;
use crate::event::{JobRetried, record};
use crate::flow::{Flow, lane, order_ms};
use crate::graph;
use crate::line::Line;
use crate::read;
use crate::row::{Job, job_columns};
use skep_db::{Tx, params};
use skep_types::{JobId, JobState};

/// Queues an ended job again, under its id and number, with its attempts kept.
///
/// It gets `extra_attempts` more, and at least one that it has not used. A `done` job is not run
/// again in place. A skipped one starts although what it waited for did not come about. Jobs that
/// were skipped for this one alone wait for it again.
pub async fn retry(tx: &mut Tx<'_>, job: &JobId, extra_attempts: i64) -> Result<Job, RetryError> {
    let sql = "SELECT state, attempts_used, attempts_max, parent FROM job_history
        WHERE id = ?1 /*lock*/";
    let Some(row) = tx.query_opt(sql, params![job.as_str()]).await? else {
        return Err(match read::job(tx, job).await? {
            Some(live) => RetryError::Live { state: live.state },
            None => RetryError::NotFound,
        });
    };
    let from: JobState = row.parse("state")?;
    from.to(JobState::Queued).map_err(RetryError::Illegal)?;
    let (used, max): (i64, i64) = (row.get("attempts_used")?, row.get("attempts_max")?);
    let attempts_max = max.saturating_add(extra_attempts.max(0)).max(used + 1);
    move_back(tx, job, attempts_max).await?;
    record(tx, job, &JobRetried { from, attempts_max }).await?;
    graph::reopen(tx, job, row.parse_opt("parent")?.as_ref()).await?;
    read::job(tx, job).await?.ok_or(RetryError::NotFound)
}

async fn move_back(tx: &mut Tx<'_>, job: &JobId, attempts_max: i64) -> Result<(), RetryError> {
    let now = tx.now_ms().await?;
    let Some(ended) = read::job(tx, job).await? else {
        return Err(RetryError::NotFound);
    };
    let flow = Flow {
        queue: ended.flow.queue,
        backend: ended.flow.backend,
        key: ended.flow.key,
        ..Flow::default()
    };
    // The name under which it was the only one may be another's by now; it does without.
    let sql = concat!(
        "INSERT INTO job (",
        job_columns!(),
        ", attempt_open, lane, order_ms, line)
        SELECT number, id, kind, purpose, owner, project, tier, priority, CAST(?2 AS TEXT),
            CAST(?3 AS BIGINT), attempts_used, CAST(?4 AS BIGINT), 0, parent, NULL,
            created_at_ms, CAST(?3 AS BIGINT), queue, backend, flow_key, flow_key_max, NULL, NULL,
            fence, 0, CAST(?5 AS TEXT), CAST(?6 AS BIGINT), CAST(?7 AS BIGINT)
        FROM job_history WHERE id = ?1"
    );
    let values = params![
        job.as_str(),
        JobState::Queued.as_str(),
        now,
        attempts_max,
        lane(&flow, &ended.project),
        order_ms(now, ended.priority),
        Line::Ready,
    ];
    tx.execute_later(sql, values).await?;
    let sql = "DELETE FROM job_history WHERE id = ?1";
    tx.execute_later(sql, params![job.as_str()]).await?;
    Ok(())
}
