//! `skep call`, `skep shell`, `skep job result` and `skep dead` from the outside.

use super::check_error;
use super::program::Stage;
use serde_json::Value;

const CONFIG: &str = r#"
[provider.script]
api = "replay"
script = "replay.toml"

[model.stub]
provider = "script"
family = "stub"
context_tokens = 200000
output_tokens_max = 1000
price = { input = 1.0, output = 2.0 }
"#;

const SCRIPT: &str = r#"
version = 1
[[conversation]]
name = "number"
when = { system = { contains = "JSON Schema" } }
[[conversation.turn]]
reply = { blocks = [{ text = "{\"number\": 7}" }] }
[[conversation]]
name = "capital"
[[conversation.turn]]
reply = { blocks = [{ text = "Paris" }] }
"#;

fn stage() -> anyhow::Result<Stage> {
    let stage = Stage::new()?;
    stage.write("home/skep.toml", CONFIG)?;
    stage.write("home/replay.toml", SCRIPT)?;
    Ok(stage)
}

#[test]
fn a_question_is_answered_on_stdout() -> anyhow::Result<()> {
    let stage = stage()?;
    let ran = stage.run(&["call", "The capital of France?"])?;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "Paris\n"),
        "{ran:?}"
    );
    stage.write(
        "schema.json",
        r#"{"type":"object","required":["number"],"properties":{"number":{"type":"integer"}}}"#,
    )?;
    stage.write("question.txt", "A number?")?;
    let ran = stage.run(&[
        "call",
        "-f",
        "question.txt",
        "--schema",
        "schema.json",
        "--json",
    ])?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        ran.json()?["call"]["answer"]["value"]["number"],
        7,
        "{ran:?}"
    );
    // Read again from the home that nobody holds.
    let ran = stage.run(&["job", "result", "1"])?;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "Paris\n"),
        "{ran:?}"
    );
    let ran = stage.run(&["job", "show", "1"])?;
    assert!(ran.stdout.contains("answer"), "{ran:?}");
    let ran = stage.run(&["call", "Later", "--detach"])?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    check_error(&stage, &["job", "result", "3"], 4, "result_missing")?;
    check_error(
        &stage,
        &["call", "x", "--model", "nobody"],
        2,
        "unknown_model",
    )?;
    check_error(&stage, &["call", "-f", "nowhere.txt"], 2, "file_unreadable")?;
    Ok(())
}

#[test]
fn a_command_prints_its_output_and_its_end() -> anyhow::Result<()> {
    let stage = stage()?;
    let ran = stage.run(&["shell", "--", "sh", "-c", "echo 42; pwd"])?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.starts_with("42\n"), "{ran:?}");
    assert!(ran.stderr.contains("exit code 0"), "{ran:?}");
    let ran = stage.run(&["shell", "--timeout", "1s", "--json", "--", "sleep", "600"])?;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let job = ran.json()?;
    assert_eq!(job["failure_class"], "wall_clock", "{job:#}");
    assert_eq!(job["shell"]["run"]["limit"], "time", "{job:#}");
    check_error(&stage, &["shell"], 2, "usage")?;
    Ok(())
}

#[test]
fn what_failed_is_listed_replayed_and_dismissed() -> anyhow::Result<()> {
    let stage = stage()?;
    for _ in 0..2 {
        let ran = stage.run(&["shell", "--", "sh", "-c", "echo so; exit 7"])?;
        assert_eq!(ran.code, Some(1), "{ran:?}");
    }
    let ran = stage.run(&["dead", "list"])?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 3, "{ran:?}");
    assert!(ran.stdout.contains("tool_failure"), "{ran:?}");
    assert!(
        ran.stdout.lines().all(|line| line.chars().count() <= 100),
        "{ran:?}"
    );
    let ran = stage.run(&["dead", "list", "--by", "class", "--json"])?;
    let counted = ran.json()?;
    assert_eq!(
        (&counted["letters"], &counted["unknown_percent"]),
        (&Value::from(2), &Value::from(0))
    );
    let ran = stage.run(&["dead", "show", "1"])?;
    assert!(ran.stdout.contains("dead_letter_written"), "{ran:?}");
    let ran = stage.run(&["dead", "dismiss", "2"])?;
    assert_eq!(ran.stdout, "job 2 is dismissed\n", "{ran:?}");
    let ran = stage.run(&["dead", "drain", "--json"])?;
    assert_eq!(ran.json()?["replayed"][0]["number"], 1, "{ran:?}");
    let ran = stage.run(&["dead", "list"])?;
    assert_eq!(ran.stdout, "", "{ran:?}");
    check_error(&stage, &["dead", "show", "2"], 4, "not_found")?;
    Ok(())
}
