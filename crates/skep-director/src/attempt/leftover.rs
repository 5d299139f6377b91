//! What an attempt leaves that ends without a result: the files of its `out` folder, and the commit
//! it got to. Kept for people, as evidence; nothing of it is believed or landed.

use super::Worker;
use crate::error::{DirectorError, describe};
use crate::event::{self, LeftoverKept};
use crate::limits::{LEFTOVER_BYTES_MAX, LEFTOVER_FILES_MAX};
use crate::record::{LeftoverRow, put_leftover};
use skep_db::Tx;
use skep_stdx::Redactor;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

impl Worker<'_> {
    /// Keeps what lies in the attempt's `out` folder. What cannot be kept is left, with a warning.
    pub(super) async fn keep(
        &self,
        folder: &Path,
        tip_commit: Option<String>,
        redactor: &Redactor,
    ) -> LeftoverRow {
        let home = &self.context.home;
        let place = home
            .logs()
            .join(self.lease.job.as_str())
            .join(format!("{}.out", self.attempt));
        let (from, to, redactor) = (folder.join("out"), place.clone(), redactor.clone());
        let copied = tokio::task::spawn_blocking(move || copy(&from, &to, &redactor)).await;
        let (files, bytes) = copied
            .map_err(io::Error::other)
            .flatten()
            .unwrap_or_else(|error| {
                tracing::warn!(attempt = %self.attempt, error = describe(&error), "not everything was kept");
                (0, 0)
            });
        let place = place
            .strip_prefix(home.root())
            .unwrap_or(&place)
            .to_string_lossy()
            .into_owned();
        LeftoverRow {
            attempt: self.attempt.clone(),
            job: self.lease.job.clone(),
            fence: self.lease.fence,
            tip_commit,
            place: (files > 0).then_some(place),
            files: i64::try_from(files).unwrap_or(i64::MAX),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        }
    }
}

/// Puts on record what was kept. Says nothing about the job, so it demands no fence: the fence of a
/// cancelled job is withdrawn before its worker is dead.
pub(super) async fn record(tx: &mut Tx<'_>, row: &LeftoverRow) -> Result<(), DirectorError> {
    put_leftover(tx, row).await?;
    let kept = LeftoverKept {
        job: row.job.clone(),
        attempt: row.attempt.clone(),
        fence: row.fence,
        tip_commit: row.tip_commit.clone(),
        files: usize::try_from(row.files).unwrap_or(usize::MAX),
        bytes: row.bytes,
    };
    event::append(tx, row.job.as_str(), &kept).await
}

/// Copies the plain files of `from`, without the secrets of `redactor`, up to the limits; how many,
/// and their size. Never through a link: the folder is the worker's.
fn copy(from: &Path, to: &Path, redactor: &Redactor) -> io::Result<(usize, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(from)?.take(LEFTOVER_FILES_MAX) {
        let entry = entry?;
        if !entry.file_type()?.is_file() || bytes >= LEFTOVER_BYTES_MAX {
            continue;
        }
        let mut content = Vec::new();
        std::fs::OpenOptions::new()
            .read(true)
            // A link that took the file's place since it was looked at is not followed, and a pipe
            // is not waited for.
            .custom_flags(NO_FOLLOW_NO_WAIT)
            .open(entry.path())?
            .take(LEFTOVER_BYTES_MAX - bytes)
            .read_to_end(&mut content)?;
        if files == 0 {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(to)?;
        }
        let content = match String::from_utf8(content) {
            Ok(text) => redactor.redact(&text).into_bytes(),
            Err(error) => error.into_bytes(),
        };
        std::fs::write(to.join(entry.file_name()), &content)?;
        files += 1;
        bytes += content.len() as u64;
    }
    Ok((files, bytes))
}

/// `O_NOFOLLOW` and `O_NONBLOCK`.
const NO_FOLLOW_NO_WAIT: i32 = rustix::fs::OFlags::NOFOLLOW
    .union(rustix::fs::OFlags::NONBLOCK)
    .bits()
    .cast_signed();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_files_are_kept_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("out"), place.path().join("kept"));
        std::fs::create_dir(&from).unwrap();
        assert_eq!(copy(&from, &to, &Redactor::default()).unwrap(), (0, 0));
        assert!(!to.exists(), "nothing makes no folder");
        std::fs::write(from.join("transcript.jsonl"), "said").unwrap();
        std::fs::write(place.path().join("secret"), "not his").unwrap();
        std::os::unix::fs::symlink(place.path().join("secret"), from.join("link")).unwrap();
        std::fs::create_dir(from.join("folder")).unwrap();
        let pipe = std::process::Command::new("mkfifo")
            .arg(from.join("pipe"))
            .status()
            .unwrap();
        assert!(pipe.success());
        assert_eq!(copy(&from, &to, &Redactor::default()).unwrap(), (1, 4));
        let kept = std::fs::read_to_string(to.join("transcript.jsonl")).unwrap();
        assert_eq!(kept, "said");
        assert_eq!(std::fs::read_dir(&to).unwrap().count(), 1);
    }
}
