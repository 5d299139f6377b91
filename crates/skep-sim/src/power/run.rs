//! Power cuts: a queue under group commit on a disk that dies, and what the machine finds then.
//!
//! A chain of cuts goes on with what the last one left. In each link clients ask for jobs, claim
//! and end them, many to a commit, until the disk dies in the middle of a change; then the store
//! is opened again on one of the states that the disk may be in. Checked: every answer that was
//! given still holds; what was not answered is there wholly or not at all, which the events of
//! each job tell; SQLite finds its file whole; the ledger verifies.

use super::disk::{Disk, Fault, Loss, Sync};
use crate::simulate::{Dice, Story, Telling};
use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use skep_db::{Db, DbError, DbOptions, Location, Tx, params};
use skep_ledger::LedgerKey;
use skep_queue::{
    Advance, AdvanceError, Attempt, AttemptEnd, AttemptError, Claim, ClaimRequest, EnqueueError,
    Flow, Job, NewJob,
};
use skep_stdx::{ManualClock, SeededEntropy, Stopwatch};
use skep_types::{AttemptState, JobId, JobKind, JobState, NodeId, Purpose, Tier};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Cuts of one chain; then a fresh store begins, so that the cuts also fall into its making.
const CUTS_OF_A_CHAIN: u64 = 24;
/// The latest change at which the power goes; a commit makes some dozens, a chain some thousands,
/// so that cuts fall into checkpoints too.
const CHANGES_MAX: usize = 1_500;
/// Operations in one commit.
const OPERATIONS_MAX: usize = 24;
/// Jobs in one claim.
const SLOTS_MAX: usize = 6;
/// Commits between two errors of the disk, and during each.
const COMMITS_BETWEEN: usize = 4;
const LEASE_MS: i64 = 60_000;
/// When every chain begins, in milliseconds since 1970: 2026-01-01.
const BEGIN_MS: i64 = 1_767_225_600_000;

/// What a run found.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Cuts, or spells of an error, that were survived.
    pub cuts: u64,
    /// Answers that were given before them and held after.
    pub acknowledged: u64,
    /// Commits that failed, with all that was in them.
    pub lost_commits: u64,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// The seed of the first chain that failed, and how.
    pub failure: Option<(u64, String)>,
}

/// What clients were told; all of it must hold for ever.
#[derive(Debug, Clone, Default)]
struct Told {
    asked: BTreeSet<JobId>,
    done: BTreeSet<JobId>,
    /// Claims under way, of which none may be given to another.
    held: BTreeMap<JobId, Claim>,
}

impl Told {
    fn len(&self) -> usize {
        self.asked.len() + self.done.len()
    }
}

/// One store on one simulated disk.
struct Site {
    folder: TempDir,
    disk: Arc<Disk>,
    /// The key lies beside the disk: it was written and synced long ago.
    key: LedgerKey,
    clock: ManualClock,
}

/// Cuts the power `cuts` times, in chains of seeds from `first` on, until an answer does not hold.
pub async fn cut(first: u64, cuts: u64, sync: Sync) -> Result<Outcome> {
    let watch = Stopwatch::start();
    let mut outcome = Outcome::default();
    let mut seed = first;
    while outcome.cuts < cuts && outcome.failure.is_none() {
        let links = CUTS_OF_A_CHAIN.min(cuts - outcome.cuts);
        if let Err(error) = chain(seed, links, sync, &mut outcome).await {
            outcome.failure = Some((seed, format!("{error:#}")));
        }
        seed += 1;
    }
    outcome.took_ms = watch.elapsed_ms();
    Ok(outcome)
}

