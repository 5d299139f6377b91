//! The new root: what a worker at level `namespaces` can see is built here and nothing else is.
//!
//! Invariant: when [`build`] returns, the old root is gone from this mount namespace, and the new
//! one is read-only except for the attempt's own writable directories, `/tmp` and `/dev/shm`.

use super::mounts::{
    attach, copy, make_directories, memory, mount_point, open_with_links, open_without_links, proc,
};
use crate::error::{AtStep, Refusal, Step};
use crate::limits::{ROOT_BYTES_MAX, SHM_BYTES_MAX, TMP_BYTES_MAX};
use crate::proof::INSIDE_ID;
use crate::remedy;
use crate::spec::FenceSpec;
use crate::sys::{self, MountRights};
use crate::view::{Grant, Origin, Rights, SYSTEM_TREES, grants};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::UnmountFlags;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Builds the root and moves this process, and the launcher, into it. Returns whether the number
/// of processes is limited by the size of the namespace.
pub(super) fn build(spec: &FenceSpec) -> Result<bool, Refusal> {
    // Every source is opened and copied first, because the new root hides some of them.
    let mut prepared = Vec::new();
    for grant in grants(spec) {
        prepared.extend(prepare(&grant, &spec.attempt_dir)?);
    }
    let root = place_root(&spec.attempt_dir)?;
    let root = root.as_fd();
    memory_at(root, Path::new("tmp"), TMP_BYTES_MAX)?;
    memory_at(root, Path::new("dev/shm"), SHM_BYTES_MAX)?;
    let frames = frame_in_tmp(root, &prepared)?;
    for part in &prepared {
        place(root, part)?;
    }
    write_files(root)?;
    make_links(root)?;
    let processes_limited = place_proc(root, spec.limits.processes_max)?;
    enter(root)?;
    for mount in frames.iter().map(AsFd::as_fd).chain([root]) {
        let read_only = MountRights {
            read_only: true,
            no_devices: true,
            no_exec: true,
        };
        sys::mount_setattr(mount, read_only, false).at(Step::Mounts, "make the root read-only")?;
    }
    Ok(processes_limited)
}

/// A grant whose source is at hand.
enum Prepared {
    Mount {
        tree: OwnedFd,
        inside: PathBuf,
        is_directory: bool,
    },
    Link {
        inside: PathBuf,
        target: PathBuf,
    },
}

fn prepare(grant: &Grant, attempt_dir: &Path) -> Result<Option<Prepared>, Refusal> {
    if let Some(target) = system_link(grant) {
        return Ok(Some(Prepared::Link {
            inside: grant.inside.clone(),
            target,
        }));
    }
    let path = grant.host.display().to_string();
    let source = match open_source(grant, attempt_dir) {
        Ok(source) => source,
        Err(rustix::io::Errno::NOENT) if grant.origin.may_be_missing() => return Ok(None),
        Err(errno) => return Err(errno).at(Step::Path, &path),
    };
    let is_directory = is_directory(source.as_fd()).at(Step::Path, &path)?;
    let tree = copy(source.as_fd(), grant.rights)
        .at(Step::Mounts, &path)
        .map_err(remedy::with_namespace_hint)?;
    Ok(Some(Prepared::Mount {
        tree,
        inside: grant.inside.clone(),
        is_directory,
    }))
}

/// Where a system tree is a symbolic link, as `/bin` is on a merged `/usr`, it stays one.
fn system_link(grant: &Grant) -> Option<PathBuf> {
    SYSTEM_TREES
        .iter()
        .any(|tree| grant.host == Path::new(tree))
        .then(|| std::fs::read_link(&grant.host).ok())
        .flatten()
}

/// Opens the host path of a grant as far as its origin is trusted.
pub(super) fn open_source(grant: &Grant, attempt_dir: &Path) -> rustix::io::Result<OwnedFd> {
    match grant.origin {
        Origin::System => open_with_links(&grant.host),
        Origin::Attempt | Origin::AttemptIfThere => open_without_links(&grant.host),
        Origin::Scope => {
            let relative = grant
                .host
                .strip_prefix(attempt_dir)
                .unwrap_or(Path::new(""));
            let base = open_without_links(attempt_dir)?;
            make_directories(base.as_fd(), relative)
        }
    }
}

