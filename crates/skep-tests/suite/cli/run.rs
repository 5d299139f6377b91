//! `skep run` from the outside: alone, with a server, without one, interrupted; and what can be
//! read of the job afterwards.

use super::assert_json_error;
use super::program::{Ran, Stage};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};

/// Workers that need no model: one does what it says, one does nothing, one never ends.
const WORKERS: &str = r#"
[worker.honest]
harness = "exec"
command = ["sh", "-c", '''
    echo bees > hive.txt
    git add hive.txt
    git commit --quiet -m "Add a hive"
    printf '{"status":"DONE","summary":"Added a hive.","files_changed":[{"path":"hive.txt","added":1,"deleted":0}],"commits":[{"sha":"%s","subject":"Add a hive"}],"tests_run":[],"deviations":[],"follow_ups":[]}' "$(git rev-parse HEAD)" > "$SKEP_CONTRACT_FILE"
    echo the hive is there
''']

[worker.idle]
harness = "exec"
command = ["true"]

[worker.endless]
harness = "exec"
command = ["sleep", "86399"]

[engine]
rework_rounds_max = 0
"#;

fn stage() -> anyhow::Result<Stage> {
    let stage = Stage::new()?;
    stage.write("home/skep.toml", WORKERS)?;
    stage.repository("repository")?;
    Ok(stage)
}

const RUN: [&str; 10] = [
    "run",
    "Add a hive",
    "--repo",
    "repository",
    "--check",
    "test -f hive.txt",
    "--waive-tests",
    "there is nothing to test",
    "--worker",
    "honest",
];

