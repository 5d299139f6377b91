//! What topics do in a second, the ledger on, every step acknowledged after its durable commit.
//! Prints one JSON document of rows, each with the median commit of its own store.
//!
//! Usage: `topics [--seconds N] [--engine sqlite|postgres]`.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark reports on standard output"
)]

use skep_db::{Db, DbError, SchemaPart, Tx, params};
use skep_ledger::{LedgerKey, SealerService, sealer};
use skep_stdx::Stopwatch;
use skep_testkit::{Backend, TestStore};
use skep_topic::{FetchRequest, Group, GroupName, Message, Readers, Topic, Topics};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const SCHEMA: [SchemaPart; 3] = [
    skep_authority::SCHEMA,
    skep_ledger::SCHEMA,
    skep_topic::SCHEMA,
];

/// A payload as a report has it.
const PAYLOAD_BYTES: usize = 200;

/// Producers, messages of one produce and of one fetch, partitions.
const SHAPES: [(u64, usize, i64); 5] =
    [(1, 1, 1), (64, 1, 1), (64, 1, 8), (8, 100, 1), (8, 100, 8)];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1).cloned()
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
        for shape in SHAPES {
            rows.push(runtime.block_on(measure(backend, shape, Duration::from_secs(seconds)))?);
        }
    }
    println!("{}", serde_json::json!({ "rows": rows }));
    Ok(())
}

async fn measure(
    backend: Backend,
    (producers, batch, partitions): (u64, usize, i64),
    length: Duration,
) -> anyhow::Result<serde_json::Value> {
    let store = TestStore::new(backend).await?;
    let key = LedgerKey::open_or_create(&store.folder().join("ledger.key"))?;
    let db = store
        .open_on_real_clock(&SCHEMA, Some(sealer(key.clone())))
        .await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let sealing = (backend == Backend::Postgres).then(|| {
        let service = SealerService::new(db.clone(), key);
        skep_stdx::spawn("sealer", service.run(async { drop(stopped.await) }))
    });
    let topics = Topics::new(vec![Topic {
        partitions,
        readers: Readers::Running(vec![Group::new("reader")]),
        ..Topic::new("bench")
    }])?;
    topics.register(&db).await?;
    let median_commit_us = median_commit_us(&db).await?;
    let (produced, seconds) = produce(&db, &topics, producers, batch, length).await?;
    let watch = Stopwatch::start();
    let read = read_all(&db, batch).await?;
    let read_seconds = watch.elapsed().as_secs_f64();
    anyhow::ensure!(read == produced, "{read} of {produced} messages were read");
    drop(stop);
    if let Some(sealing) = sealing {
        sealing.await??;
    }
    let name = match backend {
        Backend::Sqlite => "sqlite",
        Backend::Postgres => "postgres",
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of seconds' work is below 2^52"
    )]
    let count = produced as f64;
    Ok(serde_json::json!({
        "name": format!("{name}: {producers} producers, batches of {batch}, {partitions} partitions"),
        "produced_per_second": count / seconds,
        "fetched_and_acked_per_second": count / read_seconds,
        "median_commit_us": median_commit_us,
    }))
}

/// The median of one durable commit of one small row, with nobody else at the store.
async fn median_commit_us(db: &Db) -> Result<f64, DbError> {
    let make = "CREATE TABLE IF NOT EXISTS probe (at BIGINT)";
    db.write("probe", async move |tx: &mut Tx<'_>| tx.batch(make).await)
        .await?;
    let mut times = Vec::new();
    for _ in 0..60 {
        let watch = Stopwatch::start();
        let insert = "INSERT INTO probe (at) VALUES (?1)";
        db.write("probe", async move |tx: &mut Tx<'_>| {
            tx.execute(insert, params![1]).await
        })
        .await?;
        times.push(watch.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

async fn produce(
    db: &Db,
    topics: &Topics,
    producers: u64,
    batch: usize,
    length: Duration,
) -> anyhow::Result<(u64, f64)> {
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let watch = Stopwatch::start();
    let tasks: Vec<_> = (0..producers)
        .map(|producer| {
            let (db, topics) = (db.clone(), topics.clone());
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            skep_stdx::spawn("producer", async move {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    let messages: Vec<Message> = (0..batch)
                        .map(|_| {
                            n += 1;
                            Message::new(vec![b'x'; PAYLOAD_BYTES])
                                .with_key(format!("{producer} {n}"))
                        })
                        .collect();
                    let topics = topics.clone();
                    db.write("produce", async move |tx: &mut Tx<'_>| {
                        topics.produce_all(tx, "bench", messages.clone()).await
                    })
                    .await?;
                    done.fetch_add(batch as u64, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    Ok((done.load(Ordering::Relaxed), watch.elapsed().as_secs_f64()))
}

/// One reader; the answer of each fetch is one transaction.
async fn read_all(db: &Db, batch: usize) -> anyhow::Result<u64> {
    let mut read = 0;
    loop {
        let request = FetchRequest {
            max: i64::try_from(batch.max(100))?,
            lease_ms: 60_000,
            holder: "bench".to_owned(),
        };
        let deliveries = db
            .write("fetch", async move |tx: &mut Tx<'_>| {
                skep_topic::fetch(tx, &GroupName::new("bench", "reader"), &request).await
            })
            .await?;
        if deliveries.is_empty() {
            return Ok(read);
        }
        read += deliveries.len() as u64;
        let leases: Vec<_> = deliveries
            .into_iter()
            .map(|delivery| delivery.lease)
            .collect();
        db.write("ack", async move |tx: &mut Tx<'_>| {
            skep_topic::ack_all(tx, &leases).await
        })
        .await?;
    }
}
