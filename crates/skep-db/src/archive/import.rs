//! Taking an archive into an empty store: schema, rows and read-back in one transaction.

use super::Progress;
use super::catalogue::{Catalogue, TableShape, quoted};
use super::error::ArchiveError;
use super::export::{weight, write_table};
use super::line::{decode_row, encode_row};
use super::read::{Archive, Section};
use super::write::ArchiveWriter;
use crate::limits::{ARCHIVE_INSERT_ROWS_MAX, ARCHIVE_PAGE_BYTES};
use crate::migrate::{self, applied_steps, hexadecimal, step_sha256};
use crate::{Db, DbOptions, Engine, SchemaPart, Tx, Value, params};
use ring::digest::{Context, SHA256};
use skep_stdx::crash;
use std::io;

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported<T> {
    /// Rows taken in.
    pub rows: u64,
    /// Texts in which zero characters were replaced.
    pub texts_replaced: u64,
    /// What the caller made of the arrived data.
    pub arrival: T,
}

impl Db {
    /// Makes the store of `options` hold what `archive` holds, and opens it.
    ///
    /// One transaction: the schema as the archive has it, every row, a comparison of what the
    /// store then reads back with the archive's digest, the steps that the archive lacks, and
    /// last `arrive`, which may change what only holds where the archive was made. With
    /// `replace_zero` a zero character in text becomes U+FFFD where the engine cannot store it.
    ///
    /// Fails without a trace when the store holds anything already.
    pub async fn import<T, E, F>(
        options: DbOptions,
        archive: Archive,
        replace_zero: bool,
        progress: Progress,
        arrive: F,
    ) -> Result<(Self, Imported<T>), ArchiveError>
    where
        F: AsyncFn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let parts = options.schema.clone();
        let earlier = parts_of(&parts, &archive)?;
        let catalogue = Catalogue::of(&earlier)?;
        let db = Self::connect(options).await?;
        let imported = db
            .write("import", async move |tx: &mut Tx<'_>| {
                migrate::take_turn(tx).await?;
                if tx.engine() == Engine::Postgres {
                    // Rows come from a file or a pipe, which takes the time it takes.
                    tx.batch("SET LOCAL idle_in_transaction_session_timeout = 0")
                        .await?;
                }
                check_store(tx, &parts, &earlier).await?;
                migrate::bring_up_to_date(tx, &earlier).await?;
                let load = Load {
                    archive: &archive,
                    catalogue: &catalogue,
                    replace_zero,
                    progress: &progress,
                };
                let texts_replaced = load.run(tx).await?;
                migrate::bring_up_to_date(tx, &parts).await?;
                let arrival = arrive(tx)
                    .await
                    .map_err(|error| ArchiveError::Arrival(Box::new(error)))?;
                crash::point("archive.loaded");
                Ok::<_, ArchiveError>(Imported {
                    rows: archive.rows(),
                    texts_replaced,
                    arrival,
                })
            })
            .await?;
        Ok((db, imported))
    }
}

/// The parts with the steps that the archive was made with, and no later ones.
fn parts_of(parts: &[SchemaPart], archive: &Archive) -> Result<Vec<SchemaPart>, ArchiveError> {
    let marks = &archive.head().steps;
    for mark in marks {
        let part = parts.iter().find(|part| part.owner == mark.owner);
        let step = part.and_then(|part| part.steps.iter().find(|s| s.version == mark.version));
        match step {
            None => {
                return Err(ArchiveError::NewerStep {
                    owner: mark.owner.clone(),
                    version: mark.version,
                });
            }
            Some(step) if step_sha256(step) != mark.sha256 => {
                return Err(ArchiveError::ChangedStep {
                    owner: mark.owner.clone(),
                    version: mark.version,
                });
            }
            Some(_) => {}
        }
    }
    Ok(parts
        .iter()
        .map(|part| {
            let count = marks.iter().filter(|mark| mark.owner == part.owner).count();
            SchemaPart {
                steps: &part.steps[..count.min(part.steps.len())],
                ..*part
            }
        })
        .collect())
}

