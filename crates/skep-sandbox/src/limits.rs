//! Every limit of this crate, with its unit in its name and its reason beside it.

use serde::{Deserialize, Serialize};

/// The largest order that is sent to a launcher, in bytes: arguments and environment of a worker
/// together, which the kernel itself limits to about this.
pub const ORDER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The largest single message on the control socket, in bytes: well under the default send buffer
/// of a Unix socket (208 KiB), which an unprivileged process cannot raise.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// How long a fence may take to stand, or a worker to start in it, in milliseconds. The usual time
/// is under 30; a machine that needs this long is not going to finish.
pub const START_MS_MAX: u64 = 20_000;

/// How long a launcher may take to confirm that everything is dead, in milliseconds. A process in
/// an uninterruptible wait for a disk is what takes time here.
pub const KILL_MS_MAX: u64 = 10_000;

/// How many passes a launcher without namespaces makes over the processes left behind. Each pass
/// kills everything that the one before it uncovered, so only a fork bomb needs many.
pub const KILL_PASSES_MAX: u32 = 10_000;

/// The size of the in-memory root of a fence, in bytes: directories and a few small files only.
pub const ROOT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The size of `/tmp` in a fence, in bytes. It is memory; `TMPDIR` is on disk.
pub const TMP_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The size of `/dev/shm` in a fence, in bytes. It is memory.
pub const SHM_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The most files in each of these in-memory file systems: their names and inodes are kernel memory
/// that the sizes above do not count.
pub const MEMORY_INODES_MAX: u64 = 100_000;

/// The most read-only paths a fence may have: each is a mount.
pub const READ_ONLY_PATHS_MAX: usize = 128;

/// The most directories a scope may need: each is a mount.
pub const WRITABLE_PATHS_MAX: usize = 256;

/// How long one git command may run, in milliseconds: a first checkout of a very large repository.
pub const GIT_MS_MAX: u64 = 600_000;

/// The most output that is kept of one git command, in bytes.
pub const GIT_OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most of git's standard error that an error carries, in bytes.
pub const GIT_MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// The largest pack that is imported from an attempt, in bytes.
pub const PACK_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The most files in an attempt's object store that are looked at before an import.
pub const OBJECT_FILES_MAX: usize = 500_000;

/// The largest loose reference file, in bytes: an object name and a line end, with room.
pub const REF_BYTES_MAX: u64 = 1024;

/// The largest `packed-refs` file of an attempt that is read, in bytes.
pub const PACKED_REFS_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The largest `alternates` or `shallow` file that is read, in bytes.
pub const INFO_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The most commits an attempt may put on top of its base.
pub const COMMITS_MAX: usize = 10_000;

/// How deep a chain of alternates is followed; git's own limit.
pub const ALTERNATES_DEPTH_MAX: usize = 5;

/// What one process inside a fence may use. `None` leaves the limit as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// Private writable memory of one process, in bytes (`RLIMIT_DATA`). Address space that is
    /// only reserved, as language runtimes do, does not count.
    pub data_bytes_max: Option<u64>,
    /// Size of one file, in bytes (`RLIMIT_FSIZE`).
    pub file_bytes_max: Option<u64>,
    /// Open files of one process (`RLIMIT_NOFILE`).
    pub open_files_max: Option<u64>,
    /// Processes and threads of the whole fence (`RLIMIT_NPROC`, and the size of the process
    /// number space where the kernel has one per namespace).
    pub processes_max: Option<u64>,
    /// Processor time of one process, in seconds (`RLIMIT_CPU`).
    pub cpu_seconds_max: Option<u64>,
}

impl Default for ProcessLimits {
    /// Enough for a large build, far from what would take the machine down with it.
    fn default() -> Self {
        Self {
            data_bytes_max: Some(8 * 1024 * 1024 * 1024),
            file_bytes_max: Some(8 * 1024 * 1024 * 1024),
            open_files_max: Some(16 * 1024),
            processes_max: Some(4 * 1024),
            cpu_seconds_max: None,
        }
    }
}
