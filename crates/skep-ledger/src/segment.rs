//! The chain's rows: the entries of one commit, or of one batch of the sealer, side by side.

use crate::digest::{Covered, Digest, entry_hash};
use crate::head::Head;
use skep_db::{DbError, Row, Tx, params};

/// The bytes of one entry: event id, payload digest, hash.
pub(crate) const ENTRY_BYTES: usize = 8 + 32 + 32;

/// One entry of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) seq: i64,
    pub(crate) event_id: i64,
    pub(crate) payload_digest: Digest,
    pub(crate) hash: Digest,
}

/// Entries one after the other, in the form in which they are kept.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    bytes: Vec<u8>,
    low_event: i64,
}

impl Segment {
    /// A segment with room for `entries`.
    pub(crate) fn with_capacity(entries: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(entries * ENTRY_BYTES),
            low_event: i64::MAX,
        }
    }

    /// Adds an entry and moves `head` behind it.
    pub(crate) fn push(&mut self, head: &mut Head, covered: &Covered<'_>) {
        let seq = head.seq + 1;
        let hash = entry_hash(&head.hash, seq, covered);
        self.bytes.extend(covered.event_id.to_be_bytes());
        self.bytes.extend(covered.payload_digest.0);
        self.bytes.extend(hash.0);
        self.low_event = self.low_event.min(covered.event_id);
        (head.seq, head.hash) = (seq, hash);
        head.last_event = head.last_event.max(covered.event_id);
    }

    /// The parameters of a new row `(first_seq, last_seq, low_event, high_event, entries, hash)`
    /// that ends at `head`.
    pub(crate) fn into_row(self, head: &Head) -> [skep_db::Value; 6] {
        let entries = i64::try_from(self.bytes.len() / ENTRY_BYTES).unwrap_or(i64::MAX);
        [
            (head.seq - entries + 1).into(),
            head.seq.into(),
            self.low_event.into(),
            head.last_event.into(),
            self.bytes.into(),
            head.hash.0[..].into(),
        ]
    }
}

/// The entries of a row with the columns `first_seq` and `entries`.
pub(crate) fn entries(row: &Row) -> Result<Vec<Entry>, DbError> {
    let first_seq: i64 = row.get("first_seq")?;
    let bytes: Vec<u8> = row.get("entries")?;
    let (whole, rest) = bytes.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(DbError::Column {
            column: "entries".to_owned(),
            found: "not whole entries",
        });
    }
    Ok(whole
        .iter()
        .zip(first_seq..)
        .map(|(bytes, seq)| entry(seq, bytes))
        .collect())
}

/// The entry of event `id` in a row with the columns `first_seq` and `entries`, if it is there.
pub(crate) fn entry_of(row: &Row, id: i64) -> Result<Option<Entry>, DbError> {
    let of_id = |entry: &Entry| entry.event_id == id;
    Ok(entries(row)?.into_iter().find(of_id))
}

fn entry(seq: i64, bytes: &[u8; ENTRY_BYTES]) -> Entry {
    let (mut event_id, mut payload_digest, mut hash) = ([0; 8], [0; 32], [0; 32]);
    event_id.copy_from_slice(&bytes[..8]);
    payload_digest.copy_from_slice(&bytes[8..40]);
    hash.copy_from_slice(&bytes[40..]);
    Entry {
        seq,
        event_id: i64::from_be_bytes(event_id),
        payload_digest: Digest(payload_digest),
        hash: Digest(hash),
    }
}

/// Up to `limit` entries after `after_seq`, in order.
pub(crate) async fn entries_after(
    tx: &mut Tx<'_>,
    after_seq: i64,
    limit: usize,
) -> Result<Vec<Entry>, DbError> {
    let mut found: Vec<Entry> = Vec::new();
    let mut next = after_seq.saturating_add(1);
    while found.len() < limit {
        let rows = tx.query(SEGMENTS_FROM, params![next]).await?;
        let Some(last) = rows.last() else { break };
        let end: i64 = last.get("last_seq")?;
        for row in &rows {
            found.extend(entries(row)?.into_iter().filter(|entry| entry.seq >= next));
        }
        // A row that was tampered with must not lead in a circle.
        if end < next {
            break;
        }
        next = end + 1;
    }
    found.truncate(limit);
    Ok(found)
}

/// The segment that holds entry `?1`, if there is one, and some that follow.
const SEGMENTS_FROM: &str = "SELECT first_seq, last_seq, entries FROM ledger_chain
    WHERE first_seq >= COALESCE(
        (SELECT MAX(first_seq) FROM ledger_chain WHERE first_seq <= ?1), ?1)
    AND last_seq >= ?1
    ORDER BY first_seq LIMIT 8";
