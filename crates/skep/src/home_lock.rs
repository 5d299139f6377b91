//! The home's lock: one holder at a time, and it is gone when its holder dies, however it dies.
//!
//! Owns the file `skep.lock`. Invariant: whoever holds a [`HomeLock`] is the only process that
//! opens the store of this home, and the one that listens on its socket.

use crate::failure::Failure;
use skep_director::Home;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The longest holder's note that is read, in bytes.
const NOTE_BYTES_MAX: u64 = 64;

/// The held lock. Dropping it lets the next process in.
#[derive(Debug)]
pub(crate) struct HomeLock {
    /// Closing it releases the lock.
    _file: File,
}

/// Why the lock was not taken.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process holds it.
    Held {
        /// Its process id, as it noted it.
        holder: Option<u32>,
    },
    /// The home cannot be written.
    Unusable {
        /// The path that could not be used.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HomeLock {
    /// Makes the home's folders if they are missing and takes its lock, without waiting.
    pub(crate) fn take(home: &Home) -> Result<Self, LockError> {
        home.prepare()
            .map_err(|source| unusable(home.root(), source))?;
        let path = home.lock();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| unusable(&path, source))?;
        match file.try_lock() {
            Ok(()) => {
                note(&mut file).map_err(|source| unusable(&path, source))?;
                Ok(Self { _file: file })
            }
            Err(TryLockError::WouldBlock) => Err(LockError::Held {
                holder: noted(&mut file),
            }),
            Err(TryLockError::Error(source)) => Err(unusable(&path, source)),
        }
    }
}

impl LockError {
    /// The failure, for a command that needs the home for itself.
    pub(crate) fn failure(self, home: &Home) -> Failure {
        let root = home.root().display();
        match self {
            Self::Held { holder } => {
                let by = holder.map_or_else(String::new, |id| format!(" by process {id}"));
                Failure::usage(
                    "home_in_use",
                    format!("the home {root} is in use{by}"),
                    "one home has one server: use the one that runs, stop it first, or choose another folder with `--home`",
                )
            }
            Self::Unusable { path, source } => Failure::usage(
                "home_not_writable",
                format!(
                    "the home {root} cannot be used: {}: {source}",
                    path.display()
                ),
                "choose a folder that this user can write with `--home` or SKEP_HOME",
            ),
        }
    }
}

fn unusable(path: &Path, source: io::Error) -> LockError {
    LockError::Unusable {
        path: path.to_owned(),
        source,
    }
}

/// Notes who holds the lock, for the message that the next process prints.
fn note(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn noted(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(NOTE_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_free_again_afterwards() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let home = Home::at(folder.path().join("home"));
        let lock = HomeLock::take(&home).expect("the first one");
        let error = HomeLock::take(&home).expect_err("the second one");
        assert!(
            matches!(error, LockError::Held { holder: Some(id) } if id == std::process::id()),
            "{error:?}"
        );
        let failure = error.failure(&home);
        assert_eq!(failure.code(), 2);
        assert!(format!("{failure:?}").contains("home_in_use"));
        drop(lock);
        HomeLock::take(&home).expect("the third one, after the first has gone");
        Ok(())
    }
}