fn with(more: &[&'static str]) -> Vec<&'static str> {
    RUN.iter().chain(more).copied().collect()
}

#[track_caller]
fn assert_landed(job: &Value) {
    assert_eq!(job["state"], "done", "{job:#}");
    assert_eq!(job["verdict"]["result"], "VALID", "{job:#}");
    assert_eq!(job["landing"]["state"], "landed", "{job:#}");
    assert_eq!(job["delivery"]["state"], "delivered", "{job:#}");
}

#[test]
fn one_job_runs_to_its_end_without_a_server() -> anyhow::Result<()> {
    let stage = stage()?;
    let ran = stage.run(&with(&["--json"]))?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_landed(&ran.json()?);
    for step in [
        "queued",
        "running: attempt 1",
        "verdict VALID",
        "landed as",
        "done",
    ] {
        assert!(ran.stderr.contains(step), "{step} is not in {}", ran.stderr);
    }
    assert_eq!(
        std::fs::read_to_string(stage.path("repository/hive.txt"))?,
        "bees\n"
    );
    assert!(
        !stage.home().join("skep.sock").exists(),
        "nobody serves this home any more"
    );
    read_afterwards(&stage)?;
    verify_export(&stage)
}

/// What the other commands say about the job, read without a server.
fn read_afterwards(stage: &Stage) -> anyhow::Result<()> {
    let account = stage.run(&["job", "show", "1"])?.stdout;
    for part in [
        "is done and landed on main",
        "Add a hive",
        "VALID",
        "read back",
        "$0.00",
    ] {
        assert!(account.contains(part), "{part} is not in {account}");
    }
    assert!(
        account.lines().all(|line| line.chars().count() <= 100),
        "{account}"
    );
    let list = stage
        .run(&["job", "list", "--state", "done", "--json"])?
        .json()?;
    assert_eq!(list["items"][0]["title"], "Add a hive");
    assert_eq!(
        stage.run(&["job", "log", "1"])?.stdout,
        "the hive is there\n"
    );
    let diff = stage.run(&["job", "diff", "1"])?.stdout;
    let mut apply = Command::new("git")
        .args(["apply", "--reverse", "--check", "-"])
        .current_dir(stage.path("repository"))
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = apply.stdin.take() {
        stdin.write_all(diff.as_bytes())?;
    }
    assert!(
        apply.wait()?.success(),
        "the printed diff is no patch: {diff}"
    );
    let tail = stage.run(&["ledger", "tail", "--json", "-n", "4"])?.stdout;
    let events: Vec<Value> = tail
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let kinds: Vec<&Value> = events.iter().map(|event| &event["kind"]).collect();
    let expected = ["messages_delivered", "report_delivered", "node_left"];
    assert_eq!(kinds[1..], expected, "the newest comes last: {tail}");
    Ok(())
}

/// Recomputes the exported chain with a program that shares nothing with ours.
fn verify_export(stage: &Stage) -> anyhow::Result<()> {
    const VERIFIER: &str = r"
import hashlib, json, sys
head, *entries, end = [json.loads(line) for line in open(sys.argv[1])]
assert head['format'] == 'skep-ledger-export' and head['version'] == 2, head
field = lambda data: len(data).to_bytes(8, 'big') + data
number = lambda value: field(value.to_bytes(8, 'big', signed=True))
before = bytes(32)
for place, entry in enumerate(entries, 1):
    assert entry['seq'] == place, entry
    text = lambda name: field(entry[name].encode())
    payload = hashlib.sha256(entry['payload'].encode()).digest()
    covered = [field(b'skep-ledger-entry-v1'), field(before), number(place), number(entry['event_id']),
        number(entry['at']), text('kind'), number(entry['version']), text('subject'), field(payload)]
    before = hashlib.sha256(b''.join(covered)).digest()
    assert before.hex() == entry['hash'], entry
assert (end['head']['seq'], end['head']['hash']) == (len(entries), before.hex()), end
print(len(entries), before.hex())
";
    let path = stage.path("export.jsonl");
    let name = path.to_string_lossy().into_owned();
    let ran = stage.run(&["ledger", "export", &name])?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let output = Command::new("python3")
        .args(["-c", VERIFIER, &name])
        .output()?;
    let found = Ran::from(output);
    let verified = stage.run(&["ledger", "verify", "--json"])?.json()?;
    let expected = format!(
        "{} {}\n",
        verified["events"],
        verified["head"].as_str().unwrap_or_default()
    );
    assert_eq!(found.stdout, expected, "{found:?}");
    let ours = stage.run(&["ledger", "verify", "--export", &name])?;
    assert_eq!(ours.code, Some(0), "{ours:?}");
    let again = stage.run(&["ledger", "export", &name, "--json"])?;
    assert_json_error(&again, 2, "output_unwritable")?;
    Ok(())
}

#[test]
fn a_job_is_submitted_to_the_server_that_holds_the_home() -> anyhow::Result<()> {
    let stage = stage()?;
    let server = stage.up()?;
    let ran = stage.run(&with(&["--json", "--quiet"]))?;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_landed(&ran.json()?);
    let idle = stage.run(&[
        "run",
        "Do nothing",
        "--repo",
        "repository",
        "--gate",
        "G0",
        "--worker",
        "idle",
    ])?;
    assert_eq!(idle.code, Some(1), "work that did not succeed: {idle:?}");
    assert!(idle.stdout.starts_with("Job 2 failed"), "{idle:?}");
    assert_eq!(server.end("TERM")?.0, Some(143));
    Ok(())
}

#[test]
fn a_detached_job_waits_for_whoever_runs_the_home_next() -> anyhow::Result<()> {
    let stage = stage()?;
    let detached = stage.run(&with(&["--detach", "--json"]))?;
    assert_eq!(detached.code, Some(0), "{detached:?}");
    let submitted = detached.json()?;
    assert_eq!(
        (&submitted["number"], &submitted["state"]),
        (&1.into(), &"queued".into())
    );
    assert!(
        detached.stderr.contains("nobody runs this home"),
        "{detached:?}"
    );
    // The next run of anything does it too, before it leaves.
    stage.repository("other")?;
    let mut other = RUN;
    other[3] = "other";
    let ran = stage.run(&other)?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let first = stage.run(&["job", "show", "1", "--json"])?.json()?;
    assert_landed(&first);
    Ok(())
}

#[test]
fn an_interrupted_run_leaves_a_job_that_can_go_on_and_no_process() -> anyhow::Result<()> {
    let stage = stage()?;
    let arguments = [
        "run",
        "Wait",
        "--repo",
        "repository",
        "--gate",
        "G0",
        "--worker",
        "endless",
        "--json",
    ];
    let mut command = stage.command(&arguments);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut stderr = BufReader::new(stderr.ok_or_else(|| anyhow::anyhow!("no stderr"))?);
    let mut seen = String::new();
    while !seen.contains("fence closed") {
        anyhow::ensure!(stderr.read_line(&mut seen)? > 0, "it ended early: {seen}");
    }
    let id = child.id().to_string();
    Command::new("kill").args(["-s", "INT", &id]).status()?;
    stderr.read_to_string(&mut seen)?;
    let mut document = String::new();
    if let Some(mut stdout) = stdout {
        stdout.read_to_string(&mut document)?;
    }
    let ran = Ran {
        code: child.wait()?.code(),
        stdout: document,
        stderr: seen,
    };
    assert_json_error(&ran, 1, "interrupted")?;
    let job = stage.run(&["job", "show", "1", "--json"])?.json()?;
    assert_eq!(job["state"], "queued", "{job:#}");
    assert_eq!(job["attempts"][0]["state"], "lost", "{job:#}");
    assert!(!is_running("86399")?, "the worker outlived its engine");
    let cancelled = stage.run(&["job", "cancel", "1", "--json"])?.json()?;
    assert_eq!(cancelled["state"], "cancelled");
    let again = stage.run(&["job", "cancel", "1", "--json"])?;
    assert_json_error(&again, 1, "job_ended")?;
    let retried = stage.run(&["job", "retry", "1", "--json"])?.json()?;
    assert_eq!(retried["state"], "queued");
    Ok(())
}

/// Whether a process has `argument` among its arguments.
fn is_running(argument: &str) -> anyhow::Result<bool> {
    for entry in std::fs::read_dir("/proc")? {
        // Processes come and go while they are listed.
        let line = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        if line
            .split(|byte| *byte == 0)
            .any(|word| word == argument.as_bytes())
        {
            return Ok(true);
        }
    }
    Ok(false)
}
