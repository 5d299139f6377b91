//! `skep schedule` from the outside: without a home, without a server, with one.

use super::program::Stage;
use super::{assert_human_error, assert_json_error, check_error};
use serde_json::Value;

const WORKERS: &str = r#"
[worker.honest]
harness = "exec"
command = ["sh", "-c", '''
    echo bees > hive.txt
    git add hive.txt
    git commit --quiet -m "Add a hive"
    printf '{"status":"DONE","summary":"Added a hive.","files_changed":[{"path":"hive.txt","added":1,"deleted":0}],"commits":[{"sha":"%s","subject":"Add a hive"}],"tests_run":[],"deviations":[],"follow_ups":[]}' "$(git rev-parse HEAD)" > "$SKEP_CONTRACT_FILE"
''']
"#;

const ADD: &[&str] = &[
    "schedule",
    "add",
    "hive",
    "--cron",
    "0 7 * * 1-5",
    "--tz",
    "Europe/Berlin",
    "--jitter",
    "5m",
    "--precheck",
    "test ! -e hive.txt || exit 75",
    "--",
    "Add a hive",
    "--repo",
    "repository",
    "--check",
    "test -f hive.txt",
    "--waive-tests",
    "there is nothing to test",
];

fn stage() -> anyhow::Result<Stage> {
    let stage = Stage::new()?;
    stage.write("home/skep.toml", WORKERS)?;
    stage.repository("repository")?;
    Ok(stage)
}

/// Runs the command with `--json`, which succeeds.
#[track_caller]
fn json(stage: &Stage, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut all = vec!["--json"];
    all.extend(arguments);
    let ran = stage.run(&all)?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.json()
}

/// As [`check_error`](super::check_error), where what follows `--` is not the program's own.
#[track_caller]
fn check_error_first(
    stage: &Stage,
    arguments: &[&str],
    exit: i32,
    code: &str,
) -> anyhow::Result<Value> {
    assert_human_error(&stage.run(arguments)?, exit, code);
    assert_json_error(&stage.run(&[&["--json"], arguments].concat())?, exit, code)
}

#[test]
fn a_preview_needs_no_home() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let preview = [
        "schedule",
        "next",
        "--cron",
        "30 2 * * *",
        "--tz",
        "europe/berlin",
        "--from",
        "2026-03-28T00:00:00Z",
        "-n",
        "3",
    ];
    let shown = stage.run(&preview)?;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert_eq!(
        shown.stdout.lines().map(str::trim_end).collect::<Vec<_>>(),
        [
            "30 2 * * * in Europe/Berlin",
            "LOCAL                       UTC                  JITTER  CLOCK",
            "2026-03-28 02:30:00 +01:00  2026-03-28 01:30:00      0s",
            "2026-03-29 03:00:00 +02:00  2026-03-29 01:00:00      0s  02:30 does not exist: the end of the gap",
            "2026-03-30 02:30:00 +02:00  2026-03-30 00:30:00      0s",
        ]
    );
    let slots = json(&stage, &preview)?["slots"].clone();
    assert_eq!(slots[1]["shift"], "gap");
    assert_eq!(slots[1]["slot_at"], 1_774_746_000_000_i64);
    assert_eq!(slots.as_array().map(Vec::len), Some(3));
    assert!(!stage.home().exists(), "nothing was made");
    Ok(())
}

