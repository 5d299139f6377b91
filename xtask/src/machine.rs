//! What is around: the workspace's folders, the machine's size, the user, the programs in PATH.
//! Reads only; never names the host.

use crate::process;
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace as cargo sees it.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// The folder of the root manifest.
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    /// The workspace's own packages.
    pub(crate) packages: Vec<Package>,
}

/// One crate of the workspace.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    /// The crate's name.
    pub(crate) name: String,
    /// Its manifest.
    pub(crate) manifest_path: PathBuf,
    /// What its manifest asks for.
    pub(crate) dependencies: Vec<Dependency>,
    /// What is built from it: libraries, binaries, tests.
    pub(crate) targets: Vec<Target>,
}

/// One thing that cargo builds.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Target {
    /// Its root source file.
    pub(crate) src_path: PathBuf,
}

/// One line of a manifest's dependencies.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dependency {
    /// The crate that is asked for.
    pub(crate) name: String,
    /// `None` for an ordinary dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

impl Workspace {
    /// Asks cargo about the workspace that this program was started in.
    pub(crate) fn find() -> Result<Self> {
        // Set by `cargo run`; the folder of xtask's own manifest.
        let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or(PathBuf::from("."), PathBuf::from);
        let text = process::output(
            cargo()
                .args(["metadata", "--no-deps", "--format-version", "1"])
                .current_dir(here),
        )?;
        serde_json::from_str(&text).context("failed to read what cargo says about the workspace")
    }

    /// Where the development build of the product lies.
    pub(crate) fn binary(&self) -> PathBuf {
        self.target.join("debug/skep")
    }

    /// What builds it, with the features that the tests are built with, so that both share it.
    pub(crate) fn build_binary(&self) -> Command {
        let mut command = self.cargo();
        command.args(["build", "--workspace", "--bin", "skep"]);
        command
    }

    /// `cargo` in the root of the workspace.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }
}

/// The cargo that started this program, without what it told this program of its own package: build
/// scripts that look at it would run again, and all that depends on them would be built again.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The first file of this name in the folders of PATH.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A user of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    /// The user's number.
    pub(crate) uid: u32,
    /// The number of the user's first group.
    pub(crate) gid: u32,
}

/// The user that runs this program.
pub(crate) fn current_user() -> Result<User> {
    user_of(&[])
}

/// The user of this name, if there is one.
pub(crate) fn user(name: &str) -> Option<User> {
    user_of(&[name]).ok()
}

fn user_of(name: &[&str]) -> Result<User> {
    let id = |flag: &str| -> Result<u32> {
        let text = process::output(Command::new("id").arg(flag).args(name))?;
        text.trim()
            .parse()
            .with_context(|| format!("failed to read `{}` as a user or group id", text.trim()))
    };
    Ok(User {
        uid: id("-u")?,
        gid: id("-g")?,
    })
}

/// Cores, memory, kernel and compiler, for the head of a page of figures.
pub(crate) fn description() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| kib(&text, "MemTotal"))
        .map_or("unknown".to_owned(), |kib| format!("{} MiB", kib / 1024));
    let line = |program: &str, arguments: &[&str]| {
        process::output(Command::new(program).args(arguments))
            .map_or("unknown".to_owned(), |text| text.trim().to_owned())
    };
    format!(
        "{cores} cores, {memory} memory, {} {} {}, {}",
        line("uname", &["-s"]),
        line("uname", &["-r"]),
        line("uname", &["-m"]),
        line("rustc", &["--version"]),
    )
}

/// The resident memory of a process, in KiB.
pub(crate) fn resident_kib(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let text = std::fs::read_to_string(Path::new(&path))
        .with_context(|| format!("failed to read {path}"))?;
    kib(&text, "VmRSS").with_context(|| format!("{path} has no line VmRSS"))
}

/// The number of a `Name:   123 kB` line, as in the files under `/proc`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc_files_are_read_by_whole_name() {
        let text = "VmRSSx:\t 1 kB\nVmRSS:\t  1234 kB\nVmData:\t 5 kB\n";
        assert_eq!(kib(text, "VmRSS"), Some(1_234));
        assert_eq!(kib(text, "VmSwap"), None);
    }

    #[test]
    fn this_process_is_resident() {
        assert!(resident_kib(std::process::id()).unwrap() > 0);
    }

    #[test]
    fn programs_and_users_are_found_or_not() {
        assert!(program("sh").is_some());
        assert!(program("no-such-program-here").is_none());
        assert!(user("root").is_some_and(|root| root.uid == 0));
        assert!(user("no-such-user-here").is_none());
    }
}
