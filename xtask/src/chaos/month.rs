//! A month of the published mix, replayed through the queue; see `crates/skep-tests/suite/month`.

use super::suite::POSTGRES_VARIABLE;
use crate::machine::Workspace;
use crate::options::Options;
use crate::process;
use crate::report::{Report, Row, say};
use crate::test::cluster::{Cluster, server_programs};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::path::Path;

/// A folder in memory: the month makes tens of thousands of durable commits one after another.
const MEMORY: &str = "/dev/shm";
/// What a quick run replays.
const QUICK: [&str; 4] = ["--jobs", "500", "--days", "4"];

/// What the replay prints.
#[derive(Deserialize)]
struct Printed {
    head: String,
    table: String,
    rows: Vec<PrintedRow>,
}

#[derive(Deserialize)]
struct PrintedRow {
    name: String,
    ok: bool,
    note: String,
}

/// Replays the month twice from one seed, on each engine that there is.
pub(super) fn run(options: &Options) -> Result<Report> {
    let workspace = Workspace::find()?;
    let cluster = match std::env::var_os(POSTGRES_VARIABLE) {
        Some(_) => None,
        None => Some(Cluster::start(&server_programs()?)?),
    };
    let url = cluster.as_ref().map(Cluster::url);
    let sqlite = replay(&workspace, options, "sqlite", None)?;
    say(&format!("\n{}", sqlite.table));
    let postgres = replay(&workspace, options, "postgres", url.as_deref())?;
    let mut rows = shown("SQLite", &sqlite);
    rows.extend(shown("PostgreSQL", &postgres));
    let same = sqlite.head == postgres.head;
    rows.push(row("both engines: the same ledger", same, String::new()));
    Ok(Report::of(rows))
}

fn replay(
    workspace: &Workspace,
    options: &Options,
    engine: &str,
    server: Option<&str>,
) -> Result<Printed> {
    let mut replay = workspace.cargo();
    replay.args(["bench", "--profile", "dev", "-p", "skep-tests"]);
    replay.args(["--bench", "month", "--", "--engine", engine]);
    if options.quick {
        replay.args(QUICK);
    }
    if let Some(server) = server {
        replay.env(POSTGRES_VARIABLE, server);
    }
    if Path::new(MEMORY).is_dir() {
        replay.env("TMPDIR", MEMORY);
    }
    say(&format!("replaying a month on {engine}, twice"));
    serde_json::from_str(&process::output(&mut replay)?).context("failed to read the replay")
}

fn shown(engine: &str, printed: &Printed) -> Vec<Row> {
    let rows = printed.rows.iter();
    rows.map(|found| {
        row(
            &format!("{engine}: {}", found.name),
            found.ok,
            found.note.clone(),
        )
    })
    .collect()
}

/// A row without a number.
fn row(name: &str, ok: bool, note: String) -> Row {
    let outcome = if ok { Ok(note) } else { Err(note) };
    Row {
        value: None,
        ..Row::step(name, 0.0, outcome)
    }
}
