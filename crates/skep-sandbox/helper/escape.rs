//! Ways out of a fence. Each is tried for real; the process prints one line, `done` or the number
//! of the error, and its exit code says the same: 0 for out, 1 for refused.

use crate::raw::{address, call, clone_with};
use crate::say;
use rustix::fs::{CWD, Timespec, Timestamps, XattrFlags};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socketpair,
};
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

/// Tries one way and reports.
pub(crate) fn try_out(way: &str, arguments: &[&str]) -> ExitCode {
    match attempt(way, arguments) {
        Ok(()) => {
            say("done");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let number = error.raw_os_error().unwrap_or(-1);
            say(&format!("{number} {error}"));
            ExitCode::FAILURE
        }
    }
}

fn attempt(way: &str, arguments: &[&str]) -> io::Result<()> {
    match arguments {
        [] => kernel(way),
        [path] => file(way, Path::new(path)).unwrap_or_else(|| network(way, path)),
        [from, to] => two_files(way, Path::new(from), Path::new(to)),
        _ => Err(unknown(way)),
    }
}

fn unknown(way: &str) -> io::Error {
    io::Error::other(format!("no way `{way}`"))
}

/// Ways to change or read one path.
fn file(way: &str, path: &Path) -> Option<io::Result<()>> {
    Some(match way {
        "write" => std::fs::write(path, "escaped"),
        "append" => OpenOptions::new()
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(b"escaped")),
        "create" => OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map(drop),
        "truncate" => on_path(path, |name| call(libc::SYS_truncate, [name, 0, 0, 0, 0, 0])),
        "chmod" => std::fs::set_permissions(path, PermissionsExt::from_mode(0o4777)),
        "chown" => std::os::unix::fs::chown(path, Some(12345), Some(12345)),
        "times" => times(path),
        "setxattr" => rustix::fs::setxattr(path, "user.skep", b"escaped", XattrFlags::empty())
            .map_err(io::Error::from),
        "unlink" => std::fs::remove_file(path),
        "mkdir" => std::fs::create_dir(path),
        "device" => on_path(path, |name| {
            let mode = u64::from(libc::S_IFCHR | 0o666);
            call(libc::SYS_mknod, [name, mode, 0x0103, 0, 0, 0])
        }),
        "read" => std::fs::read(path).map(drop),
        "list" => std::fs::read_dir(path).map(drop),
        "reopen" => reopen(path),
        _ => return None,
    })
}

fn on_path(path: &Path, body: impl FnOnce(u64) -> io::Result<i64>) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_encoded_bytes())?;
    body(address(&name)).map(drop)
}

fn times(path: &Path) -> io::Result<()> {
    let long_ago = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: long_ago,
        last_modification: long_ago,
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        rustix::fs::AtFlags::empty(),
    )?)
}

/// Opens for reading and then again, through its descriptor, for writing.
fn reopen(path: &Path) -> io::Result<()> {
    let file = std::fs::File::open(path)?;
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new()
        .write(true)
        .open(again)?
        .write_all(b"escaped")
}

/// Ways from one path, inside, to another, outside.
fn two_files(way: &str, from: &Path, to: &Path) -> io::Result<()> {
    match way {
        "rename" => std::fs::rename(from, to),
        "exchange" => Ok(rustix::fs::renameat_with(
            CWD,
            from,
            CWD,
            to,
            rustix::fs::RenameFlags::EXCHANGE,
        )?),
        "hardlink" => std::fs::hard_link(from, to),
        "symlink_write" => {
            std::os::unix::fs::symlink(to, from)?;
            std::fs::write(from, "escaped")
        }
        "symlink_directory" => {
            std::os::unix::fs::symlink(to, from)?;
            std::fs::write(from.join("new"), "escaped")
        }
        // A hard link made inside to a file outside, then written through.
        "hardlink_write" => {
            std::fs::hard_link(to, from)?;
            OpenOptions::new()
                .append(true)
                .open(from)?
                .write_all(b"escaped")
        }
        _ => Err(unknown(way)),
    }
}

/// Ways to reach somebody else.
fn network(way: &str, to: &str) -> io::Result<()> {
    match way {
        "tcp" => TcpStream::connect(to).map(drop),
        "http" => http(to),
        "udp" => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.send_to(b"escaped", to).map(drop)
        }
        "multipath_tcp" => connect_with(libc::IPPROTO_MPTCP, to),
        "fast_open" => fast_open(to),
        "bind" => std::net::TcpListener::bind(to).map(drop),
        "unix" => UnixStream::connect(to).map(drop),
        "abstract" => {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(to)?;
            UnixStream::connect_addr(&address).map(drop)
        }
        "unix_by_pair" => unix_by_pair(to),
        "family" => {
            let family: u64 = to.parse().map_err(io::Error::other)?;
            let datagram = u64::from(libc::SOCK_DGRAM.unsigned_abs());
            call(libc::SYS_socket, [family, datagram, 0, 0, 0, 0]).map(drop)
        }
        "signal" => {
            let pid: u64 = to.parse().map_err(io::Error::other)?;
            call(libc::SYS_kill, [pid, 0, 0, 0, 0, 0]).map(drop)
        }
        "limit" => {
            let pid: u64 = to.parse().map_err(io::Error::other)?;
            let core = u64::from(libc::RLIMIT_CORE);
            call(libc::SYS_prlimit64, [pid, core, 0, 0, 0, 0]).map(drop)
        }
        "trace" => {
            let pid: u64 = to.parse().map_err(io::Error::other)?;
            let attach = u64::from(libc::PTRACE_SEIZE);
            call(libc::SYS_ptrace, [attach, pid, 0, 0, 0, 0]).map(drop)
        }
        _ => Err(unknown(way)),
    }
}

