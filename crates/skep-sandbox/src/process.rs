//! The engine's half of a fence: start a launcher, check its proof, follow the worker to its end.
//!
//! Invariant: the command runs only after [`FenceProof::verify`] passed, and a [`FencedProcess`]
//! that is dropped, or whose engine dies, takes everything inside with it.

use crate::channel::{
    ExitStatus, Order, Report, order_messages, pair, try_receive_report, try_send,
};
use crate::error::{Refusal, SandboxError, Step};
use crate::launcher::{LAUNCHER_ARGUMENT, namespaces_of_this_process};
use crate::level::IsolationLevel;
use crate::limits::{KILL_MS_MAX, START_MS_MAX};
use crate::proof::FenceProof;
use crate::spec::{FencePaths, FenceSpec, FencedCommand};
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::Shutdown;
use rustix::process::{Signal, pidfd_send_signal};
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// Raises a fence and starts a command in it: [`prepare`] and [`PreparedFence::start`] in one.
///
/// # Errors
/// As those two. Nothing runs after an error.
pub async fn start(
    spec: &FenceSpec,
    command: FencedCommand,
) -> Result<FencedProcess, SandboxError> {
    prepare(spec).await?.start(command).await
}

/// Raises a fence with nothing in it yet, so that the command can be told the gateway's address.
///
/// # Errors
/// [`SandboxError::IsolationUnavailable`] when the level cannot be had here.
pub async fn prepare(spec: &FenceSpec) -> Result<PreparedFence, SandboxError> {
    let spec = spec.checked()?;
    in_time("raising the fence", START_MS_MAX, raise(spec)).await
}

async fn raise(spec: FenceSpec) -> Result<PreparedFence, SandboxError> {
    let mut gateway = match spec.level {
        IsolationLevel::Landlock if spec.gateway => {
            Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(SandboxError::Launcher)?)
        }
        IsolationLevel::Landlock | IsolationLevel::Namespaces => None,
    };
    let gateway_port = port_of(gateway.as_ref())?;
    let mut launcher = Launcher::start(&spec.launcher, true)?;
    let order = Order::Raise {
        spec: Box::new(spec.clone()),
        gateway_port,
    };
    launcher.order(&order).await?;
    let mut init = None;
    let mut raised = false;
    // The launcher and init report each for itself, so either may come first.
    while init.is_none() || !raised {
        match launcher.report().await? {
            (Report::Supervised, descriptor) => init = descriptor,
            (Report::Raised, descriptor) => {
                raised = true;
                gateway = gateway.or(descriptor.map(TcpListener::from));
            }
            (Report::Refused(refusal), _) => return Err(refused(spec.level, refusal)),
            _ => return Err(SandboxError::LauncherLost("answered out of turn")),
        }
    }
    let init = init.ok_or(SandboxError::LauncherLost("sent no process"))?;
    if let Some(listener) = &gateway {
        listener
            .set_nonblocking(true)
            .map_err(SandboxError::Launcher)?;
    }
    let gateway_url = port_of(gateway.as_ref())?.map(|port| format!("http://127.0.0.1:{port}"));
    Ok(PreparedFence {
        launcher,
        init,
        spec,
        gateway,
        gateway_url,
    })
}

fn port_of(listener: Option<&TcpListener>) -> Result<Option<u16>, SandboxError> {
    listener
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .transpose()
        .map_err(SandboxError::Launcher)
}

/// A fence that stands and waits for its command. Dropping it takes it down.
#[derive(Debug)]
pub struct PreparedFence {
    launcher: Launcher,
    init: OwnedFd,
    spec: FenceSpec,
    gateway: Option<TcpListener>,
    gateway_url: Option<String>,
}

impl PreparedFence {
    /// Where the worker will find the gateway, if the spec asked for it.
    pub fn gateway_url(&self) -> Option<&str> {
        self.gateway_url.as_deref()
    }

    /// The attempt's paths as the worker will see them.
    pub fn paths(&self) -> FencePaths {
        self.spec.paths()
    }

    /// Starts the command, once what was measured inside is what the level promises.
    ///
    /// # Errors
    /// [`SandboxError::ProofMismatch`], or [`SandboxError::Command`] when it does not start.
    pub async fn start(self, command: FencedCommand) -> Result<FencedProcess, SandboxError> {
        in_time(
            "starting the command",
            START_MS_MAX,
            self.start_now(command),
        )
        .await
    }

    async fn start_now(mut self, command: FencedCommand) -> Result<FencedProcess, SandboxError> {
        let level = self.spec.level;
        self.launcher.order(&Order::Run(command)).await?;
        let measured = match self.launcher.report().await? {
            (Report::Proved(measured), _) => measured,
            (Report::Refused(refusal), _) => return Err(refused(level, refusal)),
            _ => return Err(SandboxError::LauncherLost("answered out of turn")),
        };
        let own = namespaces_of_this_process().map_err(|refusal| refused(level, refusal))?;
        let proof = FenceProof::of(level, self.gateway.is_some(), measured, &own);
        proof.verify(level)?;
        self.launcher.order(&Order::Go).await?;
        let worker = match self.launcher.report().await? {
            (Report::Started, Some(worker)) => worker,
            (Report::Refused(refusal), _) => return Err(refused(level, refusal)),
            _ => return Err(SandboxError::LauncherLost("answered out of turn")),
        };
        Ok(FencedProcess {
            launcher: self.launcher,
            init: self.init,
            worker: Arc::new(worker),
            proof,
            gateway: self.gateway,
            gateway_url: self.gateway_url,
            reported: None,
            ended: None,
        })
    }
}