async fn chain(seed: u64, links: u64, sync: Sync, outcome: &mut Outcome) -> Result<()> {
    let mut dice = Dice::new(seed);
    let clock = ManualClock::at(BEGIN_MS);
    let ids = Ids {
        clock: clock.clone(),
        entropy: SeededEntropy::new(seed),
    };
    let base = tempfile::tempdir_in(crate::memory_folder())?;
    let key = LedgerKey::open_or_create(&base.path().join("ledger.key"))?;
    let mut site = Site::new(tempfile::tempdir_in(base.path())?, sync, key, clock)?;
    let mut told = Told::default();
    for link in 0..links {
        let changes = u64::try_from(1 + dice.below(CHANGES_MAX))?;
        site.disk.cut_after(changes);
        let before = told.len();
        if let Ok(db) = site.open().await {
            let node = NodeId::new(&ids.clock, &ids.entropy);
            // A cut may come before the engine is up; then it never was.
            let up = take_back(&db, &site, &mut told).await.is_ok();
            while up && !site.disk.is_dead() {
                outcome.lost_commits += commit(&db, &node, &mut dice, &ids, &mut told).await;
            }
        }
        ensure!(site.disk.is_dead(), "the store failed before the power did");
        // Closing changes nothing more, and what is found must not depend on when it happens.
        site.disk.wait_closed();
        let loss = dice.of(Loss::ALL);
        let found = tempfile::tempdir_in(base.path())?;
        site.disk.after_cut(found.path(), loss, &mut dice)?;
        site = Site::new(found, sync, site.key.clone(), site.clock.clone())?;
        let what = || format!("cut {link} at change {changes}, {loss:?} of the unsynced lost");
        let db = site.open().await.with_context(what)?;
        check(&db, &site, &told).await.with_context(what)?;
        drop(db);
        site.disk.wait_closed();
        outcome.cuts += 1;
        outcome.acknowledged += u64::try_from(told.len() - before)?;
    }
    Ok(())
}

/// Lets the disk fail for a few commits, again and again, and goes on with the same open store.
pub async fn fail(first: u64, spells: u64) -> Result<Outcome> {
    let watch = Stopwatch::start();
    let mut outcome = Outcome::default();
    let mut seed = first;
    while outcome.cuts < spells && outcome.failure.is_none() {
        let spells = CUTS_OF_A_CHAIN.min(spells - outcome.cuts);
        if let Err(error) = spells_of(seed, spells, &mut outcome).await {
            outcome.failure = Some((seed, format!("{error:#}")));
        }
        seed += 1;
    }
    outcome.took_ms = watch.elapsed_ms();
    Ok(outcome)
}

async fn spells_of(seed: u64, spells: u64, outcome: &mut Outcome) -> Result<()> {
    let mut dice = Dice::new(seed);
    let clock = ManualClock::at(BEGIN_MS);
    let ids = Ids {
        clock: clock.clone(),
        entropy: SeededEntropy::new(seed),
    };
    let base = tempfile::tempdir_in(crate::memory_folder())?;
    let key = LedgerKey::open_or_create(&base.path().join("ledger.key"))?;
    let site = Site::new(
        tempfile::tempdir_in(base.path())?,
        Sync::Honest,
        key.clone(),
        clock.clone(),
    )?;
    let db = site.open().await?;
    let node = NodeId::new(&ids.clock, &ids.entropy);
    let mut told = Told::default();
    for _ in 0..spells {
        let before = told.len();
        for _ in 0..=dice.below(COMMITS_BETWEEN) {
            let lost = commit(&db, &node, &mut dice, &ids, &mut told).await;
            ensure!(lost == 0, "the disk is well and a commit fails");
        }
        let fault = dice.of(&[Fault::Full, Fault::Write, Fault::Sync, Fault::ReadOnly]);
        site.disk.fail(Some(fault));
        for _ in 0..=dice.below(COMMITS_BETWEEN) {
            outcome.lost_commits += commit(&db, &node, &mut dice, &ids, &mut told).await;
        }
        ensure!(site.disk.fail(None) > 0, "{fault:?} met no change");
        check(&db, &site, &told)
            .await
            .with_context(|| format!("after {fault:?}"))?;
        outcome.cuts += 1;
        outcome.acknowledged += u64::try_from(told.len() - before)?;
    }
    // And then the power goes, right after the last answer.
    site.disk.cut_after(1);
    commit(&db, &node, &mut dice, &ids, &mut told).await;
    let found = tempfile::tempdir_in(base.path())?;
    let loss = dice.of(Loss::ALL);
    site.disk.after_cut(found.path(), loss, &mut dice)?;
    let site = Site::new(found, Sync::Honest, key, clock)?;
    let db = site.open().await?;
    let what = || format!("after the cut at the end, {loss:?} of the unsynced lost");
    check(&db, &site, &told).await.with_context(what)
}

impl Site {
    fn new(folder: TempDir, sync: Sync, key: LedgerKey, clock: ManualClock) -> Result<Self> {
        let disk = Disk::new(&folder.path().canonicalize()?, sync);
        Ok(Self {
            folder,
            disk,
            key,
            clock,
        })
    }

    fn file(&self) -> Result<PathBuf> {
        Ok(self.folder.path().canonicalize()?.join("skep.db"))
    }