/// A request as the worker makes it; anything but status 200 is a failure.
fn http(url: &str) -> io::Result<()> {
    let address = url.strip_prefix("http://").unwrap_or(url);
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("gateway") {
        Ok(())
    } else {
        Err(io::Error::other(answer))
    }
}

fn connect_with(protocol: i32, to: &str) -> io::Result<()> {
    let address: SocketAddr = to.parse().map_err(io::Error::other)?;
    let protocol = rustix::net::Protocol::from_raw(
        std::num::NonZero::new(protocol.unsigned_abs()).ok_or_else(|| unknown("protocol"))?,
    );
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, Some(protocol))?;
    Ok(rustix::net::connect(&socket, &address)?)
}

/// A connection that begins with its first data: `connect` is never called.
fn fast_open(to: &str) -> io::Result<()> {
    let address: SocketAddr = to.parse().map_err(io::Error::other)?;
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let flag = SendFlags::from_bits_retain(libc::MSG_FASTOPEN.unsigned_abs());
    sendto(&socket, b"escaped", flag, &address)?;
    Ok(())
}

/// A socket that was never asked for by name: one of a pair, sending past its partner.
fn unix_by_pair(to: &str) -> io::Result<()> {
    let (socket, _partner) = socketpair(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sendto(
        &socket,
        b"escaped",
        SendFlags::empty(),
        &SocketAddrUnix::new(to)?,
    )?;
    Ok(())
}

/// Calls that no work needs. Arguments are chosen so that, where the call is allowed, the answer is
/// success or an error other than the fence's.
fn kernel(way: &str) -> io::Result<()> {
    const NOWHERE: u64 = 8;
    let flags = |flag: i32| u64::from(flag.unsigned_abs());
    let (number, arguments): (i64, [u64; 6]) = match way {
        "clone_user" => return clone_with(libc::CLONE_NEWUSER),
        "clone_net" => return clone_with(libc::CLONE_NEWNET),
        "unshare_user" => (
            libc::SYS_unshare,
            [flags(libc::CLONE_NEWUSER), 0, 0, 0, 0, 0],
        ),
        "clone3" => (libc::SYS_clone3, [NOWHERE, 0, 0, 0, 0, 0]),
        "setns" => (libc::SYS_setns, [u64::MAX, 0, 0, 0, 0, 0]),
        "mount" => (libc::SYS_mount, [NOWHERE, NOWHERE, NOWHERE, 0, 0, 0]),
        "umount" => (libc::SYS_umount2, [NOWHERE, 0, 0, 0, 0, 0]),
        "fsopen" => (libc::SYS_fsopen, [NOWHERE, 0, 0, 0, 0, 0]),
        "open_tree" => (libc::SYS_open_tree, [u64::MAX, NOWHERE, 0, 0, 0, 0]),
        "mount_setattr" => (
            libc::SYS_mount_setattr,
            [u64::MAX, NOWHERE, 0, NOWHERE, 32, 0],
        ),
        "pivot_root" => (libc::SYS_pivot_root, [NOWHERE, NOWHERE, 0, 0, 0, 0]),
        "chroot" => (libc::SYS_chroot, [NOWHERE, 0, 0, 0, 0, 0]),
        "trace_me" => (libc::SYS_ptrace, [0, 0, 0, 0, 0, 0]),
        "process_memory" => (libc::SYS_process_vm_readv, [1, 0, 0, 0, 0, 0]),
        "keyring" => (libc::SYS_keyctl, [0, u64::MAX, 1, 0, 0, 0]),
        "add_key" => (libc::SYS_add_key, [NOWHERE, NOWHERE, 0, 0, 0, 0]),
        "bpf" => (libc::SYS_bpf, [0, NOWHERE, 8, 0, 0, 0]),
        "perf" => (libc::SYS_perf_event_open, [NOWHERE, 0, 0, u64::MAX, 0, 0]),
        "userfaultfd" => (libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0]),
        "io_uring" => (libc::SYS_io_uring_setup, [1, NOWHERE, 0, 0, 0, 0]),
        "file_handle" => (libc::SYS_open_by_handle_at, [0, NOWHERE, 0, 0, 0, 0]),
        "terminal" => (libc::SYS_ioctl, [0, libc::TIOCSTI, NOWHERE, 0, 0, 0]),
        "module" => (libc::SYS_init_module, [NOWHERE, 1, NOWHERE, 0, 0, 0]),
        "kexec" => (libc::SYS_kexec_load, [0, 1, NOWHERE, u64::MAX, 0, 0]),
        "swapon" => (libc::SYS_swapon, [NOWHERE, 0, 0, 0, 0, 0]),
        // The first magic number is wrong on purpose: allowed, this changes nothing.
        "reboot" => (libc::SYS_reboot, [0, 0, 0, 0, 0, 0]),
        "semaphore" => (libc::SYS_semget, [0, 1, 0o600, 0, 0, 0]),
        "newer_call" => (1000, [0; 6]),
        #[cfg(target_arch = "x86_64")]
        "x32_call" => (0x4000_0000 + libc::SYS_getpid, [0; 6]),
        _ => return Err(unknown(way)),
    };
    call(number, arguments).map(drop)
}
