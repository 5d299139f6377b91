//! Asking for a whole graph at once: all of it is written, or nothing.

use super::check::{Shape, order};
use super::error::GraphError;
use super::set;
use super::settle::{Ended, settle};
use super::tree::{self, Joining};
use crate::enqueue::{Enqueued, NewJob, enqueue, run_at_ms, validate};
use crate::error::EnqueueError;
use crate::event::{JobQueued, JobWaits, record};
use crate::flow::{lane, order_ms};
use crate::limits::{GRAPH_EDGES_MAX, GRAPH_ROWS_MAX};
use crate::line::Line;
use serde::Serialize;
use skep_db::{DbError, Tx, params};
use skep_types::{JobId, JobState};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One job of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphNode {
    /// What it is called in this graph; a plain name, see
    /// [`is_artifact_name`](super::is_artifact_name).
    pub name: String,
    /// The job. It has no idempotency key of its own: the graph is asked for as a whole.
    pub job: NewJob,
    /// What it waits for; nothing lets it be queued at once.
    pub after: Vec<Edge>,
}

/// Something that a job waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Whose end.
    pub parent: EdgeParent,
    /// Which end.
    pub policy: EdgePolicy,
}

/// Whose end a job waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EdgeParent {
    /// A node of the same graph.
    Node(String),
    /// A job that exists, ended or not.
    Job(JobId),
}

/// Which end a job waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum EdgePolicy {
    /// The parent is `done`.
    #[default]
    Success,
    /// The parent has ended, however.
    AnyEnd,
    /// The parent is `done` and left an artifact of this name.
    Artifact(String),
}

impl EdgePolicy {
    /// The policy's word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::AnyEnd => "any_end",
            Self::Artifact(_) => "artifact",
        }
    }

    /// The name of the artifact that is waited for; empty for the other policies.
    pub fn artifact(&self) -> &str {
        match self {
            Self::Artifact(name) => name,
            Self::Success | Self::AnyEnd => "",
        }
    }
}

/// Enqueues a job that waits for its parts from the start: it takes no slot, and when they have
/// all ended it goes on to `wake_to`. The parts follow in the same transaction.
///
/// The same request again finds the earlier job, and then no parts are to be asked for.
pub async fn enqueue_parent(
    tx: &mut Tx<'_>,
    new: &NewJob,
    wake_to: JobState,
) -> Result<Enqueued, EnqueueError> {
    let mut enqueued = enqueue(tx, new).await?;
    if !enqueued.created {
        return Ok(enqueued);
    }
    enqueued.state = JobState::WaitingChildren;
    let sql = "UPDATE job SET state = ?2, line = 0 WHERE id = ?1";
    let row = params![new.id.as_str(), enqueued.state.as_str()];
    tx.execute(sql, row).await?;
    tree::plant(tx, &new.id, wake_to).await?;
    let event = JobWaits {
        state: enqueued.state,
        edges: 0,
    };
    record(tx, &new.id, &event).await?;
    Ok(enqueued)
}

/// Enqueues a graph; the answer has the order of `nodes`.
///
/// A node without parents is queued. One with parents is `blocked` until the policies of all of
/// its edges are met, or `skipped` once one of them can no longer be met.
pub async fn enqueue_graph(
    tx: &mut Tx<'_>,
    nodes: &[GraphNode],
) -> Result<Vec<Enqueued>, GraphError> {
    check_jobs(nodes)?;
    let outside = outside_parents(tx, nodes).await?;
    let shapes: Vec<_> = nodes.iter().map(|node| shape(node, &outside)).collect();
    let order = order(&shapes)?;
    let ids: HashMap<&str, &JobId> = nodes
        .iter()
        .map(|node| (node.name.as_str(), &node.job.id))
        .collect();
    let edges = edges_of(nodes, &ids);
    super::check::fan_out(edges.iter().map(|edge| edge.parent))?;
    let joining = tree::join_all(tx, nodes.iter().map(|node| &node.job)).await?;
    let now = tx.now_ms().await?;
    let numbers = insert_jobs(tx, nodes, now).await?;
    insert_places(tx, nodes, &order.levels, &joining).await?;
    insert_edges(tx, &edges).await?;
    let mut enqueued = record_nodes(tx, nodes, &numbers, now).await?;
    let ended: Vec<Ended> = outside
        .into_iter()
        .filter(|(_, parent)| parent.state.is_terminal())
        .map(|(job, parent)| Ended {
            job,
            state: parent.state,
            part_of: None,
        })
        .collect();
    if !ended.is_empty() {
        settle(tx, &ended).await?;
        read_states(tx, &mut enqueued).await?;
    }
    Ok(enqueued)
}

