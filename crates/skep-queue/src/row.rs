//! A job and an attempt as their rows hold them.

use crate::flow::FlowKey;
use skep_db::{DbError, Row};
use skep_types::{
    AttemptId, AttemptState, FailureClass, Fence, JobId, JobKind, JobState, NodeId, Purpose, Tier,
};

/// One job, live or ended. Times are milliseconds since 1970 by the store's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Its number for people; grows, has gaps.
    pub number: i64,
    /// What kind of work it is.
    pub kind: JobKind,
    /// Why it is done.
    pub purpose: Purpose,
    /// Who asked for it.
    pub owner: String,
    /// What it belongs to.
    pub project: String,
    /// What its data is.
    pub tier: Tier,
    /// The greater number goes first.
    pub priority: i64,
    /// Where it stands.
    pub state: JobState,
    /// Not claimed before this time.
    pub run_at_ms: i64,
    /// Attempts that counted.
    pub attempts_used: i64,
    /// How many may count.
    pub attempts_max: i64,
    /// How often an engine died or lost its lease over it.
    pub losses: i64,
    /// The job it is a part of.
    pub parent: Option<JobId>,
    /// Why it last failed or waits.
    pub failure: Option<FailureClass>,
    /// How it takes its turn.
    pub flow: JobFlow,
    /// The last fence given out; 0 before the first claim.
    pub fence: Fence,
    /// Whether the worker of that fence has not ended.
    pub attempt_open: bool,
    /// When it was asked for.
    pub created_at_ms: i64,
    /// When its state last changed.
    pub changed_at_ms: i64,
    /// When it ended.
    pub ended_at_ms: Option<i64>,
    /// Who works on it.
    pub held: Option<Held>,
}

/// What a job keeps of its [`Flow`](crate::Flow).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFlow {
    /// The queue it stands in.
    pub queue: String,
    /// What works on it.
    pub backend: Option<String>,
    /// The limit that it brought along.
    pub key: Option<FlowKey>,
    /// The name under which it is the only one.
    pub singleton: Option<String>,
    /// The name under which requests in quick succession became this job.
    pub debounce: Option<String>,
}

/// Who holds the lease of a job, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The node.
    pub node: NodeId,
    /// When the lease runs out, unless a heartbeat extends it.
    pub until_ms: i64,
}

/// One claim that started a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// Its job.
    pub job: JobId,
    /// The fence of its claim.
    pub fence: Fence,
    /// The node that claimed it.
    pub node: NodeId,
    /// Where it stands.
    pub state: AttemptState,
    /// What ran it.
    pub harness: Option<String>,
    /// The model that was asked for.
    pub model_requested: Option<String>,
    /// The model that answered.
    pub model_actual: Option<String>,
    /// The harness's own name for the conversation.
    pub session_id: Option<String>,
    /// Why it did not succeed.
    pub failure: Option<FailureClass>,
    /// Whether it used up one of the job's attempts.
    pub counted: bool,
    /// When it was claimed.
    pub leased_at_ms: i64,
    /// When its worker started.
    pub started_at_ms: Option<i64>,
    /// When it ended.
    pub ended_at_ms: Option<i64>,
}

/// The columns that `job` and `job_history` share.
macro_rules! job_columns {
    () => {
        "number, id, kind, purpose, owner, project, tier, priority, state, run_at_ms, \
         attempts_used, attempts_max, losses, parent, failure, created_at_ms, changed_at_ms, \
         queue, backend, flow_key, flow_key_max, singleton, debounce, fence"
    };
}

/// The columns of the view `job_all`, which [`Job`] is read from.
macro_rules! job_all_columns {
    () => {
        concat!(
            crate::row::job_columns!(),
            ", lease_node, lease_until_ms, attempt_open, ended_at_ms"
        )
    };
}

/// The columns of `job` in the shape of the view.
macro_rules! live_job_columns {
    () => {
        concat!(
            crate::row::job_columns!(),
            ", lease_node, lease_until_ms, attempt_open, CAST(NULL AS BIGINT) AS ended_at_ms"
        )
    };
}

pub(crate) use {job_all_columns, job_columns, live_job_columns};

impl Job {
    pub(crate) fn from_row(row: &Row) -> Result<Self, DbError> {
        let node: Option<NodeId> = row.parse_opt("lease_node")?;
        let until_ms: Option<i64> = row.get("lease_until_ms")?;
        Ok(Self {
            id: row.parse("id")?,
            number: row.get("number")?,
            kind: row.parse("kind")?,
            purpose: row.parse("purpose")?,
            owner: row.get("owner")?,
            project: row.get("project")?,
            tier: row.parse("tier")?,
            priority: row.get("priority")?,
            state: row.parse("state")?,
            run_at_ms: row.get("run_at_ms")?,
            attempts_used: row.get("attempts_used")?,
            attempts_max: row.get("attempts_max")?,
            losses: row.get("losses")?,
            parent: row.parse_opt("parent")?,
            failure: row.parse_opt("failure")?,
            flow: JobFlow::from_row(row)?,
            fence: Fence(row.get("fence")?),
            attempt_open: row.get("attempt_open")?,
            created_at_ms: row.get("created_at_ms")?,
            changed_at_ms: row.get("changed_at_ms")?,
            ended_at_ms: row.get("ended_at_ms")?,
            held: node
                .zip(until_ms)
                .map(|(node, until_ms)| Held { node, until_ms }),
        })
    }
}

impl JobFlow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let (key, max): (Option<String>, Option<i64>) =
            (row.get("flow_key")?, row.get("flow_key_max")?);
        Ok(Self {
            queue: row.get("queue")?,
            backend: row.get("backend")?,
            key: key
                .zip(max)
                .map(|(name, running_max)| FlowKey { name, running_max }),
            singleton: row.get("singleton")?,
            debounce: row.get("debounce")?,
        })
    }
}

impl Attempt {
    /// The attempt of a claim whose worker has not been started: it has no row yet.
    pub(crate) fn leased(job: &Job, node: NodeId) -> Self {
        Self {
            id: AttemptId::of(&job.id, job.fence),
            job: job.id.clone(),
            fence: job.fence,
            node,
            state: AttemptState::Leased,
            harness: None,
            model_requested: None,
            model_actual: None,
            session_id: None,
            failure: None,
            counted: false,
            leased_at_ms: job.changed_at_ms,
            started_at_ms: None,
            ended_at_ms: None,
        }
    }
}

pub(crate) const ATTEMPT_COLUMNS: &str = "id, job_id, fence, node, state, harness, \
    model_requested, model_actual, session_id, failure, counted, leased_at_ms, started_at_ms, \
    ended_at_ms";

impl Attempt {
    pub(crate) fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row.parse("id")?,
            job: row.parse("job_id")?,
            fence: Fence(row.get("fence")?),
            node: row.parse("node")?,
            state: row.parse("state")?,
            harness: row.get("harness")?,
            model_requested: row.get("model_requested")?,
            model_actual: row.get("model_actual")?,
            session_id: row.get("session_id")?,
            failure: row.parse_opt("failure")?,
            counted: row.get("counted")?,
            leased_at_ms: row.get("leased_at_ms")?,
            started_at_ms: row.get("started_at_ms")?,
            ended_at_ms: row.get("ended_at_ms")?,
        })
    }
}
