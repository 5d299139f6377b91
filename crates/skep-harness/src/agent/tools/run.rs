//! `run`: a shell command in the repository.
//!
//! Owns the numbering of stored outputs. Invariant: no variable of Skep and no value that holds the
//! key is in the command's environment, and when the call ends its process group is dead.

use super::Reply;
use crate::agent::workspace::Workspace;
use crate::event::RefusedBy;
use crate::limits::{
    COMMAND_DRAIN_MS, COMMAND_HEAD_BYTES, COMMAND_STORED_BYTES, COMMAND_TAIL_BYTES,
};
use crate::task::AgentLimits;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::timeout;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    command: String,
    timeout_s: Option<u64>,
}

pub(super) struct Runner {
    workspace: Arc<Workspace>,
    environment: Vec<(String, String)>,
    default_ms: u64,
    max_ms: u64,
    outputs_stored: AtomicU32,
}

/// How a command ended.
enum End {
    Exited(ExitStatus),
    TimedOut,
}

impl Runner {
    pub(super) fn new(
        workspace: Arc<Workspace>,
        environment: Vec<(String, String)>,
        limits: &AgentLimits,
    ) -> Self {
        Self {
            workspace,
            environment,
            default_ms: limits.command_ms,
            max_ms: limits.command_ms_max,
            outputs_stored: AtomicU32::new(0),
        }
    }

    /// How long the command may take, in milliseconds.
    pub(super) fn limit_ms(&self, input: &Input) -> u64 {
        let asked_ms = input.timeout_s.map(|seconds| seconds.saturating_mul(1_000));
        asked_ms.unwrap_or(self.default_ms).clamp(1, self.max_ms)
    }

    pub(super) async fn run(&self, input: &Input) -> Reply {
        if input.command.trim().is_empty() || input.command.contains('\0') {
            return Reply::error("the command is empty or holds a zero byte");
        }
        let limit_ms = self.limit_ms(input);
        match self
            .carry_out(&input.command, Duration::from_millis(limit_ms))
            .await
        {
            Ok((end, capture)) => self.reply(&end, &capture, limit_ms),
            Err(error) => Reply::error(format!("failed to start the command: {error}")),
        }
    }

    async fn carry_out(&self, command: &str, limit: Duration) -> io::Result<(End, Capture)> {
        let (output, for_stdout) = io::pipe()?;
        let for_stderr = for_stdout.try_clone()?;
        let mut command_line = Command::new("/bin/sh");
        command_line
            .arg("-c")
            .arg(command)
            .current_dir(self.workspace.root())
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(for_stdout)
            .stderr(for_stderr)
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command_line.spawn()?;
        // The parent's writing ends are inside the builder; the pipe ends only when they are gone.
        drop(command_line);
        let group = Group::of(&child);
        let mut output = pipe::Receiver::from_owned_fd(OwnedFd::from(output))?;
        let mut capture = Capture::default();
        let end = tokio::select! {
            status = finished(&mut child, &mut output, &mut capture) => End::Exited(status?),
            () = tokio::time::sleep(limit) => End::TimedOut,
        };
        group.kill();
        if matches!(end, End::TimedOut) {
            child.wait().await?;
        }
        // What stands in the pipe is read; a process that left the group cannot hold us up.
        let drained = capture.read_all(&mut output);
        let _ = timeout(Duration::from_millis(COMMAND_DRAIN_MS), drained).await;
        Ok((end, capture))
    }

    fn reply(&self, end: &End, capture: &Capture, limit_ms: u64) -> Reply {
        let (headline, exit_code) = match end {
            End::Exited(status) => exit_words(*status),
            End::TimedOut => (format!("killed after {} s", limit_ms / 1_000), None),
        };
        let output = self.shown(capture);
        Reply {
            refused_by: refusal_in(&output, exit_code),
            text: if output.is_empty() {
                format!("{headline}, no output")
            } else {
                format!("{headline}\n{output}")
            },
            ok: exit_code.is_some(),
            exit_code,
            changed: true,
            finished: false,
        }
    }

