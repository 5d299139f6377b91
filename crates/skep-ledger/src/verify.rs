//! Recomputing the whole chain.
//!
//! Found: any changed, missing, moved, added or cut-off entry, and a head that was not signed
//! with the key. Not found, by any check inside one store: a whole earlier state put back
//! together with its own signed head. Against that, keep a head elsewhere.

use crate::anchor::Anchor;
use crate::check::{BadEntry, Checker, Fault, KeyChange, Presented, Wrong};
use crate::digest::{Covered, Digest};
use crate::error::LedgerError;
use crate::head::{self, SignedHead};
use crate::key::LedgerPublicKey;
use crate::limits::{STRAY_EVENTS, VERIFY_SEGMENTS_MAX};
use crate::segment::{self, Entry};
use crate::tail::events;
use serde::Serialize;
use skep_db::{Db, DbError, Engine, Row, Tx, params};
use std::collections::HashMap;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Entries that were checked and found good.
    pub events: i64,
    /// Of these, entries whose payload was purged on record.
    pub purged: i64,
    /// The head's sequence number.
    pub head_seq: i64,
    /// The head's hash.
    pub head_hash: Digest,
    /// Events that are committed and wait for their seal; always 0 on SQLite.
    pub unsealed: i64,
    /// Where the ledger went on under another key.
    pub key_changes: Vec<KeyChange>,
    /// The first entry that is not as it was sealed.
    pub first_bad: Option<BadEntry>,
}

/// Verifies the whole ledger against `key`.
///
/// Reads in bounded steps, each a transaction of its own, so it holds up nobody; entries sealed
/// while it runs are verified too.
pub async fn verify(db: &Db, key: LedgerPublicKey) -> Result<VerifyReport, LedgerError> {
    verify_with(db, key, Vec::new()).await
}

/// As [`verify`], and every anchor has to be in the chain.
pub async fn verify_with(
    db: &Db,
    key: LedgerPublicKey,
    anchors: Vec<Anchor>,
) -> Result<VerifyReport, LedgerError> {
    let mut walk = Walk {
        key,
        read_to: i64::MIN,
        checker: Checker::new(anchors),
    };
    loop {
        let step = db
            .read("verify", async move |tx: &mut Tx<'_>| {
                walk.clone().step(tx).await
            })
            .await?;
        match step {
            Step::More(next) => walk = *next,
            Step::Ended(report) => return Ok(report),
        }
    }
}

#[derive(Debug, Clone)]
struct Walk {
    key: LedgerPublicKey,
    /// Segments up to this number were read; below every number at first, so that none is missed.
    read_to: i64,
    checker: Checker,
}

enum Step {
    More(Box<Walk>),
    Ended(VerifyReport),
}

impl Walk {
    /// Checks the next segments, and at the last of them the head, which is of the same instant.
    async fn step(mut self, tx: &mut Tx<'_>) -> Result<Step, LedgerError> {
        let params = params![self.read_to, VERIFY_SEGMENTS_MAX];
        let rows = tx.query(SEGMENTS, params).await?;
        for row in &rows {
            if let Some(bad) = self.segment(tx, row).await? {
                return self.ended(tx, Some(bad)).await;
            }
            self.read_to = row.get("first_seq")?;
        }
        if i64::try_from(rows.len()) == Ok(VERIFY_SEGMENTS_MAX) {
            return Ok(Step::More(Box::new(self)));
        }
        self.ended(tx, None).await
    }

    /// Checks a segment entry by entry, then what it says about itself.
    async fn segment(&mut self, tx: &mut Tx<'_>, row: &Row) -> Result<Option<BadEntry>, DbError> {
        let next = self.checker.seq + 1;
        let first: i64 = row.get("first_seq")?;
        if first != next {
            let reason = format!("it is missing; the next entry is {first}");
            return Ok(Some(BadEntry::new(next, Fault::Missing, reason)));
        }
        let entries = match segment::entries(row) {
            Ok(entries) if !entries.is_empty() => entries,
            _ => {
                let reason = "its segment does not hold whole entries";
                return Ok(Some(BadEntry::new(next, Fault::Form, reason)));
            }
        };
        let events = events(tx, &entries).await?;
        for entry in &entries {
            if let Err((fault, reason)) = check(&mut self.checker, entry, &events)? {
                return Ok(Some(BadEntry::new(self.checker.seq + 1, fault, reason)));
            }
        }
        self.description(row, &entries)
    }

    /// Checks the columns of a segment that say again what its entries say.
    fn description(&self, row: &Row, entries: &[Entry]) -> Result<Option<BadEntry>, DbError> {
        let end = self.checker.seq;
        let claimed: i64 = row.get("last_seq")?;
        if claimed != end {
            let reason =
                format!("its segment says that it ends with {claimed}, and it ends with {end}");
            // Where it stops being true, but not before the segment begins.
            let seq = (claimed.min(end) + 1).max(row.get("first_seq")?);
            return Ok(Some(BadEntry::new(seq, Fault::Form, reason)));
        }
        let low = entries.iter().map(|entry| entry.event_id).min();
        let found = (row.get("low_event")?, row.get("high_event")?);
        let hash: Vec<u8> = row.get("hash")?;
        if found == (low.unwrap_or_default(), self.checker.last_event)
            && hash == self.checker.hash.0
        {
            return Ok(None);
        }
        let reason = "its segment is not described as it is";
        Ok(Some(BadEntry::new(end, Fault::Form, reason)))
    }

