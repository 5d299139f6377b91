//! Forward-only migrations: each crate that owns tables brings numbered steps for both engines.
//!
//! `schema_step` records which step was applied, when, and the checksum of its text. A step whose
//! text has changed, or a step this program does not know, stops the start before anything is
//! written. `schema/sqlite.sql` and `schema/postgres.sql` show what all steps together give.

use crate::{Db, DbError, Engine, Tx, params};
use ring::digest::{SHA256, digest};
use std::collections::HashMap;
use std::fmt::Write as _;

/// The tables of one crate and the steps that make them.
#[derive(Debug, Clone, Copy)]
pub struct SchemaPart {
    /// The owning crate's name.
    pub owner: &'static str,
    /// Every table the steps make.
    pub tables: &'static [Table],
    /// The steps, oldest first, numbered from 1 without gaps.
    pub steps: &'static [Step],
}

/// One table.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The highest tier of data it holds: `convenience`, `sensitive` or `sacred`.
    pub tier: &'static str,
}

/// One step of a schema.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// From 1, without gaps.
    pub version: i64,
    /// Why, in words joined by hyphens.
    pub intent: &'static str,
    /// The statements for SQLite.
    pub sqlite: &'static str,
    /// The statements for PostgreSQL.
    pub postgres: &'static str,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The store has a step that this program does not know.
    #[error("open a database made by a newer version: it has step {version} of {owner}")]
    Newer {
        /// The crate whose step it is.
        owner: String,
        /// The unknown step.
        version: i64,
    },
    /// A step's text is not what it was when it was applied.
    #[error("open the database: step {version} of {owner} is not the text that was applied to it")]
    Changed {
        /// The crate whose step it is.
        owner: String,
        /// The changed step.
        version: i64,
    },
    /// The store itself failed.
    #[error("open the database")]
    Db(#[from] DbError),
}

impl SchemaError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Newer { .. } => "database_newer",
            Self::Changed { .. } => "database_step_changed",
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Newer { .. } => {
                "run the version of skep that last used this home, or a newer one"
            }
            Self::Changed { .. } => {
                "this build of skep is not the one that made the database: use a released build"
            }
            Self::Db(_) => {
                "check that the home is writable and the disk not full, then `skep doctor`"
            }
        }
    }
}

const REGISTER: &str = "CREATE TABLE IF NOT EXISTS schema_step (
    owner TEXT NOT NULL, version BIGINT NOT NULL, intent TEXT NOT NULL,
    checksum TEXT NOT NULL, applied_at BIGINT NOT NULL, PRIMARY KEY (owner, version))";

/// Applies the steps that are missing, as a transaction of its own.
pub(crate) async fn migrate(db: &Db, parts: &[SchemaPart]) -> Result<(), SchemaError> {
    let parts = parts.to_vec();
    db.write("migrate", async move |tx: &mut Tx<'_>| {
        take_turn(tx).await?;
        bring_up_to_date(tx, &parts).await
    })
    .await
}

/// Makes two nodes that start at once take turns, until the end of the transaction. Afterwards the
/// register of steps is there.
pub(crate) async fn take_turn(tx: &mut Tx<'_>) -> Result<(), DbError> {
    if tx.engine() == Engine::Postgres {
        // The number is "skep" in ASCII.
        tx.query(
            "SELECT pg_advisory_xact_lock(1936418160) IS NULL AS locked",
            &[],
        )
        .await?;
    }
    tx.batch(REGISTER).await
}

/// Applies the steps of `parts` that are missing. After [`take_turn`].
pub(crate) async fn bring_up_to_date(
    tx: &mut Tx<'_>,
    parts: &[SchemaPart],
) -> Result<(), SchemaError> {
    let engine = tx.engine();
    let applied = applied_steps(tx).await?;
    check_known(parts, &applied, engine)?;
    for part in parts {
        for step in part.steps {
            if applied.contains_key(&(part.owner.to_owned(), step.version)) {
                continue;
            }
            tx.batch(text(step, engine)).await?;
            let now = tx.now_ms().await?;
            let row = params![
                part.owner,
                step.version,
                step.intent,
                checksum(step, engine),
                now
            ];
            let sql = "INSERT INTO schema_step (owner, version, intent, checksum, applied_at)
                VALUES (?1, ?2, ?3, ?4, ?5)";
            tx.execute(sql, row).await?;
        }
    }
    Ok(())
}

/// Fails when the store has a step that this program does not know; changes nothing.
pub(crate) async fn check(db: &Db, parts: &[SchemaPart]) -> Result<(), SchemaError> {
    let parts = parts.to_vec();
    db.read("check schema", async move |tx: &mut Tx<'_>| {
        let applied = applied_steps(tx).await?;
        check_known(&parts, &applied, tx.engine())
    })
    .await
}

/// Makes the tables of `parts` in an empty SQLite store.
pub(crate) fn apply_sqlite(
    session: &crate::sqlite::Session,
    parts: &[SchemaPart],
) -> Result<(), DbError> {
    parts
        .iter()
        .flat_map(|part| part.steps)
        .try_for_each(|step| session.batch(step.sqlite))
}

/// SHA-256 of a step's text for SQLite, a zero byte, and its text for PostgreSQL: what both
/// engines agree on about a step.
pub(crate) fn step_sha256(step: &Step) -> String {
    let mut context = ring::digest::Context::new(&SHA256);
    for part in [step.sqlite, "\0", step.postgres] {
        context.update(part.as_bytes());
    }
    hexadecimal(context.finish().as_ref())
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

pub(crate) async fn applied_steps(
    tx: &mut Tx<'_>,
) -> Result<HashMap<(String, i64), String>, DbError> {
    let rows = tx
        .query("SELECT owner, version, checksum FROM schema_step", &[])
        .await?;
    rows.iter()
        .map(|row| {
            Ok((
                (row.get("owner")?, row.get("version")?),
                row.get("checksum")?,
            ))
        })
        .collect()
}

pub(crate) fn check_known(
    parts: &[SchemaPart],
    applied: &HashMap<(String, i64), String>,
    engine: Engine,
) -> Result<(), SchemaError> {
    for ((owner, version), found) in applied {
        let part = parts.iter().find(|part| part.owner == owner);
        let step = part.and_then(|part| part.steps.iter().find(|step| step.version == *version));
        let Some(step) = step else {
            return Err(SchemaError::Newer {
                owner: owner.clone(),
                version: *version,
            });
        };
        if checksum(step, engine) != *found {
            return Err(SchemaError::Changed {
                owner: owner.clone(),
                version: *version,
            });
        }
    }
    Ok(())
}

const fn text(step: &Step, engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => step.sqlite,
        Engine::Postgres => step.postgres,
    }
}

fn checksum(step: &Step, engine: Engine) -> String {
    hexadecimal(digest(&SHA256, text(step, engine).as_bytes()).as_ref())
}
