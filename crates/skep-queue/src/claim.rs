//! Giving work to free slots.

mod memory;
mod pick;

pub use memory::ClaimMemory;

use crate::event::{JobClaimed, note};
use crate::flow::{FlowPolicy, order_ms};
use crate::lease::{Lease, lease_end};
use crate::limits::{CLAIM_JOBS_MAX, CLAIM_LANES_MAX};
use crate::line::admit_due;
use crate::row::{Held, Job, live_job_columns};
use pick::{Lane, Taken, Waiting};
use skep_db::{DbError, Engine, List, Row, Tx, params};
use skep_stdx::Stopwatch;
use skep_types::{AttemptId, Fence, JobId, JobState, NodeId};
use std::sync::Arc;

/// What a node has to offer.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The node.
    pub node: NodeId,
    /// How many slots are free.
    pub slots: i64,
    /// How long each lease lasts without a heartbeat, in milliseconds.
    pub lease_ms: i64,
    /// The limits that hold, the same on every node.
    pub policy: Arc<FlowPolicy>,
    /// What the claims of this node remember between them. With a fresh one a claim gives the most
    /// there is, only slower at times.
    pub memory: Arc<ClaimMemory>,
}

/// One claimed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The job as it is now.
    pub job: Job,
    /// The claim's fence.
    pub fence: Fence,
    /// The attempt, if the claim starts a worker.
    pub attempt: Option<AttemptId>,
    /// The state it was found in; a wait that is over counts as queued.
    pub found: JobState,
}

impl Claim {
    /// What to show with every change.
    pub fn lease(&self) -> Lease {
        Lease {
            job: self.job.id.clone(),
            fence: self.fence,
        }
    }
}

/// Claims the jobs that come first in their lanes, and of several lanes those whose project has
/// the least of its share; within that by their place in the line (see [`crate::flow`]).
///
/// A queued job or one up for rework becomes `running` with an attempt of its own; one that was
/// left in `verifying` or `landing` keeps its state and gets a lease only.
pub async fn claim(tx: &mut Tx<'_>, request: &ClaimRequest) -> Result<Vec<Claim>, DbError> {
    let limit = request.slots.clamp(0, CLAIM_JOBS_MAX);
    request.memory.leaves_nothing(false);
    if limit == 0 {
        return Ok(Vec::new());
    }
    let rows = match from_mark(tx, &request.memory, limit).await? {
        Some(rows) => rows,
        None => from_the_beginning(tx, request, limit).await?,
    };
    let jobs = rows.iter().map(Job::from_row).collect::<Result<_, _>>()?;
    take(tx, jobs, request).await
}

/// Looks behind the mark that an earlier claim left, if it left one and there is anything.
async fn from_mark(
    tx: &mut Tx<'_>,
    memory: &ClaimMemory,
    limit: i64,
) -> Result<Option<Vec<Row>>, DbError> {
    let now = tx.now_ms().await?;
    let Some((lane, order_ms)) = memory.begin(now) else {
        return Ok(None);
    };
    let row = tx.query_one(STANDING, params![now]).await?;
    // A queue can have been paused since; what the configuration says of the lane cannot change.
    if row.get("paused")? {
        memory.looked(None);
        return Ok(None);
    }
    if row.get("due")? {
        admit_due(tx).await?;
    }
    let rows = tx.query(CLAIMABLE, params![lane, order_ms, limit]).await?;
    let last = rows.last().map(place).transpose()?;
    memory.looked(last);
    Ok(last.map(|_| rows))
}

async fn from_the_beginning(
    tx: &mut Tx<'_>,
    request: &ClaimRequest,
    limit: i64,
) -> Result<Vec<Row>, DbError> {
    let now = tx.now_ms().await?;
    let mut walk = Stopwatch::start();
    let mut front = tx.query_one(FRONT, params![now]).await?;
    if front.get("due")? {
        admit_due(tx).await?;
        walk = Stopwatch::start();
        front = tx.query_one(FRONT, params![now]).await?;
    }
    let Some(lane) = front.get::<Option<String>>("lane")? else {
        request.memory.leaves_nothing(true);
        return Ok(Vec::new());
    };
    if !is_free(&front, &request.policy)? {
        return weigh(tx, &request.policy, limit).await;
    }
    let rows = tx.query(CLAIMABLE, params![&lane, i64::MIN, limit]).await?;
    let all = i64::try_from(rows.len()).is_ok_and(|count| count < limit);
    request.memory.leaves_nothing(all);
    if tx.engine() == Engine::Postgres
        && let Some(last) = rows.last()
    {
        request
            .memory
            .walked(&lane, place(last)?, now, walk.elapsed());
    }
    Ok(rows)
}

