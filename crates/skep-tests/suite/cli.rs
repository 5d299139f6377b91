//! The command line as users meet it: help, errors, exit codes, one server to a home.

mod data;
mod holder;
mod kind;
mod ledger;
mod plan;
pub(crate) mod program;
mod queue;
mod run;
mod schedule;
mod topic;

use program::{Ran, Stage};
use serde_json::Value;

/// The widest line of any help, in columns.
const COLUMNS_MAX: usize = 100;

/// Runs `arguments` for people and for programs: both fail with `exit`, name `code`, and say what
/// to do next. Gives the JSON form.
#[track_caller]
fn check_error(stage: &Stage, arguments: &[&str], exit: i32, code: &str) -> anyhow::Result<Value> {
    let ran = stage.run(arguments)?;
    assert_human_error(&ran, exit, code);
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    assert_json_error(&stage.run(&arguments)?, exit, code)
}

#[track_caller]
fn assert_human_error(ran: &Ran, exit: i32, code: &str) {
    assert_eq!(ran.code, Some(exit), "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    let error = ran.stderr.lines().find(|line| line.starts_with("error: "));
    let hint = ran.stderr.lines().find(|line| line.starts_with("hint: "));
    assert!(
        error.is_some_and(|line| line.ends_with(&format!("[{code}]"))),
        "{ran:?}"
    );
    assert!(
        hint.is_some_and(|line| line.len() > "hint: ".len()),
        "{ran:?}"
    );
}

#[track_caller]
fn assert_json_error(ran: &Ran, exit: i32, code: &str) -> anyhow::Result<Value> {
    assert_eq!(ran.code, Some(exit), "{ran:?}");
    let error = ran.json()?["error"].clone();
    assert_eq!(error["code"], code, "{ran:?}");
    for field in ["message", "hint"] {
        assert!(
            error[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field}: {ran:?}"
        );
    }
    assert_eq!(
        error.as_object().map(serde_json::Map::len),
        Some(3),
        "{ran:?}"
    );
    Ok(error)
}

#[test]
fn every_help_fits_its_columns_and_goes_to_stdout() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let commands = [
        &[][..],
        &["demo"],
        &["up"],
        &["run"],
        &["call"],
        &["shell"],
        &["dead"],
        &["dead", "list"],
        &["dead", "show"],
        &["dead", "replay"],
        &["dead", "drain"],
        &["dead", "dismiss"],
        &["job"],
        &["job", "result"],
        &["job", "list"],
        &["job", "show"],
        &["job", "log"],
        &["job", "diff"],
        &["job", "cancel"],
        &["job", "retry"],
        &["node"],
        &["node", "list"],
        &["node", "drain"],
        &["node", "resume"],
        &["queue"],
        &["queue", "list"],
        &["queue", "pause"],
        &["queue", "resume"],
        &["schedule"],
        &["schedule", "add"],
        &["schedule", "list"],
        &["schedule", "show"],
        &["schedule", "next"],
        &["schedule", "pause"],
        &["schedule", "resume"],
        &["schedule", "run"],
        &["schedule", "remove"],
        &["schedule", "history"],
        &["ledger"],
        &["ledger", "tail"],
        &["ledger", "verify"],
        &["ledger", "head"],
        &["ledger", "rekey"],
        &["ledger", "export"],
        &["data"],
        &["data", "export"],
        &["data", "import"],
        &["data", "query"],
        &["topic"],
        &["topic", "list"],
        &["topic", "show"],
        &["topic", "tail"],
        &["topic", "dead"],
        &["topic", "replay"],
        &["topic", "drain"],
        &["topic", "dismiss"],
        &["topic", "produce"],
        &["alarm"],
        &["alarm", "list"],
        &["alarm", "ack"],
        &["doctor"],
        &["completions"],
    ];
    for command in commands {
        for option in ["--help", "-h"] {
            let mut arguments = command.to_vec();
            arguments.push(option);
            let ran = stage.run(&arguments)?;
            assert_eq!(
                (ran.code, ran.stderr.as_str()),
                (Some(0), ""),
                "{arguments:?}"
            );
            assert!(
                ran.stdout.contains("Usage: skep"),
                "{arguments:?}: {}",
                ran.stdout
            );
            for line in ran.stdout.lines() {
                assert!(line.chars().count() <= COLUMNS_MAX, "{arguments:?}: {line}");
            }
        }
    }
    assert!(!stage.home().exists(), "asking for help makes nothing");
    Ok(())
}

