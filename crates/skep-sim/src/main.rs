//! The program behind `cargo xtask chaos`: one command for each part, one JSON document on stdout.
//!
//! Exit codes: 0 all rules held, 1 one did not, 2 the run could not be done.

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::json;
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
        /// How many.
        #[arg(long, default_value_t = 100_000)]
        histories: u64,
        /// The first seed; with it alone, that history is told step by step.
        #[arg(long)]
        seed: Option<u64>,
        /// On PostgreSQL, in the cluster of SKEP_TEST_POSTGRES.
        #[arg(long)]
        postgres: bool,
    },
}

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
            };
            match seed {
                Some(seed) if histories == 100_000 => {
                    simulate::replay(seed, &options, &mut say).await
                }
                _ => simulate_all(seed.unwrap_or(1), histories, &options).await,
            }
        }
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

fn told(failure: &Failure) -> String {
    let Failure {
        seed,
        violation,
        shortest,
        steps,
    } = failure;
    format!(
        "seed {seed} fails: {violation}\nthe shortest history that does, {} of {steps} steps:\n{}\n\
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
