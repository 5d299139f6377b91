//! The scenarios against whole engines: the real binary with commands to run, whose own
//! reconnection and restart is what counts.

use super::account::{self, number};
use super::fault::{Strike, Target};
use super::outcome::{Figures, report};
use super::{STOP_S, Scale, WAIT_S, within};
use crate::crash::site::{Engine, Site};
use anyhow::{Context as _, ensure};
use skep_api::{Client, ClientError, ShellRequest};
use skep_db::{Db, DbError, Tx};
use skep_ledger::LedgerKey;
use skep_stdx::Stopwatch;
use skep_testkit::{Backend, ServerSession, run_on};
use skep_types::JobId;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Jobs of the undisturbed and of the disturbed part.
const JOBS: u64 = 8;
/// Slots of the engine, and those who ask it for jobs, one after the other.
const SLOTS: u32 = 4;
const CLIENTS: u64 = 3;
/// Jobs that wait before more are asked for.
const DEPTH: u64 = 6;
/// How often the store is looked at, and an engine that did not answer is asked again.
const LOOK: Duration = Duration::from_millis(50);
/// Kills of the scenario with many of them, for each strike of the others.
const KILLS: u32 = 3;
/// The longest time that an engine works until it is killed, in milliseconds.
const KILL_MS_MAX: u64 = 900;

/// What happens to the engine or to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Server(Strike),
    Crash,
    Crashes,
}

#[test]
fn a_restart_of_the_server() {
    scenario("engine: restart", Fault::Server(Strike::Restart));
}

#[test]
fn killed_backends() {
    scenario("engine: backend kill", Fault::Server(Strike::KillBackends));
}

#[test]
fn lost_answers() {
    scenario("engine: lost answers", Fault::Server(Strike::LoseAnswers));
}

#[test]
fn a_server_without_a_free_connection() {
    scenario(
        "engine: pool exhaustion",
        Fault::Server(Strike::TakeConnections),
    );
}

#[test]
fn a_worker_that_crashes() {
    scenario("engine: worker crash", Fault::Crash);
}

#[test]
fn a_worker_that_crashes_over_and_over() {
    scenario("engine: repeated kills", Fault::Crashes);
}

/// The server ends a connection when a command's end is to be committed, the first time.
#[test]
fn a_result_that_was_not_committed_is_had_again() {
    run_on(Backend::Postgres, async |store| {
        let site = Site::with_slots(&store, SLOTS)?;
        let engine = site.up().await?;
        let address = store.postgres_address().context("PostgreSQL")?;
        ServerSession::open(address)
            .await?
            .run(END_AT_COMMIT)
            .await?;
        let mut work = Work::start(&site).await?;
        work.rate_of(JOBS).await?;
        let jobs = work.finish().await?;
        stop(engine).await?;
        let key = LedgerKey::open_or_create(&site.ledger_key())?;
        account::settle(&work.db, key.public(), &jobs, true).await?;
        let lost = "SELECT COUNT(*) AS n FROM attempt WHERE state = 'lost' AND counted = 0";
        assert_eq!(number(&work.db, lost).await?, 1);
        Ok(())
    });
}

/// Deferred, so that it runs in COMMIT; the sequence is not undone with the transaction.
const END_AT_COMMIT: &str = "CREATE SEQUENCE commits;
    CREATE FUNCTION end_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('commits') = 1 THEN
            PERFORM pg_terminate_backend(pg_backend_pid());
        END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER end_at_commit AFTER INSERT ON shell_run
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION end_at_commit()";

fn scenario(name: &str, fault: Fault) {
    run_on(Backend::Sqlite, async |_| report(name, suffer(fault).await));
}

async fn suffer(fault: Fault) -> anyhow::Result<Figures> {
    let scale = Scale::of(JOBS)?;
    let (mut server, store) = Target::new().await?;
    let site = Site::with_slots(&store, SLOTS)?;
    let mut engine = site.up().await?;
    let mut work = Work::start(&site).await?;
    work.rate_of(scale.jobs / 4).await?;
    let undisturbed_per_s = work.rate_of(scale.jobs).await?;
    let (watch, first) = (Stopwatch::start(), work.done().await?);
    let mut recovery = Duration::ZERO;
    let strikes = match fault {
        Fault::Server(_) => scale.strikes,
        Fault::Crash => 1,
        Fault::Crashes => scale.strikes * KILLS,
    };
    for strike in 0..strikes {
        match fault {
            Fault::Server(how) => server.strike(how, scale.outage(strike)).await?,
            Fault::Crash | Fault::Crashes => {
                let ms = u64::from(strike + 1) * 397 % KILL_MS_MAX;
                tokio::time::sleep(Duration::from_millis(ms)).await;
                engine.kill().await?;
                site.assert_no_process().await?;
                engine = site.up().await?;
            }
        }
        if strike + 1 == strikes {
            recovery = work.recovered().await?;
        }
        if fault != Fault::Crashes || strike + 1 == strikes {
            work.rate_of(scale.jobs / u64::from(strikes.min(scale.strikes)))
                .await?;
        }
    }
    let disturbed_per_s = work.rate_since(&watch, first).await?;
    let jobs = work.finish().await?;
    let stop_s = stop(engine).await?;
    site.assert_no_process().await?;
    let key = LedgerKey::open_or_create(&site.ledger_key())?;
    account::settle(&work.db, key.public(), &jobs, true).await?;
    Ok(Figures {
        jobs: u64::try_from(jobs.len())?,
        faults: strikes.into(),
        recovery_s: Some(recovery.as_secs_f64()),
        undisturbed_per_s,
        disturbed_per_s,
        ratio: disturbed_per_s / undisturbed_per_s,
        stop_s,
        refused: 0,
    })
}

