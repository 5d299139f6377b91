//! `skep plan` from the outside, with the files that the how-to shows.

use super::assert_json_error;
use super::program::{Ran, Stage};
use serde_json::Value;

const CONFIG: &str = include_str!("../../../../docs/howto/plan/skep.toml");
const SCRIPT: &str = include_str!("../../../../docs/howto/plan/replay.toml");
const PLAN: &str = include_str!("../../../../docs/howto/plan/plan.toml");
const KINDS: &str = include_str!("../../../../docs/howto/plan/kinds.toml");

fn stage() -> anyhow::Result<Stage> {
    let stage = Stage::new()?;
    stage.write("skep.toml", CONFIG)?;
    stage.write("replay.toml", SCRIPT)?;
    stage.write("plan.toml", PLAN)?;
    stage.write("kinds.toml", KINDS)?;
    stage.write("bees/guide/.keep", "")?;
    stage.repository("bees")?;
    Ok(stage)
}

fn plan(stage: &Stage, arguments: &[&str]) -> anyhow::Result<Ran> {
    stage.run(&[&["--config", "skep.toml", "plan"], arguments].concat())
}

fn states(view: &Value) -> Vec<String> {
    let nodes = view["nodes"].as_array().into_iter().flatten();
    nodes
        .map(|node| format!("{} {}", node["name"], node["state"]).replace('"', ""))
        .collect()
}

#[test]
fn the_example_of_the_how_to_runs() -> anyhow::Result<()> {
    let stage = stage()?;
    let checked = plan(&stage, &["check", "plan.toml"])?;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let expected = [
        "Plan can be run: Survey the apiary and write it up",
        "",
        "NODE     WORKER   TASK",
        "survey   builder  Count the hives and leave the count for the guide.",
        "└─guide  builder  [after survey:hives.txt] Write the guide from the survey.",
        "  └─log  builder  [after guide?] Note the day, whatever became of the guide.",
    ];
    let lines: Vec<&str> = checked.stdout.lines().collect();
    assert_eq!(lines, expected);
    let ran = plan(&stage, &["run", "plan.toml", "--json"])?;
    let view = ran.json()?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(view["state"], "done");
    assert_eq!(states(&view), ["survey done", "guide done", "log done"]);
    let hives = std::fs::read_to_string(stage.path("bees/guide/hives.txt"))?;
    assert_eq!(hives, "7 hives\n");
    let shown = plan(&stage, &["show", "1"])?;
    assert!(shown.stdout.starts_with("Plan 1 is done: "), "{shown:?}");
    assert!(
        shown.stdout.contains("survey left hives.txt (8 bytes)"),
        "{shown:?}"
    );
    Ok(())
}

#[test]
fn calls_and_commands_run_between_agents() -> anyhow::Result<()> {
    let stage = stage()?;
    let checked = plan(&stage, &["check", "kinds.toml"])?;
    let lines: Vec<&str> = checked.stdout.lines().skip(2).collect();
    let expected = [
        "NODE          KIND   WORKER   TASK",
        "survey        agent  builder  Count the hives and leave the count for the guide.",
        "└─look        shell  shell    [after survey:hives.txt] sh -c diff survey/hives.txt $SKEP_INPUT_ARTI…",
        "  └─announce  call   builder  Write a headline for a survey of an apiary.",
    ];
    assert_eq!(lines, expected, "{checked:?}");
    let ran = plan(&stage, &["run", "kinds.toml", "--json"])?;
    let view = ran.json()?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        states(&view),
        ["survey done", "look done", "announce done"],
        "{ran:?}"
    );
    let result = stage.run(&["--config", "skep.toml", "job", "result", "4"])?;
    let answer = "{\"headline\": \"Seven hives and counting\"}\n";
    assert_eq!(result.stdout, answer, "{result:?}");
    let shown = plan(&stage, &["show", "1"])?;
    assert!(shown.stdout.contains("\nall of it cost $0."), "{shown:?}");
    stage.write(
        "two.toml",
        "title = \"x\"\n[[node]]\nname = \"a\"\ninstruction = \"Do it.\"\ncall = { prompt = \"Do it?\" }",
    )?;
    let refused = plan(&stage, &["check", "two.toml", "--json"])?;
    assert_json_error(&refused, 2, "work_unclear")?;
    Ok(())
}

#[test]
fn a_plan_that_waits_says_for_what() -> anyhow::Result<()> {
    let stage = stage()?;
    let ran = plan(&stage, &["run", "--detach", "plan.toml", "--json"])?;
    let view = ran.json()?;
    assert_eq!(view["state"], "waiting_children", "{ran:?}");
    assert_eq!(
        states(&view),
        ["survey queued", "guide blocked", "log blocked"]
    );
    let list = stage.run(&["--config", "skep.toml", "job", "list"])?;
    assert!(
        list.stdout
            .contains("[waits for survey (job 2)] Write the guide"),
        "{list:?}"
    );
    for line in list.stdout.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    let cancelled = stage.run(&["--config", "skep.toml", "job", "cancel", "2", "--tree"])?;
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    let view = plan(&stage, &["show", "1", "--json"])?.json()?;
    assert_eq!(
        states(&view),
        ["survey cancelled", "guide skipped", "log cancelled"]
    );
    let list = stage.run(&["--config", "skep.toml", "job", "list"])?;
    assert!(
        list.stdout
            .contains("[survey (job 2) is cancelled] Write the guide"),
        "{list:?}"
    );
    Ok(())
}

#[test]
fn a_file_that_is_no_plan_is_refused() -> anyhow::Result<()> {
    let stage = stage()?;
    for (name, text, code) in [
        ("missing.toml", None, "plan_unreadable"),
        ("words.toml", Some("titel = 1"), "plan_malformed"),
        ("words.json", Some("{"), "plan_malformed"),
        ("empty.toml", Some("title = \"x\""), "graph_empty"),
        (
            "circle.toml",
            Some(
                "title = \"x\"\n[[node]]\nname = \"a\"\nafter = [\"b\"]\n[[node]]\nname = \"b\"\nafter = [\"a\"]",
            ),
            "graph_cycle",
        ),
    ] {
        if let Some(text) = text {
            stage.write(name, text)?;
        }
        for command in ["check", "run"] {
            let ran = plan(&stage, &[command, name, "--json"])?;
            assert_json_error(&ran, 2, code)?;
        }
    }
    Ok(())
}