/// A worker in its fence.
#[derive(Debug)]
pub struct FencedProcess {
    launcher: Launcher,
    init: OwnedFd,
    worker: Arc<OwnedFd>,
    proof: FenceProof,
    gateway: Option<TcpListener>,
    gateway_url: Option<String>,
    /// What the launcher said; kept, so that a wait that is dropped half-way loses nothing.
    reported: Option<ExitStatus>,
    /// The same once it is confirmed.
    ended: Option<ExitStatus>,
}

impl FencedProcess {
    /// What was measured from inside.
    pub fn proof(&self) -> &FenceProof {
        &self.proof
    }

    /// The listener that the worker's connections to the gateway arrive at, non-blocking. Yields
    /// it once.
    pub fn gateway_listener(&mut self) -> Option<TcpListener> {
        self.gateway.take()
    }

    /// Where the worker finds the gateway.
    pub fn gateway_url(&self) -> Option<&str> {
        self.gateway_url.as_deref()
    }

    /// The worker's standard output. Yields it once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.launcher.child.stdout.take()
    }

    /// The worker's standard error. Yields it once.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.launcher.child.stderr.take()
    }

    /// Waits until the worker has ended and everything it started is dead. Safe to call again, and
    /// to drop before it is done.
    ///
    /// # Errors
    /// [`SandboxError::NotEnded`] when something inside could not be killed, and
    /// [`SandboxError::LauncherLost`] when the launcher ended without a word; then everything
    /// inside has been killed from here.
    pub async fn wait(&mut self) -> Result<ExitStatus, SandboxError> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let status = match self.reported {
            Some(status) => status,
            None => self.await_report().await?,
        };
        self.reported = Some(status);
        self.launcher
            .child
            .wait()
            .await
            .map_err(SandboxError::Launcher)?;
        if !self.init_is_dead()? {
            return Err(SandboxError::LauncherLost("reported an end that is none"));
        }
        self.ended = Some(status);
        Ok(status)
    }

    async fn await_report(&mut self) -> Result<ExitStatus, SandboxError> {
        match self.launcher.report().await {
            Ok((Report::Ended(status), _)) => Ok(status),
            Ok((Report::Refused(refusal), _)) => Err(SandboxError::NotEnded(refusal)),
            Ok(_) => Err(SandboxError::LauncherLost("answered out of turn")),
            Err(error) => {
                self.kill_init();
                Err(error)
            }
        }
    }

    /// What asks the worker to end while somebody else waits for it.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(Arc::clone(&self.worker))
    }

    /// Kills everything inside and waits until all of it is dead.
    ///
    /// # Errors
    /// [`SandboxError::TimedOut`] when the kernel does not let a process go in time; it is killed
    /// as far as it can be. Others as [`FencedProcess::wait`].
    pub async fn kill(&mut self) -> Result<ExitStatus, SandboxError> {
        // Half of the socket's end is enough for the launcher; the other half brings its answer.
        // It may be gone already, and then this is refused and the report is there to be read.
        let _ = rustix::net::shutdown(self.launcher.socket.get_ref(), Shutdown::Write);
        let ended = in_time("killing the worker", KILL_MS_MAX, self.wait()).await;
        if matches!(ended, Err(SandboxError::TimedOut { .. })) {
            self.kill_init();
        }
        ended
    }

    fn kill_init(&self) {
        // Refused when it is dead already.
        let _ = pidfd_send_signal(&self.init, Signal::KILL);
    }

    fn init_is_dead(&self) -> Result<bool, SandboxError> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut polled = [PollFd::new(&self.init, PollFlags::IN)];
        poll(&mut polled, Some(&now)).map_err(|errno| SandboxError::Launcher(errno.into()))?;
        Ok(!polled[0].revents().is_empty())
    }
}

/// Asks one worker to end.
#[derive(Debug, Clone)]
pub struct Interrupter(Arc<OwnedFd>);

impl Interrupter {
    /// Sends SIGINT to the worker's process group, as Ctrl-C would. What it does about it is its own
    /// affair; whether it has ended is for [`FencedProcess::wait`] to say.
    pub fn interrupt(&self) {
        // Refused when it is dead already, which is as good.
        let _ = sys::interrupt_group(self.0.as_fd());
    }
}

/// The launcher's process and the engine's end of its socket.
#[derive(Debug)]
pub(crate) struct Launcher {
    child: Child,
    socket: AsyncFd<OwnedFd>,
}

