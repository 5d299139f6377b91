//! The ledger's commands: what they print proves itself, elsewhere and later too.

use super::check_error;
use super::program::{Ran, Stage};

/// A home whose ledger holds a few events.
fn stage() -> anyhow::Result<Stage> {
    let stage = Stage::new()?;
    stage.up()?.end("TERM")?;
    events(&stage)?;
    Ok(stage)
}

fn events(stage: &Stage) -> anyhow::Result<()> {
    for action in ["pause", "resume"] {
        let ran = stage.run(&["queue", action, "default"])?;
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    Ok(())
}

/// Runs a command and compares its exit code and a part of what it prints.
fn check(stage: &Stage, arguments: &[&str], exit: i32, part: &str) -> anyhow::Result<Ran> {
    let ran = stage.run(arguments)?;
    assert_eq!(ran.code, Some(exit), "{arguments:?}: {ran:?}");
    let whole = format!("{}{}", ran.stdout, ran.stderr);
    assert!(whole.contains(part), "{arguments:?}: {ran:?}");
    Ok(ran)
}

#[test]
fn a_noted_head_is_found_again() -> anyhow::Result<()> {
    let stage = stage()?;
    let head = stage.run(&["ledger", "head"])?.stdout.trim().to_owned();
    events(&stage)?;
    check(&stage, &["ledger", "verify", "--anchor", &head], 0, "ok")?;
    let later = stage.run(&["ledger", "head", "--json"])?.json()?;
    assert!(later["seq"].as_i64() > Some(2), "{later}");
    assert_ne!(later["anchor"], head);
    let (seq, _) = head.split_once(':').unwrap_or_default();
    let wrong = format!("{seq}:{}", "0f".repeat(32));
    let both = ["ledger", "verify", "--anchor", &head, "--anchor", &wrong];
    check(&stage, &both, 1, "(anchor_not_found)")?;
    let anchor = ["ledger", "verify", "--anchor", "seven"];
    check_error(&stage, &anchor, 2, "anchor_malformed")?;
    // A server answers the same.
    let server = stage.up()?;
    check(&stage, &["ledger", "verify", "--anchor", &head], 0, "ok")?;
    check(&stage, &both, 1, "(anchor_not_found)")?;
    let held = stage.run(&["ledger", "head", "--json"])?.json()?;
    assert!(held["seq"].as_i64() >= later["seq"].as_i64(), "{held}");
    server.end("TERM")?;
    Ok(())
}

#[test]
fn an_export_is_verified_without_a_home() -> anyhow::Result<()> {
    let stage = stage()?;
    let head = stage.run(&["ledger", "head", "--json"])?.json()?;
    let (key, anchor) = (head["public_key"].clone(), head["anchor"].clone());
    let (key, anchor) = (key.as_str().unwrap_or(""), anchor.as_str().unwrap_or(""));
    let file = stage.path("ledger.jsonl");
    let name = file.to_string_lossy().into_owned();
    check(&stage, &["ledger", "export", &name], 0, "events exported")?;
    let text = std::fs::read_to_string(&file)?;
    let printed = stage.run(&["ledger", "export", "-"])?;
    assert_eq!(printed.stdout, text);

    let elsewhere = Stage::new()?;
    let verify = ["ledger", "verify", "--export", &name];
    let ran = check(&elsewhere, &verify, 0, "ok")?;
    assert!(
        ran.stderr.contains(key),
        "it says whose key it was: {ran:?}"
    );
    let with_key = [&verify[..], &["--key", key, "--anchor", anchor]].concat();
    let ran = check(&elsewhere, &with_key, 0, "ok")?;
    assert_eq!(ran.stderr, "");
    assert!(!elsewhere.home().exists(), "no home was made");
    let stranger = "0f".repeat(32);
    let other_key = [&verify[..], &["--key", &stranger]].concat();
    check(
        &elsewhere,
        &other_key,
        1,
        "line 1, event 0 (signature_wrong)",
    )?;
    check_error(
        &elsewhere,
        &[&verify[..], &["--key", "seven"]].concat(),
        2,
        "ledger_key_malformed",
    )?;
    let missing = ["ledger", "verify", "--export", "nowhere.jsonl"];
    check_error(&elsewhere, &missing, 2, "export_unreadable")?;

    let cut = text.lines().count() - 1;
    let lines: Vec<&str> = text.lines().take(cut).collect();
    let cut = stage.write("cut.jsonl", format!("{}\n", lines.join("\n")))?;
    let cut = cut.to_string_lossy().into_owned();
    check(
        &elsewhere,
        &["ledger", "verify", "--export", &cut],
        1,
        "(entry_missing)",
    )?;
    let changed = stage.write(
        "changed.jsonl",
        text.replacen("queue_paused", "queue_pauseb", 1),
    )?;
    let changed = changed.to_string_lossy().into_owned();
    let verify = ["ledger", "verify", "--json", "--export", &changed];
    let ran = stage.run(&verify)?;
    let view = ran.json()?;
    assert_eq!((ran.code, &view["ok"]), (Some(1), &false.into()), "{view}");
    assert_eq!(view["fault"], "entry_changed", "{view}");
    let line = text.lines().position(|line| line.contains("queue_paused"));
    let line = line.and_then(|line| i64::try_from(line + 1).ok());
    assert_eq!(view["first_bad_line"].as_i64(), line, "{view}");
    Ok(())
}

#[test]
fn a_key_is_replaced_on_record() -> anyhow::Result<()> {
    let stage = stage()?;
    let key_file = stage.home().join("ledger.key");
    let lost = ["ledger", "rekey", "--reason", "lost"];
    check_error(&stage, &lost, 2, "ledger_key_not_lost")?;
    let before = stage.run(&["ledger", "head", "--json"])?.json()?;
    let planned = ["ledger", "rekey", "--reason", "planned"];
    let server = stage.up()?;
    check_error(&stage, &planned, 2, "home_in_use")?;
    server.end("TERM")?;

    let ran = stage.run(&[&planned[..], &["--json"]].concat())?;
    let change = ran.json()?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(change["old_key"], before["public_key"]);
    let ran = check(&stage, &["ledger", "verify"], 0, "key changed at event")?;
    assert!(ran.stdout.contains("planned"), "{ran:?}");
    events(&stage)?;
    let old_seq = change["seq"].as_i64().unwrap_or_default() - 1;
    let old_file = stage.home().join(format!("ledger.key.until-{old_seq}"));
    let next_file = stage.home().join("ledger.key.next");
    assert!(old_file.exists() && !next_file.exists());

    // Died after the record and before the files changed places.
    std::fs::rename(&key_file, &next_file)?;
    std::fs::rename(&old_file, &key_file)?;
    let refused = stage.run(&["queue", "pause", "default"])?;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    let ran = stage.run(&[&planned[..], &["--json"]].concat())?;
    assert_eq!(ran.json()?, change, "the same change is finished: {ran:?}");
    events(&stage)?;
    check(&stage, &["ledger", "verify"], 0, "ok")?;

    // Gone.
    std::fs::remove_file(&key_file)?;
    check(&stage, &["ledger", "verify"], 1, "rekey --reason lost")?;
    let refused = stage.run(&["up", "--listen", "127.0.0.1:0", "--json"])?;
    assert_eq!(
        refused.json()?["error"]["code"],
        "ledger_head_foreign",
        "{refused:?}"
    );
    check_error(&stage, &planned, 1, "ledger_bad")?;
    check(&stage, &lost, 0, "on the ledger is signed by")?;
    let ran = check(&stage, &["ledger", "verify"], 0, "lost")?;
    assert_eq!(ran.stdout.matches("key changed").count(), 2, "{ran:?}");
    stage.up()?.end("TERM")?;
    Ok(())
}
