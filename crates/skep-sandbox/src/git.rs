//! The engine's one way to run git.
//!
//! Invariant: git runs with an environment of its own making and with every setting that starts a
//! program switched off, so that neither the user's configuration nor a repository's content
//! decides what the engine executes. It is never run in an attempt's git directory after the
//! attempt has begun: the configuration there belongs to the agent.

use crate::limits::{GIT_MESSAGE_BYTES_MAX, GIT_MS_MAX, GIT_OUTPUT_BYTES_MAX};
use crate::oid::Oid;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// A git command that did not do its work. Messages complete "failed to …: ".
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// Git could not be started or talked to.
    #[error("git {command} could not be run")]
    Run {
        /// The subcommand.
        command: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Git said no.
    #[error("git {command} ended with {status}: {message}")]
    Failed {
        /// The subcommand.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The beginning of what it wrote to standard error.
        message: String,
    },
    /// Git took too long and was killed.
    #[error("git {command} took longer than {GIT_MS_MAX} ms")]
    TimedOut {
        /// The subcommand.
        command: String,
    },
    /// Git wrote too much and was killed.
    #[error("git {command} wrote more than {GIT_OUTPUT_BYTES_MAX} bytes")]
    TooMuchOutput {
        /// The subcommand.
        command: String,
    },
    /// Git wrote something that is not what its manual says.
    #[error("git {command} gave an unexpected answer: {answer}")]
    Unexpected {
        /// The subcommand.
        command: String,
        /// The beginning of its answer.
        answer: String,
    },
}

impl GitError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Run { .. } => "git_unavailable",
            Self::TimedOut { .. } | Self::TooMuchOutput { .. } => "git_limit",
            Self::Failed { .. } | Self::Unexpected { .. } => "git_failed",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Run { .. } => Some("git 2.38 or newer must be in PATH".to_owned()),
            Self::Failed { .. }
            | Self::TimedOut { .. }
            | Self::TooMuchOutput { .. }
            | Self::Unexpected { .. } => None,
        }
    }
}

/// Git, aimed at one git directory.
#[derive(Debug, Clone)]
pub struct Git {
    git_dir: Option<PathBuf>,
    work_tree: Option<PathBuf>,
    directory: Option<PathBuf>,
    environment: Vec<(&'static str, OsString)>,
}

/// Settings that are put on every command line, above any file's.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.pager=cat",
    "core.commitGraph=false",
    "core.multiPackIndex=false",
    // What is larger is streamed instead of held in memory.
    "core.bigFileThreshold=64m",
    "pack.threads=1",
    "pack.windowMemory=256m",
    // The check of who owns a repository guards against the programs its settings name, and those
    // are off.
    "safe.directory=*",
    "core.logAllRefUpdates=false",
    "protocol.allow=never",
    "submodule.recurse=false",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "diff.external=",
    "diff.renames=false",
    "credential.helper=",
    "advice.detachedHead=false",
    "init.defaultBranch=main",
];

/// The whole environment of every git command, besides `PATH`.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("HOME", "/nonexistent"),
    ("LC_ALL", "C"),
];

impl Git {
    /// Git in the git directory `git_dir`: no other repository is ever looked for.
    pub fn at(git_dir: impl Into<PathBuf>) -> Self {
        Self {
            git_dir: Some(git_dir.into()),
            work_tree: None,
            directory: None,
            environment: Vec::new(),
        }
    }

    /// Git in the repository that holds `directory`, as its user would run it there.
    pub fn discovering(directory: impl Into<PathBuf>) -> Self {
        Self {
            git_dir: None,
            work_tree: None,
            directory: Some(directory.into()),
            environment: Vec::new(),
        }
    }

    /// The same with a work tree.
    pub(crate) fn with_work_tree(mut self, work_tree: impl Into<PathBuf>) -> Self {
        self.work_tree = Some(work_tree.into());
        self
    }

    /// The same with one more environment variable.
    pub(crate) fn with_variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Runs a command and returns what it wrote, without the last line end.
    ///
    /// # Errors
    /// When git fails, takes too long, or writes too much.
    pub async fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String, GitError> {
        let bytes = self.run_with_input(arguments, b"").await?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }

    /// Runs a command on `input` and returns the bytes it wrote.
    ///
    /// # Errors
    /// As [`Git::run`].
    pub async fn run_with_input<A: AsRef<OsStr>>(
        &self,
        arguments: &[A],
        input: &[u8],
    ) -> Result<Vec<u8>, GitError> {
        let (status, output, message) = self.finish(arguments, input).await?;
        if status.success() {
            Ok(output)
        } else {
            Err(failed(subcommand(arguments), status, &message))
        }
    }

