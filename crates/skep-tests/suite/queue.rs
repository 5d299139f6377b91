//! The queue: nothing lost, nothing run twice, every change on record.

mod advance;
mod attempt;
mod batch;
mod claim;
mod end;
mod enqueue;
mod flow;
mod graph;
mod lease;
mod list;
mod schedule;

use crate::ledger::Ledgered;
use skep_db::{Db, DbError, SchemaPart, Tx};
use skep_ledger::{SealedEvent, SealerService};
use skep_queue::{
    Advance, AdvanceError, Attempt, AttemptEnd, AttemptError, AttemptStart, CancelError, Cancelled,
    Claim, ClaimRequest, EnqueueError, Enqueued, Flow, FlowPolicy, Job, Lease, NewJob, Reconciled,
    RetryError, WakeError,
};
use skep_stdx::{ManualClock, SeededEntropy};
use skep_testkit::TestStore;
use skep_types::{
    AttemptId, AttemptState, FailureClass, JobId, JobKind, JobState, NodeId, Purpose, Tier,
};
use std::sync::Arc;

/// How long a lease lasts in these tests.
const LEASE_MS: i64 = 45_000;

/// A queue on a store of its own, and every operation on it as a transaction of its own.
#[derive(Clone)]
pub(crate) struct Hive {
    pub(crate) db: Db,
    pub(crate) ledger: Arc<Ledgered>,
    clock: ManualClock,
    ids: Arc<SeededEntropy>,
    policy: Arc<FlowPolicy>,
}

impl Hive {
    async fn open(store: &TestStore) -> anyhow::Result<Self> {
        Self::open_with_ids(store, 1).await
    }

    async fn open_with_ids(store: &TestStore, seed: u64) -> anyhow::Result<Self> {
        let parts = [
            skep_authority::SCHEMA,
            skep_ledger::SCHEMA,
            skep_queue::SCHEMA,
        ];
        Self::open_with(store, &parts, seed).await
    }

    /// A queue among the tables of `parts`.
    pub(crate) async fn open_with(
        store: &TestStore,
        parts: &[SchemaPart],
        seed: u64,
    ) -> anyhow::Result<Self> {
        let ledger = Ledgered::open(store, parts).await?;
        Ok(Self {
            db: ledger.db.clone(),
            ledger: Arc::new(ledger),
            clock: store.clock.clone(),
            ids: Arc::new(SeededEntropy::new(seed)),
            policy: Arc::default(),
        })
    }

    /// The same queue after it was carried to `store`, which is open as `db`.
    pub(crate) fn on(&self, store: &TestStore, db: Db) -> Self {
        let key = self.ledger.key.clone();
        let ledger = Ledgered {
            sealer: SealerService::new(db.clone(), key.clone()),
            db: db.clone(),
            key,
        };
        Self {
            db,
            ledger: Arc::new(ledger),
            clock: store.clock.clone(),
            ids: Arc::clone(&self.ids),
            policy: self.policy.clone(),
        }
    }

    pub(crate) fn node(&self) -> NodeId {
        NodeId::new(&self.clock, &*self.ids)
    }

    fn new_job(&self) -> NewJob {
        NewJob {
            id: JobId::new(&self.clock, &*self.ids),
            kind: JobKind::Agent,
            purpose: Purpose::Requested,
            owner: "ada".to_owned(),
            project: "hive".to_owned(),
            tier: Tier::Sensitive,
            priority: 0,
            run_at_ms: None,
            attempts_max: 3,
            parent: None,
            idempotency_key: None,
            idempotency_digest: Vec::new(),
            flow: Flow::default(),
        }
    }

