//! Following the chain entry by entry, wherever the entries come from: the store or an export.

use crate::HOME;
use crate::anchor::Anchor;
use crate::append::Payload as _;
use crate::digest::{Covered, Digest, entry_hash};
use crate::key::LedgerPublicKey;
use crate::purge::PayloadsPurged;
use crate::rekey::LedgerRekeyed;
use serde::Serialize;
use std::collections::VecDeque;

/// An entry that is not as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadEntry {
    /// Its sequence number; for an event without one, the number it would stand before.
    pub seq: i64,
    /// What kind of fault it is.
    pub fault: Fault,
    /// What is wrong with it, in words.
    pub reason: String,
}

impl BadEntry {
    pub(crate) fn new(seq: i64, fault: Fault, reason: impl Into<String>) -> Self {
        Self {
            seq,
            fault,
            reason: reason.into(),
        }
    }
}

/// What can be wrong with an entry or with the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An entry is not where its number says.
    Missing,
    /// Something stands behind the signed end, or outside the chain.
    Extra,
    /// The event of an entry is gone.
    Event,
    /// A payload is not the one that was sealed.
    Payload,
    /// A payload is gone and no purge is on record.
    Unrecorded,
    /// An entry's hash does not follow from its content.
    Hash,
    /// A row that describes entries describes them wrongly, or a line is not of its form.
    Form,
    /// The head does not fit the chain.
    Head,
    /// The head is not signed with the key.
    Signature,
    /// An entry is not the one that was noted down.
    Anchor,
    /// The record of a new key does not fit what stands before it.
    Rekey,
}

impl Fault {
    /// The stable word for users and scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "entry_missing",
            Self::Extra => "entry_extra",
            Self::Event => "event_missing",
            Self::Payload => "payload_changed",
            Self::Unrecorded => "payload_gone",
            Self::Hash => "entry_changed",
            Self::Form => "form_changed",
            Self::Head => "head_changed",
            Self::Signature => "signature_wrong",
            Self::Anchor => "anchor_not_found",
            Self::Rekey => "rekey_wrong",
        }
    }

    /// What to do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Signature => {
                "use the key that this ledger is sealed with: put a copy of the file `ledger.key` \
                 back; if there is none, `skep ledger rekey --reason lost` goes on with a new one"
            }
            Self::Anchor => {
                "the anchor is of another ledger, or this one was put back to an earlier state or \
                 written anew: compare with an export or a backup"
            }
            Self::Missing
            | Self::Extra
            | Self::Event
            | Self::Payload
            | Self::Unrecorded
            | Self::Hash
            | Self::Form
            | Self::Head
            | Self::Rekey => {
                "what stands before that event holds; compare with an export or a backup"
            }
        }
    }
}

impl Serialize for Fault {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A place where the ledger went on under another key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// The entry that records it.
    pub seq: i64,
    /// What the record says.
    #[serde(flatten)]
    pub record: LedgerRekeyed,
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

/// What is wrong with the next entry.
pub(crate) type Wrong = (Fault, String);

/// Stands behind the last entry that was found good.
#[derive(Debug, Clone)]
pub(crate) struct Checker {
    pub(crate) seq: i64,
    pub(crate) hash: Digest,
    /// The highest event so far.
    pub(crate) last_event: i64,
    pub(crate) purged: i64,
    pub(crate) key_changes: Vec<KeyChange>,
    /// What was noted down earlier, in ascending order; what is met is taken out.
    anchors: VecDeque<Anchor>,
    /// Purged entries whose record has not come yet, first and last of each stretch.
    unrecorded: Vec<(i64, i64)>,
}

impl Checker {
    pub(crate) fn new(mut anchors: Vec<Anchor>) -> Self {
        anchors.sort_unstable_by_key(|anchor| anchor.seq);
        let mut checker = Self {
            seq: 0,
            hash: Digest::ZERO,
            last_event: 0,
            purged: 0,
            key_changes: Vec::new(),
            anchors: anchors.into(),
            unrecorded: Vec::new(),
        };
        checker.meet_anchors();
        checker
    }

