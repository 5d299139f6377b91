//! Topics and alarms from the command line and over the socket.

use super::check_error;
use super::program::Stage;
use serde_json::{Value, json};
use std::process::Command;

const TABLES: &str = r#"
[topic.builds]
readers = ["mailer"]
silent_after_minutes = 60
tries_max = 2
schema = "builds.schema.json"

[topic.notes]
readers = "none"
payload_bytes_max = 10
"#;

fn stage(tables: &str) -> anyhow::Result<Stage> {
    let stage = Stage::new()?;
    stage.write("home/skep.toml", tables)?;
    let schema = r#"{"type":"object","required":["build"]}"#;
    stage.write("home/builds.schema.json", schema)?;
    Ok(stage)
}

fn json_of(stage: &Stage, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    let ran = stage.run(&arguments)?;
    anyhow::ensure!(ran.code == Some(0), "{ran:?}");
    ran.json()
}

/// A request of a program outside, over the socket in the home.
fn ask(stage: &Stage, path: &str, body: &Value) -> anyhow::Result<Value> {
    let socket = stage.home().join("skep.sock");
    let output = Command::new("curl")
        .args(["--silent", "--unix-socket"])
        .arg(socket)
        .arg(format!("http://localhost/api/v1/topics/{path}"))
        .args(["--data", &body.to_string()])
        .output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn a_reader_outside_reads_refuses_and_is_given_it_again() -> anyhow::Result<()> {
    let stage = stage(TABLES)?;
    let produce = [
        "topic",
        "produce",
        "builds",
        r#"{"build":7}"#,
        "--dedup-id",
        "b7",
    ];
    for created in [true, false] {
        let produced = json_of(&stage, &produce)?;
        assert_eq!(
            produced,
            json!({ "message": "builds/0/1", "created": created })
        );
    }
    let server = stage.up()?;
    let group = "builds/groups/mailer";
    for (fence, state) in [(1, "pending"), (2, "blocked")] {
        let page = ask(&stage, &format!("{group}/fetch"), &json!({ "max": 5 }))?;
        assert_eq!(page["items"][0]["payload"], r#"{"build":7}"#, "{page}");
        assert_eq!(page["items"][0]["fence"], fence);
        let answer = json!({
            "message": "builds/0/1", "fence": fence, "outcome": "refused", "delay_seconds": 0,
            "why": "no such mailbox",
        });
        let changed = ask(&stage, &format!("{group}/finish"), &answer)?;
        assert_eq!(changed["state"], state, "{changed}");
        let stale = ask(&stage, &format!("{group}/finish"), &answer)?;
        assert_eq!(stale["error"]["code"], "stale_lease", "{stale}");
    }
    let dead = stage.run(&["topic", "dead", "builds"])?;
    assert!(dead.stdout.contains("no such mailbox"), "{dead:?}");
    let drained = json_of(&stage, &["topic", "drain", "builds"])?;
    assert_eq!(drained["messages"], json!(["builds/0/1"]));
    check_error(
        &stage,
        &["topic", "replay", "builds/0/1"],
        1,
        "message_not_blocked",
    )?;
    ask(&stage, &format!("{group}/fetch"), &json!({}))?;
    let done = json!({ "message": "builds/0/1", "fence": 3, "outcome": "done" });
    assert_eq!(
        ask(&stage, &format!("{group}/finish"), &done)?["state"],
        "delivered"
    );
    let topic = json_of(&stage, &["topic", "show", "builds"])?;
    assert_eq!(
        (&topic["groups"][0]["lag"], &topic["groups"][0]["delivered"]),
        (&json!(0), &json!(1))
    );
    // What the engine reads itself is nobody else's.
    let reserved = ask(&stage, "reports/groups/home/fetch", &json!({}))?;
    assert_eq!(reserved["error"]["code"], "group_reserved");
    server.end("TERM")?;
    Ok(())
}

#[test]
fn what_cannot_be_produced_says_why_and_too_large_is_an_alarm() -> anyhow::Result<()> {
    let stage = stage(TABLES)?;
    let large = "far too long for it";
    for (arguments, exit, code) in [
        (
            &["topic", "produce", "builds", "{}"][..],
            2,
            "message_schema",
        ),
        (&["topic", "produce", "notes", large], 2, "message_oversize"),
        (&["topic", "produce", "reports", "{}"], 3, "topic_reserved"),
        (&["topic", "produce", "nothing", "x"], 4, "not_found"),
        (
            &["topic", "produce", "notes", "--file", "missing"],
            2,
            "payload_unreadable",
        ),
        (&["topic", "show", "nothing"], 4, "not_found"),
        (&["topic", "dismiss", "builds"], 2, "message_malformed"),
        (&["topic", "dismiss", "builds/0/9"], 4, "not_found"),
        (&["topic", "drain", "notes"], 2, "topic_without_group"),
        (&["alarm", "ack", "99"], 4, "not_found"),
    ] {
        check_error(&stage, arguments, exit, code)?;
    }
    let alarms = json_of(&stage, &["alarm", "list"])?;
    assert_eq!(alarms["items"][0]["kind"], "message_oversize", "{alarms}");
    assert_eq!(alarms["items"][0]["occurrences"], 2);
    let seen = json_of(&stage, &["alarm", "ack", "1"])?;
    assert!(seen["cleared_at"].is_i64(), "{seen}");
    assert_eq!(json_of(&stage, &["alarm", "list"])?["items"], json!([]));
    let spilled = json_of(&stage, &["topic", "produce", "notes", large, "--spill"])?;
    assert_eq!(spilled["message"], "notes/0/1");
    let tail = json_of(&stage, &["topic", "tail", "notes"])?;
    let place = tail["items"][0]["reference"].as_str().unwrap_or_default();
    assert_eq!(
        std::fs::read_to_string(stage.home().join("spill").join(place))?,
        large
    );
    for arguments in [
        &["topic", "list"][..],
        &["topic", "tail", "notes"],
        &["alarm", "list", "--all"],
    ] {
        let ran = stage.run(arguments)?;
        assert!(
            ran.stdout.lines().all(|line| line.chars().count() <= 100),
            "{ran:?}"
        );
        assert!(ran.stdout.lines().count() > 1, "{ran:?}");
    }
    Ok(())
}

#[test]
fn a_topic_that_nobody_reads_stops_the_start() -> anyhow::Result<()> {
    let stage = stage("[topic.lonely]\n")?;
    let up = stage.run(&["up", "--listen", "127.0.0.1:0"])?;
    assert_eq!(up.code, Some(2), "{up:?}");
    assert!(
        up.stderr
            .contains("nobody reads lonely [topic_without_reader]"),
        "{up:?}"
    );
    for (tables, code) in [
        ("[topic.Bad]\nreaders = \"none\"\n", "topic_invalid"),
        ("[topic.a]\nreaders = [\"b\"]\n", "topic_invalid"),
        ("[topic.a]\nreaders = \"some\"\n", "config_invalid"),
        ("[topic.reports]\nreaders = \"none\"\n", "topic_invalid"),
        (
            "[topic.a]\nreaders = \"none\"\nschema = \"missing.json\"\n",
            "config_invalid",
        ),
    ] {
        stage.write("home/skep.toml", tables)?;
        check_error(&stage, &["topic", "list"], 2, code)?;
    }
    Ok(())
}

#[test]
fn a_server_that_keeps_dying_is_an_alarm() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    for _ in 0..12 {
        stage.up()?.end("KILL")?;
    }
    let alarms = json_of(&stage, &["alarm", "list"])?;
    assert_eq!(alarms["items"][0]["kind"], "restarts_too_many", "{alarms}");
    assert_eq!(alarms["items"][0]["subject"], "up");
    let file = std::fs::read_to_string(stage.home().join("restarts.alarm"))?;
    assert!(
        file.contains("`up` was started 11 times within an hour"),
        "{file}"
    );
    Ok(())
}
