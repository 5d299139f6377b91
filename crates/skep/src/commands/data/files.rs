//! What belongs to a home and is not in its database: found for an export, put back by an import.
//!
//! Invariant: an import writes below the home only, only what is named here, and never over a file
//! that holds something else.

use crate::failure::Failure;
use skep_db::{Archive, ArchiveError, ArchiveFile, ArchiveWriter};
use skep_director::Home;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Folders of files that jobs left: small, of value to people, and not made anew.
const FOLDERS: [(&str, &str); 5] = [
    ("artifacts", "what jobs left for other jobs"),
    (
        "spill",
        "payloads of messages that were too large for their topic",
    ),
    ("reports", "delivered accounts of ended jobs"),
    ("logs", "what workers and checks wrote"),
    (
        "vaults",
        "the engine's own repositories, with the commits of its workers",
    ),
];

/// Files that are secrets. The node's id is not among them: two homes with one id would take each
/// other's jobs, and an import takes every lease back, so that nothing waits for the old id.
const KEYS: [(&str, &str); 2] = [
    (
        "ledger.key",
        "signs the ledger; without it nothing can be recorded after the last event",
    ),
    (
        "token",
        "the local API token; a new one is made if it is missing",
    ),
];

/// The name of the key that an import cannot do without.
pub(super) const LEDGER_KEY: &str = KEYS[0].0;

/// Something in a home that an export may leave behind.
pub(super) struct Left {
    pub(super) path: &'static str,
    pub(super) about: &'static str,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// A file or folder found, by its path below the home.
struct Found {
    name: String,
    path: PathBuf,
    /// `None` for a folder.
    metadata: Option<std::fs::Metadata>,
}

/// What a home has besides its database, in the order of the lists above.
pub(super) fn left(home: &Home, files: bool, keys: bool) -> Result<Vec<Left>, Failure> {
    let mut left = Vec::new();
    let folders = FOLDERS.iter().filter(|_| !files);
    for (path, about) in folders.chain(KEYS.iter().filter(|_| !keys)) {
        let found = walk(home, path)?;
        let metadata = found.iter().filter_map(|found| found.metadata.as_ref());
        let (count, bytes) = metadata.fold((0, 0), |(n, sum), m| (n + 1, sum + m.size()));
        if count > 0 {
            left.push(Left {
                path,
                about,
                files: count,
                bytes,
            });
        }
    }
    Ok(left)
}

/// Adds what was asked for to an archive.
pub(super) fn add<W: Write>(
    home: &Home,
    files: bool,
    keys: bool,
    writer: &mut ArchiveWriter<W>,
) -> Result<(), Failure> {
    let folders = FOLDERS.iter().filter(|_| files);
    for (name, _) in folders.chain(KEYS.iter().filter(|_| keys)) {
        for found in walk(home, name)? {
            let written = match &found.metadata {
                None => writer.folder(&found.name),
                Some(metadata) => {
                    let file =
                        File::open(&found.path).map_err(|error| unreadable(&found.path, &error))?;
                    writer.file(&found.name, metadata.mode() & 0o777, metadata.len(), file)
                }
            };
            written.map_err(|error| super::archive_failure(&error, &found.path))?;
        }
    }
    Ok(())
}

/// Where a file of these names lies: the token in the home itself, the rest where every node sees it.
fn place(home: &Home, name: &str) -> PathBuf {
    if home.token().file_name().is_some_and(|token| token == name) {
        home.token()
    } else {
        home.shared().join(name)
    }
}

/// A file or folder and what lies in it, each folder before its content, by name.
fn walk(home: &Home, name: &str) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        let path = place(home, &name);
        let metadata = match std::fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&path, &error)),
        };
        if metadata.is_dir() {
            let mut inner = Vec::new();
            for entry in std::fs::read_dir(&path).map_err(|error| unreadable(&path, &error))? {
                let entry = entry.map_err(|error| unreadable(&path, &error))?;
                let Ok(part) = entry.file_name().into_string() else {
                    return Err(unreadable(
                        &entry.path(),
                        &io::Error::other("its name is no text"),
                    ));
                };
                inner.push(format!("{name}/{part}"));
            }
            inner.sort_by(|a, b| b.cmp(a));
            open.extend(inner);
            found.push(Found {
                name,
                path,
                metadata: None,
            });
        } else if metadata.is_file() {
            found.push(Found {
                name,
                path,
                metadata: Some(metadata),
            });
        }
        // Nothing that the engine keeps is a link, a pipe or a socket.
    }
    Ok(found)
}

/// Writes an archive's files into the home. Looks at all of them first: one that is there already
/// with another content stops the import before anything is written.
pub(super) fn put(home: &Home, archive: &Archive) -> Result<u64, Failure> {
    let mut missing = Vec::new();
    for file in archive.files() {
        let first = file.path.split('/').next().unwrap_or_default();
        let known = FOLDERS.iter().chain(&KEYS).any(|(name, _)| *name == first);
        if !known {
            return Err(Failure::usage(
                "archive_file_unknown",
                format!("the archive has a file that no home has: {}", file.path),
                "export again with this version of skep",
            ));
        }
        if file.mode.is_none() || !is_there(home, archive, file)? {
            missing.push(file);
        }
    }
    let mut written = 0;
    for file in missing {
        let path = place(home, &file.path);
        match file.mode {
            None => DirBuilder::new().recursive(true).mode(0o700).create(&path),
            Some(mode) => {
                written += 1;
                write(&path, mode, |out| {
                    archive.copy(file, out).map_err(|error| {
                        if let ArchiveError::Io { source, .. } = error {
                            return source;
                        }
                        io::Error::other(error)
                    })
                })
            }
        }
        .map_err(|error| unwritable(&path, &error))?;
    }
    Ok(written)
}

fn write(
    path: &Path,
    mode: u32,
    content: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    // Owner's rights only, whatever the archive says; git marks its objects read-only.
    let mode = mode & 0o700;
    let partial = path.with_extension("partial");
    drop(std::fs::remove_file(&partial));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&partial)?;
    content(&mut file)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}

/// Whether the file is in the home with this content; another content is a failure.
fn is_there(home: &Home, archive: &Archive, file: &ArchiveFile) -> Result<bool, Failure> {
    let path = place(home, &file.path);
    let there = match File::open(&path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unreadable(&path, &error)),
    };
    let mut compare = Compare {
        with: io::BufReader::new(there),
        same: true,
    };
    let copied = archive.copy(file, &mut compare);
    copied.map_err(|error| super::archive_failure(&error, &path))?;
    let rest = compare.with.read(&mut [0]);
    if compare.same && rest.is_ok_and(|read| read == 0) {
        return Ok(true);
    }
    Err(Failure::usage(
        "home_file_differs",
        format!("{} is there already, with another content", path.display()),
        "import into a new home, or move the file away",
    ))
}

/// Takes bytes and compares them with a file's.
struct Compare<R> {
    with: R,
    same: bool,
}

impl<R: Read> Write for Compare<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut there = vec![0; bytes.len()];
        self.same &= self.with.read_exact(&mut there).is_ok() && there == bytes;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(
        "home_file_unreadable",
        format!("{} cannot be read: {error}", path.display()),
        "check the file's owner and mode",
    )
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(
        "home_file_unwritable",
        format!("{} cannot be written: {error}", path.display()),
        "check the disk and the rights of the home",
    )
}