fn place(row: &Row) -> Result<i64, DbError> {
    Ok(order_ms(row.get("run_at_ms")?, row.get("priority")?))
}

/// Finds what comes first in a lane: `?1` is the lane, `?2` the place in its line from which on to
/// look, `?3` how many. A test looks at its plan.
pub const CLAIMABLE: &str = concat!(
    "SELECT ",
    live_job_columns!(),
    " FROM job WHERE line = 1 AND lane = ?1 AND order_ms >= ?2
    ORDER BY order_ms, number LIMIT ?3 /*skip locked*/"
);

/// Finds the first lane after `?1`. A test looks at its plan.
pub const NEXT_LANE: &str = "SELECT lane, queue, project, backend, flow_key FROM job
    WHERE line = 1 AND lane > ?1 ORDER BY lane LIMIT 1";

macro_rules! standing {
    () => {
        "CASE WHEN EXISTS (SELECT 1 FROM job WHERE line = 2 AND run_at_ms <= ?1)
            THEN CAST(1 AS BIGINT) ELSE 0 END AS due,
        CASE WHEN EXISTS (SELECT 1 FROM queue_pause) THEN CAST(1 AS BIGINT) ELSE 0 END AS paused"
    };
}

/// Whether the time `?1` has come for jobs that wait for it, and whether a queue is paused.
const STANDING: &str = concat!("SELECT ", standing!());

/// The same, and the first lane with whether there is another one. A test looks at its plan.
pub const FRONT: &str = concat!(
    "SELECT ",
    standing!(),
    ", f.lane, f.queue, f.project, f.backend, f.flow_key,
        CASE WHEN EXISTS (SELECT 1 FROM job WHERE line = 1 AND lane > f.lane)
            THEN CAST(1 AS BIGINT) ELSE 0 END AS more
    FROM (SELECT 1 AS one) AS o LEFT JOIN (SELECT lane, queue, project, backend, flow_key FROM job
        WHERE line = 1 ORDER BY lane LIMIT 1) AS f ON o.one = 1"
);

/// Whether the first lane is the only one, and no limit concerns it.
fn is_free(front: &Row, policy: &FlowPolicy) -> Result<bool, DbError> {
    let (queue, project): (String, String) = (front.get("queue")?, front.get("project")?);
    let backend: Option<String> = front.get("backend")?;
    Ok(!front.get::<bool>("more")?
        && !front.get::<bool>("paused")?
        && front.get::<Option<String>>("flow_key")?.is_none()
        && policy.leaves_alone(&queue, &project, backend.as_deref()))
}

/// Chooses among lanes, with the gate held: no other claim weighs at the same time, so what runs
/// is counted exactly.
async fn weigh(tx: &mut Tx<'_>, policy: &FlowPolicy, limit: i64) -> Result<Vec<Row>, DbError> {
    let gate = "SELECT after_lane FROM queue_gate WHERE one = 1 /*lock*/";
    let after: String = tx.query_one(gate, &[]).await?.get("after_lane")?;
    let lanes = lanes(tx, &after, limit).await?;
    let mut taken = Taken::default();
    for row in tx.query(RUNNING, &[]).await? {
        let (queue, project): (String, String) = (row.get("queue")?, row.get("project")?);
        let backend: Option<String> = row.get("backend")?;
        let key: Option<String> = row.get("flow_key")?;
        let lane = (&*queue, &*project, backend.as_deref(), key.as_deref());
        taken.add(lane, row.get("running")?);
    }
    let paused = crate::pause::paused_queues(tx).await?;
    let now = tx.now_ms().await?;
    let mut rates = crate::rate::Rates::read(tx, policy, now).await?;
    let picked = pick::pick(&lanes, policy, &paused, taken, &mut rates, limit);
    rates.write(tx).await?;
    rows_of(tx, &picked).await
}

const RUNNING: &str = "SELECT queue, project, backend, flow_key, COUNT(*) AS running FROM job
    WHERE lease_node IS NOT NULL GROUP BY queue, project, backend, flow_key";

