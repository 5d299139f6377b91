//! What a model call costs the engine: from its queued job to its stored answer, without the
//! provider's own time. A whole engine with its ledger on; the provider is a script. Prints one JSON
//! document of rows.
//!
//! Usage: `call [--calls N] [--queued N] [--engine sqlite|postgres]`.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark reports on standard output"
)]

use anyhow::Context as _;
use skep_api::CallRequest;
use skep_db::{Db, SchemaPart, Tx, params};
use skep_director::{
    Director, DirectorOptions, EngineConfig, Home, ModelFacts, NodeOptions, ToolchainConfig,
};
use skep_gateway::{Gateway, GatewayOptions, GatewayTables, Timeouts};
use skep_ledger::{LedgerKey, SealerService};
use skep_queue::FlowPolicy;
use skep_stdx::{OsEntropy, SharedClock, SharedEntropy, Stopwatch, SystemClock};
use skep_testkit::{Backend, TestStore};
use skep_types::{JobId, JobState, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const SCHEMA: [SchemaPart; 6] = [
    skep_authority::SCHEMA,
    skep_ledger::SCHEMA,
    skep_queue::SCHEMA,
    skep_topic::SCHEMA,
    skep_gateway::SCHEMA,
    skep_director::SCHEMA,
];

const SCRIPT: &str = r#"
version = 1
[[conversation]]
name = "echo"
[[conversation.turn]]
reply = { blocks = [{ text = "noted" }] }
"#;

const TABLES: &str = r#"
[provider.script]
api = "replay"
script = "SCRIPT"

[model.stub]
provider = "script"
family = "stub"
context_tokens = 200000
output_tokens_max = 1000
price = { input = 1.0, output = 2.0 }
"#;

/// Slots of the engine: calls wait for the disk, not for the processor.
const SLOTS: i64 = 64;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1).cloned()
    };
    let calls = value("--calls").map_or(Ok(300), |text| text.parse())?;
    let queued = value("--queued").map_or(Ok(10_000), |text| text.parse())?;
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
        rows.extend(runtime.block_on(measure(backend, calls, queued))?);
    }
    println!("{}", serde_json::json!({ "rows": rows }));
    Ok(())
}