impl Launcher {
    /// Starts `program` as a launcher. Its output is the worker's, if there is to be one.
    pub(crate) fn start(program: &Path, has_output: bool) -> Result<Self, SandboxError> {
        let (engine, launcher) = pair().map_err(SandboxError::Launcher)?;
        let output = || {
            if has_output {
                Stdio::piped()
            } else {
                Stdio::null()
            }
        };
        let child = Command::new(program)
            .arg(LAUNCHER_ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(launcher))
            .stdout(output())
            .stderr(output())
            // A signal from the terminal is for the engine, which then ends its fences in order.
            .process_group(0)
            .spawn()
            .map_err(SandboxError::Launcher)?;
        let socket = sys::register(engine).map_err(SandboxError::Launcher)?;
        Ok(Self { child, socket })
    }

    pub(crate) async fn order(&mut self, order: &Order) -> Result<(), SandboxError> {
        let messages = order_messages(order).map_err(|_| SandboxError::Order {
            reason: "is too large, or has a path that is not text",
        })?;
        for message in messages {
            self.send(&message).await.map_err(SandboxError::Launcher)?;
        }
        Ok(())
    }

    async fn send(&self, message: &[u8]) -> io::Result<()> {
        loop {
            let mut ready = self.socket.writable().await?;
            match ready.try_io(|socket| try_send(socket.as_fd(), message)) {
                Ok(sent) => return sent,
                Err(_would_block) => {}
            }
        }
    }

    /// The next report and the descriptor that came with it.
    pub(crate) async fn report(&mut self) -> Result<(Report, Option<OwnedFd>), SandboxError> {
        loop {
            let mut ready = self
                .socket
                .readable()
                .await
                .map_err(SandboxError::Launcher)?;
            match ready.try_io(|socket| try_receive_report(socket.as_fd())) {
                Ok(Ok(Some(report))) => return Ok(report),
                Ok(Ok(None)) => return Err(SandboxError::LauncherLost("ended without a word")),
                Ok(Err(error)) => return Err(SandboxError::Launcher(error)),
                Err(_would_block) => {}
            }
        }
    }
}

async fn in_time<T>(
    what: &'static str,
    limit_ms: u64,
    work: impl Future<Output = Result<T, SandboxError>>,
) -> Result<T, SandboxError> {
    tokio::time::timeout(Duration::from_millis(limit_ms), work)
        .await
        .unwrap_or(Err(SandboxError::TimedOut { what, limit_ms }))
}

/// Which error a launcher's refusal is.
fn refused(level: IsolationLevel, refusal: Refusal) -> SandboxError {
    match refusal.step {
        Step::Path => SandboxError::Path {
            path: PathBuf::from(&refusal.detail),
            source: refusal
                .errno
                .map_or_else(|| io::Error::other("unknown"), io::Error::from_raw_os_error),
        },
        Step::Command => SandboxError::Command(refusal),
        Step::Launcher
        | Step::Namespaces
        | Step::Mounts
        | Step::Proc
        | Step::Network
        | Step::Supervision
        | Step::Limits
        | Step::Capabilities
        | Step::Landlock
        | Step::Seccomp
        | Step::Proof => SandboxError::IsolationUnavailable { level, refusal },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Measured, receive_order, send_report};
    use crate::limits::ProcessLimits;

    /// A launcher that measured too little is never told to go on.
    #[tokio::test]
    async fn a_fence_that_is_not_what_it_should_be_starts_nothing() {
        let (engine, peer) = pair().unwrap();
        let scripted = std::thread::spawn(move || {
            let first = receive_order(peer.as_fd()).unwrap();
            assert!(matches!(first, Some(Order::Run(_))));
            let weak = Measured {
                landlock_abi: 7,
                landlock_files: true,
                landlock_network: true,
                namespaces: Vec::new(),
                seccomp: false,
                no_new_privs: true,
                uid: 1000,
                gid: 1000,
                capabilities: "0".to_owned(),
                bounding: "0".to_owned(),
                processes_limited: true,
            };
            send_report(peer.as_fd(), &Report::Proved(weak), None).unwrap();
            receive_order(peer.as_fd()).unwrap().is_none()
        });
        let child = Command::new("/bin/true").spawn().unwrap();
        let (init, _other) = pair().unwrap();
        let fence = PreparedFence {
            launcher: Launcher {
                child,
                socket: sys::register(engine).unwrap(),
            },
            init,
            spec: FenceSpec {
                level: IsolationLevel::Landlock,
                attempt_dir: PathBuf::from("/"),
                writable: Vec::new(),
                git_writable: false,
                read_only: Vec::new(),
                object_stores: Vec::new(),
                gateway: false,
                limits: ProcessLimits::default(),
                launcher: PathBuf::from("/bin/true"),
            },
            gateway: None,
            gateway_url: None,
        };
        let command = FencedCommand {
            argv: vec!["/bin/true".to_owned()],
            env: Vec::new(),
            cwd: PathBuf::from("/"),
        };
        let error = fence.start(command).await.unwrap_err();
        assert_eq!(error.code(), "isolation_unavailable");
        assert!(error.to_string().contains("seccomp"), "{error}");
        assert!(
            scripted.join().unwrap(),
            "the socket ended without a word to go on"
        );
    }
}
