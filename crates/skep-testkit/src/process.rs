//! Processes of this machine: who runs under a mark, and a place to meet a worker in its fence.

use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A process that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningProcess {
    /// Its number.
    pub pid: u32,
    /// Its command line, arguments separated by blanks.
    pub command: String,
}

/// Every process, in whichever namespace, with `mark` in its command line. This process and its
/// own parents are left out: a runner may name the test it runs.
pub fn processes_marked(mark: &str) -> anyhow::Result<Vec<RunningProcess>> {
    let own = [std::process::id(), std::os::unix::process::parent_id()];
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may be gone before it is looked at; then it is not left behind.
        let Ok(line) = std::fs::read(Path::new("/proc").join(&name).join("cmdline")) else {
            continue;
        };
        let command = String::from_utf8_lossy(&line).replace('\0', " ");
        if command.contains(mark) && !own.contains(&pid) {
            found.push(RunningProcess { pid, command });
        }
    }
    Ok(found)
}

/// A named pipe in a folder that a worker sees as its `TMPDIR`: the worker comes to it with
/// `meet NAME`, and the test waits there without looking at a clock.
pub struct Meeting(PathBuf);

impl Meeting {
    /// Makes the place `name` in the attempt's folder on the host.
    pub fn at(attempt_folder: &Path, name: &str) -> anyhow::Result<Self> {
        let path = attempt_folder.join("tmp").join(name);
        let made = Command::new("mkfifo")
            .arg("--mode=666")
            .arg(&path)
            .status()
            .context("failed to start mkfifo")?;
        anyhow::ensure!(made.success(), "failed to make {}", path.display());
        Ok(Self(path))
    }

    /// Waits until the worker has come; what it brought.
    pub async fn wait(self) -> anyhow::Result<String> {
        // Opening blocks until somebody writes.
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(self.0));
        Ok(read.await??)
    }
}