    /// The output as the model sees it: whole, or its two ends and the number of the stored whole.
    fn shown(&self, capture: &Capture) -> String {
        let (head, tail) = capture.ends(COMMAND_HEAD_BYTES, COMMAND_TAIL_BYTES);
        let Some(tail) = tail else {
            return head;
        };
        let cut = capture.total - head.len() as u64 - tail.len() as u64;
        let how = match self.store(capture) {
            Ok(number) => format!("read or search \"@{number}\" for the whole output"),
            Err(error) => format!("and the whole output could not be stored: {error}"),
        };
        format!("{head}\n[… {cut} bytes cut; {how} …]\n{tail}")
    }

    fn store(&self, capture: &Capture) -> io::Result<u32> {
        let number = self.outputs_stored.fetch_add(1, Ordering::Relaxed) + 1;
        fs::create_dir_all(self.workspace.outputs())?;
        let (head, tail) = capture.ends(COMMAND_STORED_BYTES, COMMAND_STORED_BYTES);
        let whole = match tail {
            None => head,
            Some(tail) => {
                let lost = capture.total - head.len() as u64 - tail.len() as u64;
                format!("{head}\n[… {lost} bytes were not stored …]\n{tail}")
            }
        };
        fs::write(self.workspace.output(number), whole)?;
        Ok(number)
    }
}

/// Reads until the command has exited. The pipe may stay open longer, held by a background process.
async fn finished(
    child: &mut Child,
    output: &mut pipe::Receiver,
    capture: &mut Capture,
) -> io::Result<ExitStatus> {
    tokio::select! {
        biased;
        status = child.wait() => status,
        read = capture.read_all(output) => {
            read?;
            child.wait().await
        }
    }
}

fn exit_words(status: ExitStatus) -> (String, Option<i32>) {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => (format!("exit code {code}"), Some(code)),
        (None, Some(signal)) => (format!("killed by signal {signal}"), None),
        (None, None) => ("ended".to_owned(), None),
    }
}

/// Whether a failed command complains of what a fence answers. The words are the C library's.
fn refusal_in(output: &str, exit_code: Option<i32>) -> Option<RefusedBy> {
    const WORDS: [&str; 3] = [
        "Read-only file system",
        "Permission denied",
        "Operation not permitted",
    ];
    let failed = exit_code != Some(0);
    (failed && WORDS.iter().any(|words| output.contains(words))).then_some(RefusedBy::Kernel)
}

/// The command's process group, led by the shell.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn kill(&self) {
        if let Some(leader) = self.0 {
            // An empty group is the usual case, and an error that means "already dead".
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The two ends of an output of any length.
#[derive(Default)]
struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

impl Capture {
    async fn read_all(&mut self, output: &mut pipe::Receiver) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = output.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            self.add(&buffer[..read]);
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = COMMAND_STORED_BYTES - self.head.len();
        let (head, tail) = bytes.split_at(bytes.len().min(room));
        self.head.extend_from_slice(head);
        self.tail.extend(tail);
        let surplus = self.tail.len().saturating_sub(COMMAND_STORED_BYTES);
        self.tail.drain(..surplus);
    }

    /// The whole as text, or its first and last bytes where it is longer than both together.
    fn ends(&self, head_bytes: usize, tail_bytes: usize) -> (String, Option<String>) {
        let kept = self.head.len() + self.tail.len();
        let is_whole = self.total == kept as u64;
        let bytes = || self.head.iter().chain(&self.tail).copied();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if is_whole && kept <= head_bytes + tail_bytes {
            return (text(bytes().collect()), None);
        }
        let head = text(bytes().take(head_bytes.min(self.head.len())).collect());
        let tail = text(bytes().skip(kept - tail_bytes.min(kept)).collect());
        (head, Some(tail))
    }
}

#[cfg(test)]
mod tests {
    use crate::agent::tools::fixture::Fixture;
    use crate::event::RefusedBy;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use serde_json::json;

    async fn run(command: &str) -> super::Reply {
        let fixture = Fixture::new(&["**"]);
        fixture.file("src/a.rs", "one\n");
        fixture
            .effect("run", &json!({"command": command}).to_string())
            .await
    }

    async fn check(command: &str, expected: &str) {
        assert_eq!(run(command).await.text, expected, "{command}");
    }

