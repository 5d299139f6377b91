//! Tries, one by one and for real, what a fence is made of. Each trial is a child process that
//! ends with it.

use super::{landlock, mounts, namespaces};
use crate::level::IsolationLevel;
use crate::limits::ROOT_BYTES_MAX;
use crate::probe::Primitive;
use crate::remedy;
use crate::sys;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};
use rustix::thread::UnshareFlags;
use std::os::fd::AsFd;

/// Tries everything, in the order in which a fence needs it.
pub(super) fn try_all() -> Vec<Primitive> {
    let mut found: Vec<Primitive> = NAMESPACES
        .iter()
        .map(|(name, flags)| {
            trial(name, remedy::for_namespaces(), || {
                sys::unshare(UnshareFlags::NEWUSER | *flags)
            })
        })
        .collect();
    found.push(trial("user_id_map", remedy::for_namespaces(), enter));
    found.push(trial("mounts", remedy::for_namespaces(), try_mounts));
    found.push(try_proc());
    found.push(trial(
        "gateway_listener",
        remedy::for_namespaces(),
        try_loopback,
    ));
    found.extend(try_landlock());
    found.push(trial("seccomp", remedy::SECCOMP.to_owned(), || {
        rustix::thread::set_no_new_privs(true)?;
        super::seccomp::install(IsolationLevel::Namespaces).map_err(|_| Errno::NOSYS)
    }));
    found
}

const NAMESPACES: &[(&str, UnshareFlags)] = &[
    ("user_namespace", UnshareFlags::NEWUSER),
    ("mount_namespace", UnshareFlags::NEWNS),
    ("pid_namespace", UnshareFlags::NEWPID),
    ("network_namespace", UnshareFlags::NEWNET),
    ("ipc_namespace", UnshareFlags::NEWIPC),
    ("uts_namespace", UnshareFlags::NEWUTS),
    ("cgroup_namespace", UnshareFlags::NEWCGROUP),
];

fn enter() -> Result<(), Errno> {
    namespaces::enter().map_err(|refusal| errno_of(&refusal))
}

fn try_mounts() -> Result<(), Errno> {
    enter()?;
    let memory = mounts::memory(ROOT_BYTES_MAX, "755").map_err(|refusal| errno_of(&refusal))?;
    let target = mounts::open_with_links(std::path::Path::new("/"))?;
    let tree = mounts::copy(target.as_fd(), crate::view::Rights::Read)?;
    let point = mounts::open_with_links(&std::env::temp_dir())?;
    mounts::attach(memory.as_fd(), point.as_fd())?;
    drop(tree);
    Ok(())
}

fn try_loopback() -> Result<(), Errno> {
    enter()?;
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    sys::loopback_up(socket.as_fd())
}

/// A fresh `/proc` belongs to a PID namespace, and one begins with a fork: the trial has a child of
/// its own and passes its result on.
fn try_proc() -> Primitive {
    trial("fresh_proc", remedy::PROC.to_owned(), || {
        enter()?;
        let child = sys::fork(|| match mounts::proc() {
            Ok(_) => 0,
            Err(errno) => u8::try_from(errno.raw_os_error()).unwrap_or(1),
        })?;
        result_of(child)
    })
}

fn try_landlock() -> Vec<Primitive> {
    let abi = sys::landlock_abi();
    [
        ("landlock", IsolationLevel::Namespaces),
        ("landlock_network", IsolationLevel::Landlock),
    ]
    .into_iter()
    .map(|(name, level)| {
        let needed = landlock::abi_needed(level);
        let available = abi >= needed;
        Primitive {
            name: name.to_owned(),
            available,
            reason: Some(format!("the kernel has version {abi}, {needed} is needed")),
            remedy: (!available).then(|| remedy::LANDLOCK.to_owned()),
        }
    })
    .collect()
}

fn trial(name: &str, remedy: String, body: impl FnOnce() -> Result<(), Errno>) -> Primitive {
    let outcome = sys::fork(|| match body() {
        Ok(()) => 0,
        Err(errno) => u8::try_from(errno.raw_os_error()).unwrap_or(1),
    })
    .and_then(result_of);
    Primitive {
        name: name.to_owned(),
        available: outcome.is_ok(),
        reason: outcome.err().map(|errno| errno.to_string()),
        remedy: outcome.is_err().then_some(remedy),
    }
}

/// What a trial's process ended with: 0, or an error number.
fn result_of(child: Pid) -> Result<(), Errno> {
    let (_, status) =
        rustix::process::waitpid(Some(child), WaitOptions::empty())?.ok_or(Errno::CHILD)?;
    match status.exit_status() {
        Some(0) => Ok(()),
        Some(number) => Err(Errno::from_raw_os_error(number)),
        None => Err(Errno::INTR),
    }
}

fn errno_of(refusal: &crate::error::Refusal) -> Errno {
    refusal.errno.map_or(Errno::IO, Errno::from_raw_os_error)
}