async fn measure(
    backend: Backend,
    calls: usize,
    queued: usize,
) -> anyhow::Result<Vec<serde_json::Value>> {
    let name = match backend {
        Backend::Sqlite => "sqlite",
        Backend::Postgres => "postgres",
    };
    let store = TestStore::new(backend).await?;
    let key = LedgerKey::open_or_create(&store.folder().join("ledger.key"))?;
    let before_commit = match backend {
        Backend::Sqlite => Some(skep_ledger::sealer(key.clone())),
        Backend::Postgres => None,
    };
    let db = store.open_on_real_clock(&SCHEMA, before_commit).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let sealing = (backend == Backend::Postgres).then(|| {
        let service = SealerService::new(db.clone(), key.clone());
        skep_stdx::spawn("sealer", async move {
            service.run(async move { drop(stopped.await) }).await
        })
    });
    let director = director(&store, &db, &key).await?;
    let commit_us = median_commit_us(&db).await?;

    // One after another: nothing is waited for but the engine.
    let runner = director.clone();
    let running = skep_stdx::spawn("engine", async move { runner.run().await });
    let mut overheads_us = Vec::with_capacity(calls);
    for _ in 0..calls {
        let job = director.dispatch_call(request()).await?;
        let watch = Stopwatch::start();
        answered(&db, &job.id).await?;
        let whole_us = watch.elapsed().as_secs_f64() * 1e6;
        overheads_us.push(whole_us - provider_us(&director, &job.id).await?);
    }
    director.stop();
    running.await??;
    overheads_us.sort_by(f64::total_cmp);

    // Many at once: all are queued before the engine starts.
    let watch = Stopwatch::start();
    enqueue(&director, queued).await?;
    let enqueued_s = watch.elapsed().as_secs_f64();
    let before_kb = resident_kb("VmRSS:")?;
    let fresh = self::director(&store, &db, &key).await?;
    let runner = fresh.clone();
    let watch = Stopwatch::start();
    let running = skep_stdx::spawn("engine", async move { runner.run().await });
    let mut most_kb = before_kb;
    while live(&db).await? > 0 {
        most_kb = most_kb.max(resident_kb("VmRSS:")?);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let seconds = watch.elapsed().as_secs_f64();
    fresh.stop();
    running.await??;
    drop(stop);
    if let Some(sealing) = sealing {
        sealing.await??;
    }

    let at = |share: usize| overheads_us[(overheads_us.len() - 1) * share / 100] / 1e3;
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    let count = queued as f64;
    Ok(vec![
        serde_json::json!({
            "name": format!("{name}: overhead of one call, p50"), "value": at(50), "unit": "ms",
            "median_commit_us": commit_us, "calls": calls,
        }),
        serde_json::json!({
            "name": format!("{name}: overhead of one call, p99"), "value": at(99), "unit": "ms",
            "median_commit_us": commit_us, "calls": calls,
        }),
        serde_json::json!({
            "name": format!("{name}: {queued} queued calls, answered"),
            "value": count / seconds, "unit": "1/s", "seconds": seconds, "slots": SLOTS,
            "enqueued_per_second": count / enqueued_s,
        }),
        serde_json::json!({
            "name": format!("{name}: {queued} queued calls, memory above the start"),
            "value": most_kb - before_kb, "unit": "kB", "resident_before_kb": before_kb,
        }),
    ])
}

async fn director(store: &TestStore, db: &Db, key: &LedgerKey) -> anyhow::Result<Director> {
    let (clock, entropy): (SharedClock, SharedEntropy) =
        (Arc::new(SystemClock), Arc::new(OsEntropy));
    let home = Home::at(store.folder().join("home"));
    home.prepare()?;
    let script = home.root().join("replay.toml");
    std::fs::write(&script, SCRIPT)?;
    let tables = TABLES.replace("SCRIPT", &script.to_string_lossy());
    let tables: GatewayTables = toml::from_str(&tables)?;
    let gateway = Gateway::new(GatewayOptions {
        db: db.clone(),
        node: NodeId::new(&*clock, &*entropy),
        config: tables.resolve(|_| Err("no secret is needed here".to_owned()))?,
        clock: clock.clone(),
        entropy: entropy.clone(),
        timeouts: Timeouts::default(),
    })?;
    gateway.prepare(false).await?;
    let facts = ModelFacts {
        family: "stub".to_owned(),
        local: true,
        sensitive_allowed: true,
        context_tokens: 200_000,
        output_tokens_max: Some(1_000),
    };
    let topics = skep_director::topics(Vec::new())?;
    topics.register(db).await?;
    Ok(Director::new(DirectorOptions {
        home,
        db: db.clone(),
        models: BTreeMap::from([("stub".to_owned(), facts)]),
        workers: BTreeMap::new(),
        engine: EngineConfig {
            slots: SLOTS,
            ..EngineConfig::default()
        },
        flow: Arc::new(FlowPolicy::default()),
        node: NodeOptions::all_roles("bench".to_owned(), "0.0.0"),
        toolchain: ToolchainConfig::default(),
        clock,
        entropy,
        launcher: std::env::current_exe()?,
        gateway: gateway.clone(),
        serve_gateway: skep_http::serve_gateway(Arc::new(gateway)),
        ledger_public_key: key.public(),
        owner: "bench".to_owned(),
        topics,
        alert: Arc::new(|_| {}),
    }))
}

fn request() -> CallRequest {
    CallRequest {
        prompt: "Say that you have noted it.".to_owned(),
        ..CallRequest::default()
    }
}

/// Returns when the job is done, looked at whenever the queue has changed.
async fn answered(db: &Db, job: &JobId) -> anyhow::Result<()> {
    let mut queue = db.listen(skep_queue::TOPIC);
    loop {
        queue.mark_unchanged();
        let wanted = job.clone();
        let found = db
            .read("job", async move |tx: &mut Tx<'_>| {
                skep_queue::job(tx, &wanted).await
            })
            .await?;
        let state = found.context("the job is gone")?.state;
        if state == JobState::Done {
            return Ok(());
        }
        anyhow::ensure!(!state.is_terminal(), "it is {state}");
        queue.changed().await?;
    }
}

async fn provider_us(director: &Director, job: &JobId) -> anyhow::Result<f64> {
    let view = director.job(job.as_str()).await?;
    let answer = view.call.and_then(|call| call.answer);
    let ms = answer.context("it has no answer")?.provider_ms;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of one call")]
    Ok(ms as f64 * 1e3)
}

async fn enqueue(director: &Director, count: usize) -> anyhow::Result<()> {
    const CLIENTS: usize = 64;
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let director = director.clone();
            let share = count / CLIENTS + usize::from(client < count % CLIENTS);
            skep_stdx::spawn("client", async move {
                for _ in 0..share {
                    director.dispatch_call(request()).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Jobs that have not ended.
async fn live(db: &Db) -> anyhow::Result<i64> {
    let row = db
        .read("live", async |tx: &mut Tx<'_>| {
            tx.query_one("SELECT COUNT(*) AS jobs FROM job", params![])
                .await
        })
        .await?;
    Ok(row.get("jobs")?)
}

/// A figure of this process in `/proc`, in kB.
fn resident_kb(name: &str) -> anyhow::Result<i64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("/proc does not say")?.parse()?)
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
