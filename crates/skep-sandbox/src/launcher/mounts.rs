//! Single mounts, made detached and then put in place.
//!
//! Invariant: a mount has its final flags before it can be reached by any path.

use crate::error::{AtStep, Refusal, Step};
use crate::limits::MEMORY_INODES_MAX;
use crate::sys::{self, MountRights};
use crate::view::Rights;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

/// Opens a path without following any symbolic link, only to refer to it.
pub(super) fn open_without_links(path: &Path) -> rustix::io::Result<OwnedFd> {
    open_at(CWD, path, ResolveFlags::NO_SYMLINKS)
}

/// Opens a path, following symbolic links, only to refer to it.
pub(super) fn open_with_links(path: &Path) -> rustix::io::Result<OwnedFd> {
    open_at(CWD, path, ResolveFlags::empty())
}

fn open_at(
    directory: BorrowedFd<'_>,
    path: &Path,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve)
}

/// Opens a directory below `base`, making what is missing of it, through no symbolic link.
pub(super) fn make_directories(
    base: BorrowedFd<'_>,
    relative: &Path,
) -> rustix::io::Result<OwnedFd> {
    let mut directory = open_at(base, Path::new("."), ResolveFlags::BENEATH)?;
    for part in relative.components() {
        let Component::Normal(name) = part else {
            continue;
        };
        directory = make_directory(directory.as_fd(), name)?;
    }
    Ok(directory)
}

fn make_directory(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// A detached copy of the mounts at and below what `source` refers to, with these rights.
pub(super) fn copy(source: BorrowedFd<'_>, rights: Rights) -> rustix::io::Result<OwnedFd> {
    // Recursive, because the kernel refuses to uncover what an inner mount hides.
    let tree = open_tree(
        source,
        c"",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE,
    )?;
    sys::mount_setattr(tree.as_fd(), mount_rights(rights), true)?;
    Ok(tree)
}

const fn mount_rights(rights: Rights) -> MountRights {
    MountRights {
        read_only: !rights.writes(),
        no_devices: !matches!(rights, Rights::Device),
        no_exec: !matches!(rights, Rights::Read | Rights::Write),
    }
}

/// A detached file system in memory.
pub(super) fn memory(bytes_max: u64, mode: &str) -> Result<OwnedFd, Refusal> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).at(Step::Mounts, "fsopen tmpfs")?;
    let size = bytes_max.to_string();
    let inodes = MEMORY_INODES_MAX.to_string();
    for (key, value) in [
        ("size", size.as_str()),
        ("mode", mode),
        ("nr_inodes", &inodes),
    ] {
        fsconfig_set_string(&context, key, value).at(Step::Mounts, "configure tmpfs")?;
    }
    fsconfig_create(&context).at(Step::Mounts, "create tmpfs")?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )
    .at(Step::Mounts, "mount tmpfs")
}

/// A detached `/proc` of the PID namespace this process is in.
pub(super) fn proc() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
}

/// Puts a detached mount onto what `target` refers to.
pub(super) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    move_mount(
        mount,
        c"",
        target,
        c"",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// Opens what lies at `inside` in the new root, making directories and, for a file, an empty file
/// to mount on.
pub(super) fn mount_point(
    root: BorrowedFd<'_>,
    inside: &Path,
    is_directory: bool,
) -> rustix::io::Result<OwnedFd> {
    if is_directory {
        return make_directories(root, inside);
    }
    let parent = make_directories(root, inside.parent().unwrap_or(Path::new("")))?;
    let name = inside.file_name().ok_or(rustix::io::Errno::INVAL)?;
    let existing = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&parent, name, existing, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => {}
        other => return other,
    }
    let fresh = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    drop(rustix::fs::openat(
        &parent,
        name,
        fresh,
        Mode::from_raw_mode(0o644),
    )?);
    rustix::fs::openat(&parent, name, existing, Mode::empty())
}
