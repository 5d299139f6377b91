//! Carries an attempt's work into the vault.
//!
//! The attempt's git directory is hostile by now: its configuration may name programs, its hooks
//! are programs, its references and objects may be links to anywhere. So git never runs in it. The
//! branch is read as a file; its object store is looked over and lent to `git pack-objects` in the
//! vault, whose pack `git index-pack --strict` takes apart and checks object by object.
//!
//! Invariant: an imported commit descends from the base, all its objects are in the vault or its
//! alternates, and nothing came in that the attempt did not write or the source did not have.
//!
//! The caller has seen every process of the attempt dead; what is checked here must not change
//! under the check.

use crate::git::{Git, GitError, failed, in_time, read_message, run_error};
use crate::limits::{
    INFO_FILE_BYTES_MAX, OBJECT_FILES_MAX, PACK_BYTES_MAX, PACKED_REFS_BYTES_MAX, REF_BYTES_MAX,
};
use crate::oid::Oid;
use crate::repository::ALTERNATES_RECORD;
use crate::untrusted::{UntrustedDirectory, UntrustedError, file_error, suspicious};
use rustix::fs::FileType;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

/// Where imported tips are pinned in a vault.
pub const ATTEMPT_REFS: &str = "refs/skep/attempts/";

/// Why an attempt's work was not taken. Messages complete "failed to import the attempt: ".
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The branch is gone, or is no plain reference to a commit.
    #[error("branch `{branch}` {reason}")]
    Branch {
        /// The branch.
        branch: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something in the attempt's git directory is not what git makes, or cannot be read.
    #[error(transparent)]
    Untrusted(#[from] UntrustedError),
    /// The list of borrowed object stores was changed.
    #[error("the list of alternates is not the engine's")]
    Alternates,
    /// The base is not an ancestor of the tip.
    #[error("commit {tip} does not descend from base {base}")]
    NotADescendant {
        /// The tip.
        tip: Oid,
        /// The base.
        base: Oid,
    },
    /// The objects do not hold together, or are more than the limit.
    #[error("the objects of the attempt were refused")]
    Objects(#[source] GitError),
    /// A git command in the vault failed.
    #[error("a git command in the vault failed")]
    Git(#[from] GitError),
}

impl ImportError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Branch { .. } => "import_branch",
            Self::Untrusted(UntrustedError::Suspicious { .. }) => "import_suspicious",
            Self::Untrusted(UntrustedError::File { .. }) => "import_io",
            Self::Alternates => "import_alternates",
            Self::NotADescendant { .. } => "import_not_a_descendant",
            Self::Objects(_) => "import_objects",
            Self::Git(error) => error.code(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Branch { .. } => {
                Some("the worker must commit to the branch it was given".to_owned())
            }
            Self::NotADescendant { .. } => {
                Some("the worker must commit on top of the base, not rewrite it".to_owned())
            }
            Self::Untrusted(_) | Self::Alternates | Self::Objects(_) => None,
            Self::Git(error) => error.hint(),
        }
    }
}

/// Imports the tip of `branch` from the attempt's git directory into the vault and pins it as
/// `refs/skep/attempts/<last part of the branch>`. Doing it again is harmless.
///
/// # Errors
/// As [`ImportError`] lists. A refused import leaves no reference behind.
pub async fn import_tip(
    vault: &Path,
    attempt_git: &Path,
    branch: &str,
    base: &Oid,
) -> Result<Oid, ImportError> {
    let attempt = AttemptGit(UntrustedDirectory::open(attempt_git)?);
    let tip = attempt.branch(branch)?;
    let git = Git::at(vault);
    if tip != *base {
        attempt.check_alternates()?;
        attempt.check_objects()?;
        transfer(&git, &attempt_git.join("objects"), &tip, base).await?;
    }
    if git.run(&["cat-file", "-t", tip.as_str()]).await? != "commit" {
        return Err(ImportError::Branch {
            branch: branch.to_owned(),
            reason: "names no commit",
        });
    }
    check_descent(&git, &tip, base).await?;
    let name = branch.rsplit('/').next().unwrap_or(branch);
    let reference = format!("{ATTEMPT_REFS}{name}");
    git.run(&["update-ref", &reference, tip.as_str()]).await?;
    Ok(tip)
}

/// `pack-objects` in the vault, with the attempt's objects at hand, into `index-pack` in the vault
/// without them.
async fn transfer(git: &Git, objects: &Path, tip: &Oid, base: &Oid) -> Result<(), ImportError> {
    let pack = [
        "pack-objects",
        "--quiet",
        "--revs",
        "--stdout",
        "--thin",
        "--no-reuse-delta",
    ];
    let limit = format!("--max-input-size={PACK_BYTES_MAX}");
    let index = ["index-pack", "--stdin", "--fix-thin", "--strict", &limit];
    let lending = git
        .clone()
        .with_variable("GIT_ALTERNATE_OBJECT_DIRECTORIES", quoted(objects));
    let mut packer = lending.spawn(&pack, Stdio::piped(), Stdio::piped())?;
    let pipe = packer
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("no output"))
        .and_then(|stdout| stdout.into_owned_fd())
        .map_err(|source| run_error("pack-objects".to_owned(), source))?;
    let mut indexer = git.spawn(&index, Stdio::from(pipe), Stdio::null())?;
    let wanted = format!("{tip}\n^{base}\n");
    let (packer_stdin, packer_stderr) = (packer.stdin.take(), packer.stderr.take());
    let indexer_stderr = indexer.stderr.take();
    let feed = async {
        if let Some(mut stdin) = packer_stdin {
            // A packer that has died says why by its exit code.
            let _ = stdin.write_all(wanted.as_bytes()).await;
        }
    };
    let work = async {
        let (packed, indexed, packer_says, indexer_says, ()) = tokio::join!(
            packer.wait(),
            indexer.wait(),
            read_message(packer_stderr),
            read_message(indexer_stderr),
            feed
        );
        // The packer first: when it fails, the indexer's complaint is only the echo. Except that
        // a packer whose reader has gone dies of that, and then the reader's reason is the one.
        let packed = packed.map_err(|source| run_error("pack-objects".to_owned(), source))?;
        let indexed = indexed.map_err(|source| run_error("index-pack".to_owned(), source))?;
        if !packed.success() && packed.code().is_some() {
            return Err(failed("pack-objects".to_owned(), packed, &packer_says));
        }
        if !indexed.success() {
            return Err(failed("index-pack".to_owned(), indexed, &indexer_says));
        }
        Ok(())
    };
    in_time("pack-objects", work)
        .await
        .map_err(ImportError::Objects)
}

