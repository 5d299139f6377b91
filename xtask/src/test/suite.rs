//! The workspace's own tests: what they find in their environment, and how they are run.

use super::{clock, cluster, python};
use crate::machine::{self, Workspace};
use crate::process;
use crate::report::{Row, say};
use crate::stopwatch::Stopwatch;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// The address of the private PostgreSQL cluster; tests make databases of their own in it.
const POSTGRES_VARIABLE: &str = "SKEP_TEST_POSTGRES";
/// The `skep` binary under test.
const BINARY_VARIABLE: &str = "SKEP_BIN";
/// A Python interpreter that has pytest.
const PYTHON_VARIABLE: &str = "SKEP_TEST_PYTHON";

/// What a developer's shell may hold and a test must not see: another home, an armed crash point,
/// and keys that would cost money.
const FOREIGN_VARIABLES: &[&str] = &[
    "SKEP_HOME",
    "SKEP_CRASH_AT",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "GEMINI_API_KEY",
];

/// Where nextest leaves its results, below the target folder, by profile.
const RESULTS: &str = "junit.xml";

/// Everything that the tests need, up and running; dropping it takes it down.
pub(crate) struct Suite {
    cluster: cluster::Cluster,
    python: PathBuf,
    clock: PathBuf,
    binary: PathBuf,
    nextest: bool,
}

/// Finds or starts what the tests need.
pub(crate) fn prepare(workspace: &Workspace) -> Result<Suite> {
    if machine::program("git").is_none() {
        bail!("no `git` on this machine: the tests work on real repositories");
    }
    let python = python::find_or_install(&workspace.target)?;
    let programs = cluster::server_programs()?;
    cluster::ensure_pooler()?;
    let clock = clock::find_or_install()?;
    let nextest = process::works("cargo", &["nextest", "--version"]);
    if !nextest {
        say(
            "cargo-nextest is not installed; `cargo test` runs the same tests, one binary at a time",
        );
    }
    Ok(Suite {
        cluster: cluster::Cluster::start(&programs)?,
        python,
        clock,
        binary: workspace.binary(),
        nextest,
    })
}

impl Suite {
    /// What was set up, in one line.
    pub(super) fn description(&self) -> String {
        let runner = if self.nextest {
            "nextest"
        } else {
            "cargo test"
        };
        format!("{runner}, private PostgreSQL, {}", self.python.display())
    }

    /// Runs all tests, or those of the profile `quick`. The row holds the seconds.
    pub(crate) fn run(&self, workspace: &Workspace, quick: bool) -> Result<Row> {
        let profile = if quick { "quick" } else { "default" };
        let results = workspace.target.join("nextest").join(profile).join(RESULTS);
        // A run that dies early must not be judged by the results of the one before.
        if results.exists() {
            std::fs::remove_file(&results)?;
        }
        let mut command = workspace.cargo();
        match (self.nextest, quick) {
            (true, _) => command.args(["nextest", "run", "--workspace", "--profile", profile]),
            (false, false) => command.args(["test", "--workspace"]),
            // Without nextest's filters, quick means the unit tests.
            (false, true) => command.args(["test", "--workspace", "--lib", "--bins"]),
        };
        self.surround(&mut command);
        let watch = Stopwatch::start();
        let passed = process::succeeds(&mut command)?;
        let counts = std::fs::read_to_string(results)
            .ok()
            .and_then(|text| counts(&text));
        let note = counts.unwrap_or_default();
        let outcome = if passed {
            Ok(note)
        } else {
            Err(format!("failed; {note}"))
        };
        Ok(Row::step("tests", watch.seconds(), outcome))
    }

    fn surround(&self, command: &mut Command) {
        for name in FOREIGN_VARIABLES {
            command.env_remove(name);
        }
        command
            .env(POSTGRES_VARIABLE, self.cluster.url())
            .env(BINARY_VARIABLE, &self.binary)
            .env(PYTHON_VARIABLE, &self.python)
            .env(clock::VARIABLE, &self.clock);
    }
}

/// `12 tests, 1 failed` from the head of a JUnit file.
fn counts(junit: &str) -> Option<String> {
    let head = junit.split_once("<testsuites ")?.1.split_once('>')?.0;
    let number = |name: &str| -> Option<u32> {
        let value = head.split_once(&format!(" {name}=\""))?.1;
        value.split_once('"')?.0.parse().ok()
    };
    let failed = number("failures")? + number("errors")?;
    Some(format!("{} tests, {failed} failed", number("tests")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_results_file_is_counted() {
        let text = "<?xml?>\n<testsuites name=\"n\" tests=\"12\" failures=\"1\" errors=\"2\" time=\"1\">\n";
        assert_eq!(counts(text).as_deref(), Some("12 tests, 3 failed"));
        assert_eq!(counts("<testsuites name=\"n\">"), None);
        assert_eq!(counts(""), None);
    }
}
