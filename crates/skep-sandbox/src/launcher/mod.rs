//! The launcher: the program that becomes a fence. Runs as `skep __fence`, started by the engine
//! with the control socket as its standard input, and has one thread.
//!
//! Three processes in a row, each of which dies with the one before it:
//!
//! 1. the *launcher* watches the socket: when the engine is gone it kills the next one;
//! 2. the *init* process is number 1 of a new PID namespace (without namespaces: a subreaper). It
//!    builds the root, reaps, and reports how the worker ended. The kernel kills everything in the
//!    namespace when it dies, so nothing outlives it, however often it forked;
//! 3. the *worker* puts on the last walls, is measured, and becomes the command.
//!
//! Invariant: no program of the attempt runs before the engine has seen the proof and said go.

mod init;
mod landlock;
mod mounts;
mod namespaces;
mod primitives;
mod root;
mod seccomp;
mod watch;
mod worker;

pub(crate) use worker::namespaces as namespaces_of_this_process;

use crate::channel::{Order, Report, receive_order, send_report};
use crate::error::{AtStep, Refusal, Step};
use crate::level::IsolationLevel;
use crate::spec::FenceSpec;
use crate::sys;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

/// The hidden argument that makes a program the launcher.
pub(crate) const LAUNCHER_ARGUMENT: &str = "__fence";

/// Handles `__fence` as the first argument; call it before anything else in `main`, with
/// `std::env::args_os()`. `None` means that this is no launcher and `main` goes on.
pub fn launcher_main(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != LAUNCHER_ARGUMENT {
        return None;
    }
    Some(match Control::take_standard_input() {
        Ok(control) => serve(&control),
        // Started by hand: there is nobody to report to, and standard error is the worker's.
        Err(_) => ExitCode::from(2),
    })
}

/// The launcher's end of the socket.
pub(crate) struct Control(OwnedFd);

impl Control {
    /// Takes the socket off standard input and leaves `/dev/null` in its place.
    fn take_standard_input() -> std::io::Result<Self> {
        let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
        rustix::net::sockopt::socket_type(&socket)?;
        let null = open_null()?;
        rustix::stdio::dup2_stdin(null)?;
        Ok(Self(socket))
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The next order; `None` when the engine is gone.
    fn order(&self) -> Result<Option<Order>, Refusal> {
        receive_order(self.as_fd()).at(Step::Launcher, "read the order")
    }

    fn report(&self, report: &Report) -> Result<(), Refusal> {
        self.report_with(report, None)
    }

    fn report_with(
        &self,
        report: &Report,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), Refusal> {
        send_report(self.as_fd(), report, descriptor).at(Step::Launcher, "report to the engine")
    }

    /// Reports a refusal. An engine that is gone has no use for it.
    fn refuse(&self, refusal: Refusal) {
        let _ = send_report(self.as_fd(), &Report::Refused(refusal), None);
    }
}

fn serve(control: &Control) -> ExitCode {
    match follow_orders(control) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            control.refuse(refusal);
            ExitCode::FAILURE
        }
    }
}

fn follow_orders(control: &Control) -> Result<(), Refusal> {
    // Whatever the engine's own parent leaked into it goes no further.
    sys::close_on_exec_from(3).at(Step::Launcher, "close_range")?;
    match control.order()? {
        Some(Order::Probe) => control.report(&Report::Probed(primitives::try_all())),
        Some(Order::Raise { spec, gateway_port }) => raise(control, &spec, gateway_port),
        Some(Order::Run(_) | Order::Go) => Err(Refusal::new(
            Step::Launcher,
            "the first order is not one to raise a fence",
            None,
        )),
        None => Ok(()),
    }
}

/// What the three processes of a fence share.
struct Fence<'a> {
    control: &'a Control,
    spec: &'a FenceSpec,
    /// The only port the worker may connect to, at the level without a network namespace.
    gateway_port: Option<u16>,
    /// Whether the engine runs as the superuser, whom the kernel spares some limits.
    superuser: bool,
}

fn raise(control: &Control, spec: &FenceSpec, gateway_port: Option<u16>) -> Result<(), Refusal> {
    let fence = Fence {
        control,
        spec,
        gateway_port,
        superuser: rustix::process::geteuid().is_root(),
    };
    // The superuser can shed its groups here, before the map of ids forbids it; others keep theirs.
    let _ = rustix::thread::set_thread_groups(&[]);
    prefer_death();
    match spec.level {
        IsolationLevel::Namespaces => namespaces::enter()?,
        IsolationLevel::Landlock => become_subreaper()?,
    }
    let (status_reader, status_writer) = pipe()?;
    // Its writing end is held by the launcher alone: when it closes, the launcher is gone.
    let (alive_reader, alive_writer) = pipe()?;
    let mut launchers_own = Some((status_reader, alive_writer));
    let init = sys::fork(|| {
        // Only the child gets here, so this closes the child's copies and no others.
        drop(launchers_own.take());
        init::run(&fence, &alive_reader, &status_writer)
    })
    .at(Step::Supervision, "fork")?;
    drop((alive_reader, status_writer));
    let Some((status_reader, alive_writer)) = launchers_own else {
        return Ok(());
    };
    let status = watch::watch(&fence, init, status_reader)?;
    drop(alive_writer);
    control.report(&Report::Ended(status))
}

fn become_subreaper() -> Result<(), Refusal> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .at(Step::Supervision, "become a subreaper")
}

/// Asks the kernel to take the fence first when memory runs out. Raising the score needs no right;
/// where `/proc` does not allow it, the order of death is the kernel's own.
fn prefer_death() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Refusal> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at(Step::Supervision, "make a pipe")
}

fn open_null() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Lets go of the worker's output, so that its end is seen when the worker ends.
fn release_output() -> Result<(), Refusal> {
    let null = open_null().at(Step::Launcher, "open /dev/null")?;
    rustix::stdio::dup2_stdout(&null).at(Step::Launcher, "release the output")?;
    rustix::stdio::dup2_stderr(&null).at(Step::Launcher, "release the output")
}

/// Makes this process useless to whoever could take it over: no capabilities, no way to gain any,
/// closed to the debugging interfaces.
fn harden_self() -> Result<(), Refusal> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .at(Step::Capabilities, "close to debuggers")?;
    rustix::thread::set_no_new_privs(true).at(Step::Capabilities, "no_new_privs")?;
    worker::drop_capabilities()
}