fn check_jobs(nodes: &[GraphNode]) -> Result<(), GraphError> {
    for node in nodes {
        let refuse = |source| GraphError::Node {
            node: node.name.clone(),
            source,
        };
        validate(&node.job).map_err(refuse)?;
        if node.job.idempotency_key.is_some() {
            return Err(refuse(EnqueueError::Invalid {
                field: "idempotency_key",
                reason: "belongs to the whole graph, not to a node",
            }));
        }
        if node.job.flow.singleton.is_some() || node.job.flow.debounce.is_some() {
            return Err(refuse(EnqueueError::Invalid {
                field: "singleton",
                reason: "and debounce are for jobs that are asked for alone",
            }));
        }
        if node.after.len() > GRAPH_EDGES_MAX {
            return Err(GraphError::TooWide {
                what: "the parents of one node",
                count: i64::try_from(node.after.len()).unwrap_or(i64::MAX),
                limit: i64::try_from(GRAPH_EDGES_MAX).unwrap_or(i64::MAX),
            });
        }
        for edge in &node.after {
            if let EdgePolicy::Artifact(name) = &edge.policy
                && !super::is_artifact_name(name)
            {
                let name = name.chars().take(100).collect();
                return Err(GraphError::BadName { name });
            }
        }
    }
    Ok(())
}

/// A job outside of the graph that a node comes after.
struct Outside {
    state: JobState,
    level: i64,
}

/// The existing jobs that nodes come after, locked, so that none ends in between.
async fn outside_parents(
    tx: &mut Tx<'_>,
    nodes: &[GraphNode],
) -> Result<BTreeMap<JobId, Outside>, GraphError> {
    let edges = nodes.iter().flat_map(|node| &node.after);
    let asked: BTreeSet<&JobId> = edges
        .filter_map(|edge| match &edge.parent {
            EdgeParent::Job(job) => Some(job),
            EdgeParent::Node(_) => None,
        })
        .collect();
    let mut found = BTreeMap::new();
    for job in asked {
        let mut state = None;
        for table in ["job", "job_history"] {
            let sql = format!("SELECT state FROM {table} WHERE id = ?1 /*lock*/");
            if let Some(row) = tx.query_opt(&sql, params![job.as_str()]).await? {
                state = Some(row.parse("state")?);
            }
        }
        let state = state.ok_or_else(|| GraphError::UnknownJob { job: job.clone() })?;
        let sql = "SELECT level FROM job_node WHERE job = ?1";
        let level = match tx.query_opt(sql, params![job.as_str()]).await? {
            Some(row) => row.get("level")?,
            None => 0,
        };
        found.insert(job.clone(), Outside { state, level });
    }
    Ok(found)
}

