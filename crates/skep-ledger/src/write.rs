//! Writing the events of a transaction in as few statements as there can be.

use crate::append::Appended;
use skep_db::{DbError, Kind, Rows, Tx, Value};

const NUMBERED: &str = "WITH r (id, at_ms, kind, version, subject, payload) AS (/*rows*/)
    INSERT INTO ledger_event (id, at_ms, kind, version, subject, payload)
    SELECT id, at_ms, kind, version, subject, payload FROM r";

/// On PostgreSQL the transaction must have a number before it draws that of an event (see
/// [`gaps`](crate::gaps)): the condition is evaluated before any row, and draws it.
const DRAWN: &str = "WITH r (at_ms, kind, version, subject, payload) AS (/*rows*/)
    INSERT INTO ledger_event (at_ms, kind, version, subject, payload)
    SELECT at_ms, kind, version, subject, payload FROM r
    WHERE (SELECT pg_current_xact_id() IS NOT NULL)";

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
    let rows = {
        use Kind::{Bytes, Int, Text};
        Rows::new(&[Int, Int, Text, Int, Text, Bytes], rows)
    };
    tx.execute_rows(NUMBERED, &rows).await?;
    Ok(())
}

/// Writes events under numbers that the server draws, on PostgreSQL.
pub(crate) async fn drawn(tx: &mut Tx<'_>, events: Vec<Appended>) -> Result<(), DbError> {
    tx.execute_rows_later(DRAWN, &rows(events)).await
}

/// As [`drawn`], for one event; the answer is its number.
pub(crate) async fn drawn_one(tx: &mut Tx<'_>, event: Appended) -> Result<i64, DbError> {
    let sql = format!("{DRAWN} RETURNING id");
    let answer = tx.query_rows(&sql, &rows([event])).await?.pop();
    answer
        .ok_or_else(|| DbError::Column {
            column: "id".to_owned(),
            found: "no row",
        })?
        .get("id")
}

fn rows(events: impl IntoIterator<Item = Appended>) -> Rows {
    use Kind::{Bytes, Int, Text};
    let events = events.into_iter().map(values);
    Rows::new(&[Int, Text, Int, Text, Bytes], events)
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
