//! When a fence ends, all of it ends: by itself, by `kill`, by being dropped, and with its engine.
//!
//! What is alive holds the writing end of a named pipe in the attempt's `out`. The reading end sees
//! its end when the last of them is dead, which needs no waiting and cannot be mistaken.

use crate::stage::{Stage, User, everywhere};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use skep_sandbox::{ExitStatus, FencedProcess, IsolationLevel};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::Child;
use tokio::io::AsyncBufReadExt;

/// A worker that leaves a process behind, in another session and with another parent, and then
/// does `then`.
fn deserter(stage: &Stage, then: &str) -> String {
    let pipe = stage.spec.paths().output.join("alive");
    format!(
        "(setsid sh -c 'exec 3> {pipe} > /dev/null 2>&1; echo up >&3; exec sleep 100000' &)
         read line < {pipe}.ready
         echo $line
         {then}",
        pipe = pipe.display()
    )
}

/// The reading end of the pipe that everything alive holds.
struct Alive(File);

impl Alive {
    fn new(stage: &Stage) -> Self {
        let path = stage.spec.attempt_dir.join("out/alive");
        make_pipe(stage, "alive");
        make_pipe(stage, "alive.ready");
        // Without waiting for a writer: there is none yet.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty()).unwrap();
        Self(File::from(file))
    }

    /// Waits for the deserter to be up, then lets the worker go on.
    fn wait_for_deserter(&mut self, stage: &Stage) {
        assert_eq!(self.wait(), b"up\n", "the deserter came up");
        let ready = stage.spec.attempt_dir.join("out/alive.ready");
        std::fs::write(ready, "go\n").unwrap();
    }

    /// Waits for the end of the last writer.
    fn wait_for_death(&mut self) {
        assert_eq!(self.wait(), b"", "everything that held the pipe is dead");
    }

    /// The next bytes, or none at the end; fails after half a minute, when something survives.
    fn wait(&mut self) -> Vec<u8> {
        let half_a_minute = Timespec {
            tv_sec: 30,
            tv_nsec: 0,
        };
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        let count = poll(&mut polled, Some(&half_a_minute)).unwrap();
        assert_eq!(count, 1, "something is still alive");
        let mut bytes = [0; 64];
        let length = self.0.read(&mut bytes).unwrap();
        bytes[..length].to_vec()
    }
}

fn make_pipe(stage: &Stage, name: &str) {
    let path = stage.spec.attempt_dir.join("out").join(name);
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    // The mode above is cut by the umask of the tests.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&path, open).unwrap();
}

fn held(stage: &Stage, then: &str) -> (Alive, Child) {
    let alive = Alive::new(stage);
    let command = stage.command(&["/bin/sh", "-c", &deserter(stage, then)]);
    let request = serde_json::json!({"spec": stage.spec, "command": command});
    (alive, stage.engine("hold", &request))
}

#[tokio::test]
async fn a_deserter_dies_when_the_worker_ends() {
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        let (mut alive, mut engine) = held(&stage, "exit 0");
        alive.wait_for_deserter(&stage);
        alive.wait_for_death();
        engine.kill().unwrap();
        engine.wait().unwrap();
    }
}

#[tokio::test]
async fn everything_dies_with_the_engine() {
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        let (mut alive, mut engine) = held(&stage, "exec sleep 100000");
        alive.wait_for_deserter(&stage);
        let mut line = String::new();
        let stdout = engine.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "go\n", "the worker runs");
        // SIGKILL: nothing of the engine gets to do anything.
        engine.kill().unwrap();
        engine.wait().unwrap();
        alive.wait_for_death();
    }
}

#[tokio::test]
async fn everything_dies_with_the_launcher() {
    for (level, user) in everywhere() {
        if level != IsolationLevel::Namespaces {
            // Without a PID namespace this is the gap `launcher_killed`.
            continue;
        }
        let stage = Stage::new(level, user).await;
        let (mut alive, mut engine) = held(&stage, "exec sleep 100000");
        alive.wait_for_deserter(&stage);
        let launcher = children_of(engine.id());
        assert_eq!(launcher.len(), 1, "{launcher:?}");
        let pid = rustix::process::Pid::from_raw(launcher[0]).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        alive.wait_for_death();
        engine.kill().unwrap();
        engine.wait().unwrap();
    }
}

fn children_of(parent: u32) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").unwrap();
    pids.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            status.is_ok_and(|text| text.lines().any(|line| line == format!("PPid:\t{parent}")))
        })
        .collect()
}

/// Starts a deserter and a worker that stays, with the tests' own process as the engine.
async fn started(stage: &Stage) -> (Alive, FencedProcess) {
    let mut alive = Alive::new(stage);
    let script = deserter(stage, "exec sleep 100000");
    let command = stage.command(&["/bin/sh", "-c", &script]);
    let mut process = skep_sandbox::start(&stage.spec, command).await.unwrap();
    alive.wait_for_deserter(stage);
    let mut lines = tokio::io::BufReader::new(process.stdout().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("go"));
    (alive, process)
}

#[tokio::test]
async fn kill_kills_all_and_says_so() {
    for level in IsolationLevel::ALL {
        let stage = Stage::new(*level, User::Own).await;
        let (mut alive, mut process) = started(&stage).await;
        let killed = ExitStatus {
            code: None,
            signal: Some(9),
        };
        assert_eq!(process.kill().await.unwrap(), killed, "{level}");
        alive.wait_for_death();
        assert_eq!(
            process.wait().await.unwrap(),
            killed,
            "asking again is harmless"
        );
        assert_eq!(process.kill().await.unwrap(), killed);
    }
}

#[tokio::test]
async fn a_dropped_process_is_killed() {
    for level in IsolationLevel::ALL {
        let stage = Stage::new(*level, User::Own).await;
        let (mut alive, process) = started(&stage).await;
        drop(process);
        alive.wait_for_death();
    }
}

#[tokio::test]
async fn the_worker_s_end_is_reported_as_it_was() {
    let cases = [
        ("exit 0", Some(0), None),
        ("exit 7", Some(7), None),
        ("kill -TERM $$", None, Some(15)),
        ("kill -KILL $$", None, Some(9)),
    ];
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        for (script, code, signal) in cases {
            let outcome = stage.run(&["/bin/sh", "-c", script]);
            let status = &outcome.0["status"];
            assert_eq!(status["code"].as_i64(), code, "{level} {user:?} {script}");
            assert_eq!(
                status["signal"].as_i64(),
                signal,
                "{level} {user:?} {script}"
            );
        }
    }
}

#[tokio::test]
async fn a_command_that_does_not_start_is_an_error() {
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        let outside: PathBuf = stage.outside.join("secret");
        let outside = outside.display().to_string();
        for argv in [
            &["/no/such/program"][..],
            &["not-in-path"],
            &[&outside],
            &[],
        ] {
            let outcome = stage.run(argv);
            assert_eq!(
                outcome.error(),
                Some("command_not_started"),
                "{level} {argv:?}"
            );
        }
        let mut command = stage.command(&["/bin/true"]);
        command.cwd = "/no/such/directory".into();
        assert_eq!(
            stage.run_command(&command).error(),
            Some("command_not_started")
        );
    }
}
