//! Work for the queue without an end: nodes that ask for jobs, claim them and finish them, and a
//! book of what they were told.

use super::account;
use super::within;
use anyhow::{Context as _, ensure};
use skep_db::{Db, DbError, SchemaPart, Tx};
use skep_ledger::{LedgerError, LedgerKey, SealerService, sealer};
use skep_queue::{
    AdvanceError, AttemptEnd, Claim, ClaimMemory, ClaimRequest, EnqueueError, Finish, Flow, NewJob,
};
use skep_stdx::{OsEntropy, Stopwatch, SystemClock};
use skep_testkit::TestStore;
use skep_types::{AttemptState, JobId, JobKind, JobState, NodeId, Purpose, Tier};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The tables of a store with a queue.
pub(super) const SCHEMA: [SchemaPart; 3] = [
    skep_authority::SCHEMA,
    skep_ledger::SCHEMA,
    skep_queue::SCHEMA,
];

/// Nodes, each with connections, a sealer and a look for lapsed leases of its own.
const NODES: u64 = 2;
/// Tasks of one node that ask for jobs, and that work on them.
const PRODUCERS: u64 = 3;
const WORKERS: u64 = 6;
/// Jobs in one request and in one claim.
const REQUEST_JOBS: u64 = 8;
const CLAIM_JOBS: i64 = 8;
/// Jobs that wait before more are asked for.
const DEPTH: u64 = 256;
/// Short, so that what a broken claim leaves is free again soon; work takes no time.
const LEASE_MS: i64 = 1_000;
/// How often lapsed leases are looked for, and the longest wait without a wake-up.
const LOOK: Duration = Duration::from_millis(100);
/// The pause before a store that did not answer is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// The work and everybody who does it.
pub(super) struct Load {
    book: Arc<Book>,
    nodes: Vec<Node>,
    producers: Vec<JoinHandle<anyhow::Result<()>>>,
    workers: Vec<JoinHandle<anyhow::Result<()>>>,
    sealers: Vec<JoinHandle<Result<(), LedgerError>>>,
    key: LedgerKey,
    phase: watch::Sender<Phase>,
}

/// What everybody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Work,
    /// Nothing more is asked for.
    Finish,
    Stop,
}

/// What everybody was told.
#[derive(Default)]
struct Book {
    entries: Mutex<Entries>,
    progress: watch::Sender<Progress>,
    /// The number of the next request.
    next: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct Entries {
    /// The request of each job.
    requests: BTreeMap<JobId, u64>,
    /// Jobs whose request was granted.
    acknowledged: BTreeSet<JobId>,
    /// Jobs whose completion was accepted.
    accepted: BTreeSet<JobId>,
    /// Those, and jobs that the history has because of an answer that was lost.
    done: BTreeSet<JobId>,
}

/// How far the work is.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Progress {
    /// Jobs that are done.
    pub(super) done: u64,
    /// Jobs that were acknowledged.
    pub(super) acknowledged: u64,
    /// The newest request of which a job is done.
    newest: u64,
}

impl Book {
    fn change<T>(&self, change: impl FnOnce(&mut Entries, &mut Progress) -> T) -> T {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut progress = *self.progress.borrow();
        let answer = change(&mut entries, &mut progress);
        self.progress.send_replace(progress);
        answer
    }

    fn ask(&self, jobs: &[NewJob], request: u64) {
        let ids = jobs.iter().map(|job| (job.id.clone(), request));
        self.change(|entries, _| entries.requests.extend(ids));
    }

    fn acknowledge(&self, jobs: &[NewJob]) {
        self.change(|entries, progress| {
            for job in jobs {
                progress.acknowledged += u64::from(entries.acknowledged.insert(job.id.clone()));
            }
        });
    }

    /// A completion was accepted; whether it is the first of this job.
    fn accept(&self, job: &JobId) -> bool {
        self.done(job);
        self.change(|entries, _| entries.accepted.insert(job.clone()))
    }

    fn done(&self, job: &JobId) {
        self.change(|entries, progress| {
            progress.done += u64::from(entries.done.insert(job.clone()));
            let request = entries.requests.get(job).copied().unwrap_or_default();
            progress.newest = progress.newest.max(request);
        });
    }
}

/// One node of the store.
#[derive(Clone)]
struct Node {
    db: Db,
    id: NodeId,
    memory: Arc<ClaimMemory>,
    book: Arc<Book>,
    phase: watch::Receiver<Phase>,
}

impl Load {
    /// Opens the store for every node, and sets them to work.
    pub(super) async fn start(store: &TestStore) -> anyhow::Result<Self> {
        let key = LedgerKey::open_or_create(&store.folder().join("ledger.key"))?;
        let (phase, told) = watch::channel(Phase::Work);
        let mut load = Self {
            book: Arc::default(),
            nodes: Vec::new(),
            producers: Vec::new(),
            workers: Vec::new(),
            sealers: Vec::new(),
            key,
            phase,
        };
        for _ in 0..NODES {
            let before_commit = Some(sealer(load.key.clone()));
            let node = Node {
                db: store.open_on_real_clock(&SCHEMA, before_commit).await?,
                id: NodeId::new(&SystemClock, &OsEntropy),
                memory: Arc::default(),
                book: Arc::clone(&load.book),
                phase: told.clone(),
            };
            load.set_to_work(&node);
            load.nodes.push(node);
        }
        Ok(load)
    }