pub(super) fn is_directory(file: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode);
    Ok(kind == FileType::Directory)
}

/// Mounts the empty new root on the attempt's directory: any directory would do, and this one is
/// known to be there. Returns it opened.
fn place_root(attempt_dir: &Path) -> Result<OwnedFd, Refusal> {
    let mount = memory(ROOT_BYTES_MAX, "755")?;
    let target = open_without_links(attempt_dir).at(Step::Mounts, "open the attempt")?;
    attach(mount.as_fd(), target.as_fd())
        .at(Step::Mounts, "attach the root")
        .map_err(remedy::with_namespace_hint)?;
    Ok(mount)
}

fn memory_at(root: BorrowedFd<'_>, inside: &Path, bytes_max: u64) -> Result<OwnedFd, Refusal> {
    let name = inside.display().to_string();
    let mount = memory(bytes_max, "1777")?;
    let target = make_directories(root, inside).at(Step::Mounts, &name)?;
    attach(mount.as_fd(), target.as_fd()).at(Step::Mounts, &name)?;
    Ok(mount)
}

/// A path that is shown below `/tmp`, as an object store of a repository there, hangs in a frame of
/// its own: otherwise the directories that lead to it would be the worker's to write in. Returns the
/// frames, which become read-only when everything is in place.
fn frame_in_tmp(root: BorrowedFd<'_>, prepared: &[Prepared]) -> Result<Vec<OwnedFd>, Refusal> {
    let mut framed = BTreeSet::new();
    for part in prepared {
        let (Prepared::Mount { inside, .. } | Prepared::Link { inside, .. }) = part;
        let below = inside.strip_prefix("/tmp").ok().map(Path::components);
        if let Some((Some(first), Some(_))) = below.map(|mut names| (names.next(), names.next())) {
            framed.insert(Path::new("tmp").join(first));
        }
    }
    framed
        .iter()
        .map(|frame| memory_at(root, frame, ROOT_BYTES_MAX))
        .collect()
}

fn place(root: BorrowedFd<'_>, part: &Prepared) -> Result<(), Refusal> {
    match part {
        Prepared::Link { inside, target } => rustix::fs::symlinkat(target, root, relative(inside))
            .at(Step::Mounts, &inside.display().to_string()),
        Prepared::Mount {
            tree,
            inside,
            is_directory,
        } => {
            let path = inside.display().to_string();
            let target =
                mount_point(root, relative(inside), *is_directory).at(Step::Mounts, &path)?;
            attach(tree.as_fd(), target.as_fd()).at(Step::Mounts, &path)
        }
    }
}

fn relative(inside: &Path) -> &Path {
    inside.strip_prefix("/").unwrap_or(inside)
}

/// The few files of `/etc` that describe the fence itself rather than the machine.
fn write_files(root: BorrowedFd<'_>) -> Result<(), Refusal> {
    let passwd = format!(
        "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n\
         skep:x:{INSIDE_ID}:{INSIDE_ID}:Skep:/skep/home:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    );
    let group = format!("root:x:0:\nskep:x:{INSIDE_ID}:\nnogroup:x:65534:\n");
    let etc = make_directories(root, Path::new("etc")).at(Step::Mounts, "/etc")?;
    for (name, text) in [
        ("passwd", passwd.as_str()),
        ("group", group.as_str()),
        ("hosts", "127.0.0.1 localhost skep\n::1 localhost\n"),
        ("hostname", "skep\n"),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n",
        ),
    ] {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&etc, name, flags, Mode::from_raw_mode(0o644))
            .at(Step::Mounts, name)?;
        std::io::Write::write_all(&mut std::fs::File::from(file), text.as_bytes())
            .at(Step::Mounts, name)?;
    }
    Ok(())
}

