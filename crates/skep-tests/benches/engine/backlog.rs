//! One claim beside many waiting jobs, of several projects and priorities.

use crate::input::Input;
use crate::lifecycle::mixed_job;
use crate::spread::{Spread, float};
use crate::stand::Stand;
use serde_json::{Value, json};
use skep_stdx::Stopwatch;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Jobs put in by one transaction.
const FILL_JOBS: i64 = 250;
/// Callers that fill the queue.
const FILLERS: usize = 4;
/// The larger of the two claims that are timed.
const CLAIM_MANY: i64 = 16;

/// The part `backlog`.
pub(crate) async fn run(input: &Input) -> anyhow::Result<Value> {
    let stand = Stand::open(input.backend).await?;
    let commit_ms = stand.commit_ms().await?;
    let watch = Stopwatch::start();
    fill(&stand, i64::try_from(input.jobs)?).await?;
    let fill_s = watch.elapsed().as_secs_f64();
    // Bare: what is timed is the queue's claim.
    let caller = stand.caller(true);
    let (mut one, mut many) = (Spread::default(), Spread::default());
    for _ in 0..input.claims {
        for (slots, times) in [(1, &mut one), (CLAIM_MANY, &mut many)] {
            let watch = Stopwatch::start();
            let claims = caller.claim(slots).await?;
            times.push(watch.elapsed());
            anyhow::ensure!(!claims.is_empty(), "nothing was claimed of a full queue");
            caller.finish(claims).await?;
        }
    }
    stand.close().await?;
    Ok(json!({
        "engine": input.engine(), "jobs": input.jobs, "commit_ms": commit_ms,
        "fill_per_second": float(input.jobs) / fill_s,
        "one_ms": one.document(), "many_ms": many.document(), "many": CLAIM_MANY,
    }))
}

async fn fill(stand: &Stand, jobs: i64) -> anyhow::Result<()> {
    let next = Arc::new(AtomicI64::new(0));
    let fillers: Vec<_> = (0..FILLERS)
        .map(|_| {
            let (caller, next) = (stand.caller(true), Arc::clone(&next));
            skep_stdx::spawn("filler", async move {
                loop {
                    let first = next.fetch_add(FILL_JOBS, Ordering::Relaxed);
                    if first >= jobs {
                        return anyhow::Ok(());
                    }
                    let last = jobs.min(first + FILL_JOBS);
                    caller
                        .enqueue((first..last).map(mixed_job).collect())
                        .await?;
                }
            })
        })
        .collect();
    for filler in fillers {
        filler.await??;
    }
    Ok(())
}
