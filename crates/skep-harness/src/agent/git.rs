//! The git commands the harness itself needs at the end of a run.
//!
//! Owns nothing. Invariant: no hook, no user or system configuration and no prompt takes part. The
//! engine trusts none of what is read here; it looks again with its own eyes.

use crate::limits::{GIT_MS_MAX, GIT_OUTPUT_BYTES_MAX};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

/// Why a git command gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    /// It could not be started or spoken to.
    #[error("failed to run git {command}")]
    Io {
        command: String,
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("git {command} failed: {message}")]
    Failed { command: String, message: String },
    /// It took too long.
    #[error("git {command} took longer than {ms} ms")]
    TimedOut { command: String, ms: u64 },
    /// It said too much.
    #[error("git {command} printed more than {max} bytes")]
    TooMuch { command: String, max: u64 },
}

/// One changed path in the work tree.
pub(crate) type Changed = PathBuf;

/// One line of a diff's summary.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileCount {
    pub(crate) path: String,
    pub(crate) added: i64,
    pub(crate) deleted: i64,
}

pub(crate) struct Git {
    repo: PathBuf,
    environment: Vec<(String, String)>,
}

impl Git {
    /// `environment` is what commands of this run get; git's own settings go on top.
    pub(crate) fn at(repo: PathBuf, environment: Vec<(String, String)>) -> Self {
        Self { repo, environment }
    }

    /// Every path that differs from HEAD, untracked ones included, ignored ones not.
    pub(crate) async fn changed(&self) -> Result<Vec<Changed>, GitError> {
        let arguments = [
            "status",
            "--porcelain=v1",
            "-z",
            "--untracked-files=all",
            "--no-renames",
        ];
        let output = self.run(&arguments, b"").await?;
        Ok(output
            .split(|byte| *byte == 0)
            .filter_map(|entry| entry.get(3..))
            .map(|path| PathBuf::from(OsString::from_vec(path.to_vec())))
            .collect())
    }

    /// Commits exactly these paths.
    pub(crate) async fn commit(&self, paths: &[Changed], subject: &str) -> Result<(), GitError> {
        let mut list = Vec::new();
        for path in paths {
            list.extend_from_slice(path.as_os_str().as_encoded_bytes());
            list.push(0);
        }
        let from_list = ["--pathspec-from-file=-", "--pathspec-file-nul"];
        // Without the reset, what the model staged outside the scope would be committed too.
        self.run(&["reset", "--quiet"], b"").await?;
        self.run(&["add", "--all", from_list[0], from_list[1]], &list)
            .await?;
        self.run(
            &[
                "commit",
                "--quiet",
                "--no-verify",
                "--no-gpg-sign",
                "-m",
                subject,
            ],
            b"",
        )
        .await?;
        Ok(())
    }

    /// The commits on top of `base`, oldest first, as full names and subjects.
    pub(crate) async fn commits_since(
        &self,
        base: &str,
    ) -> Result<Vec<(String, String)>, GitError> {
        let range = format!("{base}..HEAD");
        let output = self
            .run(&["log", "--reverse", "-z", "--format=%H %s", &range], b"")
            .await?;
        Ok(String::from_utf8_lossy(&output)
            .split('\0')
            .filter_map(|entry| entry.split_once(' '))
            .map(|(sha, subject)| (sha.to_owned(), subject.to_owned()))
            .collect())
    }

    /// What changed between `base` and HEAD, file by file. Binary files count as zero lines.
    pub(crate) async fn counts_since(&self, base: &str) -> Result<Vec<FileCount>, GitError> {
        let arguments = [
            "diff",
            "--numstat",
            "-z",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
            base,
            "HEAD",
        ];
        let output = self.run(&arguments, b"").await?;
        Ok(String::from_utf8_lossy(&output)
            .split('\0')
            .filter_map(|entry| {
                let mut fields = entry.splitn(3, '\t');
                let mut count = || fields.next().map(|n| n.parse().unwrap_or(0));
                let (added, deleted) = (count()?, count()?);
                let path = fields.next()?.to_owned();
                Some(FileCount {
                    path,
                    added,
                    deleted,
                })
            })
            .collect())
    }

    async fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, GitError> {
        let command = arguments.first().copied().unwrap_or_default().to_owned();
        let limit = Duration::from_millis(GIT_MS_MAX);
        match timeout(limit, self.speak(arguments, input)).await {
            Err(_) => Err(GitError::TimedOut {
                command,
                ms: GIT_MS_MAX,
            }),
            Ok(Err(source)) => Err(GitError::Io { command, source }),
            Ok(Ok(Answer { output, .. })) if output.len() as u64 > GIT_OUTPUT_BYTES_MAX => {
                Err(GitError::TooMuch {
                    command,
                    max: GIT_OUTPUT_BYTES_MAX,
                })
            }
            Ok(Ok(Answer {
                succeeded: true,
                output,
                ..
            })) => Ok(output),
            Ok(Ok(Answer { errors, .. })) => Err(GitError::Failed {
                command,
                message: String::from_utf8_lossy(&errors).trim().to_owned(),
            }),
        }
    }

    async fn speak(&self, arguments: &[&str], input: &[u8]) -> io::Result<Answer> {
        const ERRORS_BYTES_MAX: u64 = 4 * 1024;
        let mut child = Command::new("git")
            .args([
                "-c",
                "core.hooksPath=/dev/null",
                "-c",
                "core.fsmonitor=false",
            ])
            .args(["-c", "safe.directory=*", "-c", "core.quotePath=false"])
            .args(arguments)
            .current_dir(&self.repo)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (mut stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let write = async {
            if let Some(mut stdin) = stdin.take() {
                // A git that has failed no longer reads; its own words say more than a broken pipe.
                let _ = stdin.write_all(input).await;
            }
            Ok(())
        };
        let read_output = async {
            match stdout {
                Some(stdout) => stdout
                    .take(GIT_OUTPUT_BYTES_MAX + 1)
                    .read_to_end(&mut output)
                    .await
                    .map(drop),
                None => Ok(()),
            }
        };
        let read_errors = async {
            match stderr {
                Some(stderr) => stderr
                    .take(ERRORS_BYTES_MAX)
                    .read_to_end(&mut errors)
                    .await
                    .map(drop),
                None => Ok(()),
            }
        };
        tokio::try_join!(write, read_output, read_errors)?;
        let status = child.wait().await?;
        Ok(Answer {
            succeeded: status.success(),
            output,
            errors,
        })
    }
}

struct Answer {
    succeeded: bool,
    output: Vec<u8>,
    errors: Vec<u8>,
}
