//! Leaving an event with the transaction that makes it true.

use crate::error::LedgerError;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::{APPENDED, TOPIC};
use serde::Serialize;
use skep_db::{Engine, Tx};

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
/// The event is written with all others of the transaction just before its commit. The payload is
/// kept as the bytes that are hashed. It becomes visible to readers once sealed.
pub async fn append<P: Payload>(
    tx: &mut Tx<'_>,
    subject: &str,
    payload: &P,
) -> Result<(), LedgerError> {
    let event = Appended {
        at_ms: tx.now_ms().await?,
        kind: P::KIND,
        version: P::VERSION,
        subject: subject.to_owned(),
        payload: bytes(payload)?,
    };
    tx.local::<Vec<Appended>>().push(event);
    tx.wake(match tx.engine() {
        Engine::Sqlite => TOPIC,
        Engine::Postgres => APPENDED,
    });
    Ok(())
}

/// An event that is not in the store yet.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) at_ms: i64,
    pub(crate) kind: &'static str,
    pub(crate) version: i64,
    pub(crate) subject: String,
    pub(crate) payload: Vec<u8>,
}

/// The bytes of a payload as they are kept and hashed.
pub(crate) fn bytes<P: Payload>(payload: &P) -> Result<Vec<u8>, LedgerError> {
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
    Ok(bytes)
}