fn make_links(root: BorrowedFd<'_>) -> Result<(), Refusal> {
    make_directories(root, Path::new("var")).at(Step::Mounts, "/var")?;
    for (target, link) in [
        ("/proc/self/fd", "dev/fd"),
        ("/proc/self/fd/0", "dev/stdin"),
        ("/proc/self/fd/1", "dev/stdout"),
        ("/proc/self/fd/2", "dev/stderr"),
        ("/tmp", "var/tmp"),
        ("/proc/self/mounts", "etc/mtab"),
    ] {
        match rustix::fs::symlinkat(target, root, link) {
            // A toolchain root below /var/tmp has made it a directory.
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno).at(Step::Mounts, link),
        }
    }
    Ok(())
}

/// Entries of `/proc` that tell about the whole machine and that the superuser's id could read.
const HIDDEN_IN_PROC: &[&str] = &[
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "sysrq-trigger",
    "timer_list",
];

/// A `/proc` of the new PID namespace, read-only as a whole: below `/proc/sys` the kernel asks for
/// the superuser's id, which a worker of a superuser's engine has, and not for a capability.
fn place_proc(root: BorrowedFd<'_>, processes_max: Option<u64>) -> Result<bool, Refusal> {
    let with_hint = |mut refusal: Refusal| {
        refusal.hint = Some(remedy::PROC.to_owned());
        refusal
    };
    let mount = proc().at(Step::Proc, "mount proc").map_err(with_hint)?;
    let limited = processes_max.is_some_and(|max| limit_namespace(mount.as_fd(), max));
    let rights = MountRights {
        read_only: true,
        no_devices: true,
        no_exec: true,
    };
    sys::mount_setattr(mount.as_fd(), rights, false).at(Step::Proc, "make it read-only")?;
    let target = make_directories(root, Path::new("proc")).at(Step::Proc, "/proc")?;
    attach(mount.as_fd(), target.as_fd()).at(Step::Proc, "attach /proc")?;
    let null = open_with_links(Path::new("/dev/null")).at(Step::Proc, "/dev/null")?;
    for name in HIDDEN_IN_PROC {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(entry) = rustix::fs::openat(&mount, *name, flags, Mode::empty()) {
            let cover = copy(null.as_fd(), Rights::ReadData).at(Step::Proc, name)?;
            attach(cover.as_fd(), entry.as_fd()).at(Step::Proc, name)?;
        }
    }
    Ok(limited)
}

/// Limits the process numbers of this namespace, which also binds the superuser's processes. Only
/// from Linux 6.14 on is `pid_max` the namespace's own; before that this file is the machine's.
fn limit_namespace(proc: BorrowedFd<'_>, processes_max: u64) -> bool {
    const PID_MAX_LEAST: u64 = 512;
    if !kernel_at_least(6, 14) {
        return false;
    }
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(proc, "sys/kernel/pid_max", flags, Mode::empty()) else {
        return false;
    };
    let text = processes_max.max(PID_MAX_LEAST).to_string();
    rustix::io::write(file, text.as_bytes()) == Ok(text.len())
}

fn kernel_at_least(major: u32, minor: u32) -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    found >= (major, minor)
}

/// Makes `root` the root and lets go of the old one.
fn enter(root: BorrowedFd<'_>) -> Result<(), Refusal> {
    let old = rustix::fs::openat(
        CWD,
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(Step::Mounts, "open the old root")?;
    rustix::process::fchdir(root).at(Step::Mounts, "enter the new root")?;
    // pivot_root(2): with "." twice, the old root comes to lie on top of the new one, from where
    // it is taken off without a directory for it.
    rustix::process::pivot_root(".", ".").at(Step::Mounts, "pivot_root")?;
    rustix::process::fchdir(&old).at(Step::Mounts, "return to the old root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).at(Step::Mounts, "let the old root go")?;
    rustix::process::chdir("/").at(Step::Mounts, "enter the new root")
}

/// Everything writable or readable at level `namespaces` that no grant names.
pub(super) const OWN_TREES: &[(&str, Rights)] = &[
    ("/etc", Rights::ReadData),
    ("/proc", Rights::ReadData),
    ("/tmp", Rights::Write),
    ("/dev/shm", Rights::WriteData),
];
