//! The ledger as a file that proves itself: its form, and its verifier.
//!
//! JSON lines: what the file is and whose key signs it; one line for each entry, from the first on
//! without a gap; the signed head. The verifier reads nothing but the file. Every byte follows from
//! the ledger: two exports of one head are the same file, and a line that says the same in another
//! way is reported as changed.

use crate::anchor::Anchor;
use crate::check::{Checker, Fault, KeyChange, Presented};
use crate::digest::{Covered, Digest, from_hex};
use crate::key::LedgerPublicKey;
use crate::limits::EXPORT_LINE_BYTES_MAX;
use crate::rekey::LedgerHead;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::{self, BufRead, Read as _, Write};

const FORMAT: &str = "skep-ledger-export";
const VERSION: i64 = 2;

/// How an entry's hash is made, for whoever writes a verifier of their own.
const ENTRY_HASH: &str = "SHA-256 over these fields in this order, each preceded by its length in \
    bytes as a 64-bit big-endian number, integers as 64-bit big-endian two's complement: the words \
    skep-ledger-entry-v1, the hash of the entry before (32 zero bytes before the first), seq, \
    event_id, at, kind, version, subject, SHA-256 of the payload's bytes";
/// What the head's signature covers.
const HEAD_SIGNATURE: &str = "Ed25519 over the words skep-ledger-head-v1, seq as a 64-bit \
    big-endian number, and the 32 bytes of the hash";

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening<'a> {
    format: Cow<'a, str>,
    version: i64,
    public_key: LedgerPublicKey,
    entry_hash: Cow<'a, str>,
    head_signature: Cow<'a, str>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportEntry {
    /// Its place in the chain, from 1 without gaps.
    pub seq: i64,
    /// Its number as it was appended.
    pub event_id: i64,
    /// When it was appended, in milliseconds since 1970.
    pub at: i64,
    /// What happened.
    pub kind: String,
    /// The version of the payload's shape.
    pub version: i64,
    /// Whom it is about.
    pub subject: String,
    /// The payload as it was hashed; absent once purged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The SHA-256 of the payload; there where the payload is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_digest: Option<Digest>,
    /// The hash that ties it to all before it.
    pub hash: Digest,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Closing {
    head: SignedEnd,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedEnd {
    seq: i64,
    hash: Digest,
    signature: Option<String>,
}

/// Writes an export line by line.
pub struct Exporter<W: Write> {
    out: W,
    head: LedgerHead,
    written: i64,
}

impl<W: Write> Exporter<W> {
    /// Begins an export that is to end with `head`.
    pub fn begin(mut out: W, key: LedgerPublicKey, head: LedgerHead) -> io::Result<Self> {
        line(
            &mut out,
            &Opening {
                format: FORMAT.into(),
                version: VERSION,
                public_key: key,
                entry_hash: ENTRY_HASH.into(),
                head_signature: HEAD_SIGNATURE.into(),
            },
        )?;
        let written = 0;
        Ok(Self { out, head, written })
    }

    /// The number of the last entry that was written.
    pub const fn written(&self) -> i64 {
        self.written
    }

    /// Whether entries are still missing.
    pub const fn wants_more(&self) -> bool {
        self.written < self.head.seq
    }

    /// Writes the next entry. One behind the head is left out.
    pub fn entry(&mut self, entry: &ExportEntry) -> io::Result<()> {
        if self.wants_more() {
            line(&mut self.out, entry)?;
            self.written = entry.seq;
        }
        Ok(())
    }

    /// Writes the signed head and gives the output back.
    pub fn end(mut self) -> io::Result<W> {
        let LedgerHead {
            seq,
            hash,
            signature,
        } = self.head;
        let head = SignedEnd {
            seq,
            hash,
            signature,
        };
        line(&mut self.out, &Closing { head })?;
        self.out.flush()?;
        Ok(self.out)
    }
}

fn line(out: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, document)?;
    out.write_all(b"\n")
}

/// What a verification of an export found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportReport {
    /// Entries that were checked and found good.
    pub events: i64,
    /// Of these, entries whose payload was purged on record.
    pub purged: i64,
    /// The last good entry, which is the head if nothing is bad; its text form is its anchor.
    #[serde(skip)]
    pub end: Anchor,
    /// The key that the export was checked with.
    pub public_key: Option<LedgerPublicKey>,
    /// Where the ledger went on under another key.
    pub key_changes: Vec<KeyChange>,
    /// The first line that is not as it was written.
    pub first_bad: Option<BadLine>,
}

/// A line that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// Its number, from 1; for a line that is missing, where it should stand.
    pub line: i64,
    /// The entry that it is about; 0 for the first line.
    pub seq: i64,
    /// What kind of fault it is.
    pub fault: Fault,
    /// What is wrong with it, in words.
    pub reason: String,
}

