//! The process that becomes the command: it puts on the last walls, is measured, and executes.
//!
//! Invariant: between the last wall and the command nothing runs but the measurement and the wait
//! for the engine's word.

use super::{Fence, landlock, seccomp};
use crate::channel::{Measured, Order, Report};
use crate::error::{AtStep, Refusal, Step};
use crate::level::IsolationLevel;
use crate::limits::ProcessLimits;
use crate::proof::{NAMESPACE_KINDS, NamespaceId};
use crate::spec::{FencedCommand, INSIDE_ROOT};
use crate::sys;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;

/// Runs in the forked process; comes back only when the command did not start. A byte in `failure`
/// tells init so; the pipe closes by itself when a program is executed.
pub(super) fn run(
    fence: &Fence<'_>,
    command: &FencedCommand,
    processes_limited: bool,
    failure: Option<OwnedFd>,
) -> u8 {
    let Err(refusal) = become_command(fence, command, processes_limited);
    fence.control.refuse(refusal);
    if let Some(failure) = failure {
        // A reader that is gone has nothing more to do with this.
        let _ = rustix::io::write(failure, &[1]);
    }
    1
}

fn become_command(
    fence: &Fence<'_>,
    command: &FencedCommand,
    processes_limited: bool,
) -> Result<Infallible, Refusal> {
    rustix::process::setsid().at(Step::Supervision, "setsid")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .at(Step::Supervision, "tie to init")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    set_limits(&fence.spec.limits)?;
    let directory = command.cwd.display().to_string();
    rustix::process::chdir(&command.cwd).at(Step::Command, &directory)?;

    let before = Before::look(fence)?;
    rustix::thread::set_no_new_privs(true).at(Step::Capabilities, "no_new_privs")?;
    empty_bounding_set(fence.spec.level)?;
    landlock::restrict(fence.spec, fence.gateway_port)?;
    drop_capabilities()?;
    seccomp::install(fence.spec.level)?;

    let measured = before.measure(fence, processes_limited)?;
    fence.control.report(&Report::Proved(measured))?;
    match fence.control.order()? {
        Some(Order::Go) => Err(execute(command)),
        Some(Order::Raise { .. } | Order::Run(_) | Order::Probe) | None => Err(Refusal::new(
            Step::Supervision,
            "the engine did not say go",
            None,
        )),
    }
}

fn execute(command: &FencedCommand) -> Refusal {
    let Some((program, arguments)) = command.argv.split_first() else {
        return Refusal::new(Step::Command, "no program is named", None);
    };
    // `exec` also puts signal dispositions and the signal mask back to what a program expects.
    let error = std::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .exec();
    Refusal::new(Step::Command, program.as_str(), error.raw_os_error())
}

/// Lowers limits; a limit that is already lower stays.
fn set_limits(limits: &ProcessLimits) -> Result<(), Refusal> {
    let wanted = [
        (Resource::Data, limits.data_bytes_max),
        (Resource::Fsize, limits.file_bytes_max),
        (Resource::Nofile, limits.open_files_max),
        (Resource::Nproc, limits.processes_max),
        (Resource::Cpu, limits.cpu_seconds_max),
        // A dump is written by the kernel, or by a program of the host's, past every wall. The limit
        // 0 stops the first and only 1 also the second (core(5)); one byte is too little for either.
        (Resource::Core, Some(1)),
    ];
    for (resource, limit) in wanted {
        let Some(limit) = limit else { continue };
        let ceiling = rustix::process::getrlimit(resource).maximum;
        let limit = ceiling.map_or(limit, |ceiling| limit.min(ceiling));
        let new = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        rustix::process::setrlimit(resource, new)
            .at(Step::Limits, &format!("{resource:?} to {limit}"))?;
    }
    Ok(())
}

