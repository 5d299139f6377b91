//! What a finished job has cost: time, bytes on disk, and bytes written to make it durable.

use crate::input::Input;
use crate::spread::float;
use crate::stand::Stand;
use crate::throughput::Callers;
use serde_json::{Value, json};
use skep_stdx::Stopwatch;
use std::time::Duration;

/// Between two looks at how many jobs have ended. Small beside the shortest window.
const LOOK: Duration = Duration::from_millis(2);

/// What the store shows at one moment.
struct Moment {
    ended: u64,
    seconds: f64,
    written: u64,
    disk: u64,
}

/// The part `growth`: the cost of a job while ever more have ended before it.
pub(crate) async fn growth(input: &Input) -> anyhow::Result<Value> {
    let stand = Stand::open(input.backend).await?;
    let empty = stand.disk_bytes().await?;
    let callers = Callers::start(&stand, input);
    let watch = Stopwatch::start();
    let mut rows = Vec::new();
    for &size in &input.sizes {
        // The window ends at the size, so that the size says what lies in the store.
        let window = input.window.min(size / 2);
        let before = reach(&stand, &callers, watch, size - window).await?;
        let after = reach(&stand, &callers, watch, size).await?;
        let jobs = float(after.ended - before.ended);
        rows.push(json!({
            "jobs": size, "window": after.ended - before.ended,
            "us_per_job": (after.seconds - before.seconds) * 1e6 / jobs,
            "written_per_job": float(after.written - before.written) / jobs,
            "disk_per_job": float(after.disk.saturating_sub(empty)) / float(after.ended),
        }));
    }
    callers.stop().await?;
    stand.close().await?;
    Ok(
        json!({ "engine": input.engine(), "clients": input.clients, "claim": input.claim,
        "rows": rows }),
    )
}

async fn reach(
    stand: &Stand,
    callers: &Callers,
    watch: Stopwatch,
    ended: u64,
) -> anyhow::Result<Moment> {
    while callers.ended() < ended {
        anyhow::ensure!(!callers.failed(), "a caller has given up");
        tokio::time::sleep(LOOK).await;
    }
    let (ended, seconds) = (callers.ended(), watch.elapsed().as_secs_f64());
    Ok(Moment {
        ended,
        seconds,
        written: stand.written_bytes().await?,
        disk: stand.disk_bytes().await?,
    })
}

/// The part `bytes`: one caller and a fixed number of jobs, so that two runs write the same.
pub(crate) async fn bytes(input: &Input) -> anyhow::Result<Value> {
    let stand = Stand::open(input.backend).await?;
    let caller = stand.caller(input.bare);
    // The first round makes what is made once: pages, prepared statements, catalog entries.
    caller.lifecycle(input.claim).await?;
    let (written, disk) = (stand.written_bytes().await?, stand.disk_bytes().await?);
    let mut ended = 0;
    while ended < input.jobs {
        ended += caller.lifecycle(input.claim).await?;
    }
    let written = stand.written_bytes().await? - written;
    let disk = stand.disk_bytes().await?.saturating_sub(disk);
    stand.close().await?;
    Ok(json!({
        "engine": input.engine(), "jobs": ended, "claim": input.claim, "bare": input.bare,
        "written_per_job": float(written) / float(ended),
        "disk_per_job": float(disk) / float(ended),
    }))
}
