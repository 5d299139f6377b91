//! The part that fills a disk under the real binary: tests of the suite, with more rounds.

use crate::machine::Workspace;
use crate::options::Options;
use crate::process;
use crate::report::{Report, Row};
use crate::stopwatch::Stopwatch;
use anyhow::Result;

/// Rounds of three spells each: nothing, a little, and not enough left on the disk.
const ROUNDS: u64 = 10;
/// The tests, and what tells them how many rounds.
const TESTS: &str = "crash::disk::";
const ROUNDS_VARIABLE: &str = "SKEP_DISK_ROUNDS";
const BINARY_VARIABLE: &str = "SKEP_BIN";

/// A disk that is full for a while, and one that is read-only.
pub(super) fn run(options: &Options) -> Result<Report> {
    let workspace = Workspace::find()?;
    if !process::succeeds(&mut workspace.build_binary())? {
        anyhow::bail!("failed to build skep");
    }
    let rounds = if options.quick { 1 } else { ROUNDS };
    let rounds = options.number("rounds")?.unwrap_or(rounds);
    let mut tests = workspace.cargo();
    tests
        .args(["test", "--package", "skep-tests", "--test", "suite", TESTS])
        // What tests nothing for want of a disk says so there.
        .args(["--", "--nocapture"])
        .env(ROUNDS_VARIABLE, rounds.to_string())
        .env(BINARY_VARIABLE, workspace.binary());
    let watch = Stopwatch::start();
    let outcome = if process::succeeds(&mut tests)? {
        Ok(format!("{rounds} rounds"))
    } else {
        Err("see above".to_owned())
    };
    let row = Row::step("disk", watch.seconds(), outcome);
    Ok(Report::of(vec![row]))
}
