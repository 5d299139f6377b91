//! Evidence: what git and the engine's own runner say about a result. An agent can write none of
//! it; everything here was gathered from the engine's vault and from checks that the engine ran.

use crate::check::CheckOutcome;
use crate::runner_files::{is_manifest, steering_changed};
use skep_sandbox::Git;
use skep_types::Scope;
use std::path::Path;

/// One changed file between base and tip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: String,
    /// Lines added; 0 for a binary file.
    pub(crate) added: i64,
    /// Lines deleted; 0 for a binary file.
    pub(crate) deleted: i64,
    pub(crate) is_new: bool,
}

/// One commit between base and tip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) oid: String,
    pub(crate) subject: String,
}

/// Everything a contract is held against.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    pub(crate) tip: String,
    pub(crate) changes: Vec<Change>,
    pub(crate) commits: Vec<Commit>,
    pub(crate) checks: Vec<CheckOutcome>,
    pub(crate) scope: Scope,
    /// Test markers in the changed files before and after the change.
    pub(crate) markers: (TestMarkers, TestMarkers),
    /// Changed manifests whose change steers the test runner.
    pub(crate) steering: Vec<String>,
}

/// How much testing a text does, counted by the words that test frameworks use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TestMarkers {
    pub(crate) tests: usize,
    pub(crate) assertions: usize,
    pub(crate) skips: usize,
}

impl TestMarkers {
    /// Counts the markers of `text`.
    pub(crate) fn count(text: &str) -> Self {
        let mut markers = Self::default();
        for line in text.lines().map(str::trim_start) {
            let is_test = [
                "#[test]",
                "#[tokio::test",
                "#[rstest",
                "def test_",
                "async def test_",
            ]
            .iter()
            .any(|word| line.starts_with(word));
            let skips = [
                "#[ignore",
                "@unittest.skip",
                "@pytest.mark.skip",
                "@pytest.mark.xfail",
            ]
            .iter()
            .any(|word| line.starts_with(word));
            markers.tests += usize::from(is_test);
            markers.skips += usize::from(skips);
            markers.assertions += line.matches("assert").count();
        }
        markers
    }

    /// The sum of two counts.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            tests: self.tests + other.tests,
            assertions: self.assertions + other.assertions,
            skips: self.skips + other.skips,
        }
    }

    /// Whether `after` tests less than `self`.
    pub(crate) const fn weakened_by(self, after: Self) -> bool {
        after.tests < self.tests || after.assertions < self.assertions || after.skips > self.skips
    }
}

/// What the changed files' texts say, before and after.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) markers: (TestMarkers, TestMarkers),
    pub(crate) steering: Vec<String>,
}

/// Compares the changed files of two commits of the vault. A path that one of them does not have
/// counts as an empty text there.
pub(crate) async fn compare_texts(
    vault: &Path,
    base: &str,
    tip: &str,
    changes: &[Change],
) -> Texts {
    let git = Git::at(vault);
    let text = async |commit: &str, path: &str| {
        git.run(&["cat-file", "blob", &format!("{commit}:{path}")])
            .await
            .unwrap_or_default()
    };
    let mut texts = Texts::default();
    for change in changes {
        let before = text(base, &change.path).await;
        let after = text(tip, &change.path).await;
        texts.markers.0 = texts.markers.0.plus(TestMarkers::count(&before));
        texts.markers.1 = texts.markers.1.plus(TestMarkers::count(&after));
        // A manifest that is new steers nothing that was there before.
        if is_manifest(&change.path) && !change.is_new && steering_changed(&before, &after) {
            texts.steering.push(change.path.clone());
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_assertion_or_a_new_skip_weakens() {
        let before = TestMarkers::count("#[test]\nfn a() { assert_eq!(1, 1); assert!(true); }");
        assert_eq!(
            before,
            TestMarkers {
                tests: 1,
                assertions: 2,
                skips: 0
            }
        );
        for (text, weaker) in [
            (
                "#[test]\nfn a() { assert_eq!(1, 1); assert!(true); }",
                false,
            ),
            ("#[test]\nfn a() { assert_eq!(1, 1); }", true),
            (
                "#[test]\n#[ignore]\nfn a() { assert_eq!(1, 1); assert!(true); }",
                true,
            ),
            ("fn a() { assert_eq!(1, 1); assert!(true); }", true),
        ] {
            assert_eq!(
                before.weakened_by(TestMarkers::count(text)),
                weaker,
                "{text}"
            );
        }
    }
}
