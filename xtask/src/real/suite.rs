//! A package's own test suite, run outside any fence on an exact commit: the second opinion.

use super::bounded::{self, Reach};
use super::case::Case;
use super::repository::{Broken, Repository};
use super::tools::Tools;
use anyhow::{Context as _, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest that a suite may take, in seconds; both take a few.
const SUITE_SECONDS_MAX: f64 = 180.0;

/// A place where the suite is run, with its own work tree and build folder.
pub(super) struct Suite<'a> {
    case: &'a Case,
    path: String,
    tree: Repository,
    build: PathBuf,
    output: PathBuf,
}

/// What a test runner counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u32,
    pub(super) failed: u32,
}

impl<'a> Suite<'a> {
    /// A place below `folder`; what is built stays in `place` for the next run.
    pub(super) fn new(
        case: &'a Case,
        tools: &Tools,
        broken: &Broken,
        place: &Path,
        folder: &Path,
    ) -> Result<Self> {
        Ok(Self {
            case,
            path: tools.path(),
            tree: broken.copy("suite")?,
            build: place.join("build").join(&case.package),
            output: folder.join("suite.log"),
        })
    }

    /// Runs the suite on a commit of the first repository.
    pub(super) fn run(&self, commit: &str) -> Result<Counts> {
        self.tree.check_out(commit)?;
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("{} 2>&1", self.case.check)])
            .current_dir(&self.tree.path)
            .env("PATH", &self.path)
            .env("CARGO_TARGET_DIR", &self.build)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let status = bounded::run(&mut shell, &self.output, SUITE_SECONDS_MAX, Reach::Group)?;
        let text = std::fs::read_to_string(&self.output)?;
        let failed = || {
            format!(
                "`{}` counted no tests; see {}",
                self.case.check,
                self.output.display()
            )
        };
        let mut counts = Counts::read(&text).with_context(failed)?;
        if !status.success() && counts.failed == 0 {
            // A runner that fails for another reason has not passed.
            counts.failed = 1;
        }
        Ok(counts)
    }

    /// Runs the suite on the branch of another repository.
    pub(super) fn run_from(&self, repo: &Repository) -> Result<Counts> {
        let tip = self.tree.fetch(repo)?;
        self.run(&tip)
    }
}

impl Counts {
    /// Reads `test result: ok. 3 passed; 0 failed; …`, once for each binary of cargo, or
    /// `1 failed, 3 passed in 0.12s`, the last line of pytest.
    fn read(output: &str) -> Option<Self> {
        let cargo: Vec<&str> = output
            .lines()
            .filter_map(|line| line.strip_prefix("test result: "))
            .collect();
        let pytest = output.lines().rev().find(|line| line.contains(" in "));
        let lines = if cargo.is_empty() {
            vec![pytest?]
        } else {
            cargo
        };
        let mut counts = Self::default();
        for line in lines {
            counts.passed += before(line, "passed").unwrap_or(0);
            counts.failed += before(line, "failed").unwrap_or(0);
        }
        (counts != Self::default()).then_some(counts)
    }
}

/// The number before `word`.
fn before(line: &str, word: &str) -> Option<u32> {
    let words: Vec<&str> = line
        .split([' ', ',', ';', '='])
        .filter(|word| !word.is_empty())
        .collect();
    let at = words.iter().position(|found| *found == word)?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runners_are_read() {
        let cargo = "test result: FAILED. 7 passed; 3 failed; 0 ignored\n\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
        for (output, expected) in [
            (cargo, Some((8, 3))),
            (
                "F.\n2 failed, 94 passed, 1 skipped in 0.35s\n",
                Some((94, 2)),
            ),
            ("=== 96 passed, 1 skipped in 0.21s ===\n", Some((96, 0))),
            ("error: could not compile\n", None),
            ("no tests ran in 0.01s\n", None),
        ] {
            let found = Counts::read(output).map(|counts| (counts.passed, counts.failed));
            assert_eq!(found, expected, "{output}");
        }
    }
}
