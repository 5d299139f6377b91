//! Long tests of the suite: kills, a thousand attempts at once, machines cut off, full disks. Each
//! leaves what it found out in a file.

use crate::machine::Workspace;
use crate::options::Options;
use crate::process;
use crate::report::{Report, Row};
use crate::stopwatch::Stopwatch;
use crate::test::clock;
use crate::test::cluster::{Cluster, server_programs};
use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The variable that says where a PostgreSQL for tests is.
pub(super) const POSTGRES_VARIABLE: &str = "SKEP_TEST_POSTGRES";
/// The variable that names the binary under test.
pub(super) const BINARY_VARIABLE: &str = "SKEP_BIN";

/// The variable that names the file in which tests leave what they found out.
const FIGURES_VARIABLE: &str = "SKEP_TEST_FIGURES";
const FIGURES: &str = "chaos-figures.jsonl";

/// An engine killed over a thousand running attempts.
pub(super) fn thousand(options: &Options) -> Result<Report> {
    let attempts = if options.quick { "40" } else { "1000" };
    run(&["crash::long::"], ("SKEP_TEST_ATTEMPTS", attempts))
}

/// Hundreds of kills at random instants, and one at every named crash point.
pub(super) fn kills(options: &Options) -> Result<Report> {
    let kills = if options.quick { "10" } else { "500" };
    let tests = [
        "crash::random::",
        "crash::point::",
        "crash::plan::",
        "crash::schedule::",
    ];
    run(&tests, ("SKEP_TEST_KILLS", kills))
}

/// Machines in network namespaces that die and are cut off.
pub(super) fn nodes(options: &Options) -> Result<Report> {
    let cuts = if options.quick { 2 } else { 40 };
    let cuts = options.number("cuts")?.unwrap_or(cuts).to_string();
    run(&["nodes::"], ("SKEP_NODES_CUTS", &cuts))
}

/// Rounds of three spells each: nothing, a little, and not enough left on the disk.
const ROUNDS: u64 = 10;

/// A disk that is full for a while, and one that is read-only.
pub(super) fn disk(options: &Options) -> Result<Report> {
    let rounds = if options.quick { 1 } else { ROUNDS };
    let rounds = options.number("rounds")?.unwrap_or(rounds).to_string();
    run(&["crash::disk::"], ("SKEP_DISK_ROUNDS", &rounds))
}

/// A machine's clock that is set under a whole engine, and daylight saving time.
pub(super) fn clock(_: &Options) -> Result<Report> {
    let library = clock::find_or_install()?;
    run(
        &["crash::clock::"],
        (clock::VARIABLE, &library.to_string_lossy()),
    )
}

/// Runs tests of the suite at length, one after another.
fn run(filters: &[&str], (variable, count): (&str, &str)) -> Result<Report> {
    let workspace = Workspace::find()?;
    if !process::succeeds(&mut workspace.build_binary())? {
        anyhow::bail!("failed to build skep");
    }
    let cluster = match std::env::var_os(POSTGRES_VARIABLE) {
        Some(_) => None,
        None => Some(Cluster::start(&server_programs()?)?),
    };
    let suite = ["test", "--package", "skep-tests", "--test", "suite", "--"];
    // A name that no test has is no success.
    let mut tests = 0;
    for filter in filters {
        let mut list = workspace.cargo();
        let listed = process::output(list.args(suite).args([filter, "--list"]))?;
        let found = listed.lines().filter(|line| line.ends_with(": test"));
        match found.count() {
            0 => anyhow::bail!("the suite has no test `{filter}`"),
            some => tests += some,
        }
    }
    let figures = workspace.target.join(FIGURES);
    if figures.exists() {
        std::fs::remove_file(&figures)?;
    }
    let mut command = workspace.cargo();
    command
        .args(suite)
        .args(filters)
        .args(["--nocapture", "--test-threads=1"])
        .env(variable, count)
        .env(FIGURES_VARIABLE, &figures)
        .env(BINARY_VARIABLE, workspace.binary());
    if let Some(cluster) = &cluster {
        command.env(POSTGRES_VARIABLE, cluster.url());
    }
    let watch = Stopwatch::start();
    let outcome = if process::succeeds(&mut command)? {
        Ok(format!("{tests} tests, every rule holds"))
    } else {
        Err(format!("see above; of {tests} tests"))
    };
    let lines = std::fs::read_to_string(&figures).unwrap_or_default();
    let mut rows: Vec<Row> = lines.lines().map(row).collect::<Result<_>>()?;
    rows.push(Row::step("rules", watch.seconds(), outcome));
    Ok(Report::of(rows))
}

/// A figure as a test left it.
#[derive(Deserialize)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
    target: Option<f64>,
    note: String,
}

fn row(line: &str) -> Result<Row> {
    let figure: Figure = serde_json::from_str(line).context("failed to read a figure")?;
    let unit = ["s", "kills", "cuts"].into_iter();
    let unit = unit.into_iter().find(|unit| *unit == figure.unit);
    let unit = unit.unwrap_or("");
    Ok(Row::at_most(&figure.name, figure.value, unit, figure.target).noted(figure.note))
}
