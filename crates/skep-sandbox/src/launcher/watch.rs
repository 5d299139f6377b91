//! The launcher's watch: ends the fence when the engine is gone, and sees that all of it is dead.

use super::init::read_status;
use super::{Fence, harden_self, release_output};
use crate::channel::{ExitStatus, Report};
use crate::error::{AtStep, Refusal, Step};
use crate::level::IsolationLevel;
use crate::limits::KILL_PASSES_MAX;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use std::os::fd::{AsFd, OwnedFd};

/// Watches until the fence has ended and nothing of it is left. Returns how the worker ended.
pub(super) fn watch(fence: &Fence<'_>, init: Pid, status: OwnedFd) -> Result<ExitStatus, Refusal> {
    let watched = wait_for_an_end(fence, init);
    // Killing what is already dead is refused by the kernel, which is as good.
    let _ = rustix::process::kill_process(init, Signal::KILL);
    wait_for(init)?;
    if fence.spec.level == IsolationLevel::Landlock {
        kill_the_rest()?;
    }
    let ended = read_status(&status);
    drop(status);
    watched.map(|()| ended)
}

/// Returns when init has ended or the engine has let go of its end of the socket.
fn wait_for_an_end(fence: &Fence<'_>, init: Pid) -> Result<(), Refusal> {
    let pidfd = rustix::process::pidfd_open(init, PidfdFlags::empty())
        .at(Step::Supervision, "pidfd_open")?;
    fence
        .control
        .report_with(&Report::Supervised, Some(pidfd.as_fd()))?;
    release_output()?;
    harden_self()?;
    loop {
        let socket = fence.control.as_fd();
        let mut polled = [
            // Nothing but the end of the other side: orders are for init and the worker to read.
            PollFd::new(&socket, PollFlags::RDHUP),
            PollFd::new(&pidfd, PollFlags::IN),
        ];
        match poll(&mut polled, None) {
            Err(Errno::INTR) => {}
            other => {
                other.at(Step::Supervision, "watch")?;
            }
        }
        if polled.iter().any(|fd| !fd.revents().is_empty()) {
            return Ok(());
        }
    }
}

/// Reaps init. In a PID namespace the kernel lets it end only after everything else in there.
fn wait_for(pid: Pid) -> Result<(), Refusal> {
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Ok(_) | Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(errno).at(Step::Supervision, "wait for init"),
        }
    }
}

/// Kills what is left of a tree without a namespace. Whatever loses its parent becomes a child of
/// this process, and only children are killed: their numbers cannot be given to others before they
/// are reaped here.
fn kill_the_rest() -> Result<(), Refusal> {
    for _ in 0..KILL_PASSES_MAX {
        for child in children() {
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(errno).at(Step::Supervision, "wait for the rest"),
        }
    }
    Err(Refusal::new(
        Step::Supervision,
        "processes keep coming back",
        None,
    ))
}

fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| parent_of(*pid) == Some(own))
        .filter_map(Pid::from_raw)
        .collect()
}

/// The fourth field of `/proc/PID/stat` (proc_pid_stat(5)); the second, the name, may hold
/// anything, so counting starts after its last parenthesis.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}
