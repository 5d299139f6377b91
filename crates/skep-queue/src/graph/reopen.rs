//! What a retry takes back: jobs that were skipped for the retried one alone wait for it again.
//!
//! A job that another parent's end skipped as well stays skipped, until that one is retried too.
//! A job that has begun in the meantime is left alone, whatever its parent does now.

use super::release::{block, lock_places};
use super::{set, tree};
use crate::event::{JobReopened, record};
use skep_db::{DbError, Engine, Tx, params};
use skep_types::JobId;
use std::collections::{BTreeMap, BTreeSet};

/// Takes back what the end of `job`, which is live again, has led to.
pub(crate) async fn reopen(
    tx: &mut Tx<'_>,
    job: &JobId,
    part_of: Option<&JobId>,
) -> Result<(), DbError> {
    if let Some(whole) = part_of {
        tree::parts_back(tx, whole, 1).await?;
    }
    let sql = "UPDATE job_node SET cause = NULL WHERE job = ?1";
    if tx.execute(sql, params![job.as_str()]).await? == 0
        && !super::release::has_children(tx, std::slice::from_ref(job)).await?
    {
        return Ok(());
    }
    let skipped = lock_skipped(tx, job).await?;
    let reopened = only_because_of(tx, job, &skipped).await?;
    if !reopened.is_empty() {
        block(tx, &reopened).await?;
    }
    open_edges(tx, job, &reopened).await?;
    for id in &reopened {
        let event = JobReopened {
            because: job.clone(),
        };
        record(tx, id, &event).await?;
    }
    let mut parts: BTreeMap<&JobId, i64> = BTreeMap::new();
    for whole in reopened.iter().filter_map(|id| skipped.get(id)?.as_ref()) {
        *parts.entry(whole).or_default() += 1;
    }
    for (whole, count) in parts {
        tree::parts_back(tx, whole, count).await?;
    }
    Ok(())
}

/// The skipped jobs below `job`, with the job that each is a part of; their places and those of
/// their children are locked.
async fn lock_skipped(
    tx: &mut Tx<'_>,
    job: &JobId,
) -> Result<BTreeMap<JobId, Option<JobId>>, DbError> {
    let sql = "WITH RECURSIVE skipped(id) AS (
            SELECT CAST(?1 AS TEXT)
            UNION
            SELECT e.child FROM skipped s
                JOIN job_edge e ON e.parent = s.id
                JOIN job_history h ON h.id = e.child
            WHERE h.state = 'skipped')
        SELECT h.id AS id, h.parent AS parent FROM skipped s
            JOIN job_history h ON h.id = s.id WHERE h.id <> ?1 AND h.state = 'skipped'";
    let mut known: Option<BTreeMap<JobId, Option<JobId>>> = None;
    loop {
        let mut found = BTreeMap::new();
        for row in tx.query(sql, params![job.as_str()]).await? {
            found.insert(row.parse("id")?, row.parse_opt("parent")?);
        }
        if known.as_ref() == Some(&found) || (known.is_some() && tx.engine() == Engine::Sqlite) {
            return Ok(found);
        }
        let parents: Vec<&JobId> = found.keys().chain([job]).collect();
        let sql = format!(
            "SELECT DISTINCT child FROM job_edge WHERE parent IN {}",
            set::ids(tx.engine())
        );
        let mut touched: BTreeSet<JobId> = found.keys().cloned().collect();
        for row in tx.query(&sql, &[set::list(&parents)]).await? {
            touched.insert(row.parse("child")?);
        }
        let touched: Vec<JobId> = touched.into_iter().collect();
        lock_places(tx, &touched).await?;
        known = Some(found);
    }
}

/// Those of `skipped` whose every unmet edge comes from `job` or from one that is reopened with
/// them, parents before their children.
async fn only_because_of(
    tx: &mut Tx<'_>,
    job: &JobId,
    skipped: &BTreeMap<JobId, Option<JobId>>,
) -> Result<Vec<JobId>, DbError> {
    if skipped.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&JobId> = skipped.keys().collect();
    let sql = format!(
        "SELECT e.child AS child, e.parent AS parent, n.level AS level
        FROM job_edge e JOIN job_node n ON n.job = e.child
        WHERE e.outcome = 'unmet' AND e.child IN {}",
        set::ids(tx.engine())
    );
    let mut unmet: BTreeMap<(i64, JobId), Vec<JobId>> = BTreeMap::new();
    for row in tx.query(&sql, &[set::list(&ids)]).await? {
        let child = (row.get("level")?, row.parse("child")?);
        unmet.entry(child).or_default().push(row.parse("parent")?);
    }
    let mut live: BTreeSet<JobId> = BTreeSet::from([job.clone()]);
    let mut reopened = Vec::new();
    // Levels grow along every edge, so a job's parents were looked at before it.
    for ((_, child), parents) in unmet {
        if parents.iter().all(|parent| live.contains(parent)) {
            live.insert(child.clone());
            reopened.push(child);
        }
    }
    Ok(reopened)
}

/// Opens the edges of what is live again towards children that have not begun: those that wait,
/// and those that stay skipped for another one's end.
async fn open_edges(tx: &mut Tx<'_>, job: &JobId, reopened: &[JobId]) -> Result<(), DbError> {
    let parents: Vec<&JobId> = reopened.iter().chain([job]).collect();
    let sql = format!(
        "UPDATE job_edge SET outcome = NULL
        WHERE outcome IS NOT NULL AND parent IN {}
        AND ((SELECT 1 FROM job j WHERE j.id = child AND j.state = 'blocked') IS NOT NULL
            OR (SELECT 1 FROM job_history h WHERE h.id = child AND h.state = 'skipped') IS NOT NULL)
        RETURNING child",
        set::ids(tx.engine())
    );
    let mut children: BTreeSet<JobId> = reopened.iter().cloned().collect();
    for row in tx.query(&sql, &[set::list(&parents)]).await? {
        children.insert(row.parse("child")?);
    }
    if !reopened.is_empty() {
        let sql = format!(
            "UPDATE job_node SET cause = NULL WHERE job IN {}",
            set::ids(tx.engine())
        );
        tx.execute(&sql, &[set::list(reopened)]).await?;
    }
    let children: Vec<JobId> = children.into_iter().collect();
    if children.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE job_node SET edges_open = (SELECT COUNT(*) FROM job_edge e
            WHERE e.child = job_node.job AND e.outcome IS NULL)
        WHERE job IN {}",
        set::ids(tx.engine())
    );
    tx.execute(&sql, &[set::list(&children)]).await?;
    Ok(())
}