/// Verifies an export against `key`, or against the key that it names itself, which proves only
/// that it was not changed after that key signed it. Every anchor has to be in it.
///
/// `progress` is told the number of each good entry.
pub fn verify_export(
    input: impl BufRead,
    key: Option<LedgerPublicKey>,
    anchors: Vec<Anchor>,
    mut progress: impl FnMut(i64),
) -> io::Result<ExportReport> {
    let mut reading = Reading {
        input,
        line: 0,
        key,
        checker: Checker::new(anchors),
    };
    let bad = loop {
        let Some(text) = reading.next()? else {
            let reason = format!(
                "the signed head is missing; the file ends after entry {}",
                reading.checker.seq
            );
            reading.line += 1;
            break reading.bad(reading.checker.seq + 1, Fault::Missing, &reason);
        };
        match reading.take(&text) {
            Ok(Ended::No) => progress(reading.checker.seq),
            Ok(Ended::Yes) => match reading.next()? {
                None => break None,
                Some(_) => {
                    let reason = "it stands behind the signed head";
                    break reading.bad(reading.checker.seq + 1, Fault::Extra, reason);
                }
            },
            Err((seq, (fault, reason))) => break reading.bad(seq, fault, &reason),
        }
    };
    let checker = reading.checker;
    Ok(ExportReport {
        events: checker.seq,
        purged: checker.purged,
        end: Anchor {
            seq: checker.seq,
            hash: checker.hash,
        },
        public_key: reading.key,
        key_changes: checker.key_changes,
        first_bad: bad,
    })
}

struct Reading<R> {
    input: R,
    line: i64,
    key: Option<LedgerPublicKey>,
    checker: Checker,
}

enum Ended {
    Yes,
    No,
}

/// What is wrong, and with which entry.
type WrongAt = (i64, (Fault, String));

impl<R: BufRead> Reading<R> {
    /// The next line, cut where it is too long to be one; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        let mut bounded = self.input.by_ref().take(EXPORT_LINE_BYTES_MAX);
        if bounded.read_until(b'\n', &mut text)? == 0 {
            return Ok(None);
        }
        self.line += 1;
        Ok(Some(text))
    }

    fn bad(&self, seq: i64, fault: Fault, reason: &str) -> Option<BadLine> {
        Some(BadLine {
            line: self.line,
            seq,
            fault,
            reason: reason.to_owned(),
        })
    }

    fn take(&mut self, text: &[u8]) -> Result<Ended, WrongAt> {
        let next = self.checker.seq + 1;
        let is_head = text.starts_with(br#"{"head""#);
        match self.line {
            1 => self
                .open(text)
                .map_err(|wrong| (0, wrong))
                .map(|()| Ended::No),
            _ if is_head => self.close(text).map(|()| Ended::Yes),
            _ => {
                let entry: ExportEntry = parsed(text).map_err(|wrong| (next, wrong))?;
                self.entry(&entry).map_err(|wrong| (next, wrong))?;
                Ok(Ended::No)
            }
        }
    }

    fn open(&mut self, text: &[u8]) -> Result<(), (Fault, String)> {
        let opening: Opening<'_> = parsed(text)?;
        let wrong = |reason: String| Err((Fault::Form, reason));
        if opening.format != FORMAT {
            return wrong("it is not an export of a ledger".to_owned());
        }
        if opening.version != VERSION {
            let (found, known) = (opening.version, VERSION);
            return wrong(format!(
                "its format has version {found}; this program reads {known}"
            ));
        }
        if opening.entry_hash != ENTRY_HASH || opening.head_signature != HEAD_SIGNATURE {
            return wrong("it describes hashes and signatures as they are not made".to_owned());
        }
        if *self.key.get_or_insert(opening.public_key) != opening.public_key {
            let reason = format!("it names another key: {}", opening.public_key);
            return Err((Fault::Signature, reason));
        }
        Ok(())
    }

    fn entry(&mut self, entry: &ExportEntry) -> Result<(), (Fault, String)> {
        let payload_digest = match (&entry.payload, entry.payload_digest) {
            (Some(payload), None) => Digest::of(payload.as_bytes()),
            (None, Some(digest)) => digest,
            (Some(_), Some(_)) | (None, None) => {
                let reason = "it needs either a payload or the digest of one that was purged";
                return Err((Fault::Form, reason.to_owned()));
            }
        };
        self.checker.next(&Presented {
            seq: entry.seq,
            covered: Covered {
                event_id: entry.event_id,
                at_ms: entry.at,
                kind: &entry.kind,
                version: entry.version,
                subject: &entry.subject,
                payload_digest,
            },
            payload: entry.payload.as_deref().map(str::as_bytes),
            hash: entry.hash,
        })
    }

    fn close(&mut self, text: &[u8]) -> Result<(), WrongAt> {
        let end = self.checker.seq;
        let Closing { head } = parsed(text).map_err(|wrong| (end, wrong))?;
        let signature = head.signature.as_deref().map(|hex| {
            // What is no signature is a wrong one.
            from_hex::<64>(hex).map_or_else(Vec::new, Vec::from)
        });
        let Some(key) = self.key else {
            return Ok(());
        };
        match self
            .checker
            .end(head.seq, &head.hash, signature.as_deref(), &key)
        {
            None => Ok(()),
            Some(bad) => Err((bad.seq, (bad.fault, bad.reason))),
        }
    }
}

/// The document of a line that is written exactly as it would be written here.
fn parsed<'a, T: Deserialize<'a> + Serialize>(text: &'a [u8]) -> Result<T, (Fault, String)> {
    let wrong = |reason: String| (Fault::Form, reason);
    let document = serde_json::from_slice(text)
        .map_err(|error| wrong(format!("it is not a line of an export: {error}")))?;
    let mut again = Vec::with_capacity(text.len());
    match line(&mut again, &document) {
        Ok(()) if again == text => Ok(document),
        _ => Err(wrong("it is not written as an export writes it".to_owned())),
    }
}
