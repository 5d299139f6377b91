//! Reading sealed events in order, from a cursor.
//!
//! A segment of the chain says which events it holds, not the other way round. What finds an
//! event's segment is its `high_event`, the highest event of the chain up to there: the segment of
//! an event is among those whose value is not below its id and less than [`LATE_EVENTS`] above
//! it, or it is one of the few that hold an event later than that, which have an index.

use crate::digest::Digest;
use crate::head;
use crate::limits::{LATE_EVENTS, SUBJECT_EVENTS, TAIL_EVENTS_MAX};
use crate::segment::{self, Entry, entries_after};
use skep_db::{DbError, Engine, Row, Tx, params};
use std::collections::HashMap;

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
    /// The SHA-256 of the payload, which stays when the payload is purged.
    pub payload_digest: Digest,
    /// The hash that ties it to all before it.
    pub hash: Digest,
}

/// Up to `limit` sealed events after `after_seq` (0 for the first), in order.
pub async fn tail(
    tx: &mut Tx<'_>,
    after_seq: i64,
    limit: i64,
) -> Result<Vec<SealedEvent>, DbError> {
    let entries = entries_after(tx, after_seq, bounded(limit)).await?;
    with_events(tx, &entries).await
}

/// As [`tail`], only events about `subject`.
pub async fn tail_of(
    tx: &mut Tx<'_>,
    subject: &str,
    after_seq: i64,
    limit: i64,
) -> Result<Vec<SealedEvent>, DbError> {
    let limit = bounded(limit);
    let mut found = Vec::new();
    let mut after_id = floor(tx, after_seq).await?;
    loop {
        let params = params![subject, after_id, SUBJECT_EVENTS];
        let rows = tx.query(OF_SUBJECT, params).await?;
        let entries = places(tx, &rows).await?;
        found.extend(entries.into_iter().filter(|entry| entry.seq > after_seq));
        found.sort_unstable_by_key(|entry| entry.seq);
        // Whatever has not been looked at has a higher id than this.
        let Some(last_id) = last_of_full(&rows)? else {
            break;
        };
        let settled = first_segment_above(tx, last_id).await?;
        if found.partition_point(|entry| entry.seq < settled) >= limit {
            break;
        }
        after_id = last_id;
    }
    found.truncate(limit);
    with_events(tx, &found).await
}

/// The `limit` events that were appended last, in the order of the chain; only those about
/// `subject` if there is one.
pub async fn newest(
    tx: &mut Tx<'_>,
    subject: Option<&str>,
    limit: i64,
) -> Result<Vec<SealedEvent>, DbError> {
    let limit = bounded(limit);
    let Some(subject) = subject else {
        let head = head::read(tx).await?.map_or(0, |found| found.head.seq);
        let kept = i64::try_from(limit).unwrap_or(i64::MAX);
        return tail(tx, (head - kept).max(0), kept).await;
    };
    let (mut found, mut below) = (Vec::new(), i64::MAX);
    while found.len() < limit {
        let params = params![subject, below, SUBJECT_EVENTS];
        let rows = tx.query(OF_SUBJECT_BACKWARDS, params).await?;
        found.extend(places(tx, &rows).await?);
        let Some(last_id) = last_of_full(&rows)? else {
            break;
        };
        below = last_id;
    }
    found.truncate(limit);
    found.sort_unstable_by_key(|entry: &Entry| entry.seq);
    with_events(tx, &found).await
}

fn bounded(limit: i64) -> usize {
    usize::try_from(limit.clamp(0, TAIL_EVENTS_MAX)).unwrap_or_default()
}