    fn set_to_work(&mut self, node: &Node) {
        let service = SealerService::new(node.db.clone(), self.key.clone());
        let mut phase = node.phase.clone();
        self.sealers.push(skep_stdx::spawn("sealer", async move {
            let stop = async { drop(phase.wait_for(|phase| *phase == Phase::Stop).await) };
            service.run(stop).await
        }));
        let look = node.clone().look_for_lapsed_leases();
        self.workers.push(skep_stdx::spawn("look", look));
        for _ in 0..PRODUCERS {
            let produce = node.clone().produce();
            self.producers.push(skep_stdx::spawn("producer", produce));
        }
        for _ in 0..WORKERS {
            let work = node.clone().work();
            self.workers.push(skep_stdx::spawn("worker", work));
        }
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        *self.book.progress.borrow()
    }

    /// How many completions were refused.
    pub(super) fn refused(&self) -> u64 {
        self.book.refused.load(Ordering::Relaxed)
    }

    /// Waits until it is as far as `enough` says. Fails when somebody who works has failed.
    pub(super) async fn until(
        &self,
        what: &str,
        enough: impl Fn(Progress) -> bool,
    ) -> anyhow::Result<()> {
        let mut progress = self.book.progress.subscribe();
        // Nothing may be asked while what was waited for is still held.
        let wait = async { progress.wait_for(|now| enough(*now)).await.map(drop) };
        let reached = within(what, wait).await;
        let (now, failed) = (
            self.progress(),
            self.workers.iter().any(JoinHandle::is_finished),
        );
        reached.with_context(|| format!("{now:?}, somebody has failed: {failed}"))??;
        Ok(())
    }

    /// Waits until `count` more jobs are done; the answer is how many a second that were.
    pub(super) async fn rate_of(&self, count: u64) -> anyhow::Result<f64> {
        let (watch, first) = (Stopwatch::start(), self.progress().done);
        let more = |progress: Progress| progress.done >= first + count;
        self.until("so many jobs are done", more).await?;
        Ok(self.rate_since(&watch, first))
    }

    /// Jobs done a second since `watch` was started, when `first` were done.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub(super) fn rate_since(&self, watch: &Stopwatch, first: u64) -> f64 {
        let count = self.progress().done - first;
        count as f64 / watch.elapsed().as_secs_f64()
    }

    /// Waits until a job is done that was asked for from now on; the answer is how long it took.
    pub(super) async fn recovered(&self) -> anyhow::Result<Duration> {
        let watch = Stopwatch::start();
        let from = self.book.next.load(Ordering::Relaxed);
        let met = |progress: Progress| progress.newest >= from;
        self.until("work goes on after the last fault", met).await?;
        Ok(watch.elapsed())
    }

    /// Asks for `count` jobs at once, beside what is asked for all the time.
    pub(super) async fn burst(&self, count: u64) -> anyhow::Result<()> {
        let mut requests = Vec::new();
        let mut left = count;
        while left > 0 {
            let size = left.min(1_000);
            left -= size;
            let node = self.nodes[requests.len() % self.nodes.len()].clone();
            requests.push(skep_stdx::spawn(
                "burst",
                async move { node.ask(size).await },
            ));
        }
        for request in requests {
            request.await??;
        }
        Ok(())
    }

    /// Lets everything that was acknowledged be done, and no more be asked for.
    pub(super) async fn finish(&mut self) -> anyhow::Result<()> {
        self.phase.send_replace(Phase::Finish);
        for producer in std::mem::take(&mut self.producers) {
            within("a producer ends", producer).await???;
        }
        let all = |progress: Progress| progress.done == progress.acknowledged;
        self.until("everything is done", all).await
    }

    /// Tells everybody to stop; the answer is how long it took.
    pub(super) async fn stop(&mut self) -> anyhow::Result<Duration> {
        let watch = Stopwatch::start();
        self.phase.send_replace(Phase::Stop);
        for worker in std::mem::take(&mut self.workers) {
            within("a worker stops", worker).await???;
        }
        for sealer in std::mem::take(&mut self.sealers) {
            within("a sealer stops", sealer).await???;
        }
        Ok(watch.elapsed())
    }

    /// Fails unless everything was done exactly once; after [`Load::stop`].
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        let book = &self.book;
        let acknowledged = book.change(|entries, _| entries.acknowledged.clone());
        let db = &self.nodes[0].db;
        account::settle(db, self.key.public(), &acknowledged, false).await
    }
}

impl Node {
    fn is_over(&self, phase: Phase) -> bool {
        *self.phase.borrow() > phase
    }

