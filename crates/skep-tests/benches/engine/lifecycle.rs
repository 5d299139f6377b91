//! The life of a no-op job: the one place that calls the queue.
//!
//! What the queue offers for many jobs at once is used here and nowhere else in the benchmark.

use skep_db::{Db, DbError, Tx, Value, params};
use skep_queue::{AttemptEnd, Claim, ClaimMemory, ClaimRequest, Finish, Flow, NewJob};
use skep_stdx::{OsEntropy, SystemClock};
use skep_types::{AttemptState, JobId, JobKind, JobState, NodeId, Purpose, Tier};
use std::fmt::Write as _;
use std::sync::Arc;

/// What a job carries, in bytes; the same for every queue that is measured.
const PAYLOAD_BYTES: usize = 200;
/// What a job leaves, in bytes.
const RESULT_BYTES: usize = 100;
/// Long enough for every measurement; renewing is the heartbeat's own cost.
const LEASE_MS: i64 = 600_000;

/// One caller: a node of its own, and what it writes beside the queue's rows. Callers of one process
/// share what its claims remember.
#[derive(Clone)]
pub(crate) struct Caller {
    db: Db,
    node: NodeId,
    memory: Arc<ClaimMemory>,
    bare: bool,
}

impl Caller {
    /// A caller at `db`; a `bare` one writes no payloads and results.
    pub(crate) fn new(db: &Db, memory: &Arc<ClaimMemory>, bare: bool) -> Self {
        Self {
            db: db.clone(),
            node: NodeId::new(&SystemClock, &OsEntropy),
            memory: Arc::clone(memory),
            bare,
        }
    }

    /// Puts jobs in, in one transaction.
    pub(crate) async fn enqueue(&self, jobs: Vec<NewJob>) -> anyhow::Result<()> {
        let bare = self.bare;
        self.db
            .write("enqueue", async move |tx: &mut Tx<'_>| {
                skep_queue::enqueue_all(tx, &jobs).await?;
                if !bare {
                    let ids = jobs.iter().map(|job| job.id.as_str());
                    insert(tx, "bench_payload", ids, PAYLOAD_BYTES).await?;
                }
                Ok::<_, skep_queue::EnqueueError>(())
            })
            .await?;
        Ok(())
    }

    /// Whether the last claim left nobody in the line.
    pub(crate) fn left_nothing(&self) -> bool {
        self.memory.left_nothing()
    }

    /// Claims up to `slots` jobs, in one transaction.
    pub(crate) async fn claim(&self, slots: i64) -> anyhow::Result<Vec<Claim>> {
        let request = ClaimRequest {
            node: self.node.clone(),
            slots,
            lease_ms: LEASE_MS,
            policy: Arc::default(),
            memory: Arc::clone(&self.memory),
        };
        let claims = self.db.write("claim", async move |tx: &mut Tx<'_>| {
            skep_queue::claim(tx, &request).await
        });
        Ok(claims.await?)
    }

    /// Finishes jobs with their attempts and results, in one transaction.
    pub(crate) async fn finish(&self, claims: Vec<Claim>) -> anyhow::Result<()> {
        let bare = self.bare;
        let ended = self.db.write("finish", async move |tx: &mut Tx<'_>| {
            let finishes: Vec<Finish> = claims.iter().map(done).collect();
            let ended = skep_queue::finish_all(tx, &finishes).await?;
            if !bare {
                let ids = claims.iter().map(|claim| claim.job.id.as_str());
                insert(tx, "bench_result", ids, RESULT_BYTES).await?;
            }
            Ok::<_, DbError>(ended)
        });
        for outcome in ended.await? {
            outcome?;
        }
        Ok(())
    }

    /// A whole life of `count` jobs, in three transactions; the answer is how many ended. Another
    /// caller's jobs may be claimed instead of the own ones.
    pub(crate) async fn lifecycle(&self, count: i64) -> anyhow::Result<u64> {
        self.enqueue((0..count).map(new_job).collect()).await?;
        let claims = self.claim(count).await?;
        let ended = u64::try_from(claims.len())?;
        if ended > 0 {
            self.finish(claims).await?;
        }
        Ok(ended)
    }
}

fn done(claim: &Claim) -> Finish {
    Finish {
        lease: claim.lease(),
        to: JobState::Done,
        failure: None,
        attempt: AttemptEnd {
            state: AttemptState::Succeeded,
            failure_class: None,
            model_actual: None,
            session_id: None,
            counts_as_attempt: true,
        },
    }
}

/// One row for each id, in one statement.
async fn insert<'a>(
    tx: &mut Tx<'_>,
    table: &str,
    ids: impl ExactSizeIterator<Item = &'a str>,
    bytes: usize,
) -> Result<(), DbError> {
    let mut sql = format!("INSERT INTO {table} (job, body) VALUES");
    for row in 0..ids.len() {
        let comma = if row == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(sql, "{comma} (?{}, ?{})", row * 2 + 1, row * 2 + 2);
    }
    let body = "x".repeat(bytes);
    let values: Vec<Value> = ids.flat_map(|id| params![id, &body].to_vec()).collect();
    tx.execute(&sql, &values).await?;
    Ok(())
}

/// Projects and priorities that jobs are spread over.
const PROJECTS: [&str; 8] = [
    "apiary", "bellows", "clover", "dray", "elm", "furrow", "granary", "hedge",
];
const PRIORITIES: [i64; 5] = [0, 5, -5, 10, -10];

/// The job of this number: its project and its priority follow from it.
pub(crate) fn mixed_job(number: i64) -> NewJob {
    let index = usize::try_from(number.unsigned_abs()).unwrap_or_default();
    NewJob {
        project: PROJECTS[index % PROJECTS.len()].to_owned(),
        priority: PRIORITIES[index % PRIORITIES.len()],
        ..new_job(number)
    }
}

/// A job like every other.
pub(crate) fn new_job(_number: i64) -> NewJob {
    NewJob {
        id: JobId::new(&SystemClock, &OsEntropy),
        kind: JobKind::Call,
        purpose: Purpose::Requested,
        owner: "bench".to_owned(),
        project: "bench".to_owned(),
        tier: Tier::Convenience,
        priority: 0,
        run_at_ms: None,
        attempts_max: 1,
        parent: None,
        idempotency_key: None,
        idempotency_digest: Vec::new(),
        flow: Flow::default(),
    }
}
