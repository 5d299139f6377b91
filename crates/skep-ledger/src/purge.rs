//! Forgetting payloads while the chain stays provable.

use crate::HOME;
use crate::append::{Payload, append};
use crate::error::LedgerError;
use serde::{Deserialize, Serialize};
use skep_db::{Tx, params};

/// The payloads of these entries were purged. Without such an event, a missing payload is
/// tampering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadsPurged {
    /// The first purged entry.
    pub first_seq: i64,
    /// The last purged entry.
    pub last_seq: i64,
}

impl Payload for PayloadsPurged {
    const KIND: &'static str = "payloads_purged";
    const VERSION: i64 = 1;
}

/// Purges the payloads of the sealed entries `first_seq` to `last_seq`, both included, and
/// records that it did. Records of earlier purges stay. The answer is the number of payloads.
pub async fn purge(tx: &mut Tx<'_>, first_seq: i64, last_seq: i64) -> Result<u64, LedgerError> {
    let sql = "UPDATE ledger_event SET payload = NULL
        WHERE payload IS NOT NULL AND kind <> ?3
        AND id IN (SELECT event_id FROM ledger_chain WHERE seq BETWEEN ?1 AND ?2)";
    let purged = tx
        .execute(sql, params![first_seq, last_seq, PayloadsPurged::KIND])
        .await?;
    let event = PayloadsPurged {
        first_seq,
        last_seq,
    };
    append(tx, HOME, &event).await?;
    Ok(purged)
}