    /// Runs a command that answers a question by its exit code: 0 is yes, 1 is no.
    ///
    /// # Errors
    /// Any other exit code, and as [`Git::run`].
    pub async fn ask<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<bool, GitError> {
        self.ask_why(arguments).await.map(|(answer, _)| answer)
    }

    /// As [`Git::ask`], with what the command wrote, as `merge-tree` does in both cases.
    ///
    /// # Errors
    /// As [`Git::ask`].
    pub async fn ask_why<A: AsRef<OsStr>>(
        &self,
        arguments: &[A],
    ) -> Result<(bool, String), GitError> {
        let (status, output, message) = self.finish(arguments, b"").await?;
        let text = String::from_utf8_lossy(&output).into_owned();
        match status.code() {
            Some(0) => Ok((true, text)),
            Some(1) => Ok((false, text)),
            _ => Err(failed(subcommand(arguments), status, &message)),
        }
    }

    /// The commit that `revision` names.
    ///
    /// # Errors
    /// [`GitError::Failed`] when it names none.
    pub async fn commit(&self, revision: &str) -> Result<Oid, GitError> {
        let peeled = format!("{revision}^{{commit}}");
        let arguments = ["rev-parse", "--verify", "--end-of-options", &peeled];
        let text = self.run(&arguments).await?;
        text.parse().map_err(|_| unexpected("rev-parse", &text))
    }

    /// Starts a command whose ends the caller connects.
    pub(crate) fn spawn<A: AsRef<OsStr>>(
        &self,
        arguments: &[A],
        input: Stdio,
        output: Stdio,
    ) -> Result<Child, GitError> {
        let mut command = Command::new("git");
        command.env_clear().envs(ENVIRONMENT.iter().copied());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        if let Some(git_dir) = &self.git_dir {
            command.arg("--git-dir").arg(git_dir);
        }
        if let Some(work_tree) = &self.work_tree {
            command.arg("--work-tree").arg(work_tree);
        }
        let directory = [&self.work_tree, &self.directory, &self.git_dir];
        if let Some(directory) = directory.into_iter().flatten().find(|path| path.is_dir()) {
            command.current_dir(directory);
        }
        command
            .args(arguments)
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| run_error(subcommand(arguments), source))
    }

    async fn finish<A: AsRef<OsStr>>(
        &self,
        arguments: &[A],
        input: &[u8],
    ) -> Result<(ExitStatus, Vec<u8>, String), GitError> {
        let command = subcommand(arguments);
        let mut child = self.spawn(arguments, Stdio::piped(), Stdio::piped())?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stderr = child.stderr.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A command that has read enough closes its end; its exit code says whether.
                let _ = stdin.write_all(input).await;
            }
        };
        let work = async {
            let (output, message, ()) = tokio::join!(
                read_up_to(stdout, GIT_OUTPUT_BYTES_MAX + 1),
                read_message(stderr),
                feed
            );
            let output = output.map_err(|source| run_error(command.clone(), source))?;
            if output.len() > GIT_OUTPUT_BYTES_MAX {
                return Err(GitError::TooMuchOutput {
                    command: command.clone(),
                });
            }
            let status = child.wait().await;
            let status = status.map_err(|source| run_error(command.clone(), source))?;
            Ok((status, output, message))
        };
        in_time(&command, work).await
    }
}

/// Gives git its time and no more; what was started is killed when it is dropped.
pub(crate) async fn in_time<T>(
    command: &str,
    work: impl Future<Output = Result<T, GitError>>,
) -> Result<T, GitError> {
    tokio::time::timeout(Duration::from_millis(GIT_MS_MAX), work)
        .await
        .unwrap_or_else(|_| {
            Err(GitError::TimedOut {
                command: command.to_owned(),
            })
        })
}

/// The beginning of what git says on standard error; the rest is read and thrown away, because a
/// full pipe would stop it.
pub(crate) async fn read_message(source: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut source) = source else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut limited = (&mut source).take(GIT_MESSAGE_BYTES_MAX as u64);
    // What cannot be read is missing from a message and from nothing else.
    let _ = limited.read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut source, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).trim().to_owned()
}

async fn read_up_to(source: Option<impl AsyncRead + Unpin>, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(source) = source {
        source.take(limit as u64).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

pub(crate) fn run_error(command: String, source: io::Error) -> GitError {
    GitError::Run { command, source }
}

pub(crate) fn failed(command: String, status: ExitStatus, message: &str) -> GitError {
    GitError::Failed {
        command,
        status,
        message: message.to_owned(),
    }
}

pub(crate) fn unexpected(command: &str, answer: &str) -> GitError {
    GitError::Unexpected {
        command: command.to_owned(),
        answer: answer.chars().take(200).collect(),
    }
}

fn subcommand<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    arguments
        .first()
        .map(|first| first.as_ref().to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// A path as git's options take it.
pub(crate) fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}