/// Stops the engine in order; the answer is how long that took, in seconds.
async fn stop(engine: Engine) -> anyhow::Result<f64> {
    let watch = Stopwatch::start();
    engine.stop().await?;
    let stop_s = watch.elapsed().as_secs_f64();
    ensure!(stop_s <= STOP_S, "the engine stopped after {stop_s} s");
    Ok(stop_s)
}

/// Who asks for jobs all the time, and what they were answered.
struct Work {
    book: Arc<Book>,
    clients: Vec<JoinHandle<anyhow::Result<()>>>,
    client: Client,
    db: Db,
}

#[derive(Default)]
struct Book {
    acknowledged: Mutex<BTreeSet<JobId>>,
    done: AtomicU64,
    enough: AtomicBool,
}

impl Book {
    fn jobs(&self) -> BTreeSet<JobId> {
        let jobs = self.acknowledged.lock();
        jobs.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn waiting(&self) -> u64 {
        let jobs = self.acknowledged.lock();
        let asked = jobs.unwrap_or_else(PoisonError::into_inner).len();
        let done = self.done.load(Ordering::Relaxed);
        u64::try_from(asked)
            .unwrap_or_default()
            .saturating_sub(done)
    }

    /// Asks for a job until the engine has answered: under a key, so that asking again makes no
    /// other.
    async fn ask(&self, client: &Client, key: String) -> anyhow::Result<JobId> {
        let request = ShellRequest {
            command: vec!["true".to_owned()],
            idempotency_key: Some(key),
            ..ShellRequest::default()
        };
        let granted = async {
            loop {
                match client.dispatch_shell(&request).await {
                    Ok(job) => return Ok(job.id),
                    Err(ClientError::Refused(body)) if body.exit != 5 => {
                        anyhow::bail!("refused: {body:?}")
                    }
                    Err(_) => tokio::time::sleep(LOOK).await,
                }
            }
        };
        let id = within("an engine takes a job", granted).await??;
        let mut jobs = self
            .acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        jobs.insert(id.clone());
        Ok(id)
    }
}

impl Work {
    async fn start(site: &Site<'_>) -> anyhow::Result<Self> {
        let book = Arc::new(Book::default());
        let clients = (0..CLIENTS)
            .map(|client| {
                let (book, at) = (Arc::clone(&book), site.client());
                skep_stdx::spawn("client", async move {
                    let mut number = 0;
                    while !book.enough.load(Ordering::Relaxed) {
                        if book.waiting() < DEPTH {
                            book.ask(&at, format!("{client}-{number}")).await?;
                            number += 1;
                        } else {
                            tokio::time::sleep(LOOK).await;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        Ok(Self {
            book,
            clients,
            client: site.client(),
            db: site.db().await?,
        })
    }

    /// How many jobs are done; asks until the store answers.
    async fn done(&self) -> anyhow::Result<u64> {
        let sql = "SELECT COUNT(*) AS n FROM job_history";
        let done = u64::try_from(self.ask_store(sql).await?)?;
        self.book.done.store(done, Ordering::Relaxed);
        Ok(done)
    }

    async fn ask_store(&self, sql: &'static str) -> anyhow::Result<i64> {
        loop {
            match number(&self.db, sql).await {
                Err(error) if error.downcast_ref().is_some_and(DbError::may_pass) => {
                    tokio::time::sleep(LOOK).await;
                }
                answer => return answer,
            }
        }
    }

    /// Waits until `count` more jobs are done; the answer is how many a second that were.
    async fn rate_of(&self, count: u64) -> anyhow::Result<f64> {
        let (watch, first) = (Stopwatch::start(), self.done().await?);
        let more = async {
            while self.done().await? < first + count {
                ensure!(
                    !self.clients.iter().any(JoinHandle::is_finished),
                    "a client has failed"
                );
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        within("so many jobs are done", more).await??;
        self.rate_since(&watch, first).await
    }

    /// Jobs done a second since `watch` was started, when `first` were done.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    async fn rate_since(&self, watch: &Stopwatch, first: u64) -> anyhow::Result<f64> {
        let count = self.done().await? - first;
        Ok(count as f64 / watch.elapsed().as_secs_f64())
    }

    /// Asks for a job and waits until it is done; the answer is how long that took.
    async fn recovered(&self) -> anyhow::Result<Duration> {
        let watch = Stopwatch::start();
        let job = self.book.ask(&self.client, "after".to_owned()).await?;
        let ended = async {
            loop {
                let id = job.clone();
                let read = async move |tx: &mut Tx<'_>| skep_queue::job(tx, &id).await;
                match self.db.read("look", read).await {
                    Ok(Some(job)) if job.state.is_terminal() => return anyhow::Ok(()),
                    Err(error) if !error.may_pass() => return Err(error.into()),
                    _ => tokio::time::sleep(LOOK).await,
                }
            }
        };
        within("work goes on after the last fault", ended).await??;
        Ok(watch.elapsed())
    }

    /// Asks for nothing more and waits until everything is done and reported; the answer is every
    /// job.
    async fn finish(&mut self) -> anyhow::Result<BTreeSet<JobId>> {
        self.book.enough.store(true, Ordering::Relaxed);
        for client in std::mem::take(&mut self.clients) {
            within("a client ends", client).await???;
        }
        let jobs = self.book.jobs();
        let all = async {
            loop {
                let sql = "SELECT COUNT(*) AS n FROM job_history h
                    JOIN delivery d ON d.job_id = h.id WHERE d.place IS NOT NULL";
                let reported = usize::try_from(self.ask_store(sql).await?)?;
                if reported >= jobs.len() {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let ended = within("everything is done and reported", all).await;
        ended.with_context(|| format!("of {} jobs, {WAIT_S} s", jobs.len()))??;
        Ok(jobs)
    }
}