/// The variable is a list with `:` between; a quoted entry may hold one (git(1)).
fn quoted(path: &Path) -> std::ffi::OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            bytes.push(b'\\');
        }
        bytes.push(*byte);
    }
    bytes.push(b'"');
    std::ffi::OsString::from_vec(bytes)
}

async fn check_descent(git: &Git, tip: &Oid, base: &Oid) -> Result<(), ImportError> {
    // Everything between base and tip is there, in the vault itself or what it borrows from.
    let not_base = format!("^{base}");
    let walk = [
        "rev-list",
        "--objects",
        "--quiet",
        "--end-of-options",
        tip.as_str(),
        &not_base,
    ];
    git.run(&walk).await.map_err(ImportError::Objects)?;
    let question = ["merge-base", "--is-ancestor", base.as_str(), tip.as_str()];
    if git.ask(&question).await? {
        Ok(())
    } else {
        Err(ImportError::NotADescendant {
            tip: tip.clone(),
            base: base.clone(),
        })
    }
}

/// An attempt's git directory, read through one descriptor and no link.
struct AttemptGit(UntrustedDirectory);

impl AttemptGit {
    /// The commit a branch names, from its own file or from `packed-refs`.
    fn branch(&self, branch: &str) -> Result<Oid, ImportError> {
        let reference = format!("refs/heads/{branch}");
        let wrong = |reason| ImportError::Branch {
            branch: branch.to_owned(),
            reason,
        };
        let text = match self.0.read(&reference, REF_BYTES_MAX)? {
            Some(bytes) => bytes,
            None => {
                let packed = self.0.read("packed-refs", PACKED_REFS_BYTES_MAX)?;
                packed_reference(&packed.unwrap_or_default(), &reference)
                    .ok_or_else(|| wrong("is not there"))?
            }
        };
        if text.starts_with(b"ref:") {
            return Err(wrong("is a symbolic reference"));
        }
        std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.trim_end().parse().ok())
            .ok_or_else(|| wrong("holds no object name"))
    }

    /// The alternates must be what the engine wrote, byte for byte: another entry would let the
    /// import take objects from anywhere the engine can read.
    fn check_alternates(&self) -> Result<(), ImportError> {
        let record = self.0.path().with_file_name(ALTERNATES_RECORD);
        let expected = std::fs::read(&record).map_err(|source| file_error(&record, source))?;
        let found = self
            .0
            .read("objects/info/alternates", INFO_FILE_BYTES_MAX)?;
        if found.as_deref() != Some(&expected) {
            return Err(ImportError::Alternates);
        }
        // The same list over the network; git has not read it for years, and will not here.
        match self
            .0
            .read("objects/info/http-alternates", INFO_FILE_BYTES_MAX)?
        {
            None => Ok(()),
            Some(_) => Err(ImportError::Alternates),
        }
    }

    /// The object store holds directories and regular files and nothing that leads elsewhere or
    /// never ends, two levels deep as git lays it out.
    fn check_objects(&self) -> Result<(), ImportError> {
        let objects = self.0.path().join("objects");
        expect_kind(&objects, FileType::Directory)?;
        let mut files = 0;
        for entry in list(&objects)? {
            if kind(&entry)? == FileType::RegularFile {
                files += 1;
                continue;
            }
            expect_kind(&entry, FileType::Directory)?;
            for inner in list(&entry)? {
                let in_info = entry.file_name().is_some_and(|name| name == "info");
                // Commit graphs of a chain are one directory deeper; none is read here.
                if in_info && kind(&inner)? == FileType::Directory {
                    continue;
                }
                expect_kind(&inner, FileType::RegularFile)?;
                files += 1;
                if files > OBJECT_FILES_MAX {
                    return Err(suspicious(&objects, "holds too many files").into());
                }
            }
        }
        Ok(())
    }
}

/// The object name beside `reference` in a `packed-refs` file (gitrepository-layout(5)).
fn packed_reference(packed: &[u8], reference: &str) -> Option<Vec<u8>> {
    packed.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, rest) = line.split_at_checked(line.iter().position(|byte| *byte == b' ')?)?;
        (rest.get(1..)? == reference.as_bytes()).then(|| name.to_vec())
    })
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, UntrustedError> {
    let read = |source| file_error(directory, source);
    std::fs::read_dir(directory)
        .map_err(read)?
        .map(|entry| entry.map(|entry| entry.path()).map_err(read))
        .collect()
}

fn kind(path: &Path) -> Result<FileType, UntrustedError> {
    let stat = rustix::fs::lstat(path).map_err(|errno| file_error(path, errno.into()))?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn expect_kind(path: &Path, expected: FileType) -> Result<(), UntrustedError> {
    if kind(path)? == expected {
        Ok(())
    } else {
        Err(suspicious(path, "is not what git keeps there"))
    }
}