    async fn produce(self) -> anyhow::Result<()> {
        let mut progress = self.book.progress.subscribe();
        let mut phase = self.phase.clone();
        while !self.is_over(Phase::Work) {
            let room = |now: &Progress| now.acknowledged < now.done + DEPTH;
            tokio::select! {
                met = progress.wait_for(room) => drop(met?),
                _ = phase.changed() => return Ok(()),
            }
            self.ask(REQUEST_JOBS).await?;
        }
        Ok(())
    }

    /// Asks for jobs until the store has answered: under their keys, so that asking again makes
    /// no others.
    async fn ask(&self, count: u64) -> anyhow::Result<()> {
        let request = self.book.next.fetch_add(1, Ordering::Relaxed);
        let jobs: Vec<NewJob> = (0..count).map(|n| new_job(request, n)).collect();
        self.book.ask(&jobs, request);
        loop {
            let asked = jobs.clone();
            let answer = self.db.write("ask", async move |tx: &mut Tx<'_>| {
                skep_queue::enqueue_all(tx, &asked).await
            });
            match answer.await {
                Ok(_) => break,
                Err(EnqueueError::Db(error)) if error.may_pass() => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error).context("failed to ask for jobs"),
            }
        }
        self.book.acknowledge(&jobs);
        Ok(())
    }

    async fn work(self) -> anyhow::Result<()> {
        let mut queue = self.db.listen(skep_queue::TOPIC);
        let mut phase = self.phase.clone();
        while !self.is_over(Phase::Finish) {
            match self.claim().await {
                Ok(claims) if claims.is_empty() => {
                    tokio::select! {
                        _ = queue.changed() => {}
                        _ = phase.changed() => {}
                        () = tokio::time::sleep(LOOK) => {}
                    }
                }
                Ok(claims) => self.finish(&claims).await?,
                Err(error) if error.may_pass() => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(error).context("failed to claim"),
            }
        }
        Ok(())
    }

    async fn claim(&self) -> Result<Vec<Claim>, DbError> {
        let request = ClaimRequest {
            node: self.id.clone(),
            slots: CLAIM_JOBS,
            lease_ms: LEASE_MS,
            policy: Arc::default(),
            memory: Arc::clone(&self.memory),
        };
        let claim = async move |tx: &mut Tx<'_>| skep_queue::claim(tx, &request).await;
        self.db.write("claim", claim).await
    }

    /// Finishes jobs until the store has answered. A completion that may have been accepted before is
    /// refused the second time; the history says who was right.
    async fn finish(&self, claims: &[Claim]) -> anyhow::Result<()> {
        let ended = loop {
            let finishes: Vec<Finish> = claims.iter().map(done).collect();
            let finish = async move |tx: &mut Tx<'_>| skep_queue::finish_all(tx, &finishes).await;
            match self.db.write("finish", finish).await {
                Ok(ended) => break ended,
                Err(error) if error.may_pass() => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(error).context("failed to finish"),
            }
        };
        for (claim, outcome) in claims.iter().zip(ended) {
            match outcome {
                Ok(job) => ensure!(self.book.accept(&job.id), "{} was accepted twice", job.id),
                Err(AdvanceError::Stale { .. } | AdvanceError::NotFound) => {
                    self.book.refused.fetch_add(1, Ordering::Relaxed);
                    if self.has_ended(&claim.job.id).await? {
                        self.book.done(&claim.job.id);
                    }
                }
                Err(error) => return Err(error).context("a completion was refused"),
            }
        }
        Ok(())
    }

    async fn has_ended(&self, job: &JobId) -> anyhow::Result<bool> {
        loop {
            let job = job.clone();
            let read = async move |tx: &mut Tx<'_>| skep_queue::job(tx, &job).await;
            match self.db.read("look", read).await {
                Ok(found) => {
                    let found = found.context("the job is nowhere")?;
                    return Ok(found.state.is_terminal());
                }
                Err(error) if error.may_pass() => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(error).context("failed to look at a job"),
            }
        }
    }

    /// Takes back what a claim with a lost answer holds, and what was held when nothing was
    /// heard of the store.
    async fn look_for_lapsed_leases(self) -> anyhow::Result<()> {
        let mut phase = self.phase.clone();
        while !self.is_over(Phase::Finish) {
            let take = async |tx: &mut Tx<'_>| skep_queue::reconcile(tx, None).await;
            match self.db.write("take back", take).await {
                Ok(_) => {}
                Err(error) if error.may_pass() => {}
                Err(error) => return Err(error).context("failed to take leases back"),
            }
            tokio::select! {
                _ = phase.wait_for(|phase| *phase == Phase::Stop) => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        Ok(())
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

fn new_job(request: u64, number: u64) -> NewJob {
    NewJob {
        id: JobId::new(&SystemClock, &OsEntropy),
        kind: JobKind::Call,
        purpose: Purpose::Requested,
        owner: "chaos".to_owned(),
        project: "chaos".to_owned(),
        tier: Tier::Convenience,
        priority: 0,
        run_at_ms: None,
        attempts_max: 1,
        parent: None,
        idempotency_key: Some(format!("{request}-{number}")),
        idempotency_digest: request.to_le_bytes().to_vec(),
        flow: Flow::default(),
    }
}
