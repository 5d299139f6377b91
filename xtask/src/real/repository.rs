//! Git repositories of a package: one commit as it was published, one that makes its past bug.

use super::case::Case;
use crate::process;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The branch that everything lands on.
const BRANCH: &str = "main";

/// The first repository; jobs work on copies of it.
pub(super) struct Broken {
    folder: PathBuf,
    /// The repository.
    pub(super) origin: Repository,
    /// The commit of the package as it was published.
    pub(super) published: String,
    /// The commit on top of it, with the bug.
    pub(super) tip: String,
}

/// A repository with a work tree.
pub(super) struct Repository {
    /// Its folder.
    pub(super) path: PathBuf,
}

impl Broken {
    /// Makes the repository in `folder` from the package's source.
    pub(super) fn make(case: &Case, source: &Path, folder: &Path) -> Result<Self> {
        let origin = Repository {
            path: folder.join("origin"),
        };
        let from = source.join(".");
        process::output(Command::new("cp").arg("-R").args([&from, &origin.path]))?;
        origin.git(&["init", "--quiet", "--initial-branch", BRANCH])?;
        let published = origin.commit(&format!("Import {} {}", case.package, case.version))?;
        case.break_package(&origin.path)?;
        let tip = origin.commit("Make a past bug again")?;
        Ok(Self {
            folder: folder.to_owned(),
            origin,
            published,
            tip,
        })
    }

    /// A copy of the repository under another name.
    pub(super) fn copy(&self, name: &str) -> Result<Repository> {
        let copy = Repository {
            path: self.folder.join(name),
        };
        let path = copy.path.to_string_lossy();
        self.origin.git(&["clone", "--quiet", ".", &path])?;
        Ok(copy)
    }
}

impl Repository {
    /// The commit that the branch is at.
    pub(super) fn tip(&self) -> Result<String> {
        let name = format!("refs/heads/{BRANCH}");
        Ok(self
            .git(&["rev-parse", "--verify", &name])?
            .trim()
            .to_owned())
    }

    /// Whether the work tree is as the branch says, with nothing beside it.
    pub(super) fn is_clean(&self) -> Result<bool> {
        Ok(self.git(&["status", "--porcelain"])?.is_empty())
    }

    /// Brings the work tree to a commit.
    pub(super) fn check_out(&self, commit: &str) -> Result<()> {
        self.git(&["checkout", "--quiet", "--detach", commit])
            .map(|_| ())
    }

    /// Fetches the branch of another repository and gives its commit.
    pub(super) fn fetch(&self, other: &Self) -> Result<String> {
        let path = other.path.to_string_lossy();
        self.git(&["fetch", "--quiet", &path, BRANCH])?;
        other.tip()
    }

    fn commit(&self, message: &str) -> Result<String> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", message])?;
        self.tip()
    }

    /// Runs git here with nobody's settings.
    fn git(&self, arguments: &[&str]) -> Result<String> {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=Skep", "-c", "user.email=real@skep.invalid"])
            .args(arguments)
            .current_dir(&self.path)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        process::output(&mut git).context("failed to prepare a repository")
    }
}
