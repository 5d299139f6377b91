//! `cargo xtask test`: everything that a change has to pass, on a machine that has only Rust and
//! git to begin with.
//!
//! Sets up what the tests need and nothing else: a PostgreSQL cluster of its own in a temporary
//! folder, a Python with pytest, the `skep` binary. The tests find them in the environment
//! variables below. Every step runs even when an earlier one failed, so that one run tells all.

pub(crate) mod clock;
pub(crate) mod cluster;
mod python;
mod suite;

pub(crate) use suite::prepare;

use crate::machine::Workspace;
use crate::options::Options;
use crate::process;
use crate::report::{Report, Row, say};
use crate::stopwatch::Stopwatch;
use crate::tidy;
use anyhow::Result;
use std::process::Command;

const FORMAT: &[&str] = &["fmt", "--all", "--", "--check", "--files-with-diff"];
const CLIPPY: &[&str] = &[
    "clippy",
    "--workspace",
    "--all-targets",
    "--",
    "-D",
    "warnings",
];

/// The command: cheap steps first, the verdict of all at the end.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let whole = Stopwatch::start();
    let workspace = Workspace::find()?;
    let format = step("format", workspace.cargo().args(FORMAT), "cargo fmt --all")?;
    let build = step("build", &mut workspace.build_binary(), "see above")?;
    let built = build.ok;
    let mut rows = vec![format, build, tidy_step(options)?];
    if built {
        rows.extend(suite_steps(&workspace, options)?);
    }
    if !options.quick {
        rows.push(step("clippy", workspace.cargo().args(CLIPPY), "see above")?);
    }
    rows.push(Row::at_most("all", whole.seconds(), "s", None));
    Ok(Report::of(rows))
}

/// Starts what the tests need, runs them, tears it down.
fn suite_steps(workspace: &Workspace, options: &Options) -> Result<Vec<Row>> {
    let watch = Stopwatch::start();
    let suite = match prepare(workspace) {
        Ok(suite) => suite,
        Err(error) => {
            say(&format!("error: {error:#}"));
            let setup = Row::step("setup", watch.seconds(), Err(format!("{error:#}")));
            return Ok(vec![setup]);
        }
    };
    let setup = Row::step("setup", watch.seconds(), Ok(suite.description()));
    let tests = suite.run(workspace, options.quick)?;
    Ok(vec![setup, tests])
}

fn tidy_step(options: &Options) -> Result<Row> {
    say("$ cargo xtask tidy");
    let watch = Stopwatch::start();
    let report = tidy::run(options)?;
    let broken: Vec<&str> = report
        .rows
        .iter()
        .filter(|row| !row.ok)
        .map(|row| row.name.as_str())
        .collect();
    let outcome = if report.ok {
        Ok(format!("{} rules", report.rows.len()))
    } else {
        Err(format!("broken: {}", broken.join(", ")))
    };
    Ok(Row::step("tidy", watch.seconds(), outcome))
}

fn step(name: &str, command: &mut Command, remedy: &str) -> Result<Row> {
    let watch = Stopwatch::start();
    let outcome = if process::succeeds(command)? {
        Ok(String::new())
    } else {
        Err(remedy.to_owned())
    };
    Ok(Row::step(name, watch.seconds(), outcome))
}
