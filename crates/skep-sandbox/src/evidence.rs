//! What an attempt really did, read from the vault: commits, changed files, and the exact tree of a
//! commit for the engine's own checks.
//!
//! Invariant: only the vault is asked. What an agent says about its work is not looked at here.

use crate::git::{Git, GitError, option, unexpected};
use crate::limits::COMMITS_MAX;
use crate::oid::Oid;
use crate::vault::{RepositoryError, file_error};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What happened to a file. A renamed one is deleted at one path and added at another, because the
/// scope holds for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeStatus {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// Its content or its executable bit differs.
    Modified,
    /// It became something else: a file, a symbolic link or a submodule.
    TypeChanged,
}

/// One file that differs between two commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Relative to the repository's root; bytes that are no text are shown as U+FFFD.
    pub path: String,
    /// Lines added; 0 for a binary file.
    pub added: i64,
    /// Lines deleted; 0 for a binary file.
    pub deleted: i64,
    /// What happened to it.
    pub status: ChangeStatus,
    /// The mode of the new entry as git writes it, as in `100644`, `120000` for a symbolic link,
    /// `160000` for a submodule, `000000` for none.
    pub mode: String,
}

/// Every file that differs between two commits, in git's order. Attributes in the tree have no say.
///
/// # Errors
/// When a commit is missing or git fails.
pub async fn changed_files(
    vault: &Path,
    base: &Oid,
    tip: &Oid,
) -> Result<Vec<ChangedFile>, GitError> {
    let arguments = [
        "diff-tree",
        "-r",
        "-z",
        "--raw",
        "--numstat",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        "--no-abbrev",
        "--end-of-options",
        base.as_str(),
        tip.as_str(),
    ];
    let output = Git::at(vault).run_with_input(&arguments, b"").await?;
    parse_changes(&output).ok_or_else(|| unexpected("diff-tree", &String::from_utf8_lossy(&output)))
}

/// Every commit on top of `base` up to `tip` with the first line of its message, oldest first.
///
/// # Errors
/// When a commit is missing, git fails, or there are more than [`COMMITS_MAX`].
pub async fn commits(vault: &Path, base: &Oid, tip: &Oid) -> Result<Vec<(Oid, String)>, GitError> {
    let range = format!("{base}..{tip}");
    let limit = format!("--max-count={}", COMMITS_MAX + 1);
    let arguments = [
        "log",
        "-z",
        "--reverse",
        "--topo-order",
        "--no-show-signature",
        "--format=%H %s",
        &limit,
        "--end-of-options",
        &range,
    ];
    let text = Git::at(vault).run(&arguments).await?;
    let found: Option<Vec<(Oid, String)>> = text
        .split('\0')
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let (oid, subject) = entry.split_once(' ')?;
            Some((oid.parse().ok()?, subject.to_owned()))
        })
        .collect();
    match found {
        Some(found) if found.len() <= COMMITS_MAX => Ok(found),
        Some(_) => Err(unexpected("log", "too many commits")),
        None => Err(unexpected("log", &text)),
    }
}

/// Writes the exact tree of a commit into a directory that is new or empty: no filter, no change of
/// line ends, no `.git`.
///
/// # Errors
/// [`RepositoryError::Exists`] when there is something in `into`.
pub async fn clean_checkout(
    vault: &Path,
    commit: &Oid,
    into: &Path,
) -> Result<(), RepositoryError> {
    std::fs::create_dir_all(into).map_err(file_error(into))?;
    let mut entries = std::fs::read_dir(into).map_err(file_error(into))?;
    if entries.next().is_some() {
        return Err(RepositoryError::Exists {
            path: into.to_owned(),
        });
    }
    let into = into.canonicalize().map_err(file_error(into))?;
    let index = beside(&into);
    let git = Git::at(vault)
        .with_work_tree(&into)
        .with_variable("GIT_INDEX_FILE", &index);
    let written = write_tree(&git, commit, &into).await;
    // The index is gone either way; one that was never written is no loss.
    let _ = std::fs::remove_file(&index);
    written
}

async fn write_tree(git: &Git, commit: &Oid, into: &Path) -> Result<(), RepositoryError> {
    git.run(&["read-tree", commit.as_str()]).await?;
    let mut prefix = into.as_os_str().to_owned();
    prefix.push("/");
    let arguments = [
        OsString::from("checkout-index"),
        OsString::from("--all"),
        OsString::from("--quiet"),
        option("--prefix=", Path::new(&prefix)),
    ];
    git.run(&arguments).await?;
    Ok(())
}

/// A name for the index beside the directory, which is as much the caller's own as that is.
fn beside(directory: &Path) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(".index");
    PathBuf::from(name)
}

/// `diff-tree -z --raw --numstat`: first one record a file, `:mode mode oid oid status`, then its
/// path; then one record a file, `added TAB deleted TAB path`.
fn parse_changes(output: &[u8]) -> Option<Vec<ChangedFile>> {
    let mut fields = output.split(|byte| *byte == 0).peekable();
    let mut changes: Vec<(&[u8], ChangedFile)> = Vec::new();
    while let Some(record) = fields.next_if(|field| field.starts_with(b":")) {
        let path = fields.next()?;
        let record = std::str::from_utf8(record).ok()?;
        let mut words = record.split(' ');
        let mode = words.nth(1)?;
        let status = match words.nth(2)?.chars().next()? {
            'A' => ChangeStatus::Added,
            'D' => ChangeStatus::Deleted,
            'M' => ChangeStatus::Modified,
            'T' => ChangeStatus::TypeChanged,
            _ => return None,
        };
        let change = ChangedFile {
            path: String::from_utf8_lossy(path).into_owned(),
            added: 0,
            deleted: 0,
            status,
            mode: mode.to_owned(),
        };
        changes.push((path, change));
    }
    for (position, record) in fields.filter(|field| !field.is_empty()).enumerate() {
        let mut parts = record.splitn(3, |byte| *byte == b'\t');
        let (added, deleted, path) = (parts.next()?, parts.next()?, parts.next()?);
        // Both lists are in the same order.
        let (expected, change) = changes.get_mut(position)?;
        if *expected != path {
            return None;
        }
        change.added = count(added)?;
        change.deleted = count(deleted)?;
    }
    Some(changes.into_iter().map(|(_, change)| change).collect())
}

/// A number of lines; a binary file has `-`.
fn count(text: &[u8]) -> Option<i64> {
    match text {
        b"-" => Some(0),
        digits => std::str::from_utf8(digits).ok()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_of_a_comparison_are_read() {
        let zero = "0".repeat(40);
        let text = format!(
            ":100644 100644 {zero} {zero} M\0src/a b.rs\0:000000 120000 {zero} {zero} A\0link\0\
             3\t1\tsrc/a b.rs\0-\t-\tlink\0"
        );
        let changes = parse_changes(text.as_bytes()).unwrap();
        assert_eq!(changes.len(), 2);
        assert_eq!((changes[0].added, changes[0].deleted), (3, 1));
        assert_eq!(changes[0].path, "src/a b.rs");
        assert_eq!(changes[1].status, ChangeStatus::Added);
        assert_eq!(changes[1].mode, "120000");
        assert_eq!(parse_changes(b""), Some(Vec::new()));
        assert_eq!(parse_changes(b"nonsense\0"), None);
    }
}