    #[tokio::test]
    async fn both_streams_in_order_and_the_code() {
        check("echo a; echo b >&2; echo c", "exit code 0\na\nb\nc\n").await;
        check("cat src/a.rs; exit 3", "exit code 3\none\n").await;
        check("true", "exit code 0, no output").await;
        check("cat", "exit code 0, no output").await;
        check("kill -9 $$", "killed by signal 9, no output").await;
        check("printf '\\377'", "exit code 0\n\u{fffd}").await;
        let reply = run("exit 3").await;
        assert_eq!((reply.ok, reply.exit_code), (true, Some(3)));
        assert!(!run("kill -9 $$").await.ok);
    }

    #[tokio::test]
    async fn the_environment_is_the_one_that_was_given() {
        let reply = run("env | grep -v -e ^PWD= -e ^_= -e ^OLDPWD= -e ^SHLVL= | sort").await;
        assert_eq!(
            reply.text,
            "exit code 0\nPATH=/usr/local/bin:/usr/bin:/bin\n"
        );
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_killed_with_its_children() {
        let fixture = Fixture::new(&["**"]);
        let input =
            json!({"command": "sleep 600 & echo $! > child; echo started; wait", "timeout_s": 1});
        let reply = fixture.effect("run", &input.to_string()).await;
        assert_eq!(reply.text, "killed after 1 s\nstarted\n");
        assert!(!reply.ok);
        assert_dead(&fixture.content("child"));
    }

    #[tokio::test]
    async fn a_background_process_does_not_outlive_the_call() {
        let fixture = Fixture::new(&["**"]);
        let input = json!({"command": "sleep 600 & echo $! > child; echo done"});
        let reply = fixture.effect("run", &input.to_string()).await;
        assert_eq!(reply.text, "exit code 0\ndone\n");
        assert_dead(&fixture.content("child"));
    }

    /// A killed process takes a moment to leave; it is waited for, not slept for.
    fn assert_dead(pid: &str) {
        let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        let flags = rustix::process::PidfdFlags::empty();
        let Ok(process) = rustix::process::pidfd_open(pid, flags) else {
            return;
        };
        let mut exit = [PollFd::new(&process, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: 30,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut exit, Some(&limit)), Ok(1), "{pid:?} is alive");
    }

    #[tokio::test]
    async fn a_long_output_keeps_both_ends_and_the_whole_can_be_read() {
        let fixture = Fixture::new(&["**"]);
        let input = json!({"command": "seq 100000"});
        let reply = fixture.effect("run", &input.to_string()).await;
        assert!(
            reply.text.starts_with("exit code 0\n1\n2\n"),
            "{}",
            &reply.text[..50]
        );
        assert!(reply.text.ends_with("\n99999\n100000\n"));
        assert!(
            reply
                .text
                .contains("bytes cut; read or search \"@1\" for the whole output …]")
        );
        assert!(reply.text.len() < 17_000);
        let middle = fixture.reading("search", r#"{"pattern":"^50000$","path":"@1"}"#);
        assert_eq!(middle.text, "@1:50000:50000\n");
        let page = fixture.reading("read", r#"{"path":"@1","offset":70000,"limit":1}"#);
        assert!(page.text.starts_with("70000\t70000\n"), "{}", page.text);
    }

    #[tokio::test]
    async fn an_endless_output_is_not_kept_whole() {
        let fixture = Fixture::new(&["**"]);
        let input = json!({"command": "yes | head -c 5000000; echo end"});
        let reply = fixture.effect("run", &input.to_string()).await;
        assert!(reply.text.ends_with("end\n"));
        let stored = std::fs::metadata(fixture.output(1)).unwrap().len();
        assert!((2_000_000..2_200_000).contains(&stored), "{stored}");
    }

    #[tokio::test]
    async fn a_refusal_of_the_kernel_is_seen() {
        let refused = |reply: super::Reply| reply.refused_by;
        assert_eq!(
            refused(run("echo 'sh: x: Read-only file system' >&2; exit 1").await),
            Some(RefusedBy::Kernel)
        );
        assert_eq!(refused(run("echo 'Read-only file system'").await), None);
        assert_eq!(refused(run("exit 1").await), None);
    }
}
