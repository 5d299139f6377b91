//! The system calls that no safe wrapper offers. The only unsafe code of this crate.
//!
//! Invariant: each function checks or documents what its call needs, so callers stay safe code.
#![expect(
    unsafe_code,
    reason = "fork, mount_setattr, unshare, close_range and the like have no safe wrapper"
)]

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;
use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::io::unix::AsyncFd;

/// Runs `body` in a child process and ends that process with its result.
///
/// # Errors
/// `EINVAL` in a process of more than one thread: the child would have the locks of threads that
/// it does not have.
pub(crate) fn fork(body: impl FnOnce() -> u8) -> Result<Pid, Errno> {
    if thread_count() != Some(1) {
        return Err(Errno::INVAL);
    }
    // SAFETY: the process has one thread, so the child is a whole copy of it and may run any code.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(last_errno());
    }
    if pid == 0 {
        let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
        // SAFETY: ends the process without running the parent's exit handlers; takes no pointer.
        unsafe { libc::_exit(c_int::from(code)) }
    }
    Pid::from_raw(pid).ok_or(Errno::CHILD)
}

/// The number of threads of this process, or nothing where `/proc` cannot be read.
pub(crate) fn thread_count() -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let links = std::fs::metadata("/proc/self/task").ok()?.nlink();
    links.checked_sub(2)
}

/// Leaves the namespaces that `flags` name for new ones.
pub(crate) fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    let flags = flags.difference(UnshareFlags::FILES);
    // SAFETY: the one unsafe use of this call, a private table of descriptors, was just taken out.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// What [`mount_setattr`] adds to a mount.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MountRights {
    pub(crate) read_only: bool,
    pub(crate) no_devices: bool,
    pub(crate) no_exec: bool,
}

/// Adds `nosuid` and the given flags to a mount and to every mount below it. It only ever adds, so
/// the flags that the kernel has locked stay as they are.
pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    rights: MountRights,
    recursive: bool,
) -> Result<(), Errno> {
    let mut set = libc::MOUNT_ATTR_NOSUID;
    for (wanted, flag) in [
        (rights.read_only, libc::MOUNT_ATTR_RDONLY),
        (rights.no_devices, libc::MOUNT_ATTR_NODEV),
        (rights.no_exec, libc::MOUNT_ATTR_NOEXEC),
    ] {
        if wanted {
            set |= flag;
        }
    }
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a constant string with its end, and the kernel only reads `attributes`,
    // which lives until the call returns and whose size is passed with it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Marks every descriptor from `first` on to be closed when a program is executed.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: changes flags of descriptors only and takes no pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Brings the loopback interface of this network namespace up. `socket` is any IPv4 socket in it.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: `ifreq` is plain data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes_with_nul()) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(|_| Errno::RANGE)?;
    // SAFETY: the kernel reads one `ifreq` whose name ends with a zero and whose flags are set.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Sends SIGINT to the process group of a group's leader, or to the leader alone where the kernel
/// is older than 6.9 and knows no groups behind a descriptor.
pub(crate) fn interrupt_group(leader: BorrowedFd<'_>) -> Result<(), Errno> {
    const PROCESS_GROUP: u32 = 1 << 2;
    let send = |flags: u32| {
        // SAFETY: without a `siginfo` the kernel makes one itself, so a null pointer is right.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                leader.as_raw_fd(),
                libc::SIGINT,
                std::ptr::null::<libc::siginfo_t>(),
                flags,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(last_errno())
        }
    };
    match send(PROCESS_GROUP) {
        Err(Errno::INVAL) => send(0),
        other => other,
    }
}

/// The Landlock version of the running kernel; 0 when there is none or it is switched off.
pub(crate) fn landlock_abi() -> i32 {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the call takes no ruleset, so a null pointer of size zero is right.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            VERSION,
        )
    };
    i32::try_from(version).unwrap_or(0).max(0)
}

/// Hands a descriptor to the runtime, which tells when it can be read or written.
pub(crate) fn register(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and stays the same one until it is dropped, and it is moved
    // into the result, which lends it out by shared reference only.
    unsafe { AsyncFd::register(descriptor) }.map_err(Into::into)
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
