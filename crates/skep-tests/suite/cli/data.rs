//! `skep data` as users meet it.

use super::program::Stage;
use super::{assert_human_error, check_error};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

/// A stage with a home that has a waiting job in it.
fn filled() -> anyhow::Result<Stage> {
    let stage = Stage::new()?;
    stage.write(
        "home/skep.toml",
        "[worker.idle]\nharness = \"exec\"\ncommand = [\"true\"]\n",
    )?;
    let repository = stage.repository("bees")?;
    let repository = repository.to_string_lossy();
    let ran = stage.run(&[
        "run",
        "Count the bees",
        "--repo",
        &repository,
        "--worker",
        "idle",
        "--gate",
        "G0",
        "--detach",
    ])?;
    anyhow::ensure!(ran.code == Some(0), "{ran:?}");
    Ok(stage)
}

/// A second home on the stage, with what it is started with.
fn elsewhere(stage: &Stage, key: bool) -> anyhow::Result<String> {
    stage.write("other/skep.toml", "")?;
    if key {
        std::fs::copy(
            stage.path("home/ledger.key"),
            stage.path("other/ledger.key"),
        )?;
    }
    Ok(stage.path("other").to_string_lossy().into_owned())
}

#[test]
fn an_export_needs_something_to_export_and_a_new_file() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    check_error(&stage, &["data", "export", "x"], 4, "home_not_found")?;
    check_error(&stage, &["data", "query", "SELECT 1"], 4, "store_not_found")?;
    let stage = filled()?;
    stage.write("x", "")?;
    check_error(&stage, &["data", "export", "x"], 2, "output_unwritable")?;
    let ran = stage.run(&["data", "export", "new", "--json"])?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let document = ran.json()?;
    assert_eq!(document["tables"]["job"], 1);
    assert_eq!(document["server_was_running"], false);
    let left: Vec<&str> = document["left_in_home"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|left| left["path"].as_str())
        .collect();
    assert_eq!(left, ["vaults", "ledger.key"]);
    // Instructions are in it: it is for its owner's eyes only.
    let mode = std::fs::metadata(stage.path("new"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    Ok(())
}

#[test]
fn a_home_goes_through_a_pipe_into_another() -> anyhow::Result<()> {
    let stage = filled()?;
    let other = elsewhere(&stage, false)?;
    let mut export = stage
        .command(&["data", "export", "-", "--files", "--with-keys"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let pipe = export
        .stdout
        .take()
        .ok_or_else(|| anyhow::anyhow!("no pipe"))?;
    let import = stage
        .command(&["--home", &other, "data", "import", "-", "--json"])
        .stdin(pipe)
        .output()?;
    anyhow::ensure!(export.wait()?.success());
    let import = super::program::Ran::from(import);
    assert_eq!(import.code, Some(0), "{import:?}");
    let document = import.json()?;
    assert_eq!(document["ledger_ok"], true);
    // The job's vault lies in the other home, and the row says so.
    assert_eq!(document["paths_moved"], 1);
    let ran = stage.run(&[
        "--home",
        &other,
        "data",
        "query",
        "SELECT vault FROM dispatch",
        "--json",
    ])?;
    let vault = ran.json()?["vault"].as_str().unwrap_or_default().to_owned();
    assert!(vault.starts_with(&other), "{vault}");
    assert!(std::path::Path::new(&vault).join("HEAD").is_file());
    let ran = stage.run(&["--home", &other, "ledger", "verify"])?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let left: Vec<_> = std::fs::read_dir(&other)?.collect::<Result<_, _>>()?;
    let spool = left
        .iter()
        .any(|e| e.file_name().to_string_lossy().starts_with("import"));
    assert!(!spool, "{left:?}");
    Ok(())
}

#[test]
fn an_import_without_its_key_changes_nothing() -> anyhow::Result<()> {
    let stage = filled()?;
    assert_eq!(stage.run(&["data", "export", "all"])?.code, Some(0));
    let other = elsewhere(&stage, false)?;
    let import = ["--home", &other, "data", "import", "all"];
    check_error(&stage, &import, 2, "ledger_key_missing")?;

    // The key of another home: it opens, but it did not sign this ledger.
    let foreign = Stage::new()?;
    foreign.write("home/skep.toml", "")?;
    assert_eq!(foreign.run(&["job", "list"])?.code, Some(0));
    std::fs::copy(
        foreign.path("home/ledger.key"),
        stage.path("other/ledger.key"),
    )?;
    check_error(&stage, &import, 2, "ledger_head_foreign")?;

    std::fs::copy(
        stage.path("home/ledger.key"),
        stage.path("other/ledger.key"),
    )?;
    let ran = stage.run(&import)?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    check_error(&stage, &import, 2, "store_not_empty")?;
    let ran = stage.run(&["--home", &other, "job", "list", "--json"])?;
    assert_eq!(ran.json()?["items"].as_array().map(Vec::len), Some(1));
    Ok(())
}

#[test]
fn a_file_that_is_in_the_way_stops_an_import() -> anyhow::Result<()> {
    let stage = filled()?;
    let ran = stage.run(&["data", "export", "all", "--with-keys"])?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("as secret as they are"), "{ran:?}");
    let other = elsewhere(&stage, false)?;
    let import = ["--home", &other, "data", "import", "all"];
    stage.write("other/ledger.key", "something else")?;
    check_error(&stage, &import, 2, "home_file_differs")?;
    check_error(&stage, &["data", "import", "no-such-file"], 2, "archive_io")?;
    stage.write("no-archive", "{}\n")?;
    check_error(
        &stage,
        &["--home", &other, "data", "import", "no-archive"],
        2,
        "archive_foreign",
    )?;
    Ok(())
}

#[test]
fn a_server_is_read_beside_and_never_imported_over() -> anyhow::Result<()> {
    let stage = filled()?;
    let server = stage.up()?;
    let ran = stage.run(&["data", "export", "live", "--json"])?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.json()?["server_was_running"], true);
    check_error(
        &stage,
        &["data", "export", "more", "--files"],
        2,
        "home_in_use",
    )?;
    check_error(&stage, &["data", "import", "live"], 2, "home_in_use")?;
    let ran = stage.run(&[
        "data",
        "query",
        "SELECT count(*) AS jobs FROM job_all",
        "--json",
    ])?;
    assert_eq!(ran.json()?["jobs"], 1);
    drop(server);
    Ok(())
}

#[test]
fn an_answer_is_a_table_that_fits_and_moves_no_cursor() -> anyhow::Result<()> {
    let stage = filled()?;
    let sql = "SELECT char(27) || '[2J' AS text, 1 AS n UNION ALL SELECT 'plain', NULL";
    let ran = stage.run(&["data", "query", sql])?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let expected = ["text      n", "\u{fffd}[2J      1", "plain  null"];
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), expected);
    for sql in [
        "SELECT * FROM job_all",
        "SELECT * FROM ledger_event",
        "SELECT * FROM dispatch",
    ] {
        let ran = stage.run(&["data", "query", sql])?;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        for line in ran.stdout.lines() {
            assert!(line.chars().count() <= super::COLUMNS_MAX, "{line}");
        }
    }
    let ran = stage.run(&[
        "data",
        "query",
        "SELECT id FROM ledger_event",
        "--limit",
        "1",
    ])?;
    assert_eq!(ran.stdout.lines().count(), 2, "{ran:?}");
    assert!(ran.stderr.contains("--limit"), "{ran:?}");
    let error = stage.run(&["data", "query", "DELETE FROM job"])?;
    assert_human_error(&error, 2, "query_writes");
    check_error(
        &stage,
        &["data", "query", "SELECT 1 FROM nothing"],
        2,
        "query_refused",
    )?;
    Ok(())
}
