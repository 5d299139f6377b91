//! Recomputing the whole chain.
//!
//! Found: any changed, missing, moved, added or cut-off entry, and a head that was not signed
//! with the key. Not found, by any check inside one store: a whole earlier state put back
//! together with its own signed head. Against that, keep a head elsewhere.

use crate::HOME;
use crate::append::Payload as _;
use crate::digest::{Covered, Digest, entry_hash};
use crate::error::LedgerError;
use crate::key::LedgerPublicKey;
use crate::limits::VERIFY_ENTRIES_MAX;
use crate::purge::PayloadsPurged;
use serde::Serialize;
use skep_db::{Db, DbError, Engine, Row, Tx, params};

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
    /// The first entry that is not as it was sealed.
    pub first_bad: Option<BadEntry>,
}

/// An entry that is not as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadEntry {
    /// Its sequence number; for an event without one, the number it would stand before.
    pub seq: i64,
    /// What is wrong with it.
    pub reason: String,
}

/// Verifies the whole ledger against `key`.
///
/// Reads in bounded steps, each a transaction of its own, so it holds up nobody; entries sealed
/// while it runs are verified too.
pub async fn verify(db: &Db, key: LedgerPublicKey) -> Result<VerifyReport, LedgerError> {
    let mut walk = Walk::new(key);
    loop {
        let step = db
            .read("verify", async move |tx: &mut Tx<'_>| walk.step(tx).await)
            .await?;
        match step {
            Step::More(next) => walk = next,
            Step::Ended(report) => {
                return db
                    .read("verify", async move |tx: &mut Tx<'_>| {
                        with_unchained(tx, report.clone()).await
                    })
                    .await;
            }
        }
    }
}

/// Where the walk stands: after entry `seq`, whose hash is `hash`.
#[derive(Debug, Clone, Copy)]
struct Walk {
    key: LedgerPublicKey,
    /// Rows up to this number were read; below every number at first, so that none is missed.
    read_to: i64,
    seq: i64,
    hash: Digest,
    purged: i64,
}

enum Step {
    More(Walk),
    Ended(VerifyReport),
}

impl Walk {
    fn new(key: LedgerPublicKey) -> Self {
        Self {
            key,
            read_to: i64::MIN,
            seq: 0,
            hash: Digest::ZERO,
            purged: 0,
        }
    }

    /// Checks the next entries. One statement reads them together with the head, so that the
    /// last entry and the head are of one instant.
    async fn step(mut self, tx: &mut Tx<'_>) -> Result<Step, LedgerError> {
        let sql = "SELECT h.seq AS head_seq, h.hash AS head_hash, h.signature,
                c.seq, c.event_id, c.payload_digest, c.hash,
                e.id, e.at_ms, e.kind, e.version, e.subject, e.payload
            FROM ledger_head h
            LEFT JOIN (SELECT seq, event_id, payload_digest, hash FROM ledger_chain
                WHERE seq > ?1 ORDER BY seq LIMIT ?2) c ON 1 = 1
            LEFT JOIN ledger_event e ON e.id = c.event_id
            ORDER BY c.seq";
        let rows = tx
            .query(sql, params![self.read_to, VERIFY_ENTRIES_MAX])
            .await?;
        let Some(first) = rows.first() else {
            let bad = BadEntry::new(1, "the head is missing");
            return Ok(self.ended(0, Digest::ZERO, Some(bad)));
        };
        let head_seq = first.get("head_seq")?;
        let head_hash: Vec<u8> = first.get("head_hash")?;
        let head_hash = Digest::from_slice(&head_hash).unwrap_or(Digest::ZERO);
        let mut entries = 0;
        for row in &rows {
            let Some(seq) = row.get::<Option<i64>>("seq")? else {
                break;
            };
            entries += 1;
            if let Some(reason) = self.check(tx, seq, row).await? {
                let bad = BadEntry::new(self.seq + 1, reason);
                return Ok(self.ended(head_seq, head_hash, Some(bad)));
            }
            self.read_to = seq;
        }
        if entries == VERIFY_ENTRIES_MAX {
            return Ok(Step::More(self));
        }
        let signature = first.get::<Option<Vec<u8>>>("signature")?;
        let bad = self.check_head(head_seq, &head_hash, signature.as_deref());
        Ok(self.ended(head_seq, head_hash, bad))
    }

