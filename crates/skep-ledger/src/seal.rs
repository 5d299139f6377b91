//! Sealing: giving appended events their place in the chain and signing the new head.
//!
//! The order is the order of event ids, and every batch takes the lowest of all committed events
//! that have no place yet. Whoever follows from an event has seen it committed and so has the
//! higher id; when the later event is visible the earlier one is too, and goes first. (Ordering
//! by transaction number would not do: a transaction that began earlier may have waited for a
//! row of a later one, and then follows from it.)

use crate::digest::{Covered, Digest, entry_hash};
use crate::error::LedgerError;
use crate::key::LedgerKey;
use crate::limits::{SEAL_EVENTS_MAX, SEAL_ROWS_MAX};
use skep_db::{BeforeCommit, DbError, Engine, Row, Tx, Value, params};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// Seals what a SQLite commit has appended, as part of that commit.
///
/// Fails the commit when the head that is to be extended was not signed with `key`: a chain that
/// somebody else has rewritten must not get a good signature with the next event.
pub fn sealer(key: LedgerKey) -> BeforeCommit {
    let sealer = Arc::new(Sealer::new(key));
    Box::new(move |tx: &mut Tx<'_>| {
        let sealer = Arc::clone(&sealer);
        Box::pin(async move {
            while sealer.seal(tx).await? == SEAL_EVENTS_MAX {}
            Ok(())
        })
    })
}

/// Seals batches of events; remembers the head it made, so as to check a signature only when
/// somebody else has made the head.
#[derive(Debug)]
pub(crate) struct Sealer {
    key: LedgerKey,
    trusted: Mutex<Option<Head>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    seq: i64,
    hash: Digest,
}

impl Sealer {
    pub(crate) fn new(key: LedgerKey) -> Self {
        Self {
            key,
            trusted: Mutex::new(None),
        }
    }

    /// Seals up to [`SEAL_EVENTS_MAX`] events; the answer is how many.
    pub(crate) async fn seal(&self, tx: &mut Tx<'_>) -> Result<i64, LedgerError> {
        let (head, events) = match tx.engine() {
            Engine::Sqlite => {
                let events = tx.query(UNSEALED_SQLITE, params![SEAL_EVENTS_MAX]).await?;
                if events.is_empty() {
                    return Ok(0);
                }
                (tx.query_opt(HEAD, &[]).await?, events)
            }
            Engine::Postgres => {
                if tx.query_opt(ANY_UNSEALED, &[]).await?.is_none() {
                    return Ok(0);
                }
                // Whoever holds the head's row seals; another node's sealer has nothing to do.
                let Some(head) = tx.query_opt(HEAD_IF_FREE, &[]).await? else {
                    return Ok(0);
                };
                let events = tx.query(TAKE_POSTGRES, params![SEAL_EVENTS_MAX]).await?;
                (Some(head), events)
            }
        };
        let mut head = self.check_head(head.as_ref())?;
        let mut links = Vec::with_capacity(events.len());
        for event in &events {
            let link = Link::after(&head, event)?;
            head = Head {
                seq: link.seq,
                hash: link.hash,
            };
            links.push(link);
        }
        insert_links(tx, &links).await?;
        let signature = self.key.sign_head(head.seq, &head.hash);
        let sql = "UPDATE ledger_head SET seq = ?1, hash = ?2, signature = ?3";
        tx.execute(sql, params![head.seq, &head.hash.0[..], signature])
            .await?;
        // If the commit fails after all, the next head differs and its signature is checked.
        *self.trusted.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
        Ok(i64::try_from(links.len()).unwrap_or(i64::MAX))
    }

    fn check_head(&self, row: Option<&Row>) -> Result<Head, LedgerError> {
        let row = row.ok_or(LedgerError::ForeignHead { seq: 0 })?;
        let seq = row.get("seq")?;
        let foreign = LedgerError::ForeignHead { seq };
        let Some(hash) = Digest::from_slice(&row.get::<Vec<u8>>("hash")?) else {
            return Err(foreign);
        };
        let head = Head { seq, hash };
        if *self.trusted.lock().unwrap_or_else(PoisonError::into_inner) == Some(head) {
            return Ok(head);
        }
        let good = match row.get::<Option<Vec<u8>>>("signature")? {
            None => seq == 0 && hash == Digest::ZERO,
            Some(signature) => self.key.public().signed_head(seq, &hash, &signature),
        };
        if good { Ok(head) } else { Err(foreign) }
    }
}

const HEAD: &str = "SELECT seq, hash, signature FROM ledger_head";
const HEAD_IF_FREE: &str = "SELECT seq, hash, signature FROM ledger_head /*skip locked*/";
const ANY_UNSEALED: &str = "SELECT event_id FROM ledger_unsealed LIMIT 1";

/// There is one writer, so what has no place yet is what lies behind the last link.
const UNSEALED_SQLITE: &str = "SELECT id, at_ms, kind, version, subject, payload FROM ledger_event
    WHERE id > COALESCE((SELECT event_id FROM ledger_chain ORDER BY seq DESC LIMIT 1), 0)
    ORDER BY id LIMIT ?1";

const TAKE_POSTGRES: &str = "WITH taken AS (
        DELETE FROM ledger_unsealed WHERE event_id IN
            (SELECT event_id FROM ledger_unsealed ORDER BY event_id LIMIT ?1)
        RETURNING event_id)
    SELECT id, at_ms, kind, version, subject, payload FROM ledger_event
    WHERE id IN (SELECT event_id FROM taken) ORDER BY id";

/// One row of the chain.
struct Link {
    seq: i64,
    event_id: i64,
    payload_digest: Digest,
    hash: Digest,
}

impl Link {
    fn after(head: &Head, event: &Row) -> Result<Self, DbError> {
        let (kind, subject): (String, String) = (event.get("kind")?, event.get("subject")?);
        let covered = Covered {
            event_id: event.get("id")?,
            at_ms: event.get("at_ms")?,
            kind: &kind,
            version: event.get("version")?,
            subject: &subject,
            payload_digest: Digest::of(&event.get::<Vec<u8>>("payload")?),
        };
        let seq = head.seq + 1;
        Ok(Self {
            seq,
            event_id: covered.event_id,
            payload_digest: covered.payload_digest,
            hash: entry_hash(&head.hash, seq, &covered),
        })
    }

    fn values(&self) -> [Value; 4] {
        [
            self.seq.into(),
            self.event_id.into(),
            self.payload_digest.0[..].into(),
            self.hash.0[..].into(),
        ]
    }
}

async fn insert_links(tx: &mut Tx<'_>, links: &[Link]) -> Result<(), DbError> {
    let whole = links.chunks_exact(SEAL_ROWS_MAX);
    let rest = whole.remainder();
    // Two shapes of statement only, so that both stay prepared.
    for chunk in whole.chain(rest.chunks(1)) {
        let values: Vec<Value> = chunk.iter().flat_map(Link::values).collect();
        tx.execute(&insert_sql(chunk.len()), &values).await?;
    }
    Ok(())
}

fn insert_sql(rows: usize) -> String {
    let mut sql =
        String::from("INSERT INTO ledger_chain (seq, event_id, payload_digest, hash) VALUES");
    for row in 0..rows {
        let comma = if row == 0 { "" } else { "," };
        let first = row * 4;
        // Writing to a String cannot fail.
        let _ = write!(
            sql,
            "{comma} (?{}, ?{}, ?{}, ?{})",
            first + 1,
            first + 2,
            first + 3,
            first + 4
        );
    }
    sql
}
