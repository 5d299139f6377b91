//! A target branch in the user's own repository: read, planned against, swapped, read back.
//!
//! The objects come from the engine's vault; no ref but the target's is written, no hook runs.

use crate::error::DirectorError;
use skep_sandbox::{Git, GitError};
use skep_types::JobId;
use std::path::PathBuf;

/// Git's name for "there is no such ref yet" in a compare-and-swap.
pub(crate) const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

/// A branch that results land on.
pub(crate) struct Target<'a> {
    repo: Git,
    vault: Git,
    vault_path: &'a str,
    pub(crate) branch: &'a str,
    full: String,
}

/// What the target's new tip would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merge {
    /// This commit; it is in the vault.
    Ready(String),
    /// The target has the result already.
    Contained,
    /// Git cannot merge these files.
    Conflict(String),
}

impl<'a> Target<'a> {
    pub(crate) fn new(repo: &str, vault: &'a str, branch: &'a str) -> Self {
        Self {
            repo: Git::discovering(repo),
            vault: Git::at(vault),
            vault_path: vault,
            branch,
            full: format!("refs/heads/{branch}"),
        }
    }

    /// The branch's tip, or nothing where it does not exist yet.
    pub(crate) async fn tip(&self) -> Result<Option<String>, DirectorError> {
        let name = format!("{}^{{commit}}", self.full);
        let arguments = ["rev-parse", "--verify", "--quiet", &name];
        let answer = self.repo.ask_why(&arguments).await;
        let (found, oid) = answer.map_err(|e| failed("read the target branch", e))?;
        Ok(found.then(|| oid.trim().to_owned()))
    }

    /// Whether the branch's history holds `commit`.
    pub(crate) async fn contains(&self, commit: &str) -> Result<bool, DirectorError> {
        let Some(tip) = self.tip().await? else {
            return Ok(false);
        };
        is_ancestor(&self.repo, commit, &tip).await
    }

    /// What the new tip would be if `tip` landed on `old`.
    pub(crate) async fn plan(
        &self,
        old: Option<&str>,
        tip: &str,
        message: &str,
    ) -> Result<Merge, DirectorError> {
        let Some(old) = old else {
            return Ok(Merge::Ready(tip.to_owned()));
        };
        if is_ancestor(&self.vault, old, tip).await? {
            return Ok(Merge::Ready(tip.to_owned()));
        }
        if is_ancestor(&self.vault, tip, old).await? {
            return Ok(Merge::Contained);
        }
        let arguments = [
            "merge-tree",
            "--write-tree",
            "--name-only",
            "--no-messages",
            old,
            tip,
        ];
        let answer = self.vault.ask_why(&arguments).await;
        let (merges, text) = answer.map_err(|e| failed("merge the result with its target", e))?;
        let mut lines = text.lines();
        let tree = lines.next().unwrap_or_default().to_owned();
        if !merges {
            let files: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
            return Ok(Merge::Conflict(files.join(", ")));
        }
        let identity = [
            "-c",
            "user.name=Skep",
            "-c",
            "user.email=lander@skep.invalid",
        ];
        let commit = ["commit-tree", &tree, "-p", old, "-p", tip, "-m", message];
        let arguments = [&identity[..], &commit[..]].concat();
        let merged = self
            .vault
            .run(&arguments)
            .await
            .map_err(|e| failed("make the merge commit", e))?;
        Ok(Merge::Ready(merged.trim().to_owned()))
    }

