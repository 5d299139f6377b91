//! The init process: first of everything in the fence, last to go.
//!
//! Invariant: it dies when the launcher dies, and at level `namespaces` the kernel kills the whole
//! PID namespace when it dies.

use super::{Fence, become_subreaper, harden_self, pipe, release_output, root, worker};
use crate::channel::{ExitStatus, Order, Report};
use crate::error::{AtStep, Refusal, Step};
use crate::level::IsolationLevel;
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

/// Runs in the forked process and returns its exit code.
pub(super) fn run(fence: &Fence<'_>, alive: &OwnedFd, status: &OwnedFd) -> u8 {
    match supervise(fence, alive, status) {
        Ok(()) => 0,
        Err(refusal) => {
            fence.control.refuse(refusal);
            1
        }
    }
}

fn supervise(fence: &Fence<'_>, alive: &OwnedFd, status: &OwnedFd) -> Result<(), Refusal> {
    if !die_with_launcher(alive)? {
        return Ok(());
    }
    let mut processes_limited = !fence.superuser;
    let listener = match fence.spec.level {
        IsolationLevel::Namespaces => {
            processes_limited |= root::build(fence.spec)?;
            network(fence.spec.gateway)?
        }
        IsolationLevel::Landlock => {
            become_subreaper()?;
            None
        }
    };
    let descriptor = listener.as_ref().map(AsFd::as_fd);
    fence.control.report_with(&Report::Raised, descriptor)?;
    drop(listener);

    let command = match fence.control.order()? {
        None => return Ok(()),
        Some(Order::Run(command)) => command,
        Some(Order::Raise { .. } | Order::Go | Order::Probe) => {
            return Err(Refusal::new(Step::Launcher, "expected a command", None));
        }
    };
    let (failure_reader, failure_writer) = pipe()?;
    let mut failure_writer = Some(failure_writer);
    let worker = sys::fork(|| {
        let failure = failure_writer.take();
        worker::run(fence, &command, processes_limited, failure)
    })
    .at(Step::Supervision, "fork")?;
    drop((command, failure_writer));
    release_output()?;
    harden_self()?;
    if worker_failed(&failure_reader)? {
        return Ok(());
    }
    let pidfd = rustix::process::pidfd_open(worker, PidfdFlags::empty())
        .at(Step::Supervision, "open the worker's pidfd")?;
    fence
        .control
        .report_with(&Report::Started, Some(pidfd.as_fd()))?;
    drop(pidfd);
    let ended = reap_until(worker)?;
    write_status(status, ended)
}

/// Ties this process's life to the launcher's. False when the launcher is already gone: the kernel
/// sends the signal for deaths from now on only.
fn die_with_launcher(alive: &OwnedFd) -> Result<bool, Refusal> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .at(Step::Supervision, "tie to the launcher")?;
    let mut polled = [PollFd::new(alive, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut polled, Some(&now)).at(Step::Supervision, "look for the launcher")?;
    Ok(!polled[0].revents().contains(PollFlags::HUP))
}

/// Brings the loopback up and, if there is to be one, opens the gateway's listener on it.
fn network(gateway: bool) -> Result<Option<TcpListener>, Refusal> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)
        .at(Step::Network, "make a socket")?;
    sys::loopback_up(socket.as_fd()).at(Step::Network, "set the loopback's flags")?;
    if !gateway {
        return Ok(None);
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .map(Some)
        .at(Step::Network, "listen for the gateway")
}

/// Waits until the worker has become the command, which closes the pipe, or has written to it
/// because it could not.
fn worker_failed(failure: &OwnedFd) -> Result<bool, Refusal> {
    loop {
        match rustix::io::read(failure, &mut [0_u8; 1]) {
            Err(Errno::INTR) => {}
            other => {
                return other
                    .map(|length| length > 0)
                    .at(Step::Supervision, "wait for exec");
            }
        }
    }
}

/// Reaps everything that ends until it is the worker.
fn reap_until(worker: Pid) -> Result<ExitStatus, Refusal> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == worker => return Ok(exit_status(status)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).at(Step::Supervision, "wait"),
        }
    }
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    ExitStatus {
        code: status.exit_status(),
        signal: status.terminating_signal(),
    }
}

fn write_status(pipe: &OwnedFd, status: ExitStatus) -> Result<(), Refusal> {
    // Eight bytes into an empty pipe are written whole.
    let code = status.code.unwrap_or(-1).to_ne_bytes();
    let signal = status.signal.unwrap_or(-1).to_ne_bytes();
    rustix::io::write(pipe, &[code, signal].concat())
        .map(drop)
        .at(Step::Supervision, "pass the exit status on")
}

/// The status that [`write_status`] left in the pipe, or that of a killed worker if there is none.
pub(super) fn read_status(pipe: &OwnedFd) -> ExitStatus {
    let mut bytes = [0; 8];
    if rustix::io::read(pipe, &mut bytes) != Ok(bytes.len()) {
        return ExitStatus::KILLED;
    }
    let [a, b, c, d, e, f, g, h] = bytes;
    let some = |value: i32| (value >= 0).then_some(value);
    ExitStatus {
        code: some(i32::from_ne_bytes([a, b, c, d])),
        signal: some(i32::from_ne_bytes([e, f, g, h])),
    }
}
