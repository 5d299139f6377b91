//! One store with everything that an engine has running beside it, made for one measurement.

use crate::input::Input;
use crate::lifecycle::Caller;
use crate::spread::{Spread, float};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use skep_db::{Db, DbError, Tx, params};
use skep_ledger::{LedgerError, LedgerKey, SealerService, sealer};
use skep_queue::ClaimMemory;
use skep_stdx::Stopwatch;
use skep_testkit::{Backend, TestStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SCHEMA: [skep_db::SchemaPart; 3] = [
    skep_authority::SCHEMA,
    skep_ledger::SCHEMA,
    skep_queue::SCHEMA,
];

/// Payloads and results, as the director keeps its own beside the queue's rows: found by job, and
/// written in the transactions that enqueue and finish.
const TABLES: &str = "CREATE TABLE bench_payload (job TEXT PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE bench_result (job TEXT PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE bench_commit (at BIGINT NOT NULL);";

/// Commits timed for one median.
const COMMITS: i64 = 100;
/// How long a server may take to show a snapshot that was asked for.
const PIN_LOOKS: u32 = 200;

/// The store and its sealer.
pub(crate) struct Stand {
    pub(crate) db: Db,
    memory: Arc<ClaimMemory>,
    store: TestStore,
    stop: oneshot::Sender<()>,
    sealing: JoinHandle<Result<(), LedgerError>>,
}

impl Stand {
    pub(crate) async fn open(backend: Backend) -> anyhow::Result<Self> {
        let store = TestStore::new(backend).await?;
        let key = LedgerKey::open_or_create(&store.folder().join("ledger.key"))?;
        let db = store
            .open_on_real_clock(&SCHEMA, Some(sealer(key.clone())))
            .await?;
        db.write("make tables", async |tx: &mut Tx<'_>| {
            tx.batch(TABLES).await
        })
        .await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let service = SealerService::new(db.clone(), key);
        let sealing = skep_stdx::spawn("sealer", async move {
            service.run(async move { drop(stopped.await) }).await
        });
        Ok(Self {
            db,
            memory: Arc::default(),
            store,
            stop,
            sealing,
        })
    }

    /// One more caller of this process; a `bare` one writes no payloads and results.
    pub(crate) fn caller(&self, bare: bool) -> Caller {
        Caller::new(&self.db, &self.memory, bare)
    }

    /// Lets the sealer seal what is left, and removes a SQLite store.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        drop(self.stop);
        self.sealing.await??;
        Ok(())
    }

    /// The median of one durable commit of one small row, in milliseconds, with nobody else at
    /// the store.
    pub(crate) async fn commit_ms(&self) -> anyhow::Result<f64> {
        let mut times = Spread::default();
        for at in 0..COMMITS {
            let watch = Stopwatch::start();
            self.db
                .write("commit", async move |tx: &mut Tx<'_>| {
                    tx.execute("INSERT INTO bench_commit (at) VALUES (?1)", params![at])
                        .await
                })
                .await?;
            times.push(watch.elapsed());
        }
        Ok(times.at(0.5))
    }

    /// Holds a snapshot of now open for so long, as a forgotten transaction does; returns once
    /// the server shows it.
    pub(crate) async fn pin(&self, length: Duration) -> anyhow::Result<JoinHandle<()>> {
        let other = self.store.open_on_real_clock(&SCHEMA, None).await?;
        let seconds = length.as_secs_f64();
        let task = skep_stdx::spawn("pinned snapshot", async move {
            let held = other.read("pin", async move |tx: &mut Tx<'_>| {
                let sql = "SELECT 1 AS one FROM pg_sleep(?1)";
                tx.query(sql, params![seconds]).await.map(drop)
            });
            // The server goes away under it when the measurement is over.
            drop(held.await as Result<(), DbError>);
        });
        let sql = "SELECT COUNT(*) AS held FROM pg_stat_activity WHERE backend_xmin IS NOT NULL
            AND datname = current_database() AND query LIKE '%pg_sleep%'
            AND pid <> pg_backend_pid()";
        for _ in 0..PIN_LOOKS {
            if self.number(sql, "held").await? > 0 {
                return Ok(task);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        ensure!(false, "the server never showed the pinned snapshot");
        Ok(task)
    }

    /// One number that the store answers.
    pub(crate) async fn number(
        &self,
        sql: &'static str,
        column: &'static str,
    ) -> anyhow::Result<i64> {
        let answer = self.db.read("number", async move |tx: &mut Tx<'_>| {
            tx.query_one(sql, &[]).await?.get::<i64>(column)
        });
        answer
            .await
            .with_context(|| format!("failed to read `{column}`"))
    }

    /// Ledger events written so far, where the ledger has a row for each.
    pub(crate) async fn events(&self) -> Option<i64> {
        self.number("SELECT COUNT(*) AS events FROM ledger_event", "events")
            .await
            .ok()
    }

    /// Rows that are dead and not yet removed, as the server last counted them.
    pub(crate) async fn dead_rows(&self) -> anyhow::Result<Option<i64>> {
        if self.store.backend == Backend::Sqlite {
            return Ok(None);
        }
        let sql = "SELECT CAST(COALESCE(SUM(n_dead_tup), 0) AS BIGINT) AS dead
            FROM pg_stat_user_tables";
        self.number(sql, "dead").await.map(Some)
    }

    /// Bytes that the store takes up.
    pub(crate) async fn disk_bytes(&self) -> anyhow::Result<u64> {
        if self.store.backend == Backend::Postgres {
            let sql = "SELECT pg_database_size(current_database()) AS bytes";
            return Ok(u64::try_from(self.number(sql, "bytes").await?)?);
        }
        // Lengths only; the file of a live store is never opened.
        let mut bytes = 0;
        for entry in std::fs::read_dir(self.store.folder())? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    /// Bytes written to make commits durable. PostgreSQL: its log's position. SQLite: what this
    /// process has handed to the kernel, which is the log and what is copied from it.
    pub(crate) async fn written_bytes(&self) -> anyhow::Result<u64> {
        if self.store.backend == Backend::Postgres {
            let sql = "SELECT CAST(pg_current_wal_insert_lsn() - '0/0' AS BIGINT) AS bytes";
            return Ok(u64::try_from(self.number(sql, "bytes").await?)?);
        }
        let text = std::fs::read_to_string("/proc/self/io")?;
        let line = text.lines().find_map(|line| line.strip_prefix("wchar: "));
        Ok(line.context("/proc/self/io has no wchar")?.parse()?)
    }
}

/// The part `commit`: what one durable commit costs on an otherwise idle store.
pub(crate) async fn commit(input: &Input) -> anyhow::Result<Value> {
    let stand = Stand::open(input.backend).await?;
    let ms = stand.commit_ms().await?;
    stand.close().await?;
    Ok(json!({ "engine": input.engine(), "commit_ms": ms }))
}

/// How many of something there are to one job.
pub(crate) fn per_job(count: Option<i64>, jobs: u64) -> Option<f64> {
    let count = u64::try_from(count?).ok()?;
    (jobs > 0).then(|| float(count) / float(jobs))
}
