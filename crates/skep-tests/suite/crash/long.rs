//! An engine that is killed over many running attempts: a dozen here, a thousand with
//! `cargo xtask chaos thousand`, which prints what it found.

use super::site::Site;
use anyhow::Context as _;
use skep_api::DispatchRequest;
use skep_stdx::Stopwatch;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{Gate, JobId, Role};
use std::time::Duration;

on_both_engines!(attempts_under_way_are_taken_back);

/// How many attempts.
const ATTEMPTS_VARIABLE: &str = "SKEP_TEST_ATTEMPTS";
const ATTEMPTS: u32 = 12;

/// The longest wait for a thousand attempts to start or to be taken back, in seconds.
const WAIT_S: u64 = 1_200;

/// How often the store is asked, in milliseconds.
const POLL_MS: u64 = 200;

/// What `variable` says, if it is set.
pub(super) fn number(variable: &str, default: u32) -> anyhow::Result<u32> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{variable} is no number")),
        Err(_) => Ok(default),
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what the run is for")]
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
    let all = usize::try_from(attempts)?;
    let started = Stopwatch::start();
    until(async || Ok(site.processes()? >= all)).await?;
    println!("{attempts} attempts run after {:?}", started.elapsed());
    engine.kill().await?;
    let died = Stopwatch::start();
    site.assert_no_process().await?;
    println!("no process was left {:?} after the kill", died.elapsed());
    let restarted = Stopwatch::start();
    let engine = site.up().await?;
    let mut events = engine.events().await?;
    let mut lost = 0;
    while lost < attempts {
        let event = events.next().await?.context("the stream ended")?;
        lost += u32::from(event.kind == "lease_lost");
    }
    let taken = restarted.elapsed();
    println!("{attempts} attempts were reconciled {taken:?} after the restart");
    for job in &jobs {
        engine.client().cancel(job.as_str()).await?;
    }
    until(async || Ok(site.processes()? == 0)).await?;
    anyhow::ensure!(
        engine.client().verify_ledger().await?.ok,
        "the ledger does not verify"
    );
    engine.kill().await?;
    site.assert_no_process().await
}

async fn until(mut holds: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let waited = Stopwatch::start();
    while waited.elapsed() < Duration::from_secs(WAIT_S) {
        if holds().await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
    }
    anyhow::bail!("not within {WAIT_S} s")
}
