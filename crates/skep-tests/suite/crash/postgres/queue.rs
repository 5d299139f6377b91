//! The scenarios against the queue itself, with many clients of its own API.

use super::fault::{Readers, Strike, Target, pin};
use super::load::Load;
use super::outcome::{Figures, report};
use super::{STOP_S, Scale, within};
use anyhow::ensure;
use skep_stdx::Stopwatch;
use skep_testkit::{Backend, Pooler, TestStore, run_on};
use std::time::Duration;

/// Jobs of the undisturbed and of the disturbed part, where a fault strikes and where one lasts.
const STRUCK_JOBS: u64 = 200;
const PRESSED_JOBS: u64 = 400;

/// What goes on beside the work, all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pressure {
    Pinned,
    Sustained,
    Readers,
    Burst,
}

#[test]
fn a_restart_of_the_server() {
    struck("queue: restart", Strike::Restart);
}

/// Behind a pooler in transaction mode, which answers in the server's place while that is away.
#[test]
fn a_restart_of_the_server_behind_a_pooler() {
    run_on(Backend::Sqlite, async |_| {
        let (server, direct) = Target::new().await?;
        let pooler = Pooler::start(&direct)?;
        let store = TestStore::at(pooler.address())?;
        let ended = strikes(Strike::Restart, server, store).await;
        report("queue: restart, pooler", ended)
    });
}

#[test]
fn killed_backends() {
    struck("queue: backend kill", Strike::KillBackends);
}

#[test]
fn lost_answers() {
    struck("queue: lost answers", Strike::LoseAnswers);
}

#[test]
fn a_server_without_a_free_connection() {
    struck("queue: pool exhaustion", Strike::TakeConnections);
}

#[test]
fn a_transaction_that_stays_open() {
    pressed("queue: idle in transaction", Pressure::Pinned);
}

#[test]
fn sustained_load() {
    pressed("queue: sustained load", Pressure::Sustained);
}

#[test]
fn active_readers() {
    pressed("queue: active readers", Pressure::Readers);
}

#[test]
fn a_burst() {
    pressed("queue: burst", Pressure::Burst);
}

/// A scenario whose fault strikes again and again.
fn struck(name: &str, how: Strike) {
    // The server is the test's own; the runtime is that of every test.
    run_on(Backend::Sqlite, async |_| {
        let (server, store) = Target::new().await?;
        report(name, strikes(how, server, store).await)
    });
}

async fn strikes(how: Strike, mut server: Target, store: TestStore) -> anyhow::Result<Figures> {
    let scale = Scale::of(STRUCK_JOBS)?;
    let mut load = Load::start(&store).await?;
    let undisturbed_per_s = undisturbed(&load, scale).await?;
    let (watch, first) = (Stopwatch::start(), load.progress().done);
    let mut recovery = Duration::ZERO;
    for strike in 0..scale.strikes {
        server.strike(how, scale.outage(strike)).await?;
        recovery = load.recovered().await?;
        load.rate_of(scale.jobs / u64::from(scale.strikes)).await?;
    }
    let disturbed_per_s = load.rate_since(&watch, first);
    let stop_s = end(&mut load).await?;
    load.settle().await?;
    Ok(Figures {
        jobs: load.progress().done,
        faults: scale.strikes.into(),
        recovery_s: Some(recovery.as_secs_f64()),
        undisturbed_per_s,
        disturbed_per_s,
        ratio: disturbed_per_s / undisturbed_per_s,
        stop_s,
        refused: load.refused(),
    })
}

/// A scenario in which something goes on beside the work until the workers have stopped.
fn pressed(name: &str, what: Pressure) {
    run_on(Backend::Postgres, async |store| {
        report(name, pressure(&store, what).await)
    });
}

async fn pressure(store: &TestStore, what: Pressure) -> anyhow::Result<Figures> {
    let scale = Scale::of(PRESSED_JOBS)?;
    let mut load = Load::start(store).await?;
    let undisturbed_per_s = undisturbed(&load, scale).await?;
    let (mut pinned, mut readers) = (None, None);
    match what {
        Pressure::Pinned => pinned = Some(pin(store).await?),
        Pressure::Readers => readers = Some(Readers::start(store).await?),
        Pressure::Sustained | Pressure::Burst => {}
    }
    let (watch, first) = (Stopwatch::start(), load.progress().done);
    if what == Pressure::Burst {
        within("the burst is taken", load.burst(scale.jobs)).await??;
    }
    // Sustained is three times as long.
    let jobs = scale.jobs * if what == Pressure::Sustained { 3 } else { 1 };
    load.rate_of(jobs).await?;
    let disturbed_per_s = load.rate_since(&watch, first);
    let stop_s = end(&mut load).await?;
    let scans = match readers {
        Some(readers) => within("the readers end", readers.stop()).await??,
        None => 0,
    };
    drop(pinned);
    load.settle().await?;
    let faults = match what {
        Pressure::Readers => scans,
        Pressure::Pinned | Pressure::Burst => 1,
        Pressure::Sustained => 0,
    };
    Ok(Figures {
        jobs: load.progress().done,
        faults,
        recovery_s: None,
        undisturbed_per_s,
        disturbed_per_s,
        ratio: disturbed_per_s / undisturbed_per_s,
        stop_s,
        refused: load.refused(),
    })
}

/// The pace when nothing is wrong, once everything is warm.
async fn undisturbed(load: &Load, scale: Scale) -> anyhow::Result<f64> {
    load.rate_of(scale.jobs / 4).await?;
    load.rate_of(scale.jobs).await
}

/// Lets what was acknowledged be done and stops the workers; the answer is how long the stop took.
async fn end(load: &mut Load) -> anyhow::Result<f64> {
    load.finish().await?;
    let stop_s = load.stop().await?.as_secs_f64();
    ensure!(stop_s <= STOP_S, "the workers stopped after {stop_s} s");
    Ok(stop_s)
}
