//! PostgreSQL under the queue and under whole engines: the nine scenarios of the independent
//! benchmark of PostgreSQL queues. A restart of the server, killed backends, a server without a
//! free connection, a worker that crashes, one that crashes over and over; a pinned snapshot,
//! sustained load, active readers, a burst. And one of our own: commits whose answers are lost.
//!
//! Work goes on all the time. What must hold at the end of each: every job that was acknowledged is
//! done, and once; no completion was accepted twice and no fence given out twice; no job is live;
//! the ledger verifies; and whoever worked stopped within [`STOP_S`].
//!
//! The tests are short; `cargo xtask chaos postgres` makes them long through [`Scale`].

mod account;
mod engine;
mod fault;
mod load;
mod outcome;
mod queue;

use std::time::Duration;

/// The longest wait for anything, in seconds. Generous: a test that gets here has failed.
const WAIT_S: u64 = 240;

/// The longest that workers may take to stop once they are told, in seconds: an operation that
/// waits for a connection gives up after ten, and an engine has two of them left by then.
const STOP_S: f64 = 30.0;

/// How much longer than in the tests, as `cargo xtask chaos postgres` says.
const SCALE_VARIABLE: &str = "SKEP_TEST_CHAOS_SCALE";

/// How long a scenario is.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// Jobs of the undisturbed part, and of the disturbed one.
    jobs: u64,
    /// Times that the fault strikes.
    strikes: u32,
    /// How long the fault lasts, in turn.
    outages: &'static [Duration],
}

/// In the tests.
const SHORT: &[Duration] = &[Duration::from_millis(100)];
/// At length: every third outlives the time for which an operation looks for a connection.
const LONG: &[Duration] = &[
    Duration::from_millis(500),
    Duration::from_secs(3),
    Duration::from_secs(12),
];

impl Scale {
    /// `jobs` and two strikes, or as many times more as the environment says.
    fn of(jobs: u64) -> anyhow::Result<Self> {
        let times = super::long::number(SCALE_VARIABLE, 1)?;
        Ok(Self {
            jobs: jobs * u64::from(times),
            strikes: 1 + times.min(11),
            outages: if times == 1 { SHORT } else { LONG },
        })
    }

    fn outage(&self, strike: u32) -> Duration {
        let place = usize::try_from(strike).unwrap_or_default() % self.outages.len();
        self.outages[place]
    }
}

/// Awaits `wait`, but not for ever.
async fn within<T>(what: &str, wait: impl Future<Output = T>) -> anyhow::Result<T> {
    use anyhow::Context as _;
    tokio::time::timeout(Duration::from_secs(WAIT_S), wait)
        .await
        .with_context(|| format!("not within {WAIT_S} s: {what}"))
}