/// The store has no step that the archive lacks: its tables could not be filled otherwise.
async fn check_store(
    tx: &mut Tx<'_>,
    parts: &[SchemaPart],
    earlier: &[SchemaPart],
) -> Result<(), ArchiveError> {
    let applied = applied_steps(tx).await?;
    migrate::check_known(parts, &applied, tx.engine())?;
    let mut applied: Vec<_> = applied.into_keys().collect();
    applied.sort();
    for (owner, version) in applied {
        let part = earlier.iter().find(|part| part.owner == owner);
        if !part.is_some_and(|part| part.steps.iter().any(|step| step.version == version)) {
            return Err(ArchiveError::StoreAhead { owner, version });
        }
    }
    Ok(())
}

/// One load of an archive into tables that were just made.
struct Load<'a> {
    archive: &'a Archive,
    catalogue: &'a Catalogue,
    replace_zero: bool,
    progress: &'a Progress,
}

impl Load<'_> {
    /// Fills the tables; the answer is in how many texts a zero character was replaced.
    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, ArchiveError> {
        for table in self.catalogue.tables() {
            if let Some(shape) = TableShape::read(tx, table).await? {
                self.empty(tx, &shape).await?;
            }
        }
        if tx.engine() == Engine::Sqlite {
            // Tables that refer to each other in a ring are whole at the commit.
            tx.batch("PRAGMA defer_foreign_keys = ON").await?;
        }
        let mut content = Context::new(&SHA256);
        let mut proof = ArchiveWriter::new(io::sink(), Progress::default());
        let mut texts_replaced = 0;
        for section in self.archive.sections() {
            let name = &section.table.name;
            let Some(shape) = TableShape::read(tx, name).await? else {
                return Err(ArchiveError::NoSuchTable {
                    table: name.clone(),
                    rows: section.rows,
                });
            };
            if shape.columns != section.table.columns {
                return Err(ArchiveError::Columns {
                    table: name.clone(),
                });
            }
            hash_line(&mut content, &section.text);
            texts_replaced += self.fill(tx, &shape, section, &mut content).await?;
            set_counter(tx, &shape, section).await?;
            write_table(tx, &shape, &mut proof).await?;
        }
        if proof.content_sha256() != hexadecimal(content.finish().as_ref()) {
            return Err(ArchiveError::ReadBack);
        }
        Ok(texts_replaced)
    }

    /// Refuses a table that holds more than a fresh store does, and removes what that holds: the
    /// archive has its own.
    async fn empty(&self, tx: &mut Tx<'_>, shape: &TableShape) -> Result<(), ArchiveError> {
        let seeds = self.catalogue.seeds(&shape.name);
        let table = quoted(&shape.name);
        let sql = format!(
            "SELECT {} FROM {table} ORDER BY {} LIMIT {}",
            shape.column_list(),
            shape.key_list(""),
            seeds.len() + 1
        );
        let rows = tx.query(&sql, &[]).await?;
        if !rows
            .iter()
            .map(crate::Row::values)
            .eq(seeds.iter().map(Vec::as_slice))
        {
            let sql = format!("SELECT count(*) AS rows FROM {table}");
            return Err(ArchiveError::NotEmpty {
                table: shape.name.clone(),
                rows: tx.query_one(&sql, &[]).await?.get("rows")?,
            });
        }
        if !seeds.is_empty() {
            tx.execute(&format!("DELETE FROM {table}"), &[]).await?;
        }
        Ok(())
    }

    async fn fill(
        &self,
        tx: &mut Tx<'_>,
        shape: &TableShape,
        section: &Section,
        content: &mut Context,
    ) -> Result<u64, ArchiveError> {
        let mut lines = self.archive.rows_of(section);
        let (mut text, mut replaced) = (String::new(), 0);
        let (mut values, mut rows, mut bytes) = (Vec::new(), 0, 0);
        for done in 0..section.rows {
            let line = section.line + done;
            let whole = lines.next(&mut text)?;
            let row = decode_row(&text, &shape.columns).ok().filter(|_| whole);
            // The file was whole a moment ago.
            let mut row = row.ok_or_else(|| ArchiveError::Changed {
                what: format!("line {line}"),
            })?;
            let zeros = self.storable(tx.engine(), shape, &mut row, line)?;
            if zeros > 0 {
                text = encode_row(&row).map_err(|e| ArchiveError::read(e.into()))?;
            }
            replaced += zeros;
            hash_line(content, &text);
            bytes += weight(&row);
            values.append(&mut row);
            rows += 1;
            if rows == ARCHIVE_INSERT_ROWS_MAX || bytes > ARCHIVE_PAGE_BYTES {
                self.insert(tx, shape, rows, &values).await?;
                values.clear();
                (rows, bytes) = (0, 0);
            }
        }
        if rows > 0 {
            self.insert(tx, shape, rows, &values).await?;
        }
        Ok(replaced)
    }

    async fn insert(
        &self,
        tx: &mut Tx<'_>,
        shape: &TableShape,
        rows: usize,
        values: &[Value],
    ) -> Result<(), ArchiveError> {
        tx.execute(&insert_sql(tx.engine(), shape, rows), values)
            .await?;
        self.progress.add(rows);
        Ok(())
    }

    /// Looks for text that the engine cannot hold; the answer is how many were replaced.
    fn storable(
        &self,
        engine: Engine,
        shape: &TableShape,
        row: &mut [Value],
        line: u64,
    ) -> Result<u64, ArchiveError> {
        let mut replaced = 0;
        if engine == Engine::Sqlite {
            return Ok(replaced);
        }
        for (value, column) in row.iter_mut().zip(&shape.columns) {
            let Value::Text(text) = value else { continue };
            if !text.contains('\0') {
                continue;
            }
            if !self.replace_zero {
                return Err(ArchiveError::ZeroCharacter {
                    table: shape.name.clone(),
                    column: column.name.clone(),
                    line,
                });
            }
            *text = text.replace('\0', "\u{fffd}");
            replaced += 1;
        }
        Ok(replaced)
    }
}

