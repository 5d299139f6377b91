//! What follows from the end of jobs: children are released or skipped, and whoever waited for
//! its parts goes on. In the transaction that ends them, in a number of statements that depends
//! neither on how many children there are nor on how far a skip reaches.

use super::release::{has_children, lock_blocked, lock_places, release, skip};
use super::{set, tree};
use crate::event::{JobSkipped, record};
use serde::Serialize;
use skep_db::{DbError, Engine, Tx};
use skep_types::{JobId, JobState};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A job that has just ended; its row lies in the history.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) job: JobId,
    pub(crate) state: JobState,
    /// The job it is a part of.
    pub(crate) part_of: Option<JobId>,
}

/// Settles every edge of `ended` and everything that follows.
pub(crate) async fn settle(tx: &mut Tx<'_>, ended: &[Ended]) -> Result<(), DbError> {
    let ids: Vec<JobId> = ended.iter().map(|ended| ended.job.clone()).collect();
    let mut parts = Parts::default();
    for ended in ended {
        parts.ended(ended.part_of.as_ref());
    }
    if has_children(tx, &ids).await? {
        settle_edges(tx, ended, &mut parts).await?;
    }
    for (job, count) in parts.0 {
        tree::parts_ended(tx, &job, count).await?;
    }
    Ok(())
}

/// How many parts of which job have ended.
#[derive(Default)]
struct Parts(BTreeMap<JobId, i64>);

impl Parts {
    fn ended(&mut self, part_of: Option<&JobId>) {
        if let Some(job) = part_of {
            *self.0.entry(job.clone()).or_default() += 1;
        }
    }
}

async fn settle_edges(tx: &mut Tx<'_>, ended: &[Ended], parts: &mut Parts) -> Result<(), DbError> {
    let mut settled = Vec::new();
    for success in [true, false] {
        let of: Vec<&str> = ended
            .iter()
            .filter(|ended| (ended.state == JobState::Done) == success)
            .map(|ended| ended.job.as_str())
            .collect();
        if !of.is_empty() {
            settled.extend(write_outcomes(tx, &of, success).await?);
        }
    }
    let unmet = settled.iter().filter(|edge| !edge.met);
    let unmet: BTreeSet<JobId> = unmet.map(|edge| edge.child.clone()).collect();
    let children: BTreeSet<JobId> = settled.iter().map(|edge| edge.child.clone()).collect();
    let skipped = lock_all(tx, children, &unmet).await?;
    let skipped_ids: Vec<JobId> = skipped.iter().map(|(id, _)| id.clone()).collect();
    if !skipped_ids.is_empty() {
        settled.extend(write_outcomes(tx, &texts(&skipped_ids), false).await?);
    }
    let ready = count_down(tx, &settled).await?;
    let gone: BTreeSet<&JobId> = skipped_ids.iter().chain(&unmet).collect();
    let ready: Vec<JobId> = ready.into_iter().filter(|id| !gone.contains(id)).collect();
    release(tx, &ready, JobState::Blocked, JobState::Queued).await?;
    if !skipped_ids.is_empty() {
        skip(tx, &skipped_ids).await?;
        record_skips(tx, ended, &skipped_ids).await?;
    }
    for (_, part_of) in &skipped {
        parts.ended(part_of.as_ref());
    }
    Ok(())
}

/// Locks everything that will be changed; the answer is the jobs that will not start, with the
/// job that each is a part of.
///
/// What is looked at before it is locked may be another thing afterwards: a retry reopens a job,
/// or somebody comes after it. So the look is repeated until it finds nothing new.
async fn lock_all(
    tx: &mut Tx<'_>,
    children: BTreeSet<JobId>,
    unmet: &BTreeSet<JobId>,
) -> Result<Vec<(JobId, Option<JobId>)>, DbError> {
    if unmet.is_empty() {
        let children: Vec<JobId> = children.into_iter().collect();
        lock_places(tx, &children).await?;
        return Ok(Vec::new());
    }
    let mut known = None;
    loop {
        let doomed = doomed(tx, unmet).await?;
        let mut touched = children.clone();
        touched.extend(doomed.iter().cloned());
        touched.extend(children_of(tx, &doomed).await?);
        let touched: Vec<JobId> = touched.into_iter().collect();
        lock_places(tx, &touched).await?;
        let skipped = lock_blocked(tx, &doomed).await?;
        if tx.engine() == Engine::Sqlite || known.as_ref() == Some(&touched) {
            return Ok(skipped);
        }
        known = Some(touched);
    }
}

struct Settled {
    child: JobId,
    met: bool,
}

fn texts(ids: &[JobId]) -> Vec<&str> {
    ids.iter().map(JobId::as_str).collect()
}

