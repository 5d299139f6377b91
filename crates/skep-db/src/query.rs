//! A question in SQL that somebody typed: read-only by the engine's own means, on a connection of
//! its own, with a limit of rows, of bytes and of time.
//!
//! SQLite opens the file read-only and is interrupted at the limit; PostgreSQL gets a read-only
//! transaction with a statement timeout and hands out rows through a cursor. One statement each.

use crate::limits::{POSTGRES_CONNECT_MS, QUERY_BYTES_MAX, SQLITE_BUSY_MS};
use crate::options::Location;
use crate::sqlite::{open_reader, read_value};
use crate::{DbError, Value};
use skep_stdx::Secret;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, SimpleQueryRow};

/// How much a question may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    /// Rows; what is beyond is cut off.
    pub rows: usize,
    /// Time, in milliseconds.
    pub time_ms: u64,
}

/// What the engine answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows, a value for each column. Numbers that no 64-bit integer and no double holds
    /// exactly, times and other types of PostgreSQL come as their text.
    pub rows: Vec<Vec<Value>>,
    /// Whether there was more than the limits let through.
    pub cut: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The engine does not take the statement.
    #[error("run the query: {reason}")]
    Refused {
        /// What the engine said.
        reason: String,
    },
    /// The statement would write.
    #[error("run the query: it is not one that only reads")]
    Writes,
    /// The time is over.
    #[error("run the query within {time_ms} ms")]
    TimedOut {
        /// The limit.
        time_ms: u64,
    },
    /// The store cannot be reached.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl QueryError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "query_refused",
            Self::Writes => "query_writes",
            Self::TimedOut { .. } => "query_timed_out",
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "docs/reference/sql.md lists every table, view and column",
            Self::Writes => "only SELECT, WITH ... SELECT and VALUES are taken, one at a time",
            Self::TimedOut { .. } => "narrow it down with WHERE, or allow more with `--timeout`",
            Self::Db(_) => "check that the database can be reached, then `skep doctor`",
        }
    }
}

/// Asks the store at `location`; whoever works on it is not disturbed.
pub async fn ask(
    location: &Location,
    sql: &str,
    limits: QueryLimits,
) -> Result<Answer, QueryError> {
    // A cursor is declared for the statement alone.
    let sql = sql.trim().trim_end_matches(';').trim_end().to_owned();
    match location {
        Location::Sqlite(path) => ask_sqlite(path, sql, limits).await,
        Location::Postgres(address) => ask_postgres(address, &sql, limits).await,
    }
}

async fn ask_sqlite(path: &Path, sql: String, limits: QueryLimits) -> Result<Answer, QueryError> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || open_reader(&path));
    let connection = opened.await.map_err(unavailable)??;
    let interrupt = connection.get_interrupt_handle();
    let late = Arc::new(AtomicBool::new(false));
    let timer = skep_stdx::spawn("query-limit", {
        let late = Arc::clone(&late);
        async move {
            tokio::time::sleep(Duration::from_millis(limits.time_ms)).await;
            late.store(true, Ordering::SeqCst);
            interrupt.interrupt();
        }
    });
    let read = tokio::task::spawn_blocking(move || read_sqlite(&connection, &sql, limits));
    let answer = read.await.map_err(unavailable)?;
    timer.abort();
    if answer.is_err() && late.load(Ordering::SeqCst) {
        return Err(QueryError::TimedOut {
            time_ms: limits.time_ms,
        });
    }
    answer
}

fn read_sqlite(
    connection: &rusqlite::Connection,
    sql: &str,
    limits: QueryLimits,
) -> Result<Answer, QueryError> {
    let refused = |error: rusqlite::Error| QueryError::Refused {
        reason: error.to_string(),
    };
    connection
        .busy_timeout(Duration::from_millis(SQLITE_BUSY_MS))
        .and_then(|()| connection.pragma_update(None, "query_only", "ON"))
        .map_err(refused)?;
    let mut statement = connection.prepare(sql).map_err(refused)?;
    if !statement.readonly() || statement.column_count() == 0 {
        return Err(QueryError::Writes);
    }
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut answer = Answer {
        columns,
        rows: Vec::new(),
        cut: false,
    };
    let mut bytes = 0;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(refused)? {
        let values: Result<Vec<Value>, _> = (0..answer.columns.len())
            .map(|i| read_value(row, i))
            .collect();
        let values = values.map_err(refused)?;
        if !take(&mut answer, values, &mut bytes, limits) {
            break;
        }
    }
    Ok(answer)
}

/// Takes a row in, unless it is beyond a limit.
fn take(answer: &mut Answer, values: Vec<Value>, bytes: &mut usize, limits: QueryLimits) -> bool {
    *bytes += crate::archive::weight(&values);
    answer.cut = answer.rows.len() == limits.rows || *bytes > QUERY_BYTES_MAX;
    if !answer.cut {
        answer.rows.push(values);
    }
    !answer.cut
}

