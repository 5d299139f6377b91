//! The virtual key is the worker's, and stays where it was given.

use super::stand::{Engine, FIX, SCHEMA, Setup, assert_landed, project, request};
use anyhow::Context as _;
use skep_db::{Db, Engine as Store, Tx};
use skep_testkit::{TestStore, on_both_engines};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

on_both_engines!(
    a_key_is_found_nowhere,
    a_key_that_a_worker_shouts_is_blanked_out
);

/// Leaves the key in the repository in a form that only the test undoes.
const TELLS: &str = r#"printf %s "$SKEP_API_KEY" | od -An -tx1 | tr -d ' \n' > key.hex"#;

/// The key that a worker left in the landed commit.
fn told(text: &str) -> anyhow::Result<String> {
    let digits = text.trim().as_bytes();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect::<anyhow::Result<_>>()?;
    let key = String::from_utf8(bytes)?;
    anyhow::ensure!(key.starts_with("skep_") && key.len() == 69, "no key: {key}");
    Ok(key)
}

/// Every row of every table as the store prints it.
async fn dump(db: &Db) -> anyhow::Result<String> {
    let mut text = String::new();
    let tables = SCHEMA.iter().flat_map(|part| part.tables);
    for table in tables {
        let sql = match db.engine() {
            Store::Postgres => format!("SELECT CAST(t AS TEXT) AS row FROM {} t", table.name),
            Store::Sqlite => format!("SELECT * FROM {}", table.name),
        };
        let read = async move |tx: &mut Tx<'_>| tx.query(&sql, &[]).await;
        for row in db.read("dump", read).await? {
            text.push_str(&format!("{row:?}\n"));
        }
    }
    Ok(text)
}

/// Files below `folder` that hold `needle`.
fn holders(folder: &Path, needle: &[u8]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            found.extend(holders(&path, needle)?);
        } else if kind.is_file() {
            // A store that was closed takes its auxiliary files with it.
            let bytes = match std::fs::read(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                read => read.with_context(|| format!("failed to read {}", path.display()))?,
            };
            if bytes.windows(needle.len()).any(|window| window == needle) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Runs a worker of these steps; the log of its attempt, once its key was found nowhere.
async fn look_for_key(store: &TestStore, steps: &str) -> anyhow::Result<String> {
    let project = project()?;
    let engine = Engine::start(store, &Setup::with_fixer(steps)).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    let key = told(&project.read("key.hex")?)?;
    let log = engine.log(&view.id).await?;
    assert!(!log.contains(&key), "it stands in the log");
    let shown = serde_json::to_string(&view)?;
    assert!(!shown.contains(&key), "it stands in the account");
    let events = engine.director.events(0, None, 500).await?;
    assert!(
        !serde_json::to_string(&events)?.contains(&key),
        "it stands on the ledger"
    );
    let rows = dump(&engine.db).await?;
    assert!(
        rows.contains("Make `add` add."),
        "the dump holds what there is"
    );
    assert!(!rows.contains(&key), "it stands in a table");
    // The store's own files are among these, and every git object of the vault that is not packed
    // away under compression.
    let home = engine.home.root().to_owned();
    engine.stop().await?;
    assert_eq!(
        holders(store.folder(), key.as_bytes())?,
        Vec::<PathBuf>::new()
    );
    anyhow::ensure!(
        home.join("reports/1.json").is_file(),
        "there was a report to look at"
    );
    Ok(log)
}

async fn a_key_is_found_nowhere(store: TestStore) -> anyhow::Result<()> {
    look_for_key(&store, &format!("{TELLS}\n{FIX}"))
        .await
        .map(drop)
}

async fn a_key_that_a_worker_shouts_is_blanked_out(store: TestStore) -> anyhow::Result<()> {
    let steps = format!(
        r#"{TELLS}
env
echo "my key is $SKEP_API_KEY" >&2
{FIX}
sed -i "s/as asked/as $SKEP_API_KEY asked/" "$SKEP_CONTRACT_FILE""#
    );
    let log = look_for_key(&store, &steps).await?;
    assert!(log.contains("SKEP_API_KEY=[redacted]"), "{log}");
    assert!(log.contains("my key is [redacted]"), "{log}");
    Ok(())
}
