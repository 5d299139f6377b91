//! Lifecycles a second: callers in a closed loop, each with one transaction under way.

use crate::input::Input;
use crate::spread::float;
use crate::stand::{Stand, per_job};
use serde_json::{Value, json};
use skep_stdx::Stopwatch;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Before the clock starts: pools fill, statements are prepared, files grow.
const WARM_UP: Duration = Duration::from_secs(1);

/// The part `throughput`.
pub(crate) async fn run(input: &Input) -> anyhow::Result<Value> {
    let stand = Stand::open(input.backend).await?;
    let commit_ms = stand.commit_ms().await?;
    let length = Duration::from_secs(input.seconds);
    if input.pinned {
        let task = stand.pin(length + WARM_UP * 60).await?;
        drop(task);
    }
    let callers = Callers::start(&stand, input);
    tokio::time::sleep(WARM_UP).await;
    let (watch, first) = (Stopwatch::start(), callers.ended());
    let (mut series, mut last, mut last_s) = (Vec::new(), first, 0.0);
    while watch.elapsed() < length {
        let left = length.saturating_sub(watch.elapsed());
        tokio::time::sleep(left.min(Duration::from_secs(input.sample))).await;
        let (ended, now_s) = (callers.ended(), watch.elapsed().as_secs_f64());
        series.push(float(ended - last) / (now_s - last_s));
        (last, last_s) = (ended, now_s);
    }
    let per_second = float(last - first) / last_s;
    let all = callers.stop().await?;
    let events = per_job(stand.events().await, all);
    let dead_rows = stand.dead_rows().await?;
    stand.close().await?;
    Ok(json!({
        "engine": input.engine(), "clients": input.clients, "claim": input.claim,
        "pinned": input.pinned, "bare": input.bare,
        "per_second": per_second, "seconds": last_s, "series": series,
        "commit_ms": commit_ms, "events_per_job": events, "dead_rows": dead_rows,
        // Three commits a lifecycle, each client with one under way.
        "ceiling": float(u64::try_from(input.clients * input.claim)?) / (3.0 * commit_ms / 1e3),
    }))
}

/// The callers of one measurement, at work until they are stopped.
pub(crate) struct Callers {
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Callers {
    pub(crate) fn start(stand: &Stand, input: &Input) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(AtomicU64::new(0));
        let tasks = (0..input.clients)
            .map(|_| {
                let caller = stand.caller(input.bare);
                let (stop, ended) = (Arc::clone(&stop), Arc::clone(&ended));
                let count = input.claim;
                skep_stdx::spawn("caller", async move {
                    while !stop.load(Ordering::Relaxed) {
                        ended.fetch_add(caller.lifecycle(count).await?, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        Self { stop, ended, tasks }
    }

    /// Jobs that have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether one has ended, which none does by itself.
    pub(crate) fn failed(&self) -> bool {
        self.tasks.iter().any(JoinHandle::is_finished)
    }

    /// Ends every caller after its lifecycle; the answer is how many jobs have ended in all.
    pub(crate) async fn stop(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await??;
        }
        Ok(self.ended.load(Ordering::Relaxed))
    }
}
