//! Which files of a repository steer its test runner, and which are tests.
//!
//! A change to either is how a red suite is made to look green, so existing ones come from the
//! base commit when checks run, and their change is a finding that needs a waiver. New test files
//! are welcome: a canary proves that the runner still reports failure.

/// Why a file is held to the base commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarded {
    /// It steers the runner; adding one counts as a change.
    Runner,
    /// It is a test; adding one is welcome.
    Test,
}

/// File names that steer a runner, wherever they lie.
const RUNNER_NAMES: &[&str] = &[
    "build.rs",
    "conftest.py",
    "pytest.ini",
    "tox.ini",
    "setup.cfg",
    "noxfile.py",
    "package.json",
    "makefile",
    "gnumakefile",
    "justfile",
    ".gitlab-ci.yml",
    "sitecustomize.py",
    "rust-toolchain",
    "rust-toolchain.toml",
    "nextest.toml",
    ".coveragerc",
];
/// Beginnings of file names that steer a runner.
const RUNNER_STEMS: &[&str] = &["jest.config.", "vitest.config.", ".mocharc", "karma.conf."];
/// Folders whose every file steers a runner.
const RUNNER_FOLDERS: &[&str] = &[".cargo", ".config", ".github", ".circleci", ".ci"];
/// Folders whose every file is a test.
const TEST_FOLDERS: &[&str] = &["tests", "test", "__tests__", "spec", "testing"];

/// Whether and why the file at `path` is guarded.
pub(crate) fn guarded(path: &str) -> Option<Guarded> {
    let lower = path.to_lowercase();
    let (folders, name) = lower.rsplit_once('/').unwrap_or(("", &lower));
    let in_folder = |known: &[&str]| folders.split('/').any(|folder| known.contains(&folder));
    if RUNNER_NAMES.contains(&name)
        || RUNNER_STEMS.iter().any(|stem| name.starts_with(stem))
        || in_folder(RUNNER_FOLDERS)
    {
        return Some(Guarded::Runner);
    }
    let stem = name.split('.').next().unwrap_or(name);
    let is_test = in_folder(TEST_FOLDERS)
        || stem.starts_with("test_")
        || stem.ends_with("_test")
        || stem == "tests"
        || stem.ends_with("_tests")
        || name.contains(".test.")
        || name.contains(".spec.");
    is_test.then_some(Guarded::Test)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_one_answer() {
        for (path, expected) in [
            ("src/lib.rs", None),
            ("src/contest.rs", None),
            ("src/latest.py", None),
            ("Cargo.toml", None),
            ("build.rs", Some(Guarded::Runner)),
            (".cargo/config.toml", Some(Guarded::Runner)),
            ("pkg/conftest.py", Some(Guarded::Runner)),
            ("tests/conftest.py", Some(Guarded::Runner)),
            ("Makefile", Some(Guarded::Runner)),
            (".github/workflows/ci.yml", Some(Guarded::Runner)),
            ("tests/basic.rs", Some(Guarded::Test)),
            ("pkg/test_core.py", Some(Guarded::Test)),
            ("pkg/core_test.go", Some(Guarded::Test)),
            ("web/a.spec.ts", Some(Guarded::Test)),
            ("src/parser/tests.rs", Some(Guarded::Test)),
        ] {
            assert_eq!(guarded(path), expected, "{path}");
        }
    }
}
