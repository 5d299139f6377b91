//! Documents about the installation itself: is it up, is it sound, where does it listen, and its
//! ledger in the form that a verifier of its own takes.

use serde::{Deserialize, Serialize};

/// What `/healthz` and `/readyz` answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    /// Whether the server answers, or with `/readyz` whether it can take work.
    pub ok: bool,
    /// The version of the program.
    pub version: String,
}

/// What `skep up` prints once it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerView {
    /// The address for clients on this machine, as in `http://127.0.0.1:7575`.
    pub address: String,
    /// The folder that holds everything.
    pub home: String,
    /// The Unix socket in the home; serves its owner without a token.
    pub socket: String,
    /// The file that holds the token.
    pub token_file: String,
    /// The token, only on the start that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// How one check of the installation came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// Works, with a limit that somebody should know.
    Warn,
    /// Does not work.
    Fail,
}

impl CheckState {
    /// The one spelling of this state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check of the installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorCheck {
    /// What was checked, as in `git`.
    pub name: String,
    /// How it came out.
    pub state: CheckState,
    /// What was found.
    pub found: String,
    /// What to do, where something is to be done.
    pub remedy: Option<String>,
}

/// What `skep doctor` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorView {
    /// Whether no check failed.
    pub ok: bool,
    /// The version of the program.
    pub version: String,
    /// The folder that holds everything.
    pub home: String,
    /// Every check, in a fixed order.
    pub checks: Vec<DoctorCheck>,
}

/// One ledger entry with everything that its hash covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Its place in the chain, from 1 without gaps.
    pub seq: i64,
    /// Its number as it was appended.
    pub event_id: i64,
    /// When it was appended.
    pub at: i64,
    /// What happened, in the past tense.
    pub kind: String,
    /// The version of the payload's shape.
    pub version: i64,
    /// What it happened to.
    pub subject: String,
    /// The payload, byte for byte as it was hashed; absent once purged.
    pub payload: Option<String>,
    /// The SHA-256 of the payload, in hexadecimal; stays when the payload is purged.
    pub payload_digest: String,
    /// SHA-256 of the chain up to here, in hexadecimal.
    pub hash: String,
}

/// What `/api/v1/ledger/entries` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntries {
    /// The Ed25519 key that signs the ledger's head, in hexadecimal.
    pub public_key: String,
    /// The entries, oldest first.
    pub items: Vec<LedgerEntry>,
    /// What to pass as `after` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// What `skep ledger head` prints: the signed end of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHeadView {
    /// The last event's sequence number; 0 before the first.
    pub seq: i64,
    /// Its hash, in hexadecimal.
    pub hash: String,
    /// `SEQ:HASH`: what to keep elsewhere and hand to `skep ledger verify --anchor`.
    pub anchor: String,
    /// The signature over both, in hexadecimal; absent before the first event.
    pub signature: Option<String>,
    /// The Ed25519 key that signs the ledger's head, in hexadecimal.
    pub public_key: String,
}

/// A place where the ledger went on under another key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChangeView {
    /// The event that records it.
    pub seq: i64,
    /// `lost`, `exposed` or `planned`.
    pub reason: String,
    /// The last head under the old key, as `SEQ:HASH`.
    pub old_head: String,
    /// The old key, in hexadecimal, where it was still there.
    pub old_key: Option<String>,
    /// The new key, in hexadecimal.
    pub new_key: String,
}

/// What `skep ledger verify --export` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerExportView {
    /// Whether the whole export holds.
    pub ok: bool,
    /// Events that were checked and found good.
    pub events: i64,
    /// Of these, events whose payload was purged on record.
    pub purged: i64,
    /// The last good event, as `SEQ:HASH`.
    pub head: String,
    /// The key that it was checked with, in hexadecimal.
    pub public_key: Option<String>,
    /// Where the ledger went on under another key.
    pub key_changes: Vec<KeyChangeView>,
    /// The first bad line, from 1.
    pub first_bad_line: Option<i64>,
    /// The event that it is about; 0 for the first line.
    pub first_bad_seq: Option<i64>,
    /// What kind of fault it is: a stable word.
    pub fault: Option<String>,
    /// What is wrong there.
    pub reason: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}