    /// Checks one entry and moves behind it; the answer is what is wrong.
    async fn check(
        &mut self,
        tx: &mut Tx<'_>,
        seq: i64,
        row: &Row,
    ) -> Result<Option<String>, DbError> {
        let expected = self.seq + 1;
        if seq != expected {
            return Ok(Some(format!("it is missing; the next entry is {seq}")));
        }
        let event_id: i64 = row.get("event_id")?;
        if row.get::<Option<i64>>("id")?.is_none() {
            return Ok(Some(format!("its event {event_id} is missing")));
        }
        let Some(payload_digest) = Digest::from_slice(&row.get::<Vec<u8>>("payload_digest")?)
        else {
            return Ok(Some("its payload digest is not 32 bytes".to_owned()));
        };
        let payload = row.get::<Option<Vec<u8>>>("payload")?;
        match payload {
            None if purged_on_record(tx, seq).await? => self.purged += 1,
            None => return Ok(Some("its payload is gone without a record".to_owned())),
            Some(payload) if Digest::of(&payload) != payload_digest => {
                return Ok(Some(
                    "its payload is not the one that was sealed".to_owned(),
                ));
            }
            Some(_) => {}
        }
        let (kind, subject): (String, String) = (row.get("kind")?, row.get("subject")?);
        let covered = Covered {
            event_id,
            at_ms: row.get("at_ms")?,
            kind: &kind,
            version: row.get("version")?,
            subject: &subject,
            payload_digest,
        };
        let hash = entry_hash(&self.hash, seq, &covered);
        if row.get::<Vec<u8>>("hash")? != hash.0 {
            return Ok(Some("its hash does not follow from its content".to_owned()));
        }
        (self.seq, self.hash) = (seq, hash);
        Ok(None)
    }

    fn check_head(&self, seq: i64, hash: &Digest, signature: Option<&[u8]>) -> Option<BadEntry> {
        if self.seq < seq {
            let reason = format!("it is missing; the head counts {seq} entries");
            return Some(BadEntry::new(self.seq + 1, reason));
        }
        if self.seq > seq {
            let reason = format!("it stands behind the head, which counts {seq} entries");
            return Some(BadEntry::new(seq + 1, reason));
        }
        let reason = match signature {
            _ if self.hash != *hash => "the head's hash is not that of the last entry",
            None if seq == 0 => return None,
            Some(signature) if self.key.signed_head(seq, hash, signature) => return None,
            None => "the head is not signed",
            Some(_) => "the head is not signed with this key",
        };
        Some(BadEntry::new(seq, reason))
    }

    fn ended(self, head_seq: i64, head_hash: Digest, first_bad: Option<BadEntry>) -> Step {
        Step::Ended(VerifyReport {
            events: self.seq,
            purged: self.purged,
            head_seq,
            head_hash,
            unsealed: 0,
            first_bad,
        })
    }
}

impl BadEntry {
    fn new(seq: i64, reason: impl Into<String>) -> Self {
        Self {
            seq,
            reason: reason.into(),
        }
    }
}

/// Whether a purge of entry `seq` is on record.
async fn purged_on_record(tx: &mut Tx<'_>, seq: i64) -> Result<bool, DbError> {
    let sql = "SELECT payload FROM ledger_event WHERE subject = ?1 AND kind = ?2";
    let rows = tx.query(sql, params![HOME, PayloadsPurged::KIND]).await?;
    for row in rows {
        let payload: Option<Vec<u8>> = row.get("payload")?;
        let record =
            payload.and_then(|bytes| serde_json::from_slice::<PayloadsPurged>(&bytes).ok());
        if record.is_some_and(|record| (record.first_seq..=record.last_seq).contains(&seq)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds what has no place in the chain: events that wait for their seal, and events that were
/// slipped in and do not.
async fn with_unchained(
    tx: &mut Tx<'_>,
    mut report: VerifyReport,
) -> Result<VerifyReport, LedgerError> {
    let sql = match tx.engine() {
        Engine::Sqlite => {
            "SELECT 0 AS waiting, MIN(id) AS stray FROM ledger_event
                WHERE id NOT IN (SELECT event_id FROM ledger_chain)"
        }
        Engine::Postgres => {
            "SELECT (SELECT COUNT(*) FROM ledger_unsealed) AS waiting,
                (SELECT MIN(e.id) FROM ledger_event e
                    LEFT JOIN ledger_chain c ON c.event_id = e.id
                    LEFT JOIN ledger_unsealed u ON u.event_id = e.id
                    WHERE c.event_id IS NULL AND u.event_id IS NULL) AS stray"
        }
    };
    let row = tx.query_one(sql, &[]).await?;
    report.unsealed = row.get("waiting")?;
    if report.first_bad.is_none()
        && let Some(stray) = row.get::<Option<i64>>("stray")?
    {
        let sql = "SELECT COALESCE(MAX(seq), 0) + 1 AS seq FROM ledger_chain WHERE event_id < ?1";
        let seq = tx.query_one(sql, params![stray]).await?.get("seq")?;
        let reason = format!("event {stray} stands outside the chain and does not wait for a seal");
        report.first_bad = Some(BadEntry::new(seq, reason));
    }
    Ok(report)
}
