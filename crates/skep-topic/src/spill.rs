//! Spilled payloads: what is too large for a message lies in a file whose name is the SHA-256 of
//! its bytes, and the message names the file.
//!
//! A file is whole or not there. It is written before the transaction that names it, so one that
//! no message names is left by a transaction that failed, and is removed a day later.

use crate::error::SpillError;
use crate::limits::{SPILL_FILES_MAX, SPILL_ORPHAN_MS};
use crate::message::Reference;
use skep_db::{Db, DbError, Tx, params};
use skep_ledger::Digest;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Files that this process has written.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// The folder of spilled payloads.
#[derive(Debug, Clone)]
pub struct Spill(PathBuf);

impl Spill {
    /// The spilled payloads in `folder`, which is made when the first comes.
    pub const fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Writes the bytes down, durably, and says where they are. The same bytes are the same file.
    ///
    /// # Errors
    /// [`SpillError::File`].
    pub fn put(&self, bytes: &[u8]) -> Result<Reference, SpillError> {
        let digest = Digest::of(bytes);
        let place = digest.to_string();
        self.write(&place, bytes)
            .map_err(|source| SpillError::File {
                place: place.clone(),
                source,
            })?;
        Ok(Reference {
            place,
            digest,
            bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        })
    }

    /// The bytes of a spilled payload, held against their digest.
    ///
    /// # Errors
    /// [`SpillError`].
    pub fn get(&self, reference: &Reference) -> Result<Vec<u8>, SpillError> {
        let place = &reference.place;
        if !is_name(place) {
            return Err(SpillError::Foreign {
                place: place.clone(),
            });
        }
        let bytes = std::fs::read(self.0.join(place)).map_err(|source| SpillError::File {
            place: place.clone(),
            source,
        })?;
        if Digest::of(&bytes) == reference.digest {
            Ok(bytes)
        } else {
            Err(SpillError::Changed {
                place: place.clone(),
            })
        }
    }

    fn write(&self, place: &str, bytes: &[u8]) -> io::Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        let path = self.0.join(place);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)?;
        // Two that write the same bytes at once must not write into one file.
        let turn = WRITES.fetch_add(1, Ordering::Relaxed);
        let partial = self
            .0
            .join(format!("{place}.{}.{turn}.partial", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, &path)?;
        std::fs::File::open(&self.0)?.sync_all()
    }

    /// Removes files that are older than [`SPILL_ORPHAN_MS`] and that no message names; the answer
    /// is how many.
    ///
    /// # Errors
    /// What the store says; a file that cannot be looked at or removed is left for the next time.
    pub async fn sweep(&self, db: &Db, now_ms: i64) -> Result<usize, DbError> {
        let mut removed = 0;
        for (place, path) in old_files(&self.0, now_ms) {
            let named = db
                .read("spilled", async move |tx: &mut Tx<'_>| {
                    let sql = "SELECT bytes FROM topic_message
                        WHERE reference IS NOT NULL AND reference = ?1 LIMIT 1";
                    Ok::<_, DbError>(tx.query_opt(sql, params![&place]).await?.is_some())
                })
                .await?;
            if !named && std::fs::remove_file(path).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn is_name(place: &str) -> bool {
    place.len() == 64
        && place
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn old_files(folder: &Path, now_ms: i64) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let old = |entry: &std::fs::DirEntry| {
        let modified = entry.metadata().and_then(|found| found.modified()).ok()?;
        let age = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()?
            .as_millis();
        Some(i64::try_from(age).ok()?.saturating_add(SPILL_ORPHAN_MS) <= now_ms)
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| old(entry) == Some(true))
        .take(SPILL_FILES_MAX)
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spilled_reads_back_and_a_change_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::at(folder.path().join("spill"));
        let reference = spill.put(b"many bees").unwrap();
        assert_eq!(spill.put(b"many bees").unwrap(), reference);
        assert_eq!(spill.get(&reference).unwrap(), b"many bees");
        std::fs::write(
            folder.path().join("spill").join(&reference.place),
            b"few bees!",
        )
        .unwrap();
        assert!(matches!(
            spill.get(&reference),
            Err(SpillError::Changed { .. })
        ));
        let outside = Reference {
            place: "../../etc/passwd".to_owned(),
            ..reference
        };
        assert!(matches!(
            spill.get(&outside),
            Err(SpillError::Foreign { .. })
        ));
    }
}
