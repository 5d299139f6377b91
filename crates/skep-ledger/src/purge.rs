//! Forgetting payloads while the chain stays provable.

use crate::HOME;
use crate::append::{Payload, append};
use crate::error::LedgerError;
use crate::limits::PURGE_ENTRIES;
use crate::rekey::LedgerRekeyed;
use crate::segment::entries_after;
use crate::tail::id_list;
use serde::{Deserialize, Serialize};
use skep_db::{DbError, Engine, Tx, params};

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
/// records that it did. Records of earlier purges and of new keys stay. The answer is the number of payloads.
pub async fn purge(tx: &mut Tx<'_>, first_seq: i64, last_seq: i64) -> Result<u64, LedgerError> {
    let (mut purged, mut after) = (0, first_seq.saturating_sub(1).max(0));
    loop {
        let entries = entries_after(tx, after, PURGE_ENTRIES).await?;
        let within: Vec<i64> = entries
            .iter()
            .filter(|entry| entry.seq <= last_seq)
            .map(|entry| entry.event_id)
            .collect();
        purged += purge_events(tx, &within).await?;
        match entries.last() {
            Some(last) if within.len() == entries.len() => after = last.seq,
            _ => break,
        }
    }
    let event = PayloadsPurged {
        first_seq,
        last_seq,
    };
    append(tx, HOME, &event).await?;
    Ok(purged)
}

async fn purge_events(tx: &mut Tx<'_>, ids: &[i64]) -> Result<u64, DbError> {
    let sql = match tx.engine() {
        Engine::Sqlite => {
            "UPDATE ledger_event SET payload = NULL
                WHERE payload IS NOT NULL AND kind NOT IN (?2, ?3)
                AND id IN (SELECT value FROM json_each('[' || ?1 || ']'))"
        }
        Engine::Postgres => {
            "UPDATE ledger_event SET payload = NULL
                WHERE payload IS NOT NULL AND kind NOT IN (?2, ?3)
                AND id = ANY(CAST(string_to_array(?1, ',') AS BIGINT[]))"
        }
    };
    let kept = (PayloadsPurged::KIND, LedgerRekeyed::KIND);
    tx.execute(sql, params![id_list(ids), kept.0, kept.1]).await
}
