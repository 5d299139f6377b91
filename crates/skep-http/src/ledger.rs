//! The ledger's entries as they were hashed, for a verifier that trusts nothing of this program.

use crate::limits::LEDGER_PAGE_MAX;
use skep_api::{LedgerEntries, LedgerEntry, LedgerHeadView};
use skep_db::{Db, DbError, Tx};
use skep_ledger::{Anchor, Digest, LedgerHead, LedgerPublicKey, SealedEvent};

/// Up to `limit` entries after `after` (0 for the first), with what the next page starts from.
///
/// # Errors
/// What the store says.
pub async fn ledger_entries(
    db: &Db,
    key: LedgerPublicKey,
    after: i64,
    limit: i64,
) -> Result<LedgerEntries, DbError> {
    let limit = limit.clamp(1, LEDGER_PAGE_MAX);
    let read = async move |tx: &mut Tx<'_>| skep_ledger::tail(tx, after, limit).await;
    let items: Vec<LedgerEntry> = db
        .read("ledger_entries", read)
        .await?
        .into_iter()
        .map(entry)
        .collect();
    let full = i64::try_from(items.len()).is_ok_and(|count| count == limit);
    let next_cursor = items
        .last()
        .filter(|_| full)
        .map(|last| last.seq.to_string());
    Ok(LedgerEntries {
        public_key: key.to_string(),
        items,
        next_cursor,
    })
}

/// The signed end of the chain.
///
/// # Errors
/// What the store says.
pub async fn ledger_head(db: &Db, key: LedgerPublicKey) -> Result<LedgerHeadView, DbError> {
    let head = db.read("ledger_head", skep_ledger::head).await?;
    let head = head.unwrap_or(LedgerHead {
        seq: 0,
        hash: Digest::ZERO,
        signature: None,
    });
    let (seq, hash) = (head.seq, head.hash);
    Ok(LedgerHeadView {
        seq,
        hash: hash.to_string(),
        anchor: Anchor { seq, hash }.to_string(),
        signature: head.signature,
        public_key: key.to_string(),
    })
}

fn entry(event: SealedEvent) -> LedgerEntry {
    // Payloads are JSON, so they are text; an empty one was purged.
    let payload = String::from_utf8_lossy(&event.payload).into_owned();
    LedgerEntry {
        seq: event.seq,
        event_id: event.event_id,
        at: event.at_ms,
        kind: event.kind,
        version: event.version,
        subject: event.subject,
        payload: (!payload.is_empty()).then_some(payload),
        payload_digest: event.payload_digest.to_string(),
        hash: event.hash.to_string(),
    }
}
