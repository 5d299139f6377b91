//! What the product costs to build and to keep: the figures that are watched from the first week.

use super::server;
use crate::machine::{self, Workspace};
use crate::options::Options;
use crate::process;
use crate::report::{Report, Row, number, say};
use crate::stopwatch::Stopwatch;
use crate::test;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGE: &str = "docs/benchmarks/house.md";
const COMMAND: &str = "cargo xtask bench house";

/// A crate in the middle of the graph: a change there is the everyday case.
const TOUCHED: &str = "crates/skep-director/src/lib.rs";

// Targets. Past them a dependency or a crate is weighed again in a decision record.
const COLD_BUILD_S: f64 = 720.0;
const BINARY_MB: f64 = 60.0;
const IDLE_MB: f64 = 60.0;
const START_MS: f64 = 300.0;

/// Starts measured; the figure is their median.
const STARTS: usize = 10;

/// Measures the house, and writes the page unless the run is quick.
pub(super) fn run(options: &Options) -> Result<Report> {
    let workspace = Workspace::find()?;
    let mut rows = Vec::new();
    let binary = if options.quick {
        build(&mut workspace.cargo())?;
        workspace.target.join("release/skep")
    } else {
        let (row, binary) = cold_build(&workspace)?;
        rows.push(row);
        binary
    };
    rows.extend(incremental(&workspace)?);
    rows.push(test_time(&workspace, options.quick)?);
    rows.push(binary_size(&binary)?);
    rows.extend(server_rows(&binary)?);
    if !options.quick {
        let page = workspace.root.join(PAGE);
        std::fs::write(&page, page_text(&machine::description(), &rows))
            .with_context(|| format!("failed to write {}", page.display()))?;
        std::fs::remove_dir_all(cold_target(&workspace))
            .context("failed to remove the cold build")?;
        say(&format!("wrote {PAGE}"));
    }
    Ok(Report::of(rows))
}

fn cold_target(workspace: &Workspace) -> PathBuf {
    workspace.target.join("xtask/cold")
}

/// A release build into an empty target folder; the crates' sources are already here.
fn cold_build(workspace: &Workspace) -> Result<(Row, PathBuf)> {
    let target = cold_target(workspace);
    if target.exists() {
        std::fs::remove_dir_all(&target).context("failed to empty the cold target folder")?;
    }
    if !process::succeeds(workspace.cargo().args(["fetch", "--locked"]))? {
        bail!("failed to fetch the dependencies");
    }
    let watch = Stopwatch::start();
    build(workspace.cargo().env("CARGO_TARGET_DIR", &target))?;
    let row = Row::at_most(
        "cold release build",
        watch.seconds(),
        "s",
        Some(COLD_BUILD_S),
    );
    let row = row.noted("cargo build --release --locked -p skep, empty target folder");
    Ok((row, target.join("release/skep")))
}

fn build(cargo: &mut Command) -> Result<()> {
    if process::succeeds(cargo.args(["build", "--release", "--locked", "-p", "skep"]))? {
        Ok(())
    } else {
        bail!("the release build failed")
    }
}

/// Check and build after a change in the middle of the graph.
fn incremental(workspace: &Workspace) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, command) in [
        ("incremental check", "check"),
        ("incremental dev build", "build"),
    ] {
        let run = || process::succeeds(workspace.cargo().args([command, "-p", "skep"]));
        // Once to be up to date, then once with the change.
        if !run()? {
            bail!("`cargo {command} -p skep` failed");
        }
        touch(&workspace.root.join(TOUCHED))?;
        let watch = Stopwatch::start();
        run()?;
        let row = Row::at_most(name, watch.seconds(), "s", None);
        rows.push(row.noted(format!(
            "cargo {command} -p skep after a touch of {TOUCHED}"
        )));
    }
    Ok(rows)
}

/// Gives a file the time of now, as an editor that saves it unchanged does.
fn touch(path: &Path) -> Result<()> {
    process::output(Command::new("touch").arg("--no-create").arg(path)).map(drop)
}

fn test_time(workspace: &Workspace, quick: bool) -> Result<Row> {
    let mut tests = workspace.cargo();
    tests.args(["test", "--workspace", "--no-run"]);
    if !process::succeeds(&mut workspace.build_binary())? || !process::succeeds(&mut tests)? {
        bail!("the tests do not build");
    }
    let suite = test::prepare(workspace)?;
    let row = suite.run(workspace, quick)?;
    let what = if quick { "without slow suites" } else { "all" };
    let note = format!("{}, {what}, built before", row.note);
    Ok(row.noted(note))
}

fn binary_size(binary: &Path) -> Result<Row> {
    let length = std::fs::metadata(binary)
        .with_context(|| format!("failed to look at {}", binary.display()))?
        .len();
    let row = Row::at_most("binary size", mb(length / 1_000)?, "MB", Some(BINARY_MB));
    Ok(row.noted("release, symbols stripped"))
}

fn server_rows(binary: &Path) -> Result<Vec<Row>> {
    let mut starts = Vec::new();
    let mut idle_kib = 0;
    for _ in 0..STARTS {
        let server = server::Server::start(binary)?;
        starts.push(server.ready_ms);
        idle_kib = server.idle_kib()?;
    }
    let idle = mb(idle_kib * 1_024 / 1_000)?;
    let ready = Row::at_most("start to ready", median(&mut starts), "ms", Some(START_MS));
    Ok(vec![
        Row::at_most("idle memory", idle, "MB", Some(IDLE_MB))
            .noted("resident, `skep up` on an empty home"),
        ready.noted(format!(
            "first 200 of /readyz, empty home, median of {STARTS}"
        )),
    ])
}

/// Megabytes from thousands of bytes.
fn mb(kilobytes: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(kilobytes)?) / 1_000.0)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

fn page_text(machine: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "# The house\n\nWhat Skep costs to build and to keep. Written by the command; a row that \
         misses its target stays.\n\n    {COMMAND}\n\nMachine: {machine}.\n\n\
         | What | Value | Target | Met | How |\n|---|---:|---:|---|---|\n"
    );
    for row in rows {
        let value =
            |value: Option<f64>| value.map(|value| format!("{} {}", number(value), row.unit));
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} |\n",
            row.name,
            value(row.value).unwrap_or_default(),
            value(row.target).map_or("none".to_owned(), |target| format!("at most {target}")),
            if row.ok { "yes" } else { "**no**" },
            row.note,
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_between_the_middle_two() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]).to_string(), "2");
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]).to_string(), "2.5");
    }

    #[test]
    fn the_page_keeps_a_missed_row() {
        let text = page_text("2 cores", &[Row::at_most("size", 61.0, "MB", Some(60.0))]);
        assert!(
            text.contains("| size | 61 MB | at most 60 MB | **no** |"),
            "{text}"
        );
        assert!(text.contains(COMMAND));
    }
}