/// Takes away what executed files could grant. Only a process with capabilities may; one without
/// cannot gain any after `no_new_privs` either, and the proof shows what is left.
fn empty_bounding_set(level: IsolationLevel) -> Result<(), Refusal> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no capability of this number, nor any after it.
            Err(Errno::INVAL) => break,
            Err(Errno::PERM) if level == IsolationLevel::Landlock => break,
            Err(errno) => return Err(errno).at(Step::Capabilities, "empty the bounding set"),
        }
    }
    Ok(())
}

/// Gives up every capability this process has.
pub(super) fn drop_capabilities() -> Result<(), Refusal> {
    rustix::thread::clear_ambient_capability_set()
        .at(Step::Capabilities, "clear the ambient set")?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).at(Step::Capabilities, "capset")
}

/// What has to be looked at before the walls are up: files that cannot be opened after, and proof
/// that what is refused after was possible before.
struct Before {
    status: File,
    directory_opened: bool,
}

impl Before {
    fn look(fence: &Fence<'_>) -> Result<Self, Refusal> {
        Ok(Self {
            status: File::open("/proc/self/status").at(Step::Proof, "open /proc/self/status")?,
            directory_opened: open_directory(ungranted_directory(fence)).is_ok(),
        })
    }

    fn measure(mut self, fence: &Fence<'_>, processes_limited: bool) -> Result<Measured, Refusal> {
        let mut text = String::new();
        self.status
            .read_to_string(&mut text)
            .at(Step::Proof, "read /proc/self/status")?;
        let refused = open_directory(ungranted_directory(fence)) == Err(Errno::ACCESS);
        let held = ["CapInh", "CapPrm", "CapEff", "CapAmb"]
            .into_iter()
            .map(|name| mask(&text, name))
            .try_fold(0, |all, set| Some(all | set?));
        Ok(Measured {
            landlock_abi: sys::landlock_abi(),
            landlock_files: self.directory_opened && refused,
            landlock_network: fence.spec.level == IsolationLevel::Landlock && port_is_refused(),
            namespaces: namespaces()?,
            seccomp: field(&text, "Seccomp") == Some("2"),
            no_new_privs: field(&text, "NoNewPrivs") == Some("1"),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            capabilities: hexadecimal(held),
            bounding: hexadecimal(mask(&text, "CapBnd")),
            processes_limited,
        })
    }
}

/// A directory that every process could list before Landlock and that no rule grants.
fn ungranted_directory<'a>(fence: &Fence<'a>) -> &'a Path {
    match fence.spec.level {
        IsolationLevel::Namespaces => Path::new(INSIDE_ROOT),
        IsolationLevel::Landlock => &fence.spec.attempt_dir,
    }
}

fn open_directory(path: &Path) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map(drop)
}

/// Landlock answers for a port before anybody could be listening on it. Port 1 is nobody's, and
/// never the gateway's, which is an ephemeral one.
fn port_is_refused() -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, 1))
        .is_err_and(|error| error.raw_os_error() == Some(libc::EACCES))
}

/// The namespaces this process is in, by number.
pub(crate) fn namespaces() -> Result<Vec<NamespaceId>, Refusal> {
    NAMESPACE_KINDS
        .iter()
        .map(|kind| {
            let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).at(Step::Proof, kind)?;
            let text = link.to_string_lossy();
            // The link reads `net:[4026531840]`.
            let inode = text
                .split(['[', ']'])
                .nth(1)
                .and_then(|number| number.parse().ok());
            match inode {
                Some(inode) => Ok(NamespaceId {
                    kind: (*kind).to_owned(),
                    inode,
                }),
                None => Err(Refusal::new(Step::Proof, format!("{kind}: {text}"), None)),
            }
        })
        .collect()
}

/// A field of `/proc/PID/status` (proc_pid_status(5)).
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

fn mask(status: &str, name: &str) -> Option<u64> {
    u64::from_str_radix(field(status, name)?, 16).ok()
}

/// What cannot be read is shown as a word that no promise is kept by.
fn hexadecimal(mask: Option<u64>) -> String {
    mask.map_or_else(|| "unreadable".to_owned(), |mask| format!("{mask:x}"))
}
