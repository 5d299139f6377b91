//! New namespaces, with one user id in them that is not the superuser's.

use crate::error::{AtStep, Refusal, Step};
use crate::proof::INSIDE_ID;
use crate::remedy;
use crate::sys;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

/// Everything but time, which needs no wall.
pub(super) const ALL: UnshareFlags = UnshareFlags::NEWUSER
    .union(UnshareFlags::NEWNS)
    .union(UnshareFlags::NEWPID)
    .union(UnshareFlags::NEWNET)
    .union(UnshareFlags::NEWIPC)
    .union(UnshareFlags::NEWUTS)
    .union(UnshareFlags::NEWCGROUP);

/// Leaves every namespace for a new one and maps this process's ids to [`INSIDE_ID`]. The PID
/// namespace begins with the next fork.
pub(super) fn enter() -> Result<(), Refusal> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    sys::unshare(ALL)
        .at(Step::Namespaces, "unshare")
        .map_err(remedy::with_namespace_hint)?;
    map_ids(uid, gid).map_err(remedy::with_namespace_hint)?;
    // Mounts made here stay here, and mounts made outside from now on do not come in.
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .at(Step::Namespaces, "make mounts private")
    .map_err(remedy::with_namespace_hint)?;
    rustix::system::sethostname(b"skep").at(Step::Namespaces, "set the host name")
}

/// One id each: `user_namespaces(7)` lets a process map its own ids without any privilege once it
/// has given up `setgroups`.
pub(super) fn map_ids(uid: u32, gid: u32) -> Result<(), Refusal> {
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{INSIDE_ID} {uid} 1")),
        ("/proc/self/gid_map", format!("{INSIDE_ID} {gid} 1")),
    ] {
        std::fs::write(file, text).at(Step::Namespaces, file)?;
    }
    Ok(())
}
