//! What the queue does in a second: no-op jobs through `skep-queue`'s own API, every step
//! acknowledged after its durable commit, the ledger on (three events a job: queued, claimed,
//! finished). Prints one JSON document of rows; `cargo xtask bench engine` reads it.
//!
//! Usage: `engine [--seconds N] [--engine sqlite|postgres]`.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark reports on standard output"
)]

use skep_db::{Db, Tx, params};
use skep_ledger::{LedgerKey, SealerService, sealer};
use skep_queue::{AttemptEnd, Claim, ClaimMemory, ClaimRequest, Finish, Flow, NewJob};
use skep_stdx::{OsEntropy, Stopwatch, SystemClock};
use skep_testkit::{Backend, TestStore};
use skep_types::{AttemptState, JobId, JobKind, JobState, NodeId, Purpose, Tier};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const SCHEMA: [skep_db::SchemaPart; 3] = [
    skep_authority::SCHEMA,
    skep_ledger::SCHEMA,
    skep_queue::SCHEMA,
];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        arguments
            .iter()
            .position(|a| a == name)
            .and_then(|at| arguments.get(at + 1))
            .cloned()
    };
    let seconds = value("--seconds").map_or(Ok(5), |text| text.parse())?;
    let backends = match value("--engine").as_deref() {
        Some("sqlite") => vec![Backend::Sqlite],
        Some("postgres") => vec![Backend::Postgres],
        _ => vec![Backend::Sqlite, Backend::Postgres],
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut rows = Vec::new();
    for backend in backends {
        rows.extend(runtime.block_on(measure(backend, Duration::from_secs(seconds)))?);
    }
    println!("{}", serde_json::json!({ "rows": rows }));
    Ok(())
}

async fn measure(backend: Backend, length: Duration) -> anyhow::Result<Vec<serde_json::Value>> {
    let name = match backend {
        Backend::Sqlite => "sqlite",
        Backend::Postgres => "postgres",
    };
    let mut rows = Vec::new();
    for (clients, claim) in [(1, 1), (16, 1), (128, 1), (64, 16)] {
        let store = TestStore::new(backend).await?;
        let key = LedgerKey::open_or_create(&store.folder().join("ledger.key"))?;
        let db = store.open(&SCHEMA, Some(sealer(key.clone()))).await?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let sealing = (backend == Backend::Postgres).then(|| {
            let service = SealerService::new(db.clone(), key);
            skep_stdx::spawn("sealer", async move {
                service.run(async move { drop(stopped.await) }).await
            })
        });
        let commit_us = median_commit_us(&db).await?;
        let per_second = lifecycles_per_second(&db, clients, claim, length).await?;
        drop(stop);
        if let Some(sealing) = sealing {
            sealing.await??;
        }
        let ceiling = f64::from(clients * claim) / (3.0 * commit_us / 1e6);
        rows.push(serde_json::json!({
            "name": format!("{name}: lifecycles a second, {clients} clients, claims of {claim}"),
            "value": per_second, "unit": "1/s", "median_commit_us": commit_us,
            "ceiling": ceiling, "ratio": per_second / ceiling,
        }));
    }
    Ok(rows)
}

/// The median of one durable commit of one small row, with nobody else at the store.
async fn median_commit_us(db: &Db) -> anyhow::Result<f64> {
    db.write("make probe", async |tx: &mut Tx<'_>| {
        tx.batch("CREATE TABLE IF NOT EXISTS probe (at BIGINT)")
            .await
    })
    .await?;
    let mut times = Vec::new();
    for _ in 0..60 {
        let watch = Stopwatch::start();
        db.write("probe", async |tx: &mut Tx<'_>| {
            tx.execute("INSERT INTO probe (at) VALUES (?1)", params![1])
                .await
        })
        .await?;
        times.push(watch.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

async fn lifecycles_per_second(
    db: &Db,
    clients: i32,
    claim: i32,
    length: Duration,
) -> anyhow::Result<f64> {
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let memory = Arc::<ClaimMemory>::default();
    let watch = Stopwatch::start();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (db, stop, done) = (db.clone(), Arc::clone(&stop), Arc::clone(&done));
            let memory = Arc::clone(&memory);
            skep_stdx::spawn("client", async move {
                let node = NodeId::new(&SystemClock, &OsEntropy);
                while !stop.load(Ordering::Relaxed) {
                    let finished = lifecycle(&db, &node, &memory, claim).await?;
                    done.fetch_add(finished, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    tokio::time::sleep(length).await;
    let finished = done.load(Ordering::Relaxed);
    let seconds = watch.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of seconds' work is far below 2^52"
    )]
    Ok(finished as f64 / seconds)
}

/// Enqueues, claims and finishes `claim` jobs, in three transactions.
async fn lifecycle(
    db: &Db,
    node: &NodeId,
    memory: &Arc<ClaimMemory>,
    claim: i32,
) -> anyhow::Result<u64> {
    let jobs: Vec<NewJob> = (0..claim).map(|_| new_job()).collect();
    db.write("enqueue", async move |tx: &mut Tx<'_>| {
        skep_queue::enqueue_all(tx, &jobs).await
    })
    .await?;
    let request = ClaimRequest {
        node: node.clone(),
        slots: claim.into(),
        lease_ms: 60_000,
        policy: Arc::default(),
        memory: Arc::clone(memory),
    };
    let claims = db
        .write("claim", async move |tx: &mut Tx<'_>| {
            skep_queue::claim(tx, &request).await
        })
        .await?;
    let finishes: Vec<Finish> = claims.iter().map(finish).collect();
    let ended = db
        .write("finish", async move |tx: &mut Tx<'_>| {
            skep_queue::finish_all(tx, &finishes).await
        })
        .await?;
    let ended: Vec<_> = ended.into_iter().collect::<Result<_, _>>()?;
    Ok(ended.len() as u64)
}

fn finish(claim: &Claim) -> Finish {
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

fn new_job() -> NewJob {
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
