//! The two changes that are made to many jobs by one statement: letting waiting jobs go on, and
//! moving jobs that will never start to the history.
//!
//! Like `change`, this is a place where rows of `job` change their state; nobody holds these jobs.

use super::set;
use crate::event::{JobAdvanced, record};
use crate::flow::LANE_MARK;
use crate::limits::AGEING_MS_PER_POINT;
use crate::row::job_columns;
use skep_db::{DbError, Tx, params};
use skep_types::{JobId, JobState};

/// Lets every job of `ids` that is still in `from`, and held by nobody, go on to `to`. One whose
/// time has not come yet keeps its time.
pub(super) async fn release(
    tx: &mut Tx<'_>,
    ids: &[JobId],
    from: JobState,
    to: JobState,
) -> Result<(), DbError> {
    if ids.is_empty() {
        return Ok(());
    }
    let now = tx.now_ms().await?;
    // Where it stands in the line, as `flow::order_ms` and `Line::of_state` have it.
    let due = "CASE WHEN run_at_ms > CAST(?3 AS BIGINT) THEN run_at_ms ELSE CAST(?3 AS BIGINT) END";
    let sql = format!(
        "UPDATE job SET state = CAST(?2 AS TEXT), changed_at_ms = CAST(?3 AS BIGINT), failure = NULL,
            run_at_ms = {due}, order_ms = {due} - priority * CAST(?6 AS BIGINT),
            line = CASE WHEN CAST(?5 AS BIGINT) = 0 THEN 0
                WHEN run_at_ms > CAST(?3 AS BIGINT) THEN 2 ELSE 1 END
        WHERE id IN {} AND state = CAST(?4 AS TEXT) AND lease_node IS NULL
        RETURNING id, run_at_ms",
        set::ids(tx.engine())
    );
    let params = [
        set::list(ids),
        to.as_str().into(),
        now.into(),
        from.as_str().into(),
        to.is_claimable().into(),
        AGEING_MS_PER_POINT.into(),
    ];
    let mut released = Vec::new();
    for row in tx.query(&sql, &params).await? {
        released.push((row.parse::<JobId>("id")?, row.get::<i64>("run_at_ms")?));
    }
    released.sort();
    for (job, run_at_ms) in released {
        let event = JobAdvanced {
            from,
            to,
            failure: None,
            run_at_ms,
            fence: None,
            lease_kept: false,
        };
        record(tx, &job, &event).await?;
    }
    Ok(())
}

/// Moves locked, blocked jobs to the history as skipped.
pub(super) async fn skip(tx: &mut Tx<'_>, ids: &[JobId]) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let insert = format!(
        concat!(
            "INSERT INTO job_history (",
            job_columns!(),
            ", ended_at_ms)
            SELECT number, id, kind, purpose, owner, project, tier, priority, CAST(?2 AS TEXT),
                run_at_ms, attempts_used, attempts_max, losses, parent, NULL, created_at_ms,
                CAST(?3 AS BIGINT), queue, backend, flow_key, flow_key_max, NULL, NULL, fence,
                CAST(?3 AS BIGINT)
            FROM job WHERE id IN {}"
        ),
        set::ids(tx.engine())
    );
    let skipped = JobState::Skipped.as_str();
    tx.execute(&insert, &[set::list(ids), skipped.into(), now.into()])
        .await?;
    let delete = format!("DELETE FROM job WHERE id IN {}", set::ids(tx.engine()));
    tx.execute(&delete, &[set::list(ids)]).await?;
    Ok(())
}

/// Moves skipped jobs back from the history, to wait again.
pub(super) async fn block(tx: &mut Tx<'_>, ids: &[JobId]) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let insert = format!(
        concat!(
            "INSERT INTO job (",
            job_columns!(),
            ", attempt_open, lane, order_ms, line)
            SELECT number, id, kind, purpose, owner, project, tier, priority, CAST(?2 AS TEXT),
                run_at_ms, attempts_used, attempts_max, losses, parent, NULL, created_at_ms,
                CAST(?3 AS BIGINT), queue, backend, flow_key, flow_key_max, NULL, NULL, fence,
                0, queue || CAST(?4 AS TEXT) || project || CAST(?4 AS TEXT)
                    || COALESCE(backend, '') || CAST(?4 AS TEXT) || COALESCE(flow_key, ''),
                run_at_ms, 0
            FROM job_history WHERE id IN {}"
        ),
        set::ids(tx.engine())
    );
    let blocked = JobState::Blocked.as_str();
    // The lane is that of `flow::lane`.
    let params = [set::list(ids), blocked.into(), now.into(), LANE_MARK.into()];
    tx.execute(&insert, &params).await?;
    let delete = format!(
        "DELETE FROM job_history WHERE id IN {}",
        set::ids(tx.engine())
    );
    tx.execute(&delete, &[set::list(ids)]).await?;
    Ok(())
}

/// The jobs of `ids` that are blocked, in the order of their ids, locked until the transaction
/// ends; with the job that each is a part of.
pub(super) async fn lock_blocked(
    tx: &mut Tx<'_>,
    ids: &[JobId],
) -> Result<Vec<(JobId, Option<JobId>)>, DbError> {
    let sql = format!(
        "SELECT id, parent FROM job WHERE id IN {} AND state = CAST(?2 AS TEXT)
        ORDER BY id /*lock*/",
        set::ids(tx.engine())
    );
    let blocked = JobState::Blocked.as_str();
    let rows = tx.query(&sql, &[set::list(ids), blocked.into()]).await?;
    rows.iter()
        .map(|row| Ok((row.parse("id")?, row.parse_opt("parent")?)))
        .collect()
}

/// Locks the places of `ids` in the order that every graph operation keeps. On SQLite there is
/// one writer and nothing to lock.
pub(super) async fn lock_places(tx: &mut Tx<'_>, ids: &[JobId]) -> Result<(), DbError> {
    if ids.is_empty() || tx.engine() == skep_db::Engine::Sqlite {
        return Ok(());
    }
    let sql = format!(
        "SELECT job FROM job_node WHERE job IN {} ORDER BY level, job /*lock*/",
        set::ids(tx.engine())
    );
    tx.query(&sql, &[set::list(ids)]).await?;
    Ok(())
}

/// Whether anybody waits for the end of one of `ids`.
pub(super) async fn has_children(tx: &mut Tx<'_>, ids: &[JobId]) -> Result<bool, DbError> {
    if let [only] = ids {
        // Most jobs end alone and without anybody who waits.
        let sql = "SELECT 1 AS one FROM job_edge WHERE parent = ?1 LIMIT 1";
        return Ok(tx.query_opt(sql, params![only.as_str()]).await?.is_some());
    }
    let sql = format!(
        "SELECT 1 AS one FROM job_edge WHERE parent IN {} LIMIT 1",
        set::ids(tx.engine())
    );
    Ok(tx.query_opt(&sql, &[set::list(ids)]).await?.is_some())
}