    /// Checks the next entry and moves behind it; otherwise says what is wrong with it.
    pub(crate) fn next(&mut self, entry: &Presented<'_>) -> Result<(), Wrong> {
        if entry.seq != self.seq + 1 {
            let reason = format!("it is missing; the next entry is {}", entry.seq);
            return Err((Fault::Missing, reason));
        }
        let covered = &entry.covered;
        match entry.payload {
            None if [PayloadsPurged::KIND, LedgerRekeyed::KIND].contains(&covered.kind) => {
                let reason = "its payload is gone, and one of its kind is never purged";
                return Err((Fault::Unrecorded, reason.to_owned()));
            }
            None => self.note_purged(entry.seq),
            Some(payload) if Digest::of(payload) != covered.payload_digest => {
                let reason = "its payload is not the one that was sealed";
                return Err((Fault::Payload, reason.to_owned()));
            }
            Some(_) => {}
        }
        let hash = entry_hash(&self.hash, entry.seq, covered);
        if entry.hash != hash {
            let reason = "its hash does not follow from its content";
            return Err((Fault::Hash, reason.to_owned()));
        }
        if let Some(payload) = entry.payload
            && covered.subject == HOME
        {
            match covered.kind {
                PayloadsPurged::KIND => self.note_purge(payload),
                LedgerRekeyed::KIND => self.note_key_change(entry.seq, payload)?,
                _ => {}
            }
        }
        (self.seq, self.hash) = (entry.seq, hash);
        self.last_event = self.last_event.max(covered.event_id);
        if self.meet_anchors() {
            Ok(())
        } else {
            self.seq -= 1;
            let reason = format!("its hash is {hash}, and the anchor says otherwise");
            Err((Fault::Anchor, reason))
        }
    }

    /// Checks that the chain ends where the signed head says it does.
    pub(crate) fn end(
        &self,
        seq: i64,
        hash: &Digest,
        signature: Option<&[u8]>,
        key: &LedgerPublicKey,
    ) -> Option<BadEntry> {
        let bad = |seq, fault, reason: String| Some(BadEntry::new(seq, fault, reason));
        if let Some((first, _)) = self.unrecorded.first() {
            let reason = "its payload is gone without a record".to_owned();
            return bad(*first, Fault::Unrecorded, reason);
        }
        if self.seq < seq {
            let reason = format!("it is missing; the head counts {seq} entries");
            return bad(self.seq + 1, Fault::Missing, reason);
        }
        if self.seq > seq {
            let reason = format!("it stands behind the head, which counts {seq} entries");
            return bad(seq + 1, Fault::Extra, reason);
        }
        if self.hash != *hash {
            let reason = "the head's hash is not that of the last entry".to_owned();
            return bad(seq, Fault::Head, reason);
        }
        let signed = match signature {
            None => seq == 0,
            Some(signature) => key.signed_head(seq, hash, signature),
        };
        if !signed {
            let reason = self.unsigned(signature.is_some(), key);
            return bad(seq, Fault::Signature, reason);
        }
        self.anchors.front().and_then(|anchor| {
            let reason = format!("the anchor names it, and the ledger ends with {seq}");
            bad(anchor.seq, Fault::Anchor, reason)
        })
    }

    fn unsigned(&self, has_signature: bool, key: &LedgerPublicKey) -> String {
        if !has_signature {
            return "the head is not signed".to_owned();
        }
        let until = self.key_changes.iter().find(|change| {
            let record = &change.record;
            record.old_key == Some(*key) || record.was_signed_by(key)
        });
        match until {
            Some(change) => format!(
                "the head is not signed with this key, which was replaced by event {}",
                change.seq
            ),
            None => "the head is not signed with this key".to_owned(),
        }
    }

    /// Takes out the anchors of the entry that was just passed. `false`: one of them does not fit.
    fn meet_anchors(&mut self) -> bool {
        let mut fit = true;
        while let Some(anchor) = self.anchors.pop_front_if(|anchor| anchor.seq <= self.seq) {
            fit &= (anchor.seq, anchor.hash) == (self.seq, self.hash);
        }
        fit
    }

    fn note_purged(&mut self, seq: i64) {
        self.purged += 1;
        match self.unrecorded.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ => self.unrecorded.push((seq, seq)),
        }
    }

    /// What a record of a purge covers is accounted for.
    fn note_purge(&mut self, payload: &[u8]) {
        let Ok(record) = serde_json::from_slice::<PayloadsPurged>(payload) else {
            return;
        };
        let outside = |(first, last): (i64, i64)| {
            let before = (first, last.min(record.first_seq.saturating_sub(1)));
            let after = (first.max(record.last_seq.saturating_add(1)), last);
            [before, after]
                .into_iter()
                .filter(|(first, last)| first <= last)
        };
        let left = std::mem::take(&mut self.unrecorded);
        self.unrecorded = left.into_iter().flat_map(outside).collect();
        self.unrecorded.dedup();
    }

    fn note_key_change(&mut self, seq: i64, payload: &[u8]) -> Result<(), Wrong> {
        let wrong = |reason: &str| Err((Fault::Rekey, reason.to_owned()));
        let Ok(record) = serde_json::from_slice::<LedgerRekeyed>(payload) else {
            return wrong("it records a new key in a form that is not known");
        };
        if (record.old_seq, record.old_hash) != (self.seq, self.hash) {
            return wrong("it records a new key for another head than the one before it");
        }
        if record
            .old_key
            .is_some_and(|key| !record.was_signed_by(&key))
        {
            return wrong("it names an old key that had not signed the head before it");
        }
        self.key_changes.push(KeyChange { seq, record });
        Ok(())
    }
}
