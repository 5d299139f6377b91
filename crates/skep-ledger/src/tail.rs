//! Reading sealed events in order, from a cursor.

use crate::digest::Digest;
use crate::limits::TAIL_EVENTS_MAX;
use skep_db::{DbError, Row, Tx, Value, params};

/// One event with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedEvent {
    /// Its place, from 1 without gaps; a reader's cursor.
    pub seq: i64,
    /// Its number as it was appended; has gaps.
    pub event_id: i64,
    /// When it happened, by the store's clock, in milliseconds since 1970.
    pub at_ms: i64,
    /// What happened.
    pub kind: String,
    /// The version of the payload's shape.
    pub version: i64,
    /// Whom it is about.
    pub subject: String,
    /// The JSON text as it was hashed; empty once purged.
    pub payload: Vec<u8>,
    /// The hash that ties it to all before it.
    pub hash: Digest,
}

/// Up to `limit` sealed events after `after_seq` (0 for the first), in order.
pub async fn tail(
    tx: &mut Tx<'_>,
    after_seq: i64,
    limit: i64,
) -> Result<Vec<SealedEvent>, DbError> {
    let sql = "SELECT c.seq, c.event_id, e.at_ms, e.kind, e.version, e.subject, e.payload, c.hash
        FROM ledger_chain c JOIN ledger_event e ON e.id = c.event_id
        WHERE c.seq > ?1 ORDER BY c.seq LIMIT ?2";
    read(tx, sql, params![after_seq, bounded(limit)]).await
}

/// As [`tail`], only events about `subject`.
pub async fn tail_of(
    tx: &mut Tx<'_>,
    subject: &str,
    after_seq: i64,
    limit: i64,
) -> Result<Vec<SealedEvent>, DbError> {
    let sql = "SELECT c.seq, c.event_id, e.at_ms, e.kind, e.version, e.subject, e.payload, c.hash
        FROM ledger_event e JOIN ledger_chain c ON c.event_id = e.id
        WHERE e.subject = ?1 AND c.seq > ?2 ORDER BY c.seq LIMIT ?3";
    read(tx, sql, params![subject, after_seq, bounded(limit)]).await
}

fn bounded(limit: i64) -> i64 {
    limit.clamp(0, TAIL_EVENTS_MAX)
}

async fn read(tx: &mut Tx<'_>, sql: &str, params: &[Value]) -> Result<Vec<SealedEvent>, DbError> {
    tx.query(sql, params).await?.iter().map(sealed).collect()
}

fn sealed(row: &Row) -> Result<SealedEvent, DbError> {
    let hash: Vec<u8> = row.get("hash")?;
    Ok(SealedEvent {
        seq: row.get("seq")?,
        event_id: row.get("event_id")?,
        at_ms: row.get("at_ms")?,
        kind: row.get("kind")?,
        version: row.get("version")?,
        subject: row.get("subject")?,
        payload: row.get::<Option<Vec<u8>>>("payload")?.unwrap_or_default(),
        hash: Digest::from_slice(&hash).ok_or_else(|| DbError::Column {
            column: "hash".to_owned(),
            found: "not 32 bytes",
        })?,
    })
}