fn hash_line(content: &mut Context, text: &str) {
    content.update(text.as_bytes());
    content.update(b"\n");
}

fn insert_sql(engine: Engine, shape: &TableShape, rows: usize) -> String {
    let width = shape.columns.len();
    let tuples: Vec<String> = (0..rows)
        .map(|row| {
            let places: Vec<String> = (1..=width)
                .map(|i| format!("?{}", row * width + i))
                .collect();
            format!("({})", places.join(", "))
        })
        .collect();
    let overriding = match (engine, &shape.counter) {
        (Engine::Postgres, Some(_)) => " OVERRIDING SYSTEM VALUE",
        (Engine::Postgres, None) | (Engine::Sqlite, _) => "",
    };
    format!(
        "INSERT INTO {} ({}){overriding} VALUES {}",
        quoted(&shape.name),
        shape.column_list(),
        tuples.join(", ")
    )
}

/// Sets a table's counter to go on where the archive's did. Undone with the transaction, on both
/// engines: PostgreSQL's `setval` would not be.
async fn set_counter(
    tx: &mut Tx<'_>,
    shape: &TableShape,
    section: &Section,
) -> Result<(), ArchiveError> {
    let (Some(column), Some((_, next))) = (&shape.counter, &section.table.next) else {
        return Ok(());
    };
    match tx.engine() {
        Engine::Sqlite => {
            let name = params![&shape.name];
            tx.execute("DELETE FROM sqlite_sequence WHERE name = ?1", name)
                .await?;
            if *next > 1 {
                let sql = "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)";
                tx.execute(sql, params![&shape.name, next - 1]).await?;
            }
        }
        Engine::Postgres => {
            let (table, column) = (quoted(&shape.name), quoted(column));
            tx.batch(&format!(
                "ALTER TABLE {table} ALTER COLUMN {column} RESTART WITH {next}"
            ))
            .await?;
        }
    }
    Ok(())
}