    async fn enqueue(&self, new: NewJob) -> Result<Enqueued, EnqueueError> {
        self.db
            .write("enqueue", async move |tx: &mut Tx<'_>| {
                skep_queue::enqueue(tx, &new).await
            })
            .await
    }

    /// A fresh job with nothing special about it.
    pub(crate) async fn enqueue_any(&self) -> Result<JobId, EnqueueError> {
        Ok(self.enqueue(self.new_job()).await?.id)
    }

    fn request(&self, node: &NodeId, slots: i64) -> ClaimRequest {
        ClaimRequest {
            node: node.clone(),
            slots,
            lease_ms: LEASE_MS,
            policy: Arc::clone(&self.policy),
            memory: Arc::default(),
        }
    }

    pub(crate) async fn claim(&self, node: &NodeId, slots: i64) -> Result<Vec<Claim>, DbError> {
        let request = self.request(node, slots);
        self.db
            .write("claim", async move |tx: &mut Tx<'_>| {
                skep_queue::claim(tx, &request).await
            })
            .await
    }

    /// The one job that a free slot gets.
    pub(crate) async fn claim_one(&self, node: &NodeId) -> anyhow::Result<Claim> {
        let claim = self.claim(node, 1).await?.pop();
        claim.ok_or_else(|| anyhow::anyhow!("there was nothing to claim"))
    }

    async fn heartbeat(&self, node: &NodeId) -> Result<Vec<JobId>, DbError> {
        let node = node.clone();
        self.db
            .write("heartbeat", async move |tx: &mut Tx<'_>| {
                let filter = skep_queue::JobFilter::default();
                let page = skep_queue::jobs(tx, &filter, None, 1_000).await?;
                let jobs: Vec<JobId> = page.items.into_iter().map(|job| job.id).collect();
                skep_queue::heartbeat(tx, &node, &jobs, LEASE_MS).await
            })
            .await
    }

    pub(crate) async fn started(
        &self,
        lease: &Lease,
        attempt: &AttemptId,
    ) -> Result<(), AttemptError> {
        let (lease, attempt) = (lease.clone(), attempt.clone());
        let start = AttemptStart {
            harness: "skep".to_owned(),
            model_requested: Some("stub-large".to_owned()),
            session_id: Some("session-1".to_owned()),
        };
        self.db
            .write("start", async move |tx: &mut Tx<'_>| {
                skep_queue::attempt_started(tx, &lease, &attempt, &start).await
            })
            .await
    }

    pub(crate) async fn ended(
        &self,
        lease: &Lease,
        attempt: &AttemptId,
        end: AttemptEnd,
    ) -> Result<(), AttemptError> {
        let (lease, attempt) = (lease.clone(), attempt.clone());
        self.db
            .write("end", async move |tx: &mut Tx<'_>| {
                skep_queue::attempt_ended(tx, &lease, &attempt, &end).await
            })
            .await
    }

    /// As [`Hive::advance_as`], giving up the lease.
    pub(crate) async fn advance(&self, lease: &Lease, to: JobState) -> Result<Job, AdvanceError> {
        self.advance_as(lease, to, Advance::default()).await
    }

    pub(crate) async fn advance_as(
        &self,
        lease: &Lease,
        to: JobState,
        how: Advance,
    ) -> Result<Job, AdvanceError> {
        let asked = lease.clone();
        let advanced = self
            .db
            .write("advance", async move |tx: &mut Tx<'_>| {
                skep_queue::advance(tx, &asked, to, how).await
            })
            .await;
        // As the product does it: what is refused is recorded in a transaction of its own.
        if let Err(error) = &advanced
            && let Some(reason) = error.refusal()
        {
            let lease = lease.clone();
            self.db
                .write("refused", async move |tx: &mut Tx<'_>| {
                    let fence = Some(lease.fence);
                    skep_queue::record_refusal(tx, &lease.job, reason, Some(to), fence).await
                })
                .await?;
        }
        advanced
    }

    async fn wake(&self, job: &JobId, from: JobState, to: JobState) -> Result<bool, WakeError> {
        let job = job.clone();
        self.db
            .write("wake", async move |tx: &mut Tx<'_>| {
                skep_queue::wake_job(tx, &job, from, to).await
            })
            .await
    }

    async fn cancel(&self, job: &JobId) -> Result<Cancelled, CancelError> {
        let job = job.clone();
        self.db
            .write("cancel", async move |tx: &mut Tx<'_>| {
                skep_queue::cancel(tx, &job).await
            })
            .await
    }

    async fn retry(&self, job: &JobId, extra: i64) -> Result<Job, RetryError> {
        let job = job.clone();
        self.db
            .write("retry", async move |tx: &mut Tx<'_>| {
                skep_queue::retry(tx, &job, extra).await
            })
            .await
    }

    async fn reconcile(&self, restarted: Option<&NodeId>) -> Result<Reconciled, DbError> {
        let restarted = restarted.cloned();
        self.db
            .write("reconcile", async move |tx: &mut Tx<'_>| {
                skep_queue::reconcile(tx, restarted.as_ref()).await
            })
            .await
    }

    async fn bound_leases(&self) -> Result<u64, DbError> {
        self.db
            .write("bound", async |tx: &mut Tx<'_>| {
                skep_queue::bound_leases(tx, LEASE_MS).await
            })
            .await
    }

    pub(crate) async fn job(&self, id: &JobId) -> anyhow::Result<Job> {
        let id = id.clone();
        self.db
            .read("job", async move |tx: &mut Tx<'_>| {
                skep_queue::job(tx, &id).await
            })
            .await?
            .ok_or_else(|| anyhow::anyhow!("there is no such job"))
    }

    async fn attempts(&self, job: &JobId) -> Result<Vec<Attempt>, DbError> {
        let job = job.clone();
        self.db
            .read("attempts", async move |tx: &mut Tx<'_>| {
                skep_queue::attempts(tx, &job).await
            })
            .await
    }

    /// Every event about `job`, sealed.
    async fn events_of(&self, job: &JobId) -> anyhow::Result<Vec<SealedEvent>> {
        let mut events = self.ledger.events().await?;
        events.retain(|event| event.subject == job.as_str());
        Ok(events)
    }

    async fn kinds_of(&self, job: &JobId) -> anyhow::Result<Vec<String>> {
        let events = self.events_of(job).await?;
        Ok(events.into_iter().map(|event| event.kind).collect())
    }

    /// Whether `lease` still gives authority over its job.
    pub(crate) async fn is_current(&self, lease: &Lease) -> anyhow::Result<bool> {
        let lease = lease.clone();
        let demanded = self
            .db
            .write("demand", async move |tx: &mut Tx<'_>| {
                skep_authority::demand(tx, &lease.job, lease.fence).await
            })
            .await;
        match demanded {
            Ok(()) => Ok(true),
            Err(skep_authority::AuthorityError::Stale { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// In how many rows of `job` and of `job_history` the job is.
    async fn places(&self, job: &JobId) -> anyhow::Result<(i64, i64)> {
        let job = job.clone();
        let row = self
            .db
            .read("places", async move |tx: &mut Tx<'_>| {
                let sql = "SELECT (SELECT COUNT(*) FROM job WHERE id = ?1) AS live,
                    (SELECT COUNT(*) FROM job_history WHERE id = ?1) AS ended";
                tx.query_one(sql, skep_db::params![job.as_str()]).await
            })
            .await?;
        Ok((row.get("live")?, row.get("ended")?))
    }
}

/// An attempt that failed and counts.
fn crashed() -> AttemptEnd {
    AttemptEnd {
        state: AttemptState::Failed,
        failure_class: Some(FailureClass::WorkerCrash),
        model_actual: None,
        session_id: None,
        counts_as_attempt: true,
    }
}

/// An attempt that left a contract.
pub(crate) fn succeeded() -> AttemptEnd {
    AttemptEnd {
        state: AttemptState::Succeeded,
        failure_class: None,
        model_actual: Some("stub-large".to_owned()),
        session_id: None,
        counts_as_attempt: true,
    }
}

/// The attempt of a claim that starts one.
pub(crate) fn attempt_of(claim: &Claim) -> anyhow::Result<AttemptId> {
    let attempt = claim.attempt.clone();
    attempt.ok_or_else(|| anyhow::anyhow!("the claim starts no attempt"))
}

/// Goes on with the same slot.
pub(crate) const KEEP: Advance = Advance {
    keep_lease: true,
    failure: None,
    run_at_ms: None,
};
