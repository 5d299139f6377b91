//! An engine that is killed over many running attempts: a dozen here, a thousand with
//! `cargo xtask chaos thousand`, which prints what it found.

use super::site::{Engine, Site};
use anyhow::Context as _;
use skep_api::DispatchRequest;
use skep_stdx::{Clock as _, Stopwatch, SystemClock};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{Gate, JobId, Role};
use std::time::Duration;

on_both_engines!(attempts_under_way_are_taken_back);

/// How many attempts.
const ATTEMPTS_VARIABLE: &str = "SKEP_TEST_ATTEMPTS";
const ATTEMPTS: u32 = 12;

/// What is promised for a thousand attempts, in seconds.
const RECONCILED_S_MAX: f64 = 60.0;
/// The longest wait for a thousand attempts to start or to be taken back, in seconds.
const WAIT_S: u64 = 1_200;

/// What `variable` says, if it is set.
pub(super) fn number(variable: &str, default: u32) -> anyhow::Result<u32> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{variable} is no number")),
        Err(_) => Ok(default),
    }
}

async fn attempts_under_way_are_taken_back(store: TestStore) -> anyhow::Result<()> {
    let attempts = number(ATTEMPTS_VARIABLE, ATTEMPTS)?;
    let site = Site::with_slots(&store, attempts)?;
    let engine = site.up().await?;
    let mut jobs: Vec<JobId> = Vec::new();
    for n in 0..attempts {
        let request = DispatchRequest {
            instruction: format!("Wait {n}"),
            repo: Some(site.project.text_path()),
            worker: Some("sleeper".to_owned()),
            role: Some(Role::Observer),
            gate: Some(Gate::G0),
            ..DispatchRequest::default()
        };
        jobs.push(engine.client().dispatch(&request).await?.id);
    }
    let asked = Stopwatch::start();
    count(&engine, "attempt_started", attempts).await?;
    let tell = |what: &str, ms: i64, target: Option<f64>, note: &str| {
        let name = format!("{attempts} attempts, {}: {what}", store.backend);
        let seconds = Duration::from_millis(ms.unsigned_abs()).as_secs_f64();
        crate::figure::tell(&name, (seconds, "s"), target, note)
    };
    let note = "after the last was asked for";
    tell("all run", asked.elapsed_ms(), None, note)?;
    let running = site.processes()?;
    anyhow::ensure!(running >= usize::try_from(attempts)?, "only {running} run");
    engine.kill().await?;
    let died = Stopwatch::start();
    site.assert_no_process().await?;
    let (ms, target) = (died.elapsed_ms(), Some(RECONCILED_S_MAX));
    tell("no process left", ms, target, "after the kill")?;
    let restarted_ms = SystemClock.now_ms();
    let engine = site.up().await?;
    // When it happened, and not when it is heard of: an engine that starts a thousand attempts again
    // is slow to tell.
    let ms = count(&engine, "lease_lost", attempts).await? - restarted_ms;
    tell(
        "all reconciled",
        ms,
        target,
        "after the next engine was started",
    )?;
    for job in &jobs {
        engine.client().cancel(job.as_str()).await?;
    }
    anyhow::ensure!(
        engine.client().verify_ledger().await?.ok,
        "the ledger does not verify"
    );
    // What was being launched when it was cancelled has ended too when the engine has.
    engine.stop().await?;
    site.assert_no_process().await
}

/// Waits until `count` events of a kind are on the ledger; the answer is when the last of them
/// happened, in milliseconds since 1970.
async fn count(engine: &Engine, kind: &str, count: u32) -> anyhow::Result<i64> {
    let mut events = engine.events().await?;
    let (mut found, mut last) = (0, 0);
    let all = async {
        while found < count {
            let event = events.next().await?.context("the stream ended")?;
            if event.kind == kind {
                found += 1;
                last = event.at;
            }
        }
        anyhow::Ok(last)
    };
    tokio::time::timeout(Duration::from_secs(WAIT_S), all)
        .await
        .with_context(|| format!("not within {WAIT_S} s: {count} times {kind}"))?
}
