//! Processes of this machine: who runs under a mark, whether they have ended, and a place to meet
//! a worker in its fence.

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// A process that was found.
#[derive(Debug)]
pub struct RunningProcess {
    /// Its number.
    pub pid: u32,
    /// Its command line, arguments separated by blanks.
    pub command: String,
    handle: OwnedFd,
}

impl RunningProcess {
    /// Waits until it has ended, at most `limit_s` seconds; whether it has. The number may be
    /// another's by then; the handle is not.
    pub async fn ended(self, limit_s: i64) -> anyhow::Result<bool> {
        let waited = tokio::task::spawn_blocking(move || {
            let limit = Timespec {
                tv_sec: limit_s,
                tv_nsec: 0,
            };
            // A handle of a process is readable once the process has ended (pidfd_open(2)).
            poll(
                &mut [PollFd::new(&self.handle, PollFlags::IN)],
                Some(&limit),
            )
        });
        Ok(waited.await?? > 0)
    }
}

/// Every process, in whichever namespace, with `mark` in its command line. This process and its
/// parent are left out: a runner may name the test it runs.
pub fn processes_marked(mark: &str) -> anyhow::Result<Vec<RunningProcess>> {
    let own = [std::process::id(), std::os::unix::process::parent_id()];
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process may be gone before it is looked at; then it is not left behind. The handle
        // comes first, so that it is of the process whose command line is read.
        let handle = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let line = std::fs::read(Path::new("/proc").join(&name).join("cmdline"));
        let (Some(handle), Ok(line)) = (handle, line) else {
            continue;
        };
        let command = String::from_utf8_lossy(&line).replace('\0', " ");
        let pid = pid.unsigned_abs();
        if command.contains(mark) && !own.contains(&pid) {
            found.push(RunningProcess {
                pid,
                command,
                handle,
            });
        }
    }
    Ok(found)
}

/// How many processes start each other between an engine and what a worker starts, at most.
const GENERATIONS_MAX: usize = 8;
/// How long each may take to die with the one before it, in seconds.
const KILL_S: i64 = 20;

/// Waits until no process with `mark` is left of an engine that died; fails if one outlives it. One that
/// was being started dies with the one that started it, so whoever has ended may leave another that is
/// about to.
pub async fn processes_end(mark: &str) -> anyhow::Result<()> {
    for _ in 0..GENERATIONS_MAX {
        let found = processes_marked(mark)?;
        if found.is_empty() {
            return Ok(());
        }
        for process in found {
            let shown = format!("{process:?}");
            anyhow::ensure!(process.ended(KILL_S).await?, "left behind: {shown}");
        }
    }
    let left = processes_marked(mark)?;
    anyhow::ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// A named pipe in a folder that a worker sees as its `TMPDIR`: the worker comes to it with
/// `meet NAME`, and the test waits there without looking at a clock.
pub struct Meeting {
    pipe: pipe::Receiver,
    path: PathBuf,
}

impl Meeting {
    /// Makes the place `name` in the attempt's folder on the host. Inside a runtime.
    pub fn at(attempt_folder: &Path, name: &str) -> anyhow::Result<Self> {
        Self::in_folder(&attempt_folder.join("tmp"), name)
    }

    /// Makes the place `name` in any folder. Inside a runtime.
    pub fn in_folder(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let path = folder.join(name);
        let made = Command::new("mkfifo")
            .arg("--mode=666")
            .arg(&path)
            .status()
            .context("failed to start mkfifo")?;
        anyhow::ensure!(made.success(), "failed to make {}", path.display());
        // A writing end of its own, so that it is not at its end before the worker has come.
        let pipe = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(&path)?;
        Ok(Self { pipe, path })
    }

    /// Waits until the worker has come.
    pub async fn wait(mut self) -> anyhow::Result<()> {
        let place = self.path.display().to_string();
        self.pipe
            .read_u8()
            .await
            .map(drop)
            .with_context(|| format!("nobody came to {place}"))
    }
}
