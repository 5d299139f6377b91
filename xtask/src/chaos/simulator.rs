//! The parts that are a command of `skep-sim`: built optimized, run, and its document read.

use crate::machine::Workspace;
use crate::options::Options;
use crate::process;
use crate::report::{Report, Row, number, say};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::process::{Command, Stdio};

/// Histories with `--quick`, as many as the suite runs.
const QUICK_HISTORIES: u64 = 300;
/// Cuts with `--quick`.
const QUICK_CUTS: u64 = 60;

/// Seeded histories; one alone is told step by step.
pub(super) fn simulate(options: &Options) -> Result<Report> {
    let mut arguments = vec!["simulate".to_owned()];
    let quick = options.quick.then_some(QUICK_HISTORIES);
    add(
        &mut arguments,
        "--histories",
        options.number("histories")?.or(quick),
    );
    add(&mut arguments, "--seed", options.number("seed")?);
    run(&arguments, &["histories", "steps", "events"])
}

/// Power cuts and errors of the disk.
pub(super) fn power(options: &Options) -> Result<Report> {
    let mut arguments = vec!["power".to_owned()];
    let quick = options.quick.then_some(QUICK_CUTS);
    add(&mut arguments, "--cuts", options.number("cuts")?.or(quick));
    add(&mut arguments, "--seed", options.number("seed")?);
    run(
        &arguments,
        &["cuts", "spells", "acknowledged", "failed_commits"],
    )
}

fn add(arguments: &mut Vec<String>, flag: &str, value: Option<u64>) {
    if let Some(value) = value {
        arguments.extend([flag.to_owned(), value.to_string()]);
    }
}

/// Runs `skep-sim`; the report has a row for each of `counted`, and one for the time.
fn run(arguments: &[String], counted: &[&str]) -> Result<Report> {
    let workspace = Workspace::find()?;
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--package", "skep-sim"]);
    if !process::succeeds(&mut build)? {
        anyhow::bail!("failed to build skep-sim");
    }
    let program = workspace.target.join("release").join("skep-sim");
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    say(&format!("$ skep-sim {}", arguments.join(" ")));
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start skep-sim")?;
    let well = output.status.success();
    let text = String::from_utf8_lossy(&output.stdout);
    if text.trim().is_empty() {
        // A single history tells itself on stderr and has no figures.
        let outcome = if well {
            Ok("every rule holds".to_owned())
        } else {
            Err("see above".to_owned())
        };
        return Ok(Report::of(vec![Row::step(
            &arguments.join(" "),
            0.0,
            outcome,
        )]));
    }
    let document: Value = serde_json::from_str(&text).context("failed to read its document")?;
    Ok(Report::of(rows(&document, counted, well)))
}

fn rows(document: &Value, counted: &[&str], well: bool) -> Vec<Row> {
    let value = |name: &str| document[name].as_f64().unwrap_or(0.0);
    let seconds = value("took_ms") / 1_000.0;
    let mut rows: Vec<Row> = counted
        .iter()
        .map(|name| Row::at_most(name, value(name), "", None))
        .collect();
    let first = counted.first().copied().unwrap_or_default();
    let rate = format!(
        "{} {first} a second",
        number(value(first) / seconds.max(0.001))
    );
    rows.push(Row::at_most("time", seconds, "s", None).noted(rate));
    let held = if well {
        Ok("every rule holds".to_owned())
    } else {
        Err(format!(
            "seed {}: {}",
            document["seed"],
            document["broken"].as_str().unwrap_or_default()
        ))
    };
    rows.push(Row::step("rules", seconds, held));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_rule_fails_the_report_and_names_the_seed() {
        let document = serde_json::json!({
            "ok": false, "histories": 41, "took_ms": 500, "seed": 42, "broken": "NothingLost: gone",
        });
        let report = Report::of(rows(&document, &["histories"], false));
        assert!(!report.ok);
        assert_eq!(report.rows[0].value, Some(41.0));
        assert_eq!(report.rows[1].note, "82 histories a second");
        assert_eq!(report.rows[2].note, "seed 42: NothingLost: gone");
    }
}