/// Writes the outcome of every open edge of `parents`, which all ended alike.
async fn write_outcomes(
    tx: &mut Tx<'_>,
    parents: &[&str],
    success: bool,
) -> Result<Vec<Settled>, DbError> {
    let sql = format!(
        "UPDATE job_edge SET outcome = CASE
            WHEN policy = 'any_end' THEN 'met'
            WHEN CAST(?2 AS BIGINT) = 0 THEN 'unmet'
            WHEN policy = 'success' THEN 'met'
            WHEN (SELECT 1 FROM artifact a
                WHERE a.job = job_edge.parent AND a.name = job_edge.artifact) IS NOT NULL THEN 'met'
            ELSE 'unmet' END
        WHERE outcome IS NULL AND parent IN {} RETURNING child, outcome",
        set::ids(tx.engine())
    );
    let rows = tx
        .query(&sql, &[set::list(parents), success.into()])
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Settled {
                child: row.parse("child")?,
                met: row.get::<String>("outcome")? == "met",
            })
        })
        .collect()
}

/// Every blocked job that can no longer start: those with an unmet edge, and those that needed
/// the success of one that will not start.
async fn doomed(tx: &mut Tx<'_>, unmet: &BTreeSet<JobId>) -> Result<Vec<JobId>, DbError> {
    let sql = format!(
        "WITH RECURSIVE doomed(id) AS (
            SELECT id FROM job WHERE state = 'blocked' AND id IN {}
            UNION
            SELECT e.child FROM doomed d
                JOIN job_edge e ON e.parent = d.id
                JOIN job j ON j.id = e.child
            WHERE e.policy <> 'any_end' AND e.outcome IS NULL AND j.state = 'blocked')
        SELECT id FROM doomed",
        set::ids(tx.engine())
    );
    let unmet: Vec<&JobId> = unmet.iter().collect();
    let rows = tx.query(&sql, &[set::list(&unmet)]).await?;
    rows.iter().map(|row| row.parse("id")).collect()
}

async fn children_of(tx: &mut Tx<'_>, ids: &[JobId]) -> Result<Vec<JobId>, DbError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT DISTINCT child FROM job_edge WHERE outcome IS NULL AND parent IN {}",
        set::ids(tx.engine())
    );
    let rows = tx.query(&sql, &[set::list(ids)]).await?;
    rows.iter().map(|row| row.parse("child")).collect()
}

#[derive(Serialize)]
struct Fewer<'a> {
    child: &'a str,
    edges: i64,
}

/// Takes the settled edges off each child's count; the answer is who waits for nothing more.
async fn count_down(tx: &mut Tx<'_>, settled: &[Settled]) -> Result<Vec<JobId>, DbError> {
    let mut fewer: BTreeMap<&str, i64> = BTreeMap::new();
    for edge in settled {
        *fewer.entry(edge.child.as_str()).or_default() += 1;
    }
    let fewer: Vec<Fewer<'_>> = fewer
        .into_iter()
        .map(|(child, edges)| Fewer { child, edges })
        .collect();
    if fewer.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "UPDATE job_node SET edges_open = edges_open - fewer.edges
        FROM (SELECT x.value->>'child' AS child, CAST(x.value->>'edges' AS BIGINT) AS edges
            FROM {}) AS fewer
        WHERE job = fewer.child RETURNING job, edges_open",
        set::rows(tx.engine())
    );
    let mut ready = Vec::new();
    for row in tx.query(&sql, &[set::list(&fewer)]).await? {
        if row.get::<i64>("edges_open")? == 0 {
            ready.push(row.parse("job")?);
        }
    }
    ready.sort();
    Ok(ready)
}

/// Notes which parent each skipped job was skipped for, and puts the skips on record.
async fn record_skips(tx: &mut Tx<'_>, ended: &[Ended], skipped: &[JobId]) -> Result<(), DbError> {
    let sql = format!(
        "UPDATE job_node SET cause = (SELECT MIN(e.parent) FROM job_edge e
            WHERE e.child = job_node.job AND e.outcome = 'unmet')
        WHERE job IN {} RETURNING job, cause",
        set::ids(tx.engine())
    );
    let states: HashMap<&JobId, JobState> = ended
        .iter()
        .map(|ended| (&ended.job, ended.state))
        .collect();
    let mut causes: BTreeMap<JobId, Option<JobId>> = BTreeMap::new();
    for row in tx.query(&sql, &[set::list(skipped)]).await? {
        causes.insert(row.parse("job")?, row.parse_opt("cause")?);
    }
    for (job, cause) in causes {
        // Whatever did not end just now was skipped just now.
        let state = cause.as_ref().and_then(|cause| states.get(cause)).copied();
        let event = JobSkipped {
            cause,
            state: state.unwrap_or(JobState::Skipped),
        };
        record(tx, &job, &event).await?;
    }
    Ok(())
}
