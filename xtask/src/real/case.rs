//! A case: a published package, the bug that it once had, and what the job is told.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::fmt;
use std::path::Path;

/// Every case by name, the quick one first. The name is that of the files in `xtask/real`.
const CASES: &[(&str, &str)] = &[
    ("shlex", include_str!("../../real/shlex.toml")),
    ("parse", include_str!("../../real/parse.toml")),
];

/// Where a package comes from, and which tools run its tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ecosystem {
    /// A crate of the Rust registry.
    Rust,
    /// A source distribution of PyPI.
    Python,
}

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) ecosystem: Ecosystem,
    /// The package's name where it is published.
    pub(super) package: String,
    /// The exact version.
    pub(super) version: String,
    /// The SHA-256 of the published archive, in hexadecimal; another archive is refused.
    pub(super) sha256: String,
    /// The bug and where it is documented, in one line.
    pub(super) past_bug: String,
    /// What the job may write to.
    pub(super) scope: Vec<String>,
    /// The command line of the package's own test suite.
    pub(super) check: String,
    /// What the job is told.
    pub(super) instruction: String,
    /// What makes the bug again.
    bug: Vec<Edit>,
}

/// A stretch of a file that is replaced.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    /// Relative to the package's root.
    file: String,
    /// How the stretch begins; must occur exactly once.
    from: String,
    /// What follows the stretch and stays: the first of its kind after `from`.
    until: String,
    /// What stands there instead.
    put: String,
}

impl Case {
    /// Every case, the quick one first.
    pub(super) fn all() -> Result<Vec<Self>> {
        CASES
            .iter()
            .map(|(name, text)| {
                let case: Self = toml::from_str(text)
                    .with_context(|| format!("failed to read xtask/real/{name}.toml"))?;
                if case.package != *name {
                    bail!("xtask/real/{name}.toml is about `{}`", case.package);
                }
                Ok(case)
            })
            .collect()
    }

    /// Makes the bug in the package at `root`.
    pub(super) fn break_package(&self, root: &Path) -> Result<()> {
        for edit in &self.bug {
            let path = root.join(&edit.file);
            let failed = || format!("failed to make the bug in {}", path.display());
            let text = std::fs::read_to_string(&path).with_context(failed)?;
            let text = edit.apply(&text).with_context(failed)?;
            std::fs::write(&path, text).with_context(failed)?;
        }
        Ok(())
    }
}

impl Edit {
    fn apply(&self, text: &str) -> Result<String> {
        let count = text.matches(&self.from).count();
        if count != 1 {
            bail!("{:?} occurs {count} times and not once", self.from);
        }
        let start = text.find(&self.from).unwrap_or_default();
        let length = text[start..]
            .find(&self.until)
            .with_context(|| format!("{:?} does not follow {:?}", self.until, self.from))?;
        Ok([&text[..start], &self.put, &text[start + length..]].concat())
    }
}

impl fmt::Display for Ecosystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "rust",
            Self::Python => "python",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(from: &str, until: &str) -> Edit {
        Edit {
            file: String::new(),
            from: from.to_owned(),
            until: until.to_owned(),
            put: "X".to_owned(),
        }
    }

    #[test]
    fn an_edit_fits_exactly_once_or_not_at_all() {
        let text = "a b c b d";
        assert_eq!(edit("a", "c").apply(text).unwrap(), "Xc b d");
        assert_eq!(edit("c", "d").apply(text).unwrap(), "a b Xd");
        for (from, until) in [("b", "d"), ("e", "d"), ("d", "a")] {
            assert!(edit(from, until).apply(text).is_err(), "{from} {until}");
        }
    }

    #[test]
    fn every_case_is_complete_and_has_its_script() {
        for case in Case::all().unwrap() {
            assert!(!case.bug.is_empty() && case.instruction.contains(&case.check));
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("real");
            let script = folder.join(format!("{}.script.toml", case.package));
            let script = std::fs::read_to_string(script).unwrap();
            assert!(
                script
                    .parse::<toml::Table>()
                    .unwrap()
                    .contains_key("conversation")
            );
            assert!(script.contains(&case.check), "{}", case.package);
        }
    }
}
