//! The long forms: a thousand attempts at once, and hundreds of kills. `cargo xtask chaos` runs
//! them and prints what they found.

use super::random::{Dice, kill_rounds, seed};
use super::site::Site;
use anyhow::Context as _;
use skep_api::DispatchRequest;
use skep_stdx::Stopwatch;
use skep_testkit::{Backend, TestStore, on_both_engines};
use skep_types::{Gate, JobId, Role};
use std::time::Duration;

on_both_engines!(
    ignored "a long run: cargo xtask chaos thousand";
    a_thousand_attempts_are_taken_back
);
on_both_engines!(
    ignored "a long run: cargo xtask chaos kills";
    hundreds_of_kills
);

/// How many attempts, and how many kills.
const ATTEMPTS_VARIABLE: &str = "SKEP_TEST_ATTEMPTS";
const KILLS_VARIABLE: &str = "SKEP_TEST_KILLS";

/// Kills of one home; then another one begins, so that its history stays short.
const KILLS_PER_HOME: u32 = 10;

/// The longest wait for a thousand attempts to start or to be taken back, in seconds.
const WAIT_S: u64 = 1_200;

/// How often the store is asked, in milliseconds.
const POLL_MS: u64 = 200;

fn number(variable: &str, default: u32) -> anyhow::Result<u32> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{variable} is no number")),
        Err(_) => Ok(default),
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what the run is for")]
async fn a_thousand_attempts_are_taken_back(store: TestStore) -> anyhow::Result<()> {
    let attempts = number(ATTEMPTS_VARIABLE, 1_000)?;
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

#[expect(clippy::print_stdout, reason = "the figures are what the run is for")]
async fn hundreds_of_kills(store: TestStore) -> anyhow::Result<()> {
    let kills = number(KILLS_VARIABLE, 400)?;
    let (seed, backend) = (seed()?, store.backend);
    println!("seed {seed}");
    let dice = Dice::new(seed);
    let (mut done, mut lost) = (0, 0);
    while done < kills {
        let fresh = TestStore::new(backend).await?;
        lost += kill_rounds(&fresh, &dice, KILLS_PER_HOME)
            .await
            .with_context(|| format!("seed {seed}, after {done} kills"))?;
        done += KILLS_PER_HOME;
    }
    let engine = match backend {
        Backend::Sqlite => "SQLite",
        Backend::Postgres => "PostgreSQL",
    };
    println!("{engine}: {done} kills over {done} jobs, {lost} attempts lost and made again");
    Ok(())
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