#[test]
fn an_error_names_the_field_and_what_it_takes() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let next = |more: &[&'static str]| [&["schedule", "next"], more].concat();
    for (arguments, code, message, hint) in [
        (
            next(&["--cron", "0 25 * * *"]),
            "cron_invalid",
            "`25` is no hour",
            "0-23",
        ),
        (
            next(&["--cron", "0 7 * *"]),
            "cron_invalid",
            "4 fields",
            "day of week",
        ),
        (
            next(&["--cron", "0 0 30 2 *"]),
            "cron_invalid",
            "never comes",
            "calendar",
        ),
        (
            next(&["--every", "10s"]),
            "interval_invalid",
            "10s",
            "whole minutes",
        ),
        (
            next(&["--cron", "@daily", "--tz", "Europe/Berlim"]),
            "zone_unknown",
            "Europe/Berlim",
            "Europe/Berlin",
        ),
    ] {
        let error = check_error(&stage, &arguments, 2, code)?;
        let said = |field: &str, words: &str| {
            error[field]
                .as_str()
                .is_some_and(|text| text.contains(words))
        };
        assert!(said("message", message) && said("hint", hint), "{error}");
    }
    for arguments in [
        &["schedule", "next"][..],
        &["schedule", "next", "hive", "--cron", "@daily"],
        &["schedule", "add", "hive", "--cron", "@daily"],
    ] {
        check_error(&stage, arguments, 2, "usage")?;
    }
    let daily = ["schedule", "add", "hive", "--cron", "@daily"];
    for more in [
        &["--", "x", "--gate", "G9"][..],
        &["--", "x", "--detach"],
        &["--", "x", "--json"],
        &["--overlap", "never", "--", "x"],
        &["--jitter", "soon", "--", "x"],
    ] {
        check_error_first(&stage, &[&daily, more].concat(), 2, "usage")?;
    }
    let timeless = ["schedule", "add", "hive", "--", "x"];
    check_error_first(&stage, &timeless, 2, "timing_missing")?;
    assert!(!stage.home().exists(), "nothing was made");
    Ok(())
}

