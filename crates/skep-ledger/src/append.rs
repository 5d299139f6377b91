//! Writing an event in the transaction that makes it true.

use crate::TOPIC;
use crate::error::LedgerError;
use crate::limits::PAYLOAD_BYTES_MAX;
use serde::Serialize;
use skep_db::{Engine, Tx, params};

/// What an event says: ids, numbers, words of the vocabulary and keyed hashes, never text that a
/// person or a model wrote. A type of its own per kind; once released it changes only by a new
/// version.
pub trait Payload: Serialize {
    /// What happened, in the past tense, as in `job_queued`.
    const KIND: &'static str;
    /// The version of the payload's shape.
    const VERSION: i64;
}

/// Appends an event about `subject`: the id of a job, a key and so on, or [`HOME`](crate::HOME).
///
/// The payload is kept as the bytes that are hashed. It becomes visible to readers once sealed.
pub async fn append<P: Payload>(
    tx: &mut Tx<'_>,
    subject: &str,
    payload: &P,
) -> Result<(), LedgerError> {
    let bytes = serde_json::to_vec(payload).map_err(|source| LedgerError::Encode {
        kind: P::KIND,
        source,
    })?;
    if bytes.len() > PAYLOAD_BYTES_MAX {
        return Err(LedgerError::PayloadTooLarge {
            kind: P::KIND,
            bytes: bytes.len(),
        });
    }
    let sql = match tx.engine() {
        Engine::Sqlite => {
            "INSERT INTO ledger_event (at_ms, kind, version, subject, payload)
                VALUES (?1, ?2, ?3, ?4, ?5)"
        }
        Engine::Postgres => {
            "WITH event AS (INSERT INTO ledger_event (at_ms, kind, version, subject, payload)
                VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id)
            INSERT INTO ledger_unsealed (event_id) SELECT id FROM event"
        }
    };
    let at_ms = tx.now_ms().await?;
    tx.execute(sql, params![at_ms, P::KIND, P::VERSION, subject, bytes])
        .await?;
    tx.wake(TOPIC);
    Ok(())
}
