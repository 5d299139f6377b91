//! Writing every table of a store into an archive, from one snapshot, a page at a time.

use super::catalogue::{Catalogue, TableShape, quoted};
use super::error::ArchiveError;
use super::line::TableLine;
use super::write::ArchiveWriter;
use super::{FORMAT, Head, Origin, Progress, StepMark, VERSION};
use crate::limits::{ARCHIVE_PAGE_BYTES, ARCHIVE_PAGE_ROWS_MAX};
use crate::migrate::{applied_steps, check_known, step_sha256};
use crate::{Db, DbError, Engine, Row, SchemaPart, Tx, Value, params};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

impl Db {
    /// Writes every table that `schema` declares to `out`, as one snapshot shows it. The archive
    /// is whole once the writer that is handed back is finished.
    ///
    /// Writing blocks the thread of the snapshot, so whoever reads `out` sets the pace.
    pub async fn export<W: Write + Send + 'static>(
        &self,
        schema: &[SchemaPart],
        origin: Origin,
        progress: Progress,
        out: W,
    ) -> Result<ArchiveWriter<W>, ArchiveError> {
        let parts = schema.to_vec();
        let catalogue = Catalogue::of(schema)?;
        let writer = Mutex::new(Some(ArchiveWriter::new(out, progress)));
        self.read("export", async move |tx: &mut Tx<'_>| {
            // What a broken connection left half written cannot be taken back.
            let taken = writer.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut writer = taken.ok_or(ArchiveError::Interrupted)?;
            let head = Head {
                format: FORMAT.to_owned(),
                version: VERSION,
                origin: origin.clone(),
                engine: engine_word(tx.engine()).to_owned(),
                steps: marks(tx, &parts).await?,
            };
            writer.head(&head)?;
            for table in catalogue.tables() {
                let Some(shape) = TableShape::read(tx, table).await? else {
                    continue;
                };
                // What only one engine has is work under way there; without rows it is nothing.
                if catalogue.shape(table).is_some() || !is_empty(tx, &shape).await? {
                    write_table(tx, &shape, &mut writer).await?;
                }
            }
            Ok(writer)
        })
        .await
    }
}

const fn engine_word(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "sqlite",
        Engine::Postgres => "postgres",
    }
}

/// The steps that were applied to the store, in the order of the parts.
async fn marks(tx: &mut Tx<'_>, parts: &[SchemaPart]) -> Result<Vec<StepMark>, ArchiveError> {
    let applied = applied_steps(tx).await?;
    check_known(parts, &applied, tx.engine())?;
    let mut marks = Vec::new();
    for part in parts {
        for step in part.steps {
            if applied.contains_key(&(part.owner.to_owned(), step.version)) {
                marks.push(StepMark {
                    owner: part.owner.to_owned(),
                    version: step.version,
                    sha256: step_sha256(step),
                });
            }
        }
    }
    Ok(marks)
}

async fn is_empty(tx: &mut Tx<'_>, shape: &TableShape) -> Result<bool, DbError> {
    let sql = format!("SELECT 1 AS one FROM {} LIMIT 1", quoted(&shape.name));
    Ok(tx.query_opt(&sql, &[]).await?.is_none())
}

/// Writes one table with all of its rows.
pub(super) async fn write_table<W: Write>(
    tx: &mut Tx<'_>,
    shape: &TableShape,
    writer: &mut ArchiveWriter<W>,
) -> Result<(), ArchiveError> {
    writer.table(TableLine {
        name: shape.name.clone(),
        columns: shape.columns.clone(),
        next: next_number(tx, shape).await?,
    })?;
    let mut pages = Pages::begin(tx, shape).await?;
    loop {
        let page = pages.next(tx).await?;
        if page.is_empty() {
            return pages.end(tx).await;
        }
        writer.rows(page.iter().map(Row::values))?;
    }
}

/// The number that a table's counter gives next.
async fn next_number(
    tx: &mut Tx<'_>,
    shape: &TableShape,
) -> Result<Option<(String, i64)>, ArchiveError> {
    let Some(column) = shape.counter.clone() else {
        return Ok(None);
    };
    let row = match tx.engine() {
        Engine::Sqlite => {
            let sql = "SELECT seq + 1 AS next FROM sqlite_sequence WHERE name = ?1";
            tx.query_opt(sql, params![&shape.name]).await?
        }
        Engine::Postgres => {
            let sql = "SELECT pg_get_serial_sequence(quote_ident(?1), ?2) AS sequence";
            let row = tx.query_one(sql, params![&shape.name, &column]).await?;
            let sequence: String = row.get("sequence")?;
            // The name comes quoted from the engine.
            let sql = format!(
                "SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END AS next FROM {sequence}"
            );
            tx.query_opt(&sql, &[]).await?
        }
    };
    let next = row.map_or(Ok(1), |row| row.get("next"))?;
    Ok(Some((column, next)))
}