    async fn open(&self) -> Result<Db> {
        let options = DbOptions {
            location: Location::Sqlite(self.file()?),
            schema: vec![
                skep_authority::SCHEMA,
                skep_ledger::SCHEMA,
                skep_queue::SCHEMA,
            ],
            clock: Some(Arc::new(self.clock.clone())),
            before_commit: Some(skep_ledger::sealer(self.key.clone())),
        };
        Ok(Db::open(options).await?)
    }
}

/// What one operation was answered.
enum Reply {
    Asked(JobId),
    Claimed(Vec<Claim>),
    Done(JobId),
}

/// Why an operation was not carried out; nothing here tells one reason from another.
#[derive(Debug)]
struct Undone;

macro_rules! undone {
    ($($error:ty),+) => { $(impl From<$error> for Undone {
        fn from(_: $error) -> Self { Self }
    })+ };
}
undone!(DbError, EnqueueError, AdvanceError, AttemptError);

type Operation = Pin<Box<dyn Future<Output = Result<Reply, Undone>> + Send>>;

/// Several operations in one commit; what was answered is entered in `told`. The answer is 1 if
/// none of them was committed.
///
/// A first operation holds the writer until all the others stand in line, so that which of them
/// share a commit does not depend on how fast the machine is.
async fn commit(db: &Db, node: &NodeId, dice: &mut Dice, ids: &Ids, told: &mut Told) -> u64 {
    let count = 1 + dice.below(OPERATIONS_MAX);
    let operations: Vec<Operation> = (0..count)
        .map(|_| operation(db, node, dice, ids, told))
        .collect();
    let (started, has_started) = oneshot::channel();
    let (release, released) = mpsc::channel::<()>();
    let held = Mutex::new((Some(started), released));
    let gate = db.write("gate", async move |_: &mut Tx<'_>| {
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waited may be gone; then there is nothing to hold.
        let _ = held.0.take().map(|started| started.send(()));
        let _ = held.1.recv();
        Ok::<_, DbError>(())
    });
    let line_up = async {
        // A dead disk begins no transaction, and so never starts.
        drop(has_started.await);
        let mut all = join_all(operations);
        std::future::poll_fn(|context| {
            let polled = Pin::new(&mut all).poll(context);
            let _ = release.send(());
            polled
        })
        .await
    };
    let (_, replies) = futures_util::future::join(gate, line_up).await;
    let lost = replies.iter().all(Result::is_err);
    for reply in replies.into_iter().flatten() {
        match reply {
            Reply::Asked(job) => drop(told.asked.insert(job)),
            Reply::Done(job) => drop(told.done.insert(job)),
            Reply::Claimed(claims) => told.held.extend(
                claims
                    .into_iter()
                    .map(|claim| (claim.job.id.clone(), claim)),
            ),
        }
    }
    u64::from(lost)
}

fn operation(db: &Db, node: &NodeId, dice: &mut Dice, ids: &Ids, told: &mut Told) -> Operation {
    let db = db.clone();
    match dice.below(10) {
        0..3 if !told.held.is_empty() => {
            let place = dice.below(told.held.len());
            let job = told.held.keys().nth(place).cloned();
            let Some(claim) = job.and_then(|job| told.held.remove(&job)) else {
                return ask(db, ids.new_job());
            };
            finish(db, claim)
        }
        0..5 => {
            let slots = 1 + dice.below(SLOTS_MAX);
            claim(db, ids.request(node, slots))
        }
        _ => ask(db, ids.new_job()),
    }
}

fn ask(db: Db, new: NewJob) -> Operation {
    Box::pin(async move {
        db.write("ask", async move |tx: &mut Tx<'_>| {
            let asked = skep_queue::enqueue(tx, &new).await?;
            Ok(Reply::Asked(asked.id))
        })
        .await
    })
}

fn claim(db: Db, request: ClaimRequest) -> Operation {
    Box::pin(async move {
        db.write("claim", async move |tx: &mut Tx<'_>| {
            Ok(Reply::Claimed(skep_queue::claim(tx, &request).await?))
        })
        .await
    })
}

fn finish(db: Db, claim: Claim) -> Operation {
    Box::pin(async move {
        db.write("finish", async move |tx: &mut Tx<'_>| {
            let lease = claim.lease();
            if let Some(attempt) = &claim.attempt {
                let end = AttemptEnd {
                    state: AttemptState::Succeeded,
                    failure_class: None,
                    model_actual: None,
                    session_id: None,
                    counts_as_attempt: true,
                };
                skep_queue::attempt_ended(tx, &lease, attempt, &end).await?;
            }
            let how = Advance::default();
            let job = skep_queue::advance(tx, &lease, JobState::Done, how).await?;
            Ok(Reply::Done(job.id))
        })
        .await
    })
}