#[test]
fn completions_exist_for_every_shell() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = stage.run(&["completions", shell])?;
        assert_eq!(ran.code, Some(0), "{shell}");
        assert!(ran.stdout.contains("ledger"), "{shell}");
    }
    Ok(())
}

#[test]
fn a_command_line_that_cannot_be_read_changes_nothing() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    check_error(&stage, &["jobs"], 2, "usage")?;
    check_error(&stage, &["run", "x", "--gate", "G9"], 2, "usage")?;
    check_error(&stage, &["job", "list", "--limit", "0"], 2, "usage")?;
    check_error(&stage, &["run"], 2, "usage")?;
    check_error(&stage, &["run", "   "], 2, "instruction_empty")?;
    check_error(
        &stage,
        &["run", "x", "--waive", "runner_files"],
        2,
        "waiver_malformed",
    )?;
    check_error(
        &stage,
        &["run", "x", "--budget-usd=-1"],
        2,
        "amount_invalid",
    )?;
    check_error(
        &stage,
        &["run", "-f", "no-such-file"],
        2,
        "instruction_unreadable",
    )?;
    let error = check_error(&stage, &["run", "x", "--gat", "G1"], 2, "usage")?;
    assert!(
        error["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("--gate")),
        "{error}"
    );
    for (arguments, listed) in [
        (&[][..], "ledger"),
        (&["job"], "retry"),
        (&["ledger"], "export"),
    ] {
        let bare = stage.run(arguments)?;
        assert_eq!(
            (bare.code, bare.stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert!(
            bare.stderr.contains(listed),
            "{arguments:?}: {}",
            bare.stderr
        );
    }
    let bare = stage.run(&["--json"])?;
    assert_json_error(&bare, 2, "command_missing")?;
    assert!(!stage.home().exists(), "nothing was made");
    Ok(())
}

#[test]
fn an_instruction_of_ten_megabytes_is_refused_before_anything_is_made() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let path = stage.write("instruction.txt", vec![b'x'; 10 * 1024 * 1024])?;
    let path = path.to_string_lossy();
    check_error(&stage, &["run", "-f", &path], 2, "instruction_too_long")?;
    let mut command = stage.command(&["run", "-f", "-", "--json"]);
    command.stdin(std::fs::File::open(&*path)?);
    assert_json_error(&command.output()?.into(), 2, "instruction_too_long")?;
    assert!(!stage.home().exists(), "nothing was made");
    Ok(())
}

#[test]
fn what_is_not_there_is_not_found() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    check_error(&stage, &["job", "show", "7"], 4, "home_not_found")?;
    let list = stage.run(&["job", "list", "--json"])?;
    assert_eq!(
        list.json()?,
        serde_json::json!({ "items": [], "next_cursor": null })
    );
    assert!(!stage.home().exists(), "looking makes nothing");
    std::fs::create_dir(stage.home())?;
    for command in ["show", "log", "diff", "cancel", "retry"] {
        check_error(&stage, &["job", command, "7"], 4, "not_found")?;
    }
    check_error(&stage, &["job", "show", "../../etc/passwd"], 4, "not_found")?;
    check_error(
        &stage,
        &["job", "show", "job_01jgfjjz000000000000000000"],
        4,
        "not_found",
    )?;
    Ok(())
}

/// A home with one worker that needs no model.
fn with_worker() -> anyhow::Result<Stage> {
    let stage = Stage::new()?;
    stage.write(
        "home/skep.toml",
        "[worker.true]\nharness = \"exec\"\ncommand = [\"true\"]\n",
    )?;
    Ok(stage)
}