fn shape<'a>(node: &'a GraphNode, outside: &BTreeMap<JobId, Outside>) -> Shape<'a, Vec<&'a str>> {
    let (mut after, mut above) = (Vec::new(), 0);
    for edge in &node.after {
        match &edge.parent {
            EdgeParent::Node(name) => after.push(name.as_str()),
            EdgeParent::Job(job) => {
                above = above.max(outside.get(job).map_or(0, |parent| parent.level) + 1);
            }
        }
    }
    Shape {
        name: &node.name,
        after,
        above,
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct EdgeRow<'a> {
    parent: &'a str,
    child: &'a str,
    policy: &'static str,
    artifact: &'a str,
}

/// Every edge once.
fn edges_of<'a>(nodes: &'a [GraphNode], ids: &HashMap<&str, &'a JobId>) -> Vec<EdgeRow<'a>> {
    let mut edges: Vec<EdgeRow<'a>> = Vec::new();
    for node in nodes {
        for edge in &node.after {
            let parent = match &edge.parent {
                EdgeParent::Job(job) => Some(job.as_str()),
                EdgeParent::Node(name) => ids.get(name.as_str()).map(|id| id.as_str()),
            };
            edges.extend(parent.map(|parent| EdgeRow {
                parent,
                child: node.job.id.as_str(),
                policy: edge.policy.as_str(),
                artifact: edge.policy.artifact(),
            }));
        }
    }
    edges.sort();
    edges.dedup();
    edges
}

#[derive(Serialize)]
struct JobRow<'a> {
    id: &'a str,
    kind: &'static str,
    purpose: &'static str,
    owner: &'a str,
    project: &'a str,
    tier: &'static str,
    priority: i64,
    state: &'static str,
    run_at_ms: i64,
    attempts_max: i64,
    parent: Option<&'a str>,
    queue: &'a str,
    backend: Option<&'a str>,
    flow_key: Option<&'a str>,
    flow_key_max: Option<i64>,
    lane: String,
    order_ms: i64,
    line: i64,
}

impl<'a> JobRow<'a> {
    fn of(node: &'a GraphNode, now: i64) -> Self {
        let (job, state) = (&node.job, first_state(node));
        let run_at_ms = run_at_ms(job, now);
        let key = job.flow.key.as_ref();
        Self {
            id: job.id.as_str(),
            kind: job.kind.as_str(),
            purpose: job.purpose.as_str(),
            owner: &job.owner,
            project: &job.project,
            tier: job.tier.as_str(),
            priority: job.priority,
            state: state.as_str(),
            run_at_ms,
            attempts_max: job.attempts_max,
            parent: job.parent.as_ref().map(JobId::as_str),
            queue: &job.flow.queue,
            backend: job.flow.backend.as_deref(),
            flow_key: key.map(|key| key.name.as_str()),
            flow_key_max: key.map(|key| key.running_max),
            lane: lane(&job.flow, &job.project),
            order_ms: order_ms(run_at_ms, job.priority),
            line: Line::of_state(state, false, run_at_ms, now).into(),
        }
    }
}

const fn first_state(node: &GraphNode) -> JobState {
    if node.after.is_empty() {
        JobState::Queued
    } else {
        JobState::Blocked
    }
}

async fn insert_jobs(
    tx: &mut Tx<'_>,
    nodes: &[GraphNode],
    now: i64,
) -> Result<HashMap<JobId, i64>, DbError> {
    let sql = format!(
        "INSERT INTO job (id, kind, purpose, owner, project, tier, priority, state, run_at_ms,
            attempts_used, attempts_max, losses, parent, created_at_ms, changed_at_ms, queue,
            backend, flow_key, flow_key_max, fence, attempt_open, lane, order_ms, line)
        SELECT x.value->>'id', x.value->>'kind', x.value->>'purpose', x.value->>'owner',
            x.value->>'project', x.value->>'tier', CAST(x.value->>'priority' AS BIGINT),
            x.value->>'state', CAST(x.value->>'run_at_ms' AS BIGINT), 0,
            CAST(x.value->>'attempts_max' AS BIGINT), 0, x.value->>'parent',
            CAST(?2 AS BIGINT), CAST(?2 AS BIGINT), x.value->>'queue', x.value->>'backend',
            x.value->>'flow_key', CAST(x.value->>'flow_key_max' AS BIGINT), 0, 0,
            x.value->>'lane', CAST(x.value->>'order_ms' AS BIGINT),
            CAST(x.value->>'line' AS BIGINT)
        FROM {} RETURNING id, number",
        set::rows(tx.engine())
    );
    let mut numbers = HashMap::with_capacity(nodes.len());
    for part in nodes.chunks(GRAPH_ROWS_MAX) {
        let rows: Vec<JobRow<'_>> = part.iter().map(|node| JobRow::of(node, now)).collect();
        for row in tx.query(&sql, &[set::list(&rows), now.into()]).await? {
            numbers.insert(row.parse("id")?, row.get("number")?);
        }
    }
    Ok(numbers)
}

