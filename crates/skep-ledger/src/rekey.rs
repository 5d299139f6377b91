//! Going on under another key, on record.
//!
//! Whoever has lost the key cannot sign the next head, and must not be able to go on as if nothing
//! had happened. The first entry under the new key says so, and holds the last head under the old
//! one with its signature, so that whoever has noted the old public key can still check it.

use crate::HOME;
use crate::append::{Appended, Payload, bytes};
use crate::digest::{Covered, Digest, from_hex, to_hex};
use crate::error::LedgerError;
use crate::head::{self, Head, SignedHead};
use crate::key::{LedgerKey, LedgerPublicKey};
use crate::seal::{store, transactions};
use crate::segment::Segment;
use crate::{TOPIC, write};
use serde::{Deserialize, Serialize};
use skep_db::{Db, Engine, Tx};

/// Why a ledger goes on under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RekeyReason {
    /// The old key is gone.
    Lost,
    /// Somebody else may have the old key.
    Exposed,
    /// As a matter of routine.
    Planned,
}

impl RekeyReason {
    /// The word for users and scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Exposed => "exposed",
            Self::Planned => "planned",
        }
    }
}

/// From here on the heads are signed with another key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRekeyed {
    /// Why.
    pub reason: RekeyReason,
    /// The last head under the old key: the entry just before this one.
    pub old_seq: i64,
    /// Its hash.
    pub old_hash: Digest,
    /// Its signature, in hexadecimal.
    pub old_signature: Option<String>,
    /// The old key, where it was still there.
    pub old_key: Option<LedgerPublicKey>,
    /// The new key.
    pub new_key: LedgerPublicKey,
}

impl Payload for LedgerRekeyed {
    const KIND: &'static str = "ledger_rekeyed";
    const VERSION: i64 = 1;
}

impl LedgerRekeyed {
    /// Whether `key` signed the old head.
    pub fn was_signed_by(&self, key: &LedgerPublicKey) -> bool {
        let signature = self.old_signature.as_deref().and_then(from_hex::<64>);
        signature.is_some_and(|bytes| key.signed_head(self.old_seq, &self.old_hash, &bytes))
    }
}

/// Appends the record of a new key and signs the head with it, whoever signed the head before.
///
/// The caller has verified the chain, has nothing else under way in this store, and keeps `new`
/// for every later seal. `old` is the key that signed the head, if it is still there.
pub async fn rekey(
    db: &Db,
    old: Option<LedgerPublicKey>,
    new: LedgerKey,
    reason: RekeyReason,
) -> Result<LedgerRekeyed, LedgerError> {
    db.write("rekey", async move |tx: &mut Tx<'_>| {
        let found = match tx.engine() {
            Engine::Sqlite => head::read(tx).await?,
            Engine::Postgres => head::read_locked(tx).await?,
        };
        let SignedHead { head, signature } = found.ok_or(LedgerError::ForeignHead { seq: 0 })?;
        let record = LedgerRekeyed {
            reason,
            old_seq: head.seq,
            old_hash: head.hash,
            old_signature: signature.as_deref().map(to_hex),
            old_key: old,
            new_key: new.public(),
        };
        seal_record(tx, &head, &record, &new).await?;
        tx.wake(TOPIC);
        Ok(record)
    })
    .await
}

async fn seal_record(
    tx: &mut Tx<'_>,
    old: &Head,
    record: &LedgerRekeyed,
    key: &LedgerKey,
) -> Result<(), LedgerError> {
    let event = Appended {
        at_ms: tx.now_ms().await?,
        kind: LedgerRekeyed::KIND,
        version: LedgerRekeyed::VERSION,
        subject: HOME.to_owned(),
        payload: bytes(record)?,
    };
    let (at_ms, payload_digest) = (event.at_ms, Digest::of(&event.payload));
    let mut head = old.clone();
    let event_id = match tx.engine() {
        Engine::Sqlite => {
            write::numbered(tx, old.last_event + 1, vec![event]).await?;
            old.last_event + 1
        }
        Engine::Postgres => {
            let id = write::drawn_one(tx, event).await?;
            let now = transactions(tx).await?;
            let gaps = old.gaps.after(old.last_event, &[id], now);
            head.gaps = gaps.ok_or(LedgerError::ForeignHead { seq: old.seq })?;
            id
        }
    };
    let covered = Covered {
        event_id,
        at_ms,
        kind: LedgerRekeyed::KIND,
        version: LedgerRekeyed::VERSION,
        subject: HOME,
        payload_digest,
    };
    let mut segment = Segment::with_capacity(1);
    segment.push(&mut head, &covered);
    store(tx, old, &head, segment, key).await
}

/// Fails with [`LedgerError::ForeignHead`] unless the ledger may go on under `key`.
pub async fn check_key(db: &Db, key: LedgerPublicKey) -> Result<(), LedgerError> {
    let found = db.read("check_key", head::read).await?;
    match found {
        Some(found) if found.is_signed_by(&key) => Ok(()),
        Some(found) => Err(LedgerError::ForeignHead {
            seq: found.head.seq,
        }),
        None => Err(LedgerError::ForeignHead { seq: 0 }),
    }
}

/// The end of the chain as it is signed; what somebody keeps elsewhere is its anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerHead {
    /// The last entry's sequence number; 0 before the first.
    pub seq: i64,
    /// Its hash.
    pub hash: Digest,
    /// The signature, in hexadecimal; `None` before the first entry.
    pub signature: Option<String>,
}

/// Reads the end of the chain; `None` if it is gone.
pub async fn head(tx: &mut Tx<'_>) -> Result<Option<LedgerHead>, skep_db::DbError> {
    Ok(head::read(tx).await?.map(|found| LedgerHead {
        seq: found.head.seq,
        hash: found.head.hash,
        signature: found.signature.as_deref().map(to_hex),
    }))
}