/// Lanes from after `after` on and around, each with the first `limit` of its line. When there
/// are more than one claim looks at, the gate keeps where the next one begins.
async fn lanes(tx: &mut Tx<'_>, after: &str, limit: i64) -> Result<Vec<Lane>, DbError> {
    let mut lanes: Vec<Lane> = Vec::new();
    let (mut at, mut around) = (after.to_owned(), after.is_empty());
    while lanes.len() < CLAIM_LANES_MAX {
        let next = tx.query_opt(NEXT_LANE, params![&at]).await?;
        let Some(next) = next else {
            if std::mem::replace(&mut around, true) {
                break;
            }
            at = String::new();
            continue;
        };
        at = next.get("lane")?;
        if around && !after.is_empty() && *at > *after {
            break;
        }
        lanes.push(lane(tx, &at, limit).await?);
    }
    let end = if lanes.len() == CLAIM_LANES_MAX {
        &*at
    } else {
        ""
    };
    if end != after {
        let sql = "UPDATE queue_gate SET after_lane = ?1 WHERE one = 1";
        tx.execute_later(sql, params![end]).await?;
    }
    Ok(lanes)
}

async fn lane(tx: &mut Tx<'_>, lane: &str, limit: i64) -> Result<Lane, DbError> {
    let sql = "SELECT number, order_ms, queue, project, backend, flow_key, flow_key_max FROM job
        WHERE line = 1 AND lane = ?1 ORDER BY order_ms, number LIMIT ?2";
    let rows = tx.query(sql, params![lane, limit]).await?;
    let first = rows.first().ok_or_else(|| DbError::Column {
        column: "lane".to_owned(),
        found: "no row",
    })?;
    let waiting = |row: &Row| {
        Ok::<_, DbError>(Waiting {
            number: row.get("number")?,
            order_ms: row.get("order_ms")?,
        })
    };
    Ok(Lane {
        queue: first.get("queue")?,
        project: first.get("project")?,
        backend: first.get("backend")?,
        key: first.get("flow_key")?,
        key_max: first.get("flow_key_max")?,
        line: rows.iter().map(waiting).collect::<Result<_, _>>()?,
    })
}

async fn rows_of(tx: &mut Tx<'_>, numbers: &[i64]) -> Result<Vec<Row>, DbError> {
    let sql = concat!(
        "SELECT ",
        live_job_columns!(),
        " FROM job WHERE line = 1 AND number /*in list*/ ORDER BY number /*skip locked*/"
    );
    let list = List::of_ints(numbers.iter().copied());
    tx.query_list(sql, &[], &list).await
}

/// Gives locked jobs to the node.
async fn take(
    tx: &mut Tx<'_>,
    jobs: Vec<Job>,
    request: &ClaimRequest,
) -> Result<Vec<Claim>, DbError> {
    let now = tx.now_ms().await?;
    let held = Held {
        node: request.node.clone(),
        until_ms: lease_end(now, request.lease_ms),
    };
    let claims: Vec<Claim> = jobs
        .into_iter()
        .map(|job| claimed(job, &held, now))
        .collect();
    let sql = "UPDATE job SET fence = fence + 1, line = 0, lease_node = ?1, lease_until_ms = ?2,
            changed_at_ms = ?3,
            attempt_open = CASE WHEN state IN ('queued', 'rework') THEN 1 ELSE 0 END,
            state = CASE WHEN state IN ('queued', 'rework') THEN 'running' ELSE state END
        WHERE number /*in list*/";
    let values = params![held.node.as_str(), held.until_ms, now];
    let list = List::of_ints(claims.iter().map(|claim| claim.job.number));
    tx.execute_list_later(sql, values, &list).await?;
    let fences: Vec<(&JobId, Fence)> = claims
        .iter()
        .map(|claim| (&claim.job.id, claim.fence))
        .collect();
    skep_authority::grant(tx, &fences, held.node.as_str()).await?;
    for claim in &claims {
        let event = JobClaimed {
            fence: claim.fence,
            node: held.node.clone(),
            from: claim.found,
            to: claim.job.state,
            attempt: claim.attempt.clone(),
        };
        note(tx, &claim.job.id, &event).await?;
    }
    Ok(claims)
}

/// The job as the statement in [`take`] leaves it.
fn claimed(mut job: Job, held: &Held, now: i64) -> Claim {
    let found = job.state;
    job.fence = Fence(job.fence.0 + 1);
    job.attempt_open = found.claim_starts_attempt();
    if job.attempt_open {
        job.state = JobState::Running;
    }
    job.changed_at_ms = now;
    job.held = Some(held.clone());
    Claim {
        fence: job.fence,
        attempt: job.attempt_open.then(|| AttemptId::of(&job.id, job.fence)),
        found,
        job,
    }
}