#[derive(Serialize)]
struct PlaceRow<'a> {
    job: &'a str,
    root: &'a str,
    name: &'a str,
    depth: i64,
    level: i64,
}

async fn insert_places(
    tx: &mut Tx<'_>,
    nodes: &[GraphNode],
    levels: &[i64],
    joining: &Joining,
) -> Result<(), DbError> {
    let sql = format!(
        "INSERT INTO job_node (job, root, name, depth, level, edges_open)
        SELECT x.value->>'job', x.value->>'root', x.value->>'name',
            CAST(x.value->>'depth' AS BIGINT), CAST(x.value->>'level' AS BIGINT), 0
        FROM {}",
        set::rows(tx.engine())
    );
    let rows: Vec<PlaceRow<'_>> = nodes
        .iter()
        .zip(levels)
        .map(|(node, level)| {
            let (root, depth) = joining.place(&node.job);
            PlaceRow {
                job: node.job.id.as_str(),
                root: root.as_str(),
                name: &node.name,
                depth,
                level: *level,
            }
        })
        .collect();
    for part in rows.chunks(GRAPH_ROWS_MAX) {
        tx.execute(&sql, &[set::list(part)]).await?;
    }
    Ok(())
}

async fn insert_edges(tx: &mut Tx<'_>, edges: &[EdgeRow<'_>]) -> Result<(), DbError> {
    let insert = format!(
        "INSERT INTO job_edge (parent, child, policy, artifact)
        SELECT x.value->>'parent', x.value->>'child', x.value->>'policy', x.value->>'artifact'
        FROM {}",
        set::rows(tx.engine())
    );
    for part in edges.chunks(GRAPH_ROWS_MAX) {
        tx.execute(&insert, &[set::list(part)]).await?;
    }
    let count = format!(
        "UPDATE job_node SET edges_open =
            (SELECT COUNT(*) FROM job_edge e WHERE e.child = job_node.job)
        WHERE job IN {}",
        set::ids(tx.engine())
    );
    let children: BTreeSet<&str> = edges.iter().map(|edge| edge.child).collect();
    let children: Vec<&str> = children.into_iter().collect();
    for part in children.chunks(GRAPH_ROWS_MAX) {
        tx.execute(&count, &[set::list(part)]).await?;
    }
    Ok(())
}

async fn record_nodes(
    tx: &mut Tx<'_>,
    nodes: &[GraphNode],
    numbers: &HashMap<JobId, i64>,
    now: i64,
) -> Result<Vec<Enqueued>, DbError> {
    let mut enqueued = Vec::with_capacity(nodes.len());
    for node in nodes {
        let (id, state) = (&node.job.id, first_state(node));
        let number = numbers.get(id).copied().unwrap_or_default();
        record(
            tx,
            id,
            &JobQueued::of(&node.job, number, run_at_ms(&node.job, now)),
        )
        .await?;
        if state == JobState::Blocked {
            let edges = i64::try_from(node.after.len()).unwrap_or(i64::MAX);
            record(tx, id, &JobWaits { state, edges }).await?;
        }
        enqueued.push(Enqueued {
            id: id.clone(),
            number,
            state,
            created: true,
        });
    }
    Ok(enqueued)
}

/// Looks again where blocked nodes stand, once the parents that had ended before were settled.
async fn read_states(tx: &mut Tx<'_>, enqueued: &mut [Enqueued]) -> Result<(), DbError> {
    let ids: Vec<&str> = enqueued.iter().map(|node| node.id.as_str()).collect();
    let sql = format!(
        "SELECT id, state FROM job_all WHERE id IN {}",
        set::ids(tx.engine())
    );
    let mut states: HashMap<JobId, JobState> = HashMap::with_capacity(ids.len());
    for row in tx.query(&sql, &[set::list(&ids)]).await? {
        states.insert(row.parse("id")?, row.parse("state")?);
    }
    for node in enqueued {
        node.state = states.get(&node.id).copied().unwrap_or(node.state);
    }
    Ok(())
}
