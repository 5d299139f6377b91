//! The end of the chain: where it stands, and which events it has yet to take up.

use crate::digest::Digest;
use crate::error::LedgerError;
use crate::gaps::Gaps;
use crate::key::{LedgerKey, LedgerPublicKey};
use skep_db::{DbError, Row, Tx, Value, params};

/// The end of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// The last entry's sequence number; 0 before the first.
    pub(crate) seq: i64,
    /// The last entry's hash.
    pub(crate) hash: Digest,
    /// The highest event that has a place in the chain.
    pub(crate) last_event: i64,
    /// Lower events that may still appear.
    pub(crate) gaps: Gaps,
}

/// The head as it is kept, with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedHead {
    pub(crate) head: Head,
    pub(crate) signature: Option<Vec<u8>>,
}

const HEAD: &str = "SELECT seq, hash, signature, last_event, gaps FROM ledger_head
    ORDER BY seq DESC LIMIT 1";
const HEAD_LOCKED: &str = "SELECT seq, hash, signature, last_event, gaps FROM ledger_head
    ORDER BY seq DESC LIMIT 1 /*lock*/";
const HEAD_IF_FREE: &str = "SELECT seq, hash, signature, last_event, gaps FROM ledger_head
    ORDER BY seq DESC LIMIT 1 /*skip locked*/";

/// Reads the head; `None` if there is none.
pub(crate) async fn read(tx: &mut Tx<'_>) -> Result<Option<SignedHead>, DbError> {
    let row = tx.query_opt(HEAD, &[]).await?;
    row.as_ref().map(SignedHead::from_row).transpose()
}

/// As [`read`], and holds the head until the end of the transaction, on PostgreSQL.
pub(crate) async fn read_locked(tx: &mut Tx<'_>) -> Result<Option<SignedHead>, DbError> {
    let row = tx.query_opt(HEAD_LOCKED, &[]).await?;
    row.as_ref().map(SignedHead::from_row).transpose()
}

/// As [`read_locked`]; `None` also when somebody else holds it.
pub(crate) async fn read_if_free(tx: &mut Tx<'_>) -> Result<Option<SignedHead>, DbError> {
    let row = tx.query_opt(HEAD_IF_FREE, &[]).await?;
    row.as_ref().map(SignedHead::from_row).transpose()
}

impl Head {
    /// The parameters that put this head in the place of `old`: see [`REPLACE_HEAD`].
    fn replacing(&self, old: &Self, key: &LedgerKey) -> [Value; 7] {
        [
            self.seq.into(),
            self.hash.0[..].into(),
            key.sign_head(self.seq, &self.hash).into(),
            self.last_event.into(),
            self.gaps.to_bytes().into(),
            old.seq.into(),
            old.hash.0[..].into(),
        ]
    }
}

/// Changes a row only if the head is still the one that was extended.
const REPLACE_HEAD: &str = "UPDATE ledger_head
    SET seq = ?1, hash = ?2, signature = ?3, last_event = ?4, gaps = ?5
    WHERE seq = ?6 AND hash = ?7";

impl SignedHead {
    pub(crate) fn from_row(row: &Row) -> Result<Self, DbError> {
        let hash: Vec<u8> = row.get("hash")?;
        let gaps: Vec<u8> = row.get("gaps")?;
        let malformed = |column: &str| DbError::Column {
            column: column.to_owned(),
            found: "bytes of another length",
        };
        Ok(Self {
            head: Head {
                seq: row.get("seq")?,
                hash: Digest::from_slice(&hash).ok_or_else(|| malformed("hash"))?,
                last_event: row.get("last_event")?,
                gaps: Gaps::from_bytes(&gaps).ok_or_else(|| malformed("gaps"))?,
            },
            signature: row.get("signature")?,
        })
    }

    /// Whether `key` signed it. The empty chain has no signature.
    pub(crate) fn is_signed_by(&self, key: &LedgerPublicKey) -> bool {
        let Head { seq, hash, .. } = &self.head;
        match &self.signature {
            None => *seq == 0 && *hash == Digest::ZERO,
            Some(signature) => key.signed_head(*seq, hash, signature),
        }
    }

    /// The head, if it may be extended with `key`.
    pub(crate) fn trusted(self, key: &LedgerKey) -> Result<Head, LedgerError> {
        if self.is_signed_by(&key.public()) {
            Ok(self.head)
        } else {
            Err(LedgerError::ForeignHead { seq: self.head.seq })
        }
    }
}

/// Puts `head` in the place of `old`. `false`: somebody else has moved the head.
pub(crate) async fn replace(
    tx: &mut Tx<'_>,
    old: &Head,
    head: &Head,
    key: &LedgerKey,
) -> Result<bool, DbError> {
    let changed = tx.execute(REPLACE_HEAD, &head.replacing(old, key)).await?;
    Ok(changed == 1)
}

/// How many events are committed and have no place yet.
pub(crate) async fn waiting(tx: &mut Tx<'_>, head: &Head) -> Result<i64, DbError> {
    let sql = "SELECT COUNT(*) AS waiting FROM ledger_event WHERE id > ?1";
    let row = tx.query_one(sql, params![head.last_event]).await?;
    let mut waiting: i64 = row.get("waiting")?;
    for gap in head.gaps.ranges() {
        let sql = "SELECT COUNT(*) AS waiting FROM ledger_event WHERE id BETWEEN ?1 AND ?2";
        let row = tx.query_one(sql, params![gap.first, gap.last]).await?;
        waiting += row.get::<i64>("waiting")?;
    }
    Ok(waiting)
}
