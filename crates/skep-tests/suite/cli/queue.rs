//! Turns from the outside: queues that are paused and go on, jobs that wait for their time or for
//! each other, and what cannot be asked for.

use super::check_error;
use super::program::Stage;
use serde_json::{Value, json};

/// A worker that needs no model and does nothing.
const WORKERS: &str = r#"
[worker.idle]
harness = "exec"
command = ["true"]

[limits.queue.nightly]
running_max = 1
"#;

fn stage() -> anyhow::Result<Stage> {
    let stage = Stage::new()?;
    stage.write("home/skep.toml", WORKERS)?;
    stage.repository("repository")?;
    Ok(stage)
}

/// Submits a job without running it.
fn submit(stage: &Stage, more: &[&str]) -> anyhow::Result<Value> {
    let mut arguments = vec!["run", "Look around", "--repo", "repository", "--gate", "G0"];
    arguments.extend(["--role", "observer", "--detach", "--json"]);
    arguments.extend(more);
    let ran = stage.run(&arguments)?;
    anyhow::ensure!(ran.code == Some(0), "{ran:?}");
    ran.json()
}

fn queues(stage: &Stage) -> anyhow::Result<Value> {
    Ok(stage.run(&["queue", "list", "--json"])?.json()?["items"].clone())
}

#[test]
fn queues_are_listed_paused_and_resumed() -> anyhow::Result<()> {
    let stage = stage()?;
    submit(&stage, &[])?;
    submit(&stage, &["--queue", "nightly", "--priority", "-5"])?;
    submit(&stage, &["--queue", "nightly", "--delay", "2h"])?;
    let expected = json!([
        {"queue": "default", "paused": false, "ready": 1, "later": 0, "running": 0, "waiting": 0},
        {"queue": "nightly", "paused": false, "ready": 1, "later": 1, "running": 0, "waiting": 0},
    ]);
    assert_eq!(queues(&stage)?, expected);
    let paused = stage.run(&["queue", "pause", "nightly"])?;
    assert!(
        paused.stdout.contains("queue nightly is paused"),
        "{paused:?}"
    );
    assert_eq!(queues(&stage)?[1]["paused"], true);
    stage.run(&["queue", "pause", "--all"])?;
    let still = stage.run(&["queue", "resume", "nightly"])?;
    assert!(
        still.stdout.contains("skep queue resume --all"),
        "{still:?}"
    );
    let table = stage.run(&["queue", "list"])?.stdout;
    assert!(
        table.lines().all(|line| line.chars().count() <= 100),
        "{table}"
    );
    assert_eq!(table.matches("paused").count(), 2, "{table}");
    stage.run(&["queue", "resume", "--all"])?;
    assert_eq!(queues(&stage)?, expected);
    Ok(())
}

/// With a server, through its API: nothing starts while the queue is paused.
#[test]
fn a_paused_queue_holds_its_jobs_back() -> anyhow::Result<()> {
    let stage = stage()?;
    let server = stage.up()?;
    assert_eq!(stage.run(&["queue", "pause", "nightly"])?.code, Some(0));
    let held = submit(&stage, &["--queue", "nightly"])?;
    let free = stage.run(&[
        "run",
        "Look",
        "--repo",
        "repository",
        "--gate",
        "G0",
        "--role",
        "observer",
        "--json",
    ])?;
    assert!(free.json()?["state"].is_string(), "{free:?}");
    let id = held["id"].as_str().unwrap_or_default();
    let job = stage.run(&["job", "show", id, "--json"])?.json()?;
    assert_eq!(job["state"], "queued", "{job:#}");
    assert_eq!(job["attempts"], json!([]), "{job:#}");
    drop(server);
    Ok(())
}

#[test]
fn one_name_is_one_job() -> anyhow::Result<()> {
    let stage = stage()?;
    let number = |more: &[&str]| anyhow::Ok(submit(&stage, more)?["number"].clone());
    let first = number(&["--singleton", "sync"])?;
    assert_eq!(number(&["--singleton", "sync"])?, first);
    assert_ne!(number(&["--singleton", "other"])?, first);
    let pushed = number(&["--debounce", "push=1h"])?;
    assert_eq!(number(&["--debounce", "push=1h"])?, pushed);
    let later = &queues(&stage)?[0]["later"];
    assert_eq!(later, 1, "the debounced job waits for an hour of quiet");
    Ok(())
}

#[test]
fn turns_that_make_no_sense_are_refused() -> anyhow::Result<()> {
    let stage = stage()?;
    let run = [
        "run",
        "x",
        "--repo",
        "repository",
        "--gate",
        "G0",
        "--role",
        "observer",
        "--detach",
    ];
    for (more, code) in [
        (&["--queue", "Night shift"][..], "bad_turn"),
        (&["--priority", "20000"], "bad_turn"),
        (&["--limit-key", "ada=0"], "bad_turn"),
        (&["--limit-key", "ada"], "bad_limit_key"),
        (&["--debounce", "push"], "bad_debounce"),
        (&["--debounce", "push=soon"], "bad_debounce"),
        (
            &["--debounce", "push=1m", "--debounce-max", "10s"],
            "bad_turn",
        ),
        (&["--delay", "tomorrow"], "usage"),
        (&["--singleton", "a", "--debounce", "b=1s"], "usage"),
    ] {
        let arguments: Vec<&str> = run.iter().chain(more).copied().collect();
        check_error(&stage, &arguments, 2, code)?;
    }
    check_error(
        &stage,
        &["queue", "pause", "Night shift"],
        2,
        "bad_queue_name",
    )?;
    check_error(&stage, &["queue", "pause"], 2, "usage")?;
    Ok(())
}
