//! Reading a graph: where a job stands in it, what it waits for, and what is ordered with what.

use super::set;
use crate::limits::GRAPH_NODES_MAX;
use crate::row::{Job, job_all_columns};
use skep_db::{DbError, Row, Tx, params};
use skep_types::{JobId, JobState};
use std::collections::BTreeSet;

/// An edge, seen from the child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeView {
    /// Who waits.
    pub child: JobId,
    /// Whose end is waited for.
    pub parent: JobId,
    /// Its number.
    pub number: i64,
    /// What it is called in its graph.
    pub name: Option<String>,
    /// Where it stands.
    pub state: JobState,
    /// Which end: `success`, `any_end` or `artifact`.
    pub policy: String,
    /// The artifact that is waited for; empty for the other policies.
    pub artifact: String,
    /// Whether the policy was met; `None` while the edge is open.
    pub met: Option<bool>,
}

/// A part of a job that has a place in a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// The job.
    pub job: Job,
    /// What it is called.
    pub name: Option<String>,
    /// The longest way to it from a node without parents.
    pub level: i64,
}

/// What `job` is called in its graph, if it is in one.
pub async fn node_name(tx: &mut Tx<'_>, job: &JobId) -> Result<Option<String>, DbError> {
    let sql = "SELECT name FROM job_node WHERE job = ?1";
    match tx.query_opt(sql, params![job.as_str()]).await? {
        Some(row) => row.get("name"),
        None => Ok(None),
    }
}

/// The parts of `job` in the order of their levels and numbers.
pub async fn nodes_below(tx: &mut Tx<'_>, job: &JobId) -> Result<Vec<NodeView>, DbError> {
    let sql = concat!(
        "SELECT ",
        job_all_columns!(),
        ", name, level FROM job_all JOIN job_node ON job = id WHERE parent = ?1
        ORDER BY level, number LIMIT ?2"
    );
    let limit = i64::try_from(GRAPH_NODES_MAX).unwrap_or(i64::MAX);
    let rows = tx.query(sql, params![job.as_str(), limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(NodeView {
                job: Job::from_row(row)?,
                name: row.get("name")?,
                level: row.get("level")?,
            })
        })
        .collect()
}

/// What each of `jobs` waits for or waited for, `limit` edges at the most.
pub async fn edges_to(
    tx: &mut Tx<'_>,
    jobs: &[JobId],
    limit: i64,
) -> Result<Vec<EdgeView>, DbError> {
    let sql = format!(
        "SELECT e.child AS child, e.parent AS parent, j.number AS number, n.name AS name,
            j.state AS state, e.policy AS policy, e.artifact AS artifact, e.outcome AS outcome
        FROM job_edge e JOIN job_all j ON j.id = e.parent LEFT JOIN job_node n ON n.job = e.parent
        WHERE e.child IN {} ORDER BY e.child, j.number, e.policy, e.artifact LIMIT ?2",
        set::ids(tx.engine())
    );
    let rows = tx.query(&sql, &[set::list(jobs), limit.into()]).await?;
    rows.iter().map(edge).collect()
}

fn edge(row: &Row) -> Result<EdgeView, DbError> {
    let outcome: Option<String> = row.get("outcome")?;
    Ok(EdgeView {
        child: row.parse("child")?,
        parent: row.parse("parent")?,
        number: row.get("number")?,
        name: row.get("name")?,
        state: row.parse("state")?,
        policy: row.get("policy")?,
        artifact: row.get("artifact")?,
        met: outcome.map(|outcome| outcome == "met"),
    })
}

/// The jobs that come before `job` or after it: those that never run at the same time.
pub async fn ordered_with(tx: &mut Tx<'_>, job: &JobId) -> Result<BTreeSet<JobId>, DbError> {
    let mut ordered = BTreeSet::new();
    for (from, to) in [("parent", "child"), ("child", "parent")] {
        let sql = format!(
            "WITH RECURSIVE way(id) AS (
                SELECT {to} FROM job_edge WHERE {from} = ?1
                UNION
                SELECT e.{to} FROM way w JOIN job_edge e ON e.{from} = w.id)
            SELECT id FROM way"
        );
        for row in tx.query(&sql, params![job.as_str()]).await? {
            ordered.insert(row.parse("id")?);
        }
    }
    Ok(ordered)
}
