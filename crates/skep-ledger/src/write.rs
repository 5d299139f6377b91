//! Writing the events of a transaction in as few statements as there can be.

use crate::append::Appended;
use crate::limits::{APPEND_ROWS_EXACT, APPEND_ROWS_MAX};
use skep_db::{DbError, Engine, Tx, Value};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// Writes events under the numbers from `first_id` on, on SQLite.
pub(crate) async fn numbered(
    tx: &mut Tx<'_>,
    first_id: i64,
    events: Vec<Appended>,
) -> Result<(), DbError> {
    let rows = (first_id..).zip(events).map(|(id, event)| {
        let [at_ms, kind, version, subject, payload] = values(event);
        [id.into(), at_ms, kind, version, subject, payload]
    });
    write(tx, &SQLITE, rows.collect()).await
}

/// Writes events under numbers that the server draws, on PostgreSQL.
pub(crate) async fn drawn(tx: &mut Tx<'_>, events: Vec<Appended>) -> Result<(), DbError> {
    write(tx, &POSTGRES, events.into_iter().map(values).collect()).await
}

/// As [`drawn`], for one event; the answer is its number.
pub(crate) async fn drawn_one(tx: &mut Tx<'_>, event: Appended) -> Result<i64, DbError> {
    let sql = format!("{} RETURNING id", POSTGRES[0]);
    tx.query_one(&sql, &values(event)).await?.get("id")
}

fn values(event: Appended) -> [Value; 5] {
    [
        event.at_ms.into(),
        event.kind.into(),
        event.version.into(),
        event.subject.into(),
        event.payload.into(),
    ]
}

async fn write<const COLUMNS: usize>(
    tx: &mut Tx<'_>,
    statements: &[String],
    rows: Vec<[Value; COLUMNS]>,
) -> Result<(), DbError> {
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        let (count, sql) = shape(statements, rows.len());
        let params: Vec<Value> = rows.by_ref().take(count).flatten().collect();
        tx.execute(sql, &params).await?;
    }
    Ok(())
}

/// The statement for the next of `left` rows, and how many it takes.
fn shape(statements: &[String], left: usize) -> (usize, &str) {
    let count = match left {
        APPEND_ROWS_MAX.. => APPEND_ROWS_MAX,
        left => left.min(APPEND_ROWS_EXACT),
    };
    // The last statement is the one for the largest number.
    (count, &statements[(count - 1).min(APPEND_ROWS_EXACT)])
}

/// One statement for each number of rows that is written at once, so that they stay prepared.
fn statements(engine: Engine) -> Vec<String> {
    (1..=APPEND_ROWS_EXACT)
        .chain([APPEND_ROWS_MAX])
        .map(|rows| insert(engine, rows))
        .collect()
}

static SQLITE: LazyLock<Vec<String>> = LazyLock::new(|| statements(Engine::Sqlite));
static POSTGRES: LazyLock<Vec<String>> = LazyLock::new(|| statements(Engine::Postgres));

/// On PostgreSQL the transaction must have a number before it draws that of an event (see
/// [`gaps`](crate::gaps)): the condition is evaluated before any row, and draws it.
fn insert(engine: Engine, rows: usize) -> String {
    let (columns, types): (_, &[&str]) = match engine {
        Engine::Sqlite => ("id, at_ms, kind, version, subject, payload", &[""; 6]),
        Engine::Postgres => (
            "at_ms, kind, version, subject, payload",
            &["BIGINT", "TEXT", "BIGINT", "TEXT", "BYTEA"],
        ),
    };
    let mut sql = format!("INSERT INTO ledger_event ({columns}) ");
    if engine == Engine::Postgres {
        sql.push_str("SELECT at_ms, kind, version, subject, payload FROM (");
    }
    sql.push_str("VALUES");
    let mut number = 0;
    for row in 0..rows {
        for (column, ty) in types.iter().enumerate() {
            sql.push_str(match (row, column) {
                (0, 0) => " (",
                (_, 0) => "), (",
                _ => ", ",
            });
            number += 1;
            // Writing to a String cannot fail.
            let _ = match ty {
                &"" => write!(sql, "?{number}"),
                ty => write!(sql, "CAST(?{number} AS {ty})"),
            };
        }
    }
    sql.push(')');
    if engine == Engine::Postgres {
        let _ = write!(
            sql,
            ") AS event ({columns}) WHERE (SELECT pg_current_xact_id() IS NOT NULL)"
        );
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_events_is_written_in_known_statements() {
        for (events, expected) in [
            (1, vec![1]),
            (8, vec![8]),
            (9, vec![8, 1]),
            (63, vec![8, 8, 8, 8, 8, 8, 8, 7]),
            (130, vec![64, 64, 2]),
        ] {
            let (mut left, mut found) = (events, Vec::new());
            while left > 0 {
                let (count, sql) = shape(&SQLITE, left);
                assert_eq!(sql.matches('(').count(), count + 1, "{sql}");
                found.push(count);
                left -= count;
            }
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_statements_number_their_parameters() {
        assert_eq!(
            insert(Engine::Sqlite, 2),
            "INSERT INTO ledger_event (id, at_ms, kind, version, subject, payload) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6), (?7, ?8, ?9, ?10, ?11, ?12)"
        );
        assert!(insert(Engine::Postgres, 2).contains("CAST(?10 AS BYTEA))) AS event"));
    }
}