/// Reads a table a page at a time, in the order of its key compared bytewise.
///
/// SQLite goes on behind the last key, which its primary key's index serves. On PostgreSQL that
/// index is in the order of the database's language, so a cursor over one sort does it.
struct Pages<'s> {
    shape: &'s TableShape,
    rows: usize,
    last: Option<Vec<Value>>,
}

impl<'s> Pages<'s> {
    async fn begin(tx: &mut Tx<'_>, shape: &'s TableShape) -> Result<Self, ArchiveError> {
        if tx.engine() == Engine::Postgres {
            let key = shape.key.iter().map(|name| {
                let is_text = shape
                    .columns
                    .iter()
                    .any(|column| column.name == *name && column.kind == super::ColumnKind::Text);
                let order = if is_text { " COLLATE \"C\"" } else { "" };
                format!("{}{order}", quoted(name))
            });
            let key: Vec<String> = key.collect();
            tx.batch(&format!(
                "DECLARE {} NO SCROLL CURSOR FOR SELECT {} FROM {} ORDER BY {}",
                cursor(shape),
                shape.column_list(),
                quoted(&shape.name),
                key.join(", ")
            ))
            .await?;
        }
        Ok(Self {
            shape,
            rows: ARCHIVE_PAGE_ROWS_MAX / 8,
            last: None,
        })
    }

    async fn next(&mut self, tx: &mut Tx<'_>) -> Result<Vec<Row>, ArchiveError> {
        let page = match tx.engine() {
            Engine::Sqlite => {
                let (sql, params) = self.behind_last();
                tx.query(&sql, &params).await?
            }
            Engine::Postgres => {
                let sql = format!("FETCH FORWARD {} FROM {}", self.rows, cursor(self.shape));
                tx.query(&sql, &[]).await?
            }
        };
        if let Some(row) = page.last() {
            self.last = Some(self.shape.key_values(row.values()));
            self.adapt(&page);
        }
        Ok(page)
    }

    fn behind_last(&self) -> (String, Vec<Value>) {
        let mut params = self.last.clone().unwrap_or_default();
        let behind = if params.is_empty() {
            String::new()
        } else {
            let places: Vec<String> = (1..=params.len()).map(|i| format!("?{i}")).collect();
            let key = self.shape.key_list("");
            format!("WHERE ({key}) > ({})", places.join(", "))
        };
        params.push(Value::Int(i64::try_from(self.rows).unwrap_or(1)));
        let sql = format!(
            "SELECT {} FROM {} {behind} ORDER BY {} LIMIT ?{}",
            self.shape.column_list(),
            quoted(&self.shape.name),
            self.shape.key_list(""),
            params.len()
        );
        (sql, params)
    }

    /// Halves or doubles the next page by what this one weighed: powers of two, so that there are
    /// few statements.
    fn adapt(&mut self, page: &[Row]) {
        let bytes: usize = page.iter().map(|row| weight(row.values())).sum();
        if bytes > ARCHIVE_PAGE_BYTES {
            self.rows = (self.rows / 2).max(1);
        } else if bytes < ARCHIVE_PAGE_BYTES / 4 {
            self.rows = (self.rows * 2).min(ARCHIVE_PAGE_ROWS_MAX);
        }
    }

    async fn end(self, tx: &mut Tx<'_>) -> Result<(), ArchiveError> {
        if tx.engine() == Engine::Postgres {
            tx.batch(&format!("CLOSE {}", cursor(self.shape))).await?;
        }
        Ok(())
    }
}

/// One name for each table: a prepared FETCH keeps the columns that it was prepared with.
fn cursor(shape: &TableShape) -> String {
    quoted(&format!("archive of {}", shape.name))
}

/// What a row weighs in memory, in bytes.
pub(crate) fn weight(values: &[Value]) -> usize {
    let held = values.iter().map(|value| match value {
        Value::Null | Value::Int(_) | Value::Real(_) => 0,
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
    });
    held.sum::<usize>() + size_of_val(values)
}