#[test]
fn a_schedule_lives_without_a_server() -> anyhow::Result<()> {
    let stage = stage()?;
    assert_eq!(
        json(&stage, &["schedule", "list"])?["items"],
        Value::Array(Vec::new())
    );
    let added = json(&stage, ADD)?;
    assert_eq!(
        (&added["state"], &added["when"]),
        (&"active".into(), &"0 7 * * 1-5".into())
    );
    assert_eq!(
        added["job"]["repo"],
        *stage.path("repository").to_string_lossy()
    );
    check_error_first(&stage, ADD, 1, "schedule_exists")?;
    let next = json(&stage, &["schedule", "next", "hive", "-n", "2"])?;
    assert_eq!(next["slots"][0], added["next"]);
    let delay = |slot: &Value| slot["due_at"].as_i64().zip(slot["slot_at"].as_i64());
    let (due, slot) = delay(&added["next"]).expect("both are numbers");
    assert!((0..=300_000).contains(&(due - slot)), "{added}");
    let shown = stage.run(&["schedule", "show", "hive"])?.stdout;
    for part in [
        "is active",
        "0 7 * * 1-5 in Europe/Berlin",
        "Add a hive",
        "test ! -e",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let listed = stage.run(&["schedule", "list"])?.stdout;
    assert!(
        listed.lines().all(|line| line.chars().count() <= 100),
        "{listed}"
    );
    let paused = json(&stage, &["schedule", "pause", "hive", "--reason", "winter"])?;
    assert_eq!(
        (&paused["state"], &paused["next"]),
        (&"paused".into(), &Value::Null)
    );
    assert_eq!(paused["state_reason"], "winter");
    check_error(&stage, &["schedule", "pause", "hive"], 1, "schedule_state")?;
    assert_eq!(
        json(&stage, &["schedule", "resume", "hive"])?["state"],
        "active"
    );
    let id = added["id"].as_str().expect("it has an id");
    assert_eq!(
        json(&stage, &["schedule", "remove", "hive"])?["state"],
        "removed"
    );
    check_error(&stage, &["schedule", "show", "hive"], 4, "not_found")?;
    let gone = json(&stage, &["schedule", "show", id])?;
    assert_eq!(gone["job"], Value::Null, "what it did is forgotten: {gone}");
    Ok(())
}

#[test]
fn a_run_may_be_a_call_or_a_command() -> anyhow::Result<()> {
    let stage = stage()?;
    let add =
        |name, more: &[&'static str]| [&["schedule", "add", name, "--every", "15m"], more].concat();
    let look = add("look", &["--shell", "--", "git", "log", "--", "hive.txt"]);
    let look = json(&stage, &look)?["shell"].clone();
    assert_eq!(
        look["command"],
        serde_json::json!(["git", "log", "--", "hive.txt"])
    );
    let options = ["--shell", "--", "--repo", "repository", "--", "ls", "-l"];
    let there = json(&stage, &add("there", &options))?;
    assert_eq!(there["shell"]["command"], serde_json::json!(["ls", "-l"]));
    assert_eq!(
        (&there["job"], &there["call"]),
        (&Value::Null, &Value::Null)
    );
    let repository = stage.path("repository");
    let shown = stage.run(&["schedule", "show", "there"])?.stdout;
    for line in [
        "shell         ls -l".to_owned(),
        format!("repository    {}", repository.display()),
    ] {
        assert!(shown.contains(&line), "{line} is not in {shown}");
    }
    let ask = ["--call", "--", "Is it so?", "--model", "nobody"];
    check_error_first(&stage, &add("ask", &ask), 2, "unknown_model")?;
    for (words, code) in [
        (&["--call", "--shell", "--", "ls"][..], "usage"),
        (&["--call", "--", "Is it so?", "--repo", "."], "usage"),
        (&["--shell", "--", "--detach", "--", "ls"], "usage"),
        (&["--shell", "--", "--repo", "."], "usage"),
    ] {
        check_error_first(&stage, &add("other", words), 2, code)?;
    }
    Ok(())
}

#[test]
fn a_run_goes_through_a_server() -> anyhow::Result<()> {
    let stage = stage()?;
    let server = stage.up()?;
    json(&stage, ADD)?;
    assert_eq!(
        json(&stage, &["schedule", "run", "hive"])?["state"],
        "checking"
    );
    let first = follow(&stage, 1)?;
    assert_eq!(
        (&first["state"], &first["job_state"]),
        (&"succeeded".into(), &"done".into())
    );
    assert_eq!(
        (&first["precheck_exit_code"], &first["cause"]),
        (&0.into(), &"manual".into())
    );
    assert!(stage.path("repository/hive.txt").exists());
    // The hive is there: the second run finds nothing to do and starts no worker.
    json(&stage, &["schedule", "run", "hive"])?;
    let second = follow(&stage, 2)?;
    assert_eq!(
        (&second["state"], &second["job"]),
        (&"skipped_precheck".into(), &Value::Null)
    );
    let jobs = json(&stage, &["job", "list"])?;
    assert_eq!(jobs["items"].as_array().map(Vec::len), Some(1));
    let history = stage.run(&["schedule", "history", "hive"])?.stdout;
    for part in ["manual", "succeeded", "skipped_precheck"] {
        assert!(history.contains(part), "{part} is not in {history}");
    }
    let verified = stage.run(&["ledger", "verify"])?;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    server.end("TERM")?;
    Ok(())
}

/// The newest firing once there are `count` and it has ended, as the ledger tells it.
fn follow(stage: &Stage, count: usize) -> anyhow::Result<Value> {
    use std::io::{BufRead as _, BufReader};
    let mut tail = stage
        .command(&["ledger", "tail", "--follow", "--json", "--cursor", "0"])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let Some(out) = tail.stdout.take() else {
        anyhow::bail!("it has no output");
    };
    let mut newest = Value::Null;
    for line in BufReader::new(out).lines() {
        let event: Value = serde_json::from_str(&line?)?;
        if !event["kind"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("schedule_"))
        {
            continue;
        }
        let history = json(stage, &["schedule", "history", "hive"])?["items"].clone();
        newest = history[0].clone();
        let has_all = history.as_array().is_some_and(|items| items.len() == count);
        if has_all && !newest["ended_at"].is_null() {
            break;
        }
    }
    tail.kill()?;
    tail.wait()?;
    Ok(newest)
}