#[test]
fn a_job_that_cannot_be_carried_out_is_not_written_down() -> anyhow::Result<()> {
    let stage = with_worker()?;
    let repository = stage.repository("repository")?;
    let repository = repository.to_string_lossy();
    std::fs::create_dir(stage.path("folder"))?;
    let folder = stage.path("folder");
    let folder = folder.to_string_lossy();
    let missing = stage.path("missing");
    let missing = missing.to_string_lossy();
    check_error(&stage, &["run", "x"], 2, "repo_missing")?;
    check_error(
        &stage,
        &["run", "x", "--repo", &folder],
        2,
        "not_a_repository",
    )?;
    check_error(
        &stage,
        &["run", "x", "--repo", &missing],
        2,
        "not_a_repository",
    )?;
    let run = ["run", "x", "--repo", &repository];
    let with = |more: &[&'static str]| -> Vec<String> {
        run.iter()
            .chain(more)
            .map(|word| (*word).to_owned())
            .collect()
    };
    for (more, code) in [
        (&["--base", "no-such-commit"][..], "base_not_found"),
        (&["--scope", "../elsewhere/**"], "bad_scope"),
        (&["--scope", "/etc/**"], "bad_scope"),
        (&["--scope", "src/[", "--scope", "x"], "bad_scope"),
        (&["--worker", "nobody"], "unknown_worker"),
        (&["--harness", "psychic"], "unknown_harness"),
        (&["--target-branch", "not..a..branch"], "bad_target"),
    ] {
        let arguments = with(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        check_error(&stage, &arguments, 2, code)?;
    }
    let list = stage.run(&["job", "list", "--json"])?;
    assert_eq!(list.json()?["items"], serde_json::json!([]));
    Ok(())
}

#[test]
fn a_configuration_that_cannot_be_used_stops_everything() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    stage.write("home/skep.toml", "[engine]\nslotz = 2\n")?;
    let error = check_error(&stage, &["job", "show", "1"], 2, "config_unknown_key")?;
    let message = error["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("line 2") && message.contains("engine.slotz"),
        "{message}"
    );
    check_error(&stage, &["up"], 2, "config_unknown_key")?;
    check_error(
        &stage,
        &["up", "--config", "nowhere.toml"],
        2,
        "config_not_found",
    )?;
    let secret = "sk-do-not-print-me";
    let config = stage.write(
        "literal.toml",
        format!("[provider.p]\napi_key = \"{secret}\"\n"),
    )?;
    let config = config.to_string_lossy();
    let error = check_error(
        &stage,
        &["up", "--config", &config],
        2,
        "config_secret_literal",
    )?;
    assert!(!error.to_string().contains(secret), "{error}");
    let doctor = stage.run(&["doctor", "--json", "--config", &config])?;
    assert!(!format!("{doctor:?}").contains(secret), "{doctor:?}");
    Ok(())
}

#[test]
fn the_committed_example_configuration_is_accepted() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../skep.example.toml");
    let ran = stage.run(&["doctor", "--json", "--config", example])?;
    let checks = ran.json()?["checks"].clone();
    let state = |name: &str| -> Value {
        let checks = checks.as_array().expect("a list").iter();
        checks
            .clone()
            .find(|check| check["name"] == name)
            .expect(name)["state"]
            .clone()
    };
    assert_eq!(state("configuration"), "ok", "{ran:?}");
    assert_eq!(state("secrets"), "fail", "its key is not set here: {ran:?}");
    assert_eq!(ran.code, Some(1));
    Ok(())
}

#[test]
fn doctor_checks_everything_and_has_a_remedy_for_what_it_finds() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let ran = stage.run(&["doctor", "--json"])?;
    let view = ran.json()?;
    assert_eq!(view["ok"], ran.code == Some(0), "{ran:?}");
    assert_eq!(view["home"], stage.home().to_string_lossy().as_ref());
    let checks = view["checks"].as_array().expect("a list");
    let names: Vec<&str> = checks
        .iter()
        .filter_map(|check| check["name"].as_str())
        .collect();
    for name in [
        "home",
        "disk",
        "configuration",
        "database",
        "ledger",
        "clock",
        "git",
        "fence",
        "toolchain",
        "providers",
        "secrets",
        "workers",
        "agent programs",
    ] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    for check in checks {
        let state = check["state"].as_str().unwrap_or_default();
        assert!(["ok", "warn", "fail"].contains(&state), "{check}");
        assert!(
            check["found"]
                .as_str()
                .is_some_and(|found| !found.is_empty()),
            "{check}"
        );
        let has_remedy = check["remedy"]
            .as_str()
            .is_some_and(|remedy| !remedy.is_empty());
        assert_eq!(has_remedy, state != "ok", "{check}");
    }
    for line in stage.run(&["doctor"])?.stdout.lines() {
        assert!(line.chars().count() <= COLUMNS_MAX, "{line}");
    }
    assert!(!stage.home().exists(), "a doctor makes nothing");
    Ok(())
}