async fn ask_postgres(
    address: &Secret,
    sql: &str,
    limits: QueryLimits,
) -> Result<Answer, QueryError> {
    let mut config = crate::postgres::config(address)?;
    config.application_name("skep query");
    config.connect_timeout(Duration::from_millis(POSTGRES_CONNECT_MS));
    let (client, connection) = config.connect(NoTls).await.map_err(unavailable)?;
    let driver = skep_stdx::spawn("query-connection", connection);
    let answer = read_postgres(&client, sql, limits).await;
    // The transaction is given up with its connection.
    drop(client);
    driver.abort();
    answer.map_err(|error| postgres_error(&error, limits))
}

async fn read_postgres(
    client: &Client,
    sql: &str,
    limits: QueryLimits,
) -> Result<Answer, tokio_postgres::Error> {
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {}",
        limits.time_ms
    );
    client.batch_execute(&begin).await?;
    // Prepared, it is one statement or an error; what is described is what the cursor will give.
    let statement = client.prepare(sql).await?;
    let types: Vec<Type> = statement
        .columns()
        .iter()
        .map(|c| c.type_().clone())
        .collect();
    let mut answer = Answer {
        columns: statement
            .columns()
            .iter()
            .map(|c| c.name().to_owned())
            .collect(),
        rows: Vec::new(),
        cut: false,
    };
    client
        .execute(&format!("DECLARE answer NO SCROLL CURSOR FOR {sql}"), &[])
        .await?;
    let mut bytes = 0;
    loop {
        let page = client.simple_query("FETCH FORWARD 100 FROM answer").await?;
        let rows: Vec<&SimpleQueryRow> = page
            .iter()
            .filter_map(|message| {
                if let SimpleQueryMessage::Row(row) = message {
                    return Some(row);
                }
                None
            })
            .collect();
        for row in &rows {
            let values = types.iter().enumerate();
            let values = values
                .map(|(i, kind)| from_text(row.get(i), kind))
                .collect();
            if !take(&mut answer, values, &mut bytes, limits) {
                return Ok(answer);
            }
        }
        if rows.is_empty() {
            return Ok(answer);
        }
    }
}

/// A value from its text, as PostgreSQL writes it.
fn from_text(text: Option<&str>, kind: &Type) -> Value {
    let Some(text) = text else {
        return Value::Null;
    };
    let plain = || Value::Text(text.to_owned());
    match *kind {
        Type::BOOL => Value::Int(i64::from(text == "t")),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => {
            text.parse().map_or_else(|_| plain(), Value::Int)
        }
        // A sum of 64-bit integers is a numeric; most are integers again.
        Type::NUMERIC => text.parse().map_or_else(|_| plain(), Value::Int),
        Type::FLOAT4 | Type::FLOAT8 => text.parse().map_or_else(|_| plain(), Value::Real),
        Type::BYTEA => bytes_from_text(text).map_or_else(plain, Value::Bytes),
        _ => plain(),
    }
}

/// `\x` and two hexadecimal digits for each byte.
fn bytes_from_text(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn postgres_error(error: &tokio_postgres::Error, limits: QueryLimits) -> QueryError {
    use tokio_postgres::error::SqlState;
    let Some(db_error) = error.as_db_error() else {
        return QueryError::Refused {
            reason: error.to_string(),
        };
    };
    match *db_error.code() {
        SqlState::QUERY_CANCELED => QueryError::TimedOut {
            time_ms: limits.time_ms,
        },
        SqlState::READ_ONLY_SQL_TRANSACTION | SqlState::INVALID_CURSOR_DEFINITION => {
            QueryError::Writes
        }
        _ => QueryError::Refused {
            reason: db_error.message().to_owned(),
        },
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> DbError {
    DbError::Unavailable(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_postgres_becomes_values() {
        let cases = [
            (None, Type::INT8, Value::Null),
            (
                Some("9223372036854775807"),
                Type::INT8,
                Value::Int(i64::MAX),
            ),
            (Some("42"), Type::NUMERIC, Value::Int(42)),
            (Some("0.50"), Type::NUMERIC, Value::Text("0.50".to_owned())),
            (Some("0.5"), Type::FLOAT8, Value::Real(0.5)),
            (Some("t"), Type::BOOL, Value::Int(1)),
            (Some("\\x00ff"), Type::BYTEA, Value::Bytes(vec![0, 255])),
            (
                Some("2026-01-01"),
                Type::DATE,
                Value::Text("2026-01-01".to_owned()),
            ),
        ];
        for (text, kind, expected) in cases {
            assert_eq!(from_text(text, &kind), expected, "{text:?}");
        }
    }
}
