//! Whether the disk that the home is on has room for work.
//!
//! Asked before every claim and every dispatch, so that an engine on a full disk takes no work
//! that it cannot do, says so once, and goes on by itself when there is room; and at every
//! failure, because a worker or a check that ran out of disk has not failed by its own fault.
//!
//! The space that is kept free is what the jobs under way need to be recorded to their end.

use crate::error::DirectorError;
use crate::home::Home;
use crate::limits::DISK_FREE_BYTES_MIN;
use rustix::fs::{StatVfsMountFlags, statvfs};
use skep_db::StorageFault;
use std::fmt;

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// Less than [`DISK_FREE_BYTES_MIN`] is free.
    Full {
        /// How much is.
        free_bytes: u64,
    },
    /// Nothing may be written there.
    ReadOnly,
}

/// What hinders work in `home` now. What cannot be asked hinders nothing.
pub(crate) fn shortage(home: &Home) -> Option<Shortage> {
    let disk = statvfs(home.root()).ok()?;
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Some(Shortage::ReadOnly);
    }
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    (free_bytes < DISK_FREE_BYTES_MIN).then_some(Shortage::Full { free_bytes })
}

/// Whether the disk is why a step failed.
pub(crate) fn is_why(error: &DirectorError) -> bool {
    match error {
        DirectorError::Db(error) => error.storage_fault().is_some(),
        DirectorError::Policy { code, .. } => [FULL, READ_ONLY].contains(code),
        DirectorError::Usage { .. }
        | DirectorError::NotFound { .. }
        | DirectorError::Conflict { .. }
        | DirectorError::Outside { .. } => false,
    }
}

impl Shortage {
    /// Why a request is refused, and what to do.
    pub(crate) fn refusal(self) -> DirectorError {
        let (code, hint) = match self {
            Self::Full { .. } => (FULL, FULL_HINT),
            Self::ReadOnly => (READ_ONLY, READ_ONLY_HINT),
        };
        DirectorError::policy(code, self.to_string(), hint)
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes / (1024 * 1024);
        match self {
            Self::Full { free_bytes } => write!(
                f,
                "the disk of the home is full: {} MB are free, {} MB are kept free",
                megabytes(*free_bytes),
                megabytes(DISK_FREE_BYTES_MIN)
            ),
            Self::ReadOnly => f.write_str("the disk of the home is read-only"),
        }
    }
}

/// The code and the hint for what is wrong with the disk below the store.
pub(crate) const fn explain(fault: StorageFault) -> (&'static str, &'static str) {
    match fault {
        StorageFault::Full => (FULL, FULL_HINT),
        StorageFault::ReadOnly => (READ_ONLY, READ_ONLY_HINT),
        StorageFault::Broken => (
            "disk_failing",
            "look at the system's log for disk errors and quotas; nothing that was answered is lost, and the engine goes on when the disk does",
        ),
    }
}

const FULL: &str = "disk_full";
const FULL_HINT: &str =
    "free some space; nothing that was answered is lost, and the engine goes on by itself";
const READ_ONLY: &str = "disk_read_only";
const READ_ONLY_HINT: &str = "make the disk writable again; nothing that was answered is lost, and the engine goes on by itself";