    /// Why the swap cannot be made now, in words for a person: a work tree in the way.
    pub(crate) async fn obstacle(
        &self,
        old: Option<&str>,
        new: &str,
    ) -> Result<Option<String>, DirectorError> {
        let (Some(tree), Some(old)) = (self.checked_out().await?, old) else {
            return Ok(None);
        };
        let git = Git::discovering(&tree);
        let status = git
            .run(&["status", "--porcelain", "--untracked-files=no"])
            .await
            .map_err(|e| failed("look at the work tree", e))?;
        let place = tree.display();
        let lock = git
            .run(&["rev-parse", "--git-path", "index.lock"])
            .await
            .map_err(|e| failed("look at the work tree", e))?;
        if tree.join(lock.trim()).exists() {
            return Ok(Some(format!(
                "another git holds {place} (index.lock is there); when it has ended, `skep job retry ID`"
            )));
        }
        if !status.trim().is_empty() {
            return Ok(Some(format!(
                "{place} has `{}` checked out with uncommitted changes; commit or stash them, then `skep job retry ID`",
                self.branch
            )));
        }
        // Untracked files that the change would overwrite.
        let arguments = [
            "diff",
            "--name-only",
            "--no-renames",
            "-z",
            "--diff-filter=A",
            old,
            new,
        ];
        let added = self
            .vault
            .run(&arguments)
            .await
            .map_err(|e| failed("list the added files", e))?;
        let blocked = added
            .split('\0')
            .find(|path| !path.is_empty() && tree.join(path).symlink_metadata().is_ok());
        Ok(blocked.map(|path| {
            format!("{place} has an untracked file `{path}` where the change adds one; move it away, then `skep job retry ID`")
        }))
    }

    /// Copies what `new` needs from the vault into the user's repository.
    pub(crate) async fn bring_objects(&self, job: &JobId, new: &str) -> Result<(), DirectorError> {
        let pin = format!("refs/skep/landing/{job}");
        self.vault
            .run(&["update-ref", &pin, new])
            .await
            .map_err(|e| failed("pin the landing commit", e))?;
        let arguments = [
            "-c",
            "protocol.file.allow=always",
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            self.vault_path,
            &pin,
        ];
        self.repo
            .run(&arguments)
            .await
            .map(|_| ())
            .map_err(|e| failed("bring the commit to its target", e))
    }

    /// Moves the branch from `old` to `new`. `false`: it is no longer at `old`.
    pub(crate) async fn swap(&self, old: &str, new: &str) -> Result<bool, DirectorError> {
        let arguments = ["update-ref", "-m", "skep: land", &self.full, new, old];
        match self.repo.run(&arguments).await {
            Ok(_) => Ok(true),
            Err(error) => {
                let now = self.tip().await?.unwrap_or_else(|| NO_COMMIT.to_owned());
                if now == old {
                    Err(failed("move the target branch", error))
                } else {
                    Ok(false)
                }
            }
        }
    }

    /// Brings a work tree that has the branch checked out from `old` to `new`. Does nothing where
    /// that was done already, so that it can be repeated after a crash.
    pub(crate) async fn sync_work_tree(&self, old: &str, new: &str) -> Result<(), DirectorError> {
        let Some(tree) = self.checked_out().await? else {
            return Ok(());
        };
        let git = Git::discovering(&tree);
        let staged = async |commit: &str| {
            let arguments = ["diff-index", "--cached", "--quiet", commit, "--"];
            git.ask(&arguments).await.unwrap_or(false)
        };
        if old == NO_COMMIT || staged(new).await || !staged(old).await {
            // Already there, or the user has staged something since: it is theirs to resolve.
            return Ok(());
        }
        git.run(&["update-index", "-q", "--refresh"]).await.ok();
        git.run(&["read-tree", "-m", "-u", old, new])
            .await
            .map(|_| ())
            .map_err(|e| failed("bring the work tree in line", e))
    }

    /// The work tree that has the branch checked out.
    async fn checked_out(&self) -> Result<Option<PathBuf>, DirectorError> {
        let list = self
            .repo
            .run(&["worktree", "list", "--porcelain", "-z"])
            .await
            .map_err(|e| failed("list the work trees", e))?;
        let branch = format!("branch {}", self.full);
        let mut tree = None;
        for line in list.split('\0') {
            if let Some(path) = line.strip_prefix("worktree ") {
                tree = Some(PathBuf::from(path));
            } else if line == branch {
                return Ok(tree);
            }
        }
        Ok(None)
    }
}

async fn is_ancestor(git: &Git, older: &str, newer: &str) -> Result<bool, DirectorError> {
    git.ask(&["merge-base", "--is-ancestor", older, newer])
        .await
        .map_err(|e| failed("compare two commits", e))
}

fn failed(operation: &str, error: GitError) -> DirectorError {
    DirectorError::outside(operation, error)
}
