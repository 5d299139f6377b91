//! The program behind `cargo xtask chaos`: one command for each part, one JSON document on stdout.
//!
//! Exit codes: 0 all rules held, 1 one did not, 2 the run could not be done.

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::json;
use skep_sim::power;
use skep_sim::simulate::{self, Failure, Options};
use skep_testkit::Backend;
use std::io::Write as _;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Seeded histories of the queue.
    Simulate {
        /// How many; 100,000 if no seed is named either.
        #[arg(long)]
        histories: Option<u64>,
        /// The first seed; without a number, that one history is told step by step.
        #[arg(long)]
        seed: Option<u64>,
        /// On PostgreSQL, in the cluster of SKEP_TEST_POSTGRES.
        #[arg(long)]
        postgres: bool,
    },
    /// Power cuts on a simulated disk, and errors of it that pass.
    Power {
        /// How many cuts, and how many spells of an error.
        #[arg(long, default_value_t = 5_000)]
        cuts: u64,
        /// The seed of the first chain of cuts.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// Histories when no number is asked for.
const HISTORIES: u64 = 100_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(arguments.part)));
    match outcome {
        Ok(well) => ExitCode::from(u8::from(!well)),
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

async fn run(part: Part) -> Result<bool> {
    match part {
        Part::Simulate {
            histories,
            seed,
            postgres,
        } => {
            let options = Options {
                backend: if postgres {
                    Backend::Postgres
                } else {
                    Backend::Sqlite
                },
                mutation: None,
                model: true,
                shorten: true,
            };
            match (seed, histories) {
                (Some(seed), None) => simulate::replay(seed, &options, &mut say).await,
                (seed, histories) => {
                    let count = histories.unwrap_or(HISTORIES);
                    simulate_all(seed.unwrap_or(1), count, &options).await
                }
            }
        }
        Part::Power { cuts, seed } => power_all(seed, cuts).await,
    }
}

async fn simulate_all(first: u64, histories: u64, options: &Options) -> Result<bool> {
    let outcome = simulate::simulate(first, histories, options).await?;
    if let Some(failure) = &outcome.failure {
        say(&told(failure));
    }
    print(&json!({
        "ok": outcome.failure.is_none(),
        "histories": outcome.histories,
        "steps": outcome.steps,
        "events": outcome.events,
        "took_ms": outcome.took_ms,
        "seed": outcome.failure.as_ref().map(|failure| failure.seed),
        "broken": outcome.failure.as_ref().map(|failure| failure.violation.to_string()),
    }));
    Ok(outcome.failure.is_none())
}

async fn power_all(first: u64, cuts: u64) -> Result<bool> {
    let cut = power::cut(first, cuts, power::Sync::Honest).await?;
    let failed = power::fail(first, cuts).await?;
    let failure = cut.failure.as_ref().or(failed.failure.as_ref());
    if let Some((seed, why)) = failure {
        say(&format!(
            "seed {seed} fails: {why}\nagain: cargo xtask chaos power --seed {seed} --cuts 24"
        ));
    }
    print(&json!({
        "ok": failure.is_none(),
        "cuts": cut.cuts,
        "acknowledged": cut.acknowledged + failed.acknowledged,
        "spells": failed.cuts,
        "failed_commits": cut.lost_commits + failed.lost_commits,
        "took_ms": cut.took_ms + failed.took_ms,
        "seed": failure.map(|(seed, _)| seed),
        "broken": failure.map(|(_, why)| why),
    }));
    Ok(failure.is_none())
}

fn told(failure: &Failure) -> String {
    let Failure {
        seed,
        violation,
        limits,
        shortest,
        steps,
    } = failure;
    format!(
        "seed {seed} fails: {violation}\nthe shortest history that does, {} of {steps} steps, begins \
         when {limits}:\n{}\n\
         the whole of it: cargo xtask chaos simulate --seed {seed}",
        shortest.len(),
        shortest.join("\n")
    )
}

fn print(document: &serde_json::Value) {
    // A reader that has closed the pipe wants no more; there is nobody to tell.
    let _ = writeln!(std::io::stdout().lock(), "{document}");
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