    async fn ended(self, tx: &mut Tx<'_>, bad: Option<BadEntry>) -> Result<Step, LedgerError> {
        let checker = &self.checker;
        let mut report = VerifyReport {
            events: checker.seq,
            purged: checker.purged,
            head_seq: 0,
            head_hash: Digest::ZERO,
            unsealed: 0,
            key_changes: checker.key_changes.clone(),
            first_bad: bad,
        };
        let heads = tx.query(HEADS, &[]).await?;
        let head = match heads.as_slice() {
            [row] => SignedHead::from_row(row).ok(),
            _ => None,
        };
        let Some(SignedHead { head, signature }) = head else {
            let reason = match heads.len() {
                0 => "the head is missing",
                1 => "the head is not of its form",
                _ => "there is more than one head",
            };
            report.first_bad = report
                .first_bad
                .or_else(|| Some(BadEntry::new(1, Fault::Head, reason)));
            return Ok(Step::Ended(report));
        };
        report.unsealed = match tx.engine() {
            // A commit seals its own events.
            Engine::Sqlite => 0,
            Engine::Postgres => head::waiting(tx, &head).await?,
        };
        (report.head_seq, report.head_hash) = (head.seq, head.hash);
        if report.first_bad.is_none() {
            let signature = signature.as_deref();
            report.first_bad = checker.end(head.seq, &head.hash, signature, &self.key);
        }
        let gaps_are_good = match tx.engine() {
            Engine::Sqlite => head.gaps.is_empty(),
            Engine::Postgres => head.gaps.lie_below(head.last_event),
        };
        if report.first_bad.is_none() && (head.last_event != checker.last_event || !gaps_are_good) {
            let reason = "the head's events are not those of the chain";
            report.first_bad = Some(BadEntry::new(head.seq, Fault::Head, reason));
        }
        if report.first_bad.is_none() {
            report.first_bad = outside(tx, &head, report.unsealed).await?;
        }
        Ok(Step::Ended(report))
    }
}

const SEGMENTS: &str = "SELECT first_seq, last_seq, low_event, high_event, entries, hash
    FROM ledger_chain WHERE first_seq > ?1 ORDER BY first_seq LIMIT ?2";
const HEADS: &str = "SELECT seq, hash, signature, last_event, gaps FROM ledger_head LIMIT 2";

/// Checks one entry against its event.
fn check(
    checker: &mut Checker,
    entry: &Entry,
    events: &HashMap<i64, Row>,
) -> Result<Result<(), Wrong>, DbError> {
    let Some(event) = events.get(&entry.event_id) else {
        let reason = format!("its event {} is missing", entry.event_id);
        return Ok(Err((Fault::Event, reason)));
    };
    let (kind, subject): (String, String) = (event.get("kind")?, event.get("subject")?);
    let payload: Option<Vec<u8>> = event.get("payload")?;
    let presented = Presented {
        seq: entry.seq,
        covered: Covered {
            event_id: entry.event_id,
            at_ms: event.get("at_ms")?,
            kind: &kind,
            version: event.get("version")?,
            subject: &subject,
            payload_digest: entry.payload_digest,
        },
        payload: payload.as_deref(),
        hash: entry.hash,
    };
    Ok(checker.next(&presented))
}

/// Looks for events that were slipped in: they have no place in the chain and do not wait for one.
/// Every entry has been found to have its event, so counting tells whether there are any.
async fn outside(
    tx: &mut Tx<'_>,
    head: &head::Head,
    waiting: i64,
) -> Result<Option<BadEntry>, DbError> {
    let expected = head.seq + waiting;
    let sql = "SELECT COUNT(*) AS events FROM ledger_event";
    let events: i64 = tx.query_one(sql, &[]).await?.get("events")?;
    if events < expected {
        let reason = "the head counts sealed events among those that wait for their seal";
        return Ok(Some(BadEntry::new(head.seq, Fault::Head, reason)));
    }
    if events == expected {
        return Ok(None);
    }
    let stray = first_stray(tx).await?;
    let sql =
        "SELECT COALESCE(MAX(last_seq), 0) + 1 AS seq FROM ledger_chain WHERE high_event < ?1";
    let seq = tx.query_one(sql, params![stray]).await?.get("seq")?;
    let reason = format!("event {stray} stands outside the chain and does not wait for a seal");
    Ok(Some(BadEntry::new(seq, Fault::Extra, reason)))
}

/// The lowest event without a place, by merging the events with the chain.
async fn first_stray(tx: &mut Tx<'_>) -> Result<i64, DbError> {
    let mut after = i64::MIN;
    loop {
        let sql = "SELECT id FROM ledger_event WHERE id > ?1 ORDER BY id LIMIT ?2";
        let rows = tx.query(sql, params![after, STRAY_EVENTS]).await?;
        for row in &rows {
            let id: i64 = row.get("id")?;
            if crate::tail::place(tx, id).await?.is_none() {
                return Ok(id);
            }
            after = id;
        }
        if rows.is_empty() {
            return Ok(after);
        }
    }
}
