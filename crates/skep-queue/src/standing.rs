//! How the queues stand: what an operator looks at before pausing one.

use crate::limits::LIST_QUEUES_MAX;
use skep_db::{DbError, Row, Tx, params};
use skep_types::NodeId;

/// The live jobs of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStanding {
    /// Its name.
    pub queue: String,
    /// Whether it is paused, by its own name or with all others.
    pub paused: bool,
    /// Jobs that wait for a slot.
    pub ready: i64,
    /// Jobs whose time has not come.
    pub later: i64,
    /// Jobs that somebody holds.
    pub running: i64,
    /// Jobs that wait for something else.
    pub waiting: i64,
}

/// Every queue that has live jobs or is paused by its own name, up to
/// [`LIST_QUEUES_MAX`], by name.
pub async fn queues(tx: &mut Tx<'_>) -> Result<Vec<QueueStanding>, DbError> {
    let rows = tx.query(STANDING, params![LIST_QUEUES_MAX]).await?;
    rows.iter().map(standing).collect()
}

/// How one queue stands; nothing but zeros for one without live jobs.
pub async fn queue(tx: &mut Tx<'_>, queue: &str) -> Result<QueueStanding, DbError> {
    let all = queues(tx).await?;
    let paused = crate::pause::paused_queues(tx).await?;
    Ok(all
        .into_iter()
        .find(|standing| standing.queue == queue)
        .unwrap_or_else(|| QueueStanding {
            queue: queue.to_owned(),
            paused: paused.contains(queue) || paused.contains(crate::pause::EVERY_QUEUE),
            ready: 0,
            later: 0,
            running: 0,
            waiting: 0,
        }))
}

/// How many jobs a node holds.
pub async fn held_by(tx: &mut Tx<'_>, node: &NodeId) -> Result<i64, DbError> {
    let sql = "SELECT COUNT(*) AS held FROM job WHERE lease_node = ?1";
    tx.query_one(sql, params![node.as_str()]).await?.get("held")
}

const STANDING: &str = "SELECT q.queue,
        CAST(SUM(q.ready) AS BIGINT) AS ready, CAST(SUM(q.later) AS BIGINT) AS later,
        CAST(SUM(q.running) AS BIGINT) AS running, CAST(SUM(q.waiting) AS BIGINT) AS waiting,
        (SELECT COUNT(*) FROM queue_pause p WHERE p.queue IN (q.queue, '*')) AS paused
    FROM (
        SELECT queue,
            SUM(CASE WHEN line = 1 THEN 1 ELSE 0 END) AS ready,
            SUM(CASE WHEN line = 2 THEN 1 ELSE 0 END) AS later,
            SUM(CASE WHEN lease_node IS NOT NULL THEN 1 ELSE 0 END)
                AS running,
            SUM(CASE WHEN line = 0 AND lease_node IS NULL THEN 1 ELSE 0 END) AS waiting
        FROM job GROUP BY queue
        UNION ALL SELECT queue, 0, 0, 0, 0 FROM queue_pause WHERE queue <> '*'
    ) q
    GROUP BY q.queue ORDER BY q.queue LIMIT ?1";

fn standing(row: &Row) -> Result<QueueStanding, DbError> {
    Ok(QueueStanding {
        queue: row.get("queue")?,
        paused: row.get::<i64>("paused")? > 0,
        ready: row.get("ready")?,
        later: row.get("later")?,
        running: row.get("running")?,
        waiting: row.get("waiting")?,
    })
}