/// Takes back what nobody works on any more, as an engine does at its start.
async fn take_back(db: &Db, site: &Site, told: &mut Told) -> Result<()> {
    told.held.clear();
    site.clock.advance_ms(LEASE_MS + 1);
    loop {
        let lost = db
            .write("reconcile", async |tx: &mut Tx<'_>| {
                skep_queue::reconcile(tx, None).await
            })
            .await?;
        if lost.lost.is_empty() {
            return Ok(());
        }
    }
}

/// Whether what was answered holds, and all there is is whole.
async fn check(db: &Db, site: &Site, told: &Told) -> Result<()> {
    let whole = db
        .read("integrity", async |tx: &mut Tx<'_>| {
            let rows = tx.query("PRAGMA integrity_check", &[]).await?;
            rows.iter()
                .map(|row| row.get::<String>("integrity_check"))
                .collect()
        })
        .await;
    let whole: Vec<String> = whole.map_err(|error: DbError| error)?;
    ensure!(whole == ["ok"], "the file is not whole: {whole:?}");
    let (tellings, rows) = (tellings(db).await?, rows(db).await?);
    ensure!(
        rows.len() == tellings.len(),
        "there are {} jobs, and events of {}",
        rows.len(),
        tellings.len()
    );
    for (id, (job, attempts)) in &rows {
        let told = tellings.get(id.as_str()).map(Telling::story);
        let found = Story::of_rows(job, attempts);
        ensure!(told == Some(&found), "{id}: its events are not its row");
    }
    for id in &told.asked {
        ensure!(rows.contains_key(id), "{id} was acknowledged and is gone");
    }
    for id in &told.done {
        let state = rows.get(id).map(|(job, _)| job.state);
        ensure!(
            state == Some(JobState::Done),
            "{id} was done and is {state:?}"
        );
    }
    for (id, claim) in &told.held {
        let held = rows.get(id).and_then(|(job, _)| job.held.as_ref());
        let node = claim.job.held.as_ref().map(|held| &held.node);
        ensure!(
            held.map(|held| &held.node) == node,
            "{id} was claimed and is held by {held:?}"
        );
    }
    let report = skep_ledger::verify(db, site.key.public()).await?;
    ensure!(report.first_bad.is_none(), "{:?}", report.first_bad);
    Ok(())
}

/// What the events tell of each job.
async fn tellings(db: &Db) -> Result<BTreeMap<String, Telling>> {
    let mut tellings: BTreeMap<String, Telling> = BTreeMap::new();
    let mut read_to = 0;
    loop {
        let page = db
            .read("tail", async move |tx: &mut Tx<'_>| {
                skep_ledger::tail(tx, read_to, skep_ledger::limits::TAIL_EVENTS_MAX).await
            })
            .await?;
        for event in &page {
            read_to = event.seq;
            match tellings.get_mut(&event.subject) {
                Some(telling) => telling.go_on(event)?,
                None => {
                    tellings.insert(event.subject.clone(), Telling::begin(event)?);
                }
            }
        }
        if page.is_empty() {
            return Ok(tellings);
        }
    }
}

/// Every job there is, with its attempts.
async fn rows(db: &Db) -> Result<BTreeMap<JobId, (Job, Vec<Attempt>)>> {
    let rows = db
        .read("rows", async |tx: &mut Tx<'_>| {
            let mut rows = BTreeMap::new();
            let sql = "SELECT id FROM job_all WHERE number > ?1";
            for row in tx.query(sql, params![0]).await? {
                let id: JobId = row.parse("id")?;
                if let Some(job) = skep_queue::job(tx, &id).await? {
                    rows.insert(id.clone(), (job, skep_queue::attempts(tx, &id).await?));
                }
            }
            Ok::<_, DbError>(rows)
        })
        .await?;
    Ok(rows)
}

/// Where ids come from.
struct Ids {
    clock: ManualClock,
    entropy: SeededEntropy,
}

impl Ids {
    fn new_job(&self) -> NewJob {
        NewJob {
            id: JobId::new(&self.clock, &self.entropy),
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

    fn request(&self, node: &NodeId, slots: usize) -> ClaimRequest {
        ClaimRequest {
            node: node.clone(),
            slots: i64::try_from(slots).unwrap_or(0),
            lease_ms: LEASE_MS,
            policy: Arc::default(),
            memory: Arc::default(),
        }
    }
}
