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
    "tox.toml",
    "setup.cfg",
    "setup.py",
    "pyproject.toml",
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

/// Words of a `Cargo.toml` line that decide which tests there are and how they run.
const MANIFEST_WORDS: &[&str] = &[
    "autotests",
    "autobins",
    "autoexamples",
    "doctest",
    "harness",
    "required-features",
    "test",
    "[[test]]",
    "[[bin]]",
    "[lib]",
];

/// Whether a manifest is one whose settings are looked at: most of its changes are ordinary work.
pub(crate) fn is_manifest(path: &str) -> bool {
    path.rsplit('/').next() == Some("Cargo.toml")
}

/// Whether the change of a `Cargo.toml` touches a line that steers the test runner.
pub(crate) fn steering_changed(before: &str, after: &str) -> bool {
    steering_lines(before) != steering_lines(after)
}

fn steering_lines(text: &str) -> Vec<String> {
    let steers = |line: &str| {
        let key = line.split(['=', '#']).next().unwrap_or_default().trim();
        // A dotted key says the same as a table, as in `lib.test = false`.
        let last = key.rsplit('.').next().unwrap_or_default().trim();
        MANIFEST_WORDS.contains(&key) || MANIFEST_WORDS.contains(&last)
    };
    let lines = text.lines().map(str::trim).filter(|line| steers(line));
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_steer_the_tests_count() {
        let before = "[package]\nname = \"a\"\n[dependencies]\n";
        for (after, expected) in [
            (
                "[package]\nname = \"a\"\n[dependencies]\nserde = \"1\"\n",
                false,
            ),
            (
                "[package]\nname = \"a\"\nautotests = false\n[dependencies]\n",
                true,
            ),
            (
                "[package]\nname = \"a\"\n[lib]\ntest = false\n[dependencies]\n",
                true,
            ),
            (
                "lib.test=false\n[package]\nname = \"a\"\n[dependencies]\n",
                true,
            ),
            (
                "[package]\nname = \"b\"\n# test = false\n[dependencies]\n",
                false,
            ),
        ] {
            assert_eq!(steering_changed(before, after), expected, "{after}");
        }
        assert!(is_manifest("a/Cargo.toml") && !is_manifest("a/NotCargo.toml.txt"));
    }

    #[test]
    fn each_path_has_one_answer() {
        for (path, expected) in [
            ("src/lib.rs", None),
            ("src/contest.rs", None),
            ("src/latest.py", None),
            ("Cargo.toml", None),
            ("pyproject.toml", Some(Guarded::Runner)),
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
