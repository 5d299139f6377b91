//! Reading what a worker left behind, without believing where it says it is.
//!
//! A worker can put a symbolic link, a pipe or something endless in the place of any file it may
//! write. An engine that opens such a file by its path reads the machine's own files for it, or
//! waits for ever.
//!
//! Invariant: nothing is read through a link, and nothing but a regular file of bounded size.

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Why a file of a worker's was not read. Messages complete "failed to read the worker's file: ".
#[derive(Debug, thiserror::Error)]
pub enum UntrustedError {
    /// It is not what it should be.
    #[error("{} {reason}", path.display())]
    Suspicious {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It could not be read.
    #[error("{} could not be read", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl UntrustedError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Suspicious { .. } => "worker_file_suspicious",
            Self::File { .. } => "worker_file_io",
        }
    }
}

/// A directory of a worker's, held open.
pub(crate) struct UntrustedDirectory {
    path: PathBuf,
    directory: OwnedFd,
}

impl UntrustedDirectory {
    pub(crate) fn open(path: &Path) -> Result<Self, UntrustedError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(directory) => Ok(Self {
                path: path.to_owned(),
                directory,
            }),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(suspicious(path, "is no directory")),
            Err(errno) => Err(file_error(path, errno.into())),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file below the directory. `None` when there is none.
    ///
    /// # Errors
    /// [`UntrustedError::Suspicious`] when it is reached through a symbolic link, is no regular
    /// file, or is larger than `bytes_max`.
    pub(crate) fn read(
        &self,
        relative: &str,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, UntrustedError> {
        let path = self.path.join(relative);
        // NONBLOCK, because opening a pipe for reading would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = rustix::fs::openat2(&self.directory, relative, flags, Mode::empty(), resolve);
        let file = match opened {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::XDEV) => {
                return Err(suspicious(&path, "is or leads through a symbolic link"));
            }
            Err(errno) => return Err(file_error(&path, errno.into())),
        };
        let metadata = file
            .metadata()
            .map_err(|source| file_error(&path, source))?;
        if !metadata.is_file() {
            return Err(suspicious(&path, "is no regular file"));
        }
        let mut bytes = Vec::new();
        file.take(bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|source| file_error(&path, source))?;
        if bytes.len() as u64 > bytes_max {
            return Err(suspicious(&path, "is too large"));
        }
        Ok(Some(bytes))
    }
}

pub(crate) fn suspicious(path: &Path, reason: &'static str) -> UntrustedError {
    UntrustedError::Suspicious {
        path: path.to_owned(),
        reason,
    }
}

pub(crate) fn file_error(path: &Path, source: io::Error) -> UntrustedError {
    UntrustedError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_a_regular_file_of_bounded_size_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        std::fs::create_dir_all(out.join("inner")).unwrap();
        std::fs::write(out.join("good"), "good").unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        symlink("../secret", out.join("link")).unwrap();
        symlink("..", out.join("up")).unwrap();
        symlink("/dev/zero", out.join("zero")).unwrap();
        symlink(&out, dir.path().join("linked")).unwrap();
        let pipe = out.join("pipe");
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let directory = UntrustedDirectory::open(&out).unwrap();
        let read = |name: &str| directory.read(name, 4);
        assert_eq!(read("good").unwrap().as_deref(), Some(&b"good"[..]));
        assert_eq!(read("missing").unwrap(), None);
        for name in ["link", "up/secret", "zero", "pipe", "inner", "../secret"] {
            let error = read(name).unwrap_err();
            assert_eq!(error.code(), "worker_file_suspicious", "{name}: {error}");
        }
        assert!(directory.read("good", 3).is_err());
        assert!(UntrustedDirectory::open(&dir.path().join("linked")).is_err());
    }
}