macro_rules! of_subject {
    ($bound:literal, $order:literal) => {
        concat!(
            "SELECT e.id, c.first_seq, c.high_event, c.entries FROM
                (SELECT id FROM ledger_event WHERE subject = ?1 AND id ",
            $bound,
            " ?2 ORDER BY id ",
            $order,
            " LIMIT ?3) e
            LEFT JOIN ledger_chain c ON c.first_seq =
                (SELECT s.first_seq FROM ledger_chain s WHERE s.high_event >= e.id
                    ORDER BY s.high_event, s.first_seq LIMIT 1)
            ORDER BY e.id ",
            $order
        )
    };
}

/// Events of a subject, each with the first segment that may hold it.
const OF_SUBJECT: &str = of_subject!(">", "ASC");
const OF_SUBJECT_BACKWARDS: &str = of_subject!("<", "DESC");

/// The id of the last row, if there may be more rows.
fn last_of_full(rows: &[Row]) -> Result<Option<i64>, DbError> {
    let full = i64::try_from(rows.len()) == Ok(SUBJECT_EVENTS);
    let last = rows.last().filter(|_| full);
    last.map(|row| row.get("id")).transpose()
}

/// The places of those events that have one.
async fn places(tx: &mut Tx<'_>, rows: &[Row]) -> Result<Vec<Entry>, DbError> {
    let mut places = Vec::with_capacity(rows.len());
    for row in rows {
        if row.get::<Option<i64>>("first_seq")?.is_none() {
            continue;
        }
        let id: i64 = row.get("id")?;
        let place = match segment::entry_of(row, id)? {
            Some(place) => Some(place),
            None => late_place(tx, id).await?,
        };
        places.extend(place);
    }
    Ok(places)
}

/// The place of one event, if it has one.
pub(crate) async fn place(tx: &mut Tx<'_>, id: i64) -> Result<Option<Entry>, DbError> {
    let sql = "SELECT first_seq, entries FROM ledger_chain WHERE high_event >= ?1
        ORDER BY high_event, first_seq LIMIT 1";
    let Some(row) = tx.query_opt(sql, params![id]).await? else {
        return Ok(None);
    };
    match segment::entry_of(&row, id)? {
        Some(place) => Ok(Some(place)),
        None => late_place(tx, id).await,
    }
}

/// The place of an event that was committed after a higher one was sealed, if it has one.
async fn late_place(tx: &mut Tx<'_>, id: i64) -> Result<Option<Entry>, DbError> {
    let (mut high, mut first) = (id, 0);
    loop {
        let sql = "SELECT first_seq, high_event, entries FROM ledger_chain
            WHERE (high_event, first_seq) > (?1, ?2) AND high_event <= ?3 AND low_event <= ?4
            ORDER BY high_event, first_seq LIMIT 4";
        let usual_high = id.saturating_add(LATE_EVENTS);
        let rows = tx.query(sql, params![high, first, usual_high, id]).await?;
        for row in &rows {
            if let Some(place) = segment::entry_of(row, id)? {
                return Ok(Some(place));
            }
            (high, first) = (row.get("high_event")?, row.get("first_seq")?);
        }
        if rows.is_empty() {
            break;
        }
    }
    let sql = "SELECT first_seq, entries FROM ledger_chain
        WHERE high_event - low_event > 65536 AND low_event <= ?1 AND high_event > ?1
        ORDER BY last_seq";
    for row in tx.query(sql, params![id]).await? {
        if let Some(place) = segment::entry_of(&row, id)? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// An id below that of every event that is sealed behind `after_seq`.
async fn floor(tx: &mut Tx<'_>, after_seq: i64) -> Result<i64, DbError> {
    let sql = "SELECT high_event FROM ledger_chain WHERE first_seq <= ?1
        ORDER BY first_seq DESC LIMIT 1";
    let row = tx.query_opt(sql, params![after_seq]).await?;
    let high: i64 = row.map_or(Ok(0), |row| row.get("high_event"))?;
    let sql = "SELECT MIN(low_event) AS low FROM ledger_chain
        WHERE high_event - low_event > 65536 AND last_seq > ?1";
    let row = tx.query_one(sql, params![after_seq]).await?;
    let late: i64 = row.get::<Option<i64>>("low")?.unwrap_or(i64::MAX);
    let usual = high.saturating_sub(LATE_EVENTS);
    Ok(usual.min(late).saturating_sub(1))
}

/// The place of the first entry of the first segment that can hold an event above `id`.
async fn first_segment_above(tx: &mut Tx<'_>, id: i64) -> Result<i64, DbError> {
    let sql = "SELECT first_seq FROM ledger_chain WHERE high_event > ?1
        ORDER BY high_event, first_seq LIMIT 1";
    let row = tx.query_opt(sql, params![id]).await?;
    row.map_or(Ok(i64::MAX), |row| row.get("first_seq"))
}

/// The entries together with their events; one whose event is gone is left out.
async fn with_events(tx: &mut Tx<'_>, entries: &[Entry]) -> Result<Vec<SealedEvent>, DbError> {
    let events = events(tx, entries).await?;
    let sealed = entries
        .iter()
        .filter_map(|entry| events.get(&entry.event_id).map(|row| sealed(entry, row)));
    sealed.collect()
}

/// The rows of the entries' events, by their id.
pub(crate) async fn events(
    tx: &mut Tx<'_>,
    entries: &[Entry],
) -> Result<HashMap<i64, Row>, DbError> {
    let ids: Vec<i64> = entries.iter().map(|entry| entry.event_id).collect();
    let sql = match tx.engine() {
        Engine::Sqlite => {
            "SELECT id, at_ms, kind, version, subject, payload FROM ledger_event
                WHERE id IN (SELECT value FROM json_each('[' || ?1 || ']'))"
        }
        Engine::Postgres => {
            "SELECT id, at_ms, kind, version, subject, payload FROM ledger_event
                WHERE id = ANY(CAST(string_to_array(?1, ',') AS BIGINT[]))"
        }
    };
    let rows = tx.query(sql, params![id_list(&ids)]).await?;
    rows.into_iter()
        .map(|row| Ok((row.get("id")?, row)))
        .collect()
}

/// Ids as one parameter: `1,2,3`.
pub(crate) fn id_list(ids: &[i64]) -> String {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    ids.join(",")
}

fn sealed(entry: &Entry, row: &Row) -> Result<SealedEvent, DbError> {
    Ok(SealedEvent {
        seq: entry.seq,
        event_id: entry.event_id,
        at_ms: row.get("at_ms")?,
        kind: row.get("kind")?,
        version: row.get("version")?,
        subject: row.get("subject")?,
        payload: row.get::<Option<Vec<u8>>>("payload")?.unwrap_or_default(),
        payload_digest: entry.payload_digest,
        hash: entry.hash,
    })
}
