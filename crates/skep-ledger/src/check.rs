//! Following the chain entry by entry, wherever the entries come from: the store or an export.

use crate::HOME;
use crate::append::Payload as _;
use crate::digest::{Covered, Digest, entry_hash};
use crate::key::LedgerPublicKey;
use crate::purge::PayloadsPurged;
use serde::Serialize;

/// An entry that is not as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadEntry {
    /// Its sequence number; for an event without one, the number it would stand before.
    pub seq: i64,
    /// What is wrong with it.
    pub reason: String,
}

impl BadEntry {
    pub(crate) fn new(seq: i64, reason: impl Into<String>) -> Self {
        Self {
            seq,
            reason: reason.into(),
        }
    }
}

/// An entry as somebody presents it, to be checked.
#[derive(Debug)]
pub(crate) struct Presented<'a> {
    pub(crate) seq: i64,
    pub(crate) covered: Covered<'a>,
    /// `None` where it was purged.
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) hash: Digest,
}

/// Stands behind the last entry that was found good.
#[derive(Debug, Clone)]
pub(crate) struct Checker {
    pub(crate) seq: i64,
    pub(crate) hash: Digest,
    /// The highest event so far.
    pub(crate) last_event: i64,
    pub(crate) purged: i64,
    /// Purged entries whose record has not come yet, first and last of each stretch.
    unrecorded: Vec<(i64, i64)>,
}

impl Checker {
    pub(crate) const fn new() -> Self {
        Self {
            seq: 0,
            hash: Digest::ZERO,
            last_event: 0,
            purged: 0,
            unrecorded: Vec::new(),
        }
    }

    /// Checks the next entry and moves behind it; otherwise says what is wrong with it.
    pub(crate) fn next(&mut self, entry: &Presented<'_>) -> Result<(), String> {
        if entry.seq != self.seq + 1 {
            return Err(format!("it is missing; the next entry is {}", entry.seq));
        }
        let covered = &entry.covered;
        match entry.payload {
            None if covered.kind == PayloadsPurged::KIND => {
                return Err("it is the record of a purge and its payload is gone".to_owned());
            }
            None => self.note_purged(entry.seq),
            Some(payload) if Digest::of(payload) != covered.payload_digest => {
                return Err("its payload is not the one that was sealed".to_owned());
            }
            Some(_) => {}
        }
        let hash = entry_hash(&self.hash, entry.seq, covered);
        if entry.hash != hash {
            return Err("its hash does not follow from its content".to_owned());
        }
        if let Some(payload) = entry.payload {
            self.note_record(covered, payload);
        }
        (self.seq, self.hash) = (entry.seq, hash);
        self.last_event = self.last_event.max(covered.event_id);
        Ok(())
    }

    /// Checks that the chain ends where the signed head says it does.
    pub(crate) fn end(
        &self,
        seq: i64,
        hash: &Digest,
        signature: Option<&[u8]>,
        key: &LedgerPublicKey,
    ) -> Option<BadEntry> {
        if let Some((first, _)) = self.unrecorded.first() {
            let reason = "its payload is gone without a record";
            return Some(BadEntry::new(*first, reason));
        }
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
            Some(signature) if key.signed_head(seq, hash, signature) => return None,
            None => "the head is not signed",
            Some(_) => "the head is not signed with this key",
        };
        Some(BadEntry::new(seq, reason))
    }

    fn note_purged(&mut self, seq: i64) {
        self.purged += 1;
        match self.unrecorded.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ => self.unrecorded.push((seq, seq)),
        }
    }

    /// What a record of a purge covers is accounted for.
    fn note_record(&mut self, covered: &Covered<'_>, payload: &[u8]) {
        if (covered.kind, covered.subject) != (PayloadsPurged::KIND, HOME) {
            return;
        }
        let Ok(record) = serde_json::from_slice::<PayloadsPurged>(payload) else {
            return;
        };
        let (from, to) = (record.first_seq, record.last_seq);
        let outside = |(first, last): (i64, i64)| {
            let (before, after) = ((first, last.min(from - 1)), (first.max(to + 1), last));
            [before, after]
                .into_iter()
                .filter(|(first, last)| first <= last)
        };
        let left = std::mem::take(&mut self.unrecorded);
        self.unrecorded = left.into_iter().flat_map(outside).collect();
        self.unrecorded.dedup();
    }
}
