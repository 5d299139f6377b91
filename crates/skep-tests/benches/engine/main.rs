//! What the engine does in a second, and what it costs: no-op jobs through `skep-queue`'s own API,
//! every step acknowledged after its durable commit, the ledger on.
//!
//! One part to a run, so that `cargo xtask bench engine` can put other queues between the
//! repetitions. Prints one JSON document; knows nothing of targets, peers or pages.
//!
//! Usage: `engine PART [--engine sqlite|postgres] [--NAME NUMBER].. [--pinned] [--bare]`, where
//! PART is one of [`PARTS`]. Without a part: a short look at the throughput of both engines.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark reports on standard output"
)]

mod backlog;
mod cost;
mod input;
mod lifecycle;
mod pickup;
mod spread;
mod stand;
mod throughput;

use anyhow::Context as _;
use input::Input;
use serde_json::{Value, json};
use skep_testkit::Backend;

/// The parts and what each takes.
const PARTS: &str = "throughput --clients N --claim N --seconds N --sample N [--pinned] [--bare], \
    pickup --rate N --seconds N --slots N, backlog --jobs N --claims N, \
    growth --sizes N,N.. --window N, bytes --jobs N, commit";

fn main() -> anyhow::Result<()> {
    let input = Input::parse(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let document = runtime.block_on(run(&input))?;
    println!("{document}");
    Ok(())
}

async fn run(input: &Input) -> anyhow::Result<Value> {
    match input.part.as_deref() {
        Some("throughput") => throughput::run(input).await,
        Some("pickup") => pickup::run(input).await,
        Some("backlog") => backlog::run(input).await,
        Some("growth") => cost::growth(input).await,
        Some("bytes") => cost::bytes(input).await,
        Some("commit") => stand::commit(input).await,
        None => short_look(input).await,
        Some(other) => anyhow::bail!("unknown part `{other}`; there is: {PARTS}"),
    }
}

/// The throughput of both engines in the shapes that are watched, a few seconds each.
async fn short_look(input: &Input) -> anyhow::Result<Value> {
    let mut rows = Vec::new();
    for backend in [Backend::Sqlite, Backend::Postgres] {
        for (clients, claim) in [(1, 1), (16, 1), (128, 1), (64, 16)] {
            let shape = Input {
                backend,
                clients,
                claim,
                ..input.clone()
            };
            rows.push(throughput::run(&shape).await.context("a short look")?);
        }
    }
    Ok(json!({ "rows": rows }))
}
