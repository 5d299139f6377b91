//! The real program, run as a user would, in a home and a folder of its own.

use anyhow::Context as _;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

/// The user that unprivileged runs are made as: `nobody`.
const UNPRIVILEGED: &str = "65534";

/// A folder with a home in it, and the program.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    program: PathBuf,
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A server that a test started. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What it printed when it was ready.
    pub(crate) view: Value,
}

impl Stage {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
            program: program()?,
        })
    }

    /// A path on the stage.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Writes a file on the stage, with the folders above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// A git repository with one commit.
    pub(crate) fn repository(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        self.write(&format!("{name}/README"), "bees\n")?;
        for arguments in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["add", "."],
            &[
                "-c",
                "user.name=Test",
                "-c",
                "user.email=test@example.com",
                "commit",
                "--quiet",
                "-m",
                "Begin",
            ],
        ] {
            let status = Command::new("git")
                .args(arguments)
                .current_dir(&path)
                .status()?;
            anyhow::ensure!(status.success(), "git {arguments:?}");
        }
        Ok(path)
    }

    /// The program, not yet started, with an environment in which only the home is set.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        self.set_up(&mut command, arguments);
        command
    }

    /// The same as another user who owns nothing.
    pub(crate) fn unprivileged(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        // The folder has to be reachable for that user, and the program's own may not be.
        open_to_all(self.folder.path())?;
        let program = self.path("skep");
        std::fs::copy(&self.program, &program)?;
        let mut command = Command::new("setpriv");
        let user = [
            format!("--reuid={UNPRIVILEGED}"),
            format!("--regid={UNPRIVILEGED}"),
        ];
        command.args(user).arg("--clear-groups").arg(program);
        self.set_up(&mut command, arguments);
        Ok(command)
    }

    fn set_up(&self, command: &mut Command, arguments: &[&str]) {
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("user"))
            .env("SKEP_HOME", self.home())
            .stdin(Stdio::null());
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        Ok(self.command(arguments).output()?.into())
    }

    /// Starts a server on a free port and waits until it is ready.
    pub(crate) fn up(&self) -> anyhow::Result<Server> {
        self.up_with(&[])
    }

    /// The same with more arguments.
    pub(crate) fn up_with(&self, more: &[&str]) -> anyhow::Result<Server> {
        let mut arguments = vec!["up", "--listen", "127.0.0.1:0", "--json"];
        arguments.extend(more);
        let mut command = self.command(&arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| anyhow::anyhow!("no stdout"))?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let view = serde_json::from_str(&line)?;
        Ok(Server {
            child,
            stdout,
            view,
        })
    }
}

impl Server {
    /// Sends a signal and waits for the end; the exit code and what else it printed.
    pub(crate) fn end(mut self, signal: &str) -> anyhow::Result<(Option<i32>, String)> {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status()?;
        anyhow::ensure!(status.success(), "the signal was not sent");
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.stdout, &mut rest)?;
        Ok((self.child.wait()?.code(), rest))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// The one JSON document on stdout.
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("{self:?}"))
    }
}

/// Whether this process may become another user.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self")
        .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

pub(crate) fn open_to_all(path: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

/// `SKEP_BIN`, or the program that was built beside the tests.
fn program() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("SKEP_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let beside = test
        .parent()
        .and_then(Path::parent)
        .map(|folder| folder.join("skep"));
    beside.filter(|path| path.is_file()).ok_or_else(|| {
        anyhow::anyhow!(
            "there is no program beside the tests: run `cargo build -p skep` or `cargo xtask test`"
        )
    })
}
