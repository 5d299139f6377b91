//! Long tests of the suite: hundreds of kills, a thousand attempts at once, machines cut off.

use crate::machine::Workspace;
use crate::options::Options;
use crate::process;
use crate::report::{Report, Row};
use crate::stopwatch::Stopwatch;
use crate::test::cluster::{Cluster, server_programs};
use anyhow::Result;

/// The variable that says where a PostgreSQL for tests is.
pub(super) const POSTGRES_VARIABLE: &str = "SKEP_TEST_POSTGRES";
/// The variable that names the binary under test.
pub(super) const BINARY_VARIABLE: &str = "SKEP_BIN";

/// An engine killed over a thousand running attempts.
pub(super) fn thousand(options: &Options) -> Result<Report> {
    let attempts = if options.quick { "40" } else { "1000" };
    let test = "crash::long::";
    let said = format!("{attempts} on each store");
    run("thousand", test, ("SKEP_TEST_ATTEMPTS", attempts), said)
}

/// Hundreds of kills at random instants.
pub(super) fn kills(options: &Options) -> Result<Report> {
    let kills = if options.quick { "10" } else { "400" };
    let test = "crash::random::";
    let said = format!("{kills} on each store");
    run("kills", test, ("SKEP_TEST_KILLS", kills), said)
}

/// Machines in network namespaces that die and are cut off.
pub(super) fn nodes(options: &Options) -> Result<Report> {
    let cuts = if options.quick { 2 } else { 40 };
    let cuts = options.number("cuts")?.unwrap_or(cuts).to_string();
    let said = format!("{cuts} cuts of one flapping link");
    run("nodes", "nodes::", ("SKEP_NODES_CUTS", &cuts), said)
}

/// Runs tests of the suite at length.
fn run(name: &str, test: &str, (variable, count): (&str, &str), said: String) -> Result<Report> {
    let workspace = Workspace::find()?;
    if !process::succeeds(&mut workspace.build_binary())? {
        anyhow::bail!("failed to build skep");
    }
    let cluster = match std::env::var_os(POSTGRES_VARIABLE) {
        Some(_) => None,
        None => Some(Cluster::start(&server_programs()?)?),
    };
    let of_suite = ["test", "--package", "skep-tests", "--test", "suite", test];
    // A name that no test has is no success.
    let mut list = workspace.cargo();
    let listed = process::output(list.args(of_suite).args(["--", "--list"]))?;
    if !listed.lines().any(|line| line.ends_with(": test")) {
        anyhow::bail!("the suite has no test `{test}`");
    }
    let mut tests = workspace.cargo();
    tests
        .args(of_suite)
        .args(["--", "--nocapture", "--test-threads=1"])
        .env(variable, count)
        .env(BINARY_VARIABLE, workspace.binary());
    if let Some(cluster) = &cluster {
        tests.env(POSTGRES_VARIABLE, cluster.url());
    }
    let watch = Stopwatch::start();
    let outcome = if process::succeeds(&mut tests)? {
        Ok(said)
    } else {
        Err("see above".to_owned())
    };
    let row = Row::step(name, watch.seconds(), outcome);
    Ok(Report::of(vec![row]))
}
