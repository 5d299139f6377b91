//! Feeding a topic from the ledger: a reader of sealed events whose cursor moves in the transaction
//! that produces, so that an event is in the topic once.

use crate::error::ProduceError;
use crate::limits::FEED_EVENTS_MAX;
use crate::message::{Message, Payload};
use crate::registry::Topics;
use skep_db::{Db, DbError, Tx, params};
use skep_ledger::SealedEvent;

/// Feeds one step of the ledger into `topic`, of the kinds it is declared to take. The answer is
/// how many messages were produced, and whether the ledger goes on.
///
/// A stretch without an event of these kinds is passed over without a write until it is as long as
/// one step; after a restart it is read again.
///
/// # Errors
/// [`ProduceError`], with which the cursor stays where it is.
pub async fn feed(db: &Db, topics: &Topics, topic: &str) -> Result<(usize, bool), ProduceError> {
    let kinds = match topics.declaration(topic) {
        Some(declared) => declared.from_ledger.clone(),
        None => Vec::new(),
    };
    if kinds.is_empty() {
        return Ok((0, false));
    }
    let looked = (topic.to_owned(), kinds.clone());
    let (read, matching) = db
        .read("feed", async move |tx: &mut Tx<'_>| {
            let (topic, kinds) = &looked;
            let events = next_events(tx, topic).await?;
            let matching = events
                .iter()
                .filter(|event| kinds.contains(&event.kind))
                .count();
            Ok::<_, DbError>((events.len(), matching))
        })
        .await?;
    let full = i64::try_from(read).is_ok_and(|read| read >= FEED_EVENTS_MAX);
    if matching == 0 && !full {
        return Ok((0, false));
    }
    let (topics, topic) = (topics.clone(), topic.to_owned());
    let produced = db
        .write("feed", async move |tx: &mut Tx<'_>| {
            lock_cursor(tx, &topic).await?;
            let events = next_events(tx, &topic).await?;
            let Some(last) = events.last() else {
                return Ok(0);
            };
            let matching = events.iter().filter(|event| kinds.contains(&event.kind));
            let messages: Vec<Message> = matching.map(message).collect();
            let count = messages.len();
            let sql = "UPDATE topic_bridge SET ledger_seq = ?2 WHERE topic = ?1";
            tx.execute(sql, params![&topic, last.seq]).await?;
            topics.produce_all(tx, &topic, messages).await?;
            Ok::<_, ProduceError>(count)
        })
        .await?;
    Ok((produced, full))
}

async fn lock_cursor(tx: &mut Tx<'_>, topic: &str) -> Result<(), DbError> {
    let sql = "INSERT INTO topic_bridge (topic, ledger_seq) VALUES (?1, 0) ON CONFLICT DO NOTHING";
    tx.execute(sql, params![topic]).await?;
    let sql = "SELECT ledger_seq FROM topic_bridge WHERE topic = ?1 /*lock*/";
    tx.query_one(sql, params![topic]).await.map(|_| ())
}

async fn next_events(tx: &mut Tx<'_>, topic: &str) -> Result<Vec<SealedEvent>, DbError> {
    let sql = "SELECT ledger_seq FROM topic_bridge WHERE topic = ?1";
    let row = tx.query_opt(sql, params![topic]).await?;
    let after = row.map_or(Ok(0), |row| row.get("ledger_seq"))?;
    skep_ledger::tail(tx, after, FEED_EVENTS_MAX).await
}

/// The event with all that a reader needs, so that it need not ask for more.
fn message(event: &SealedEvent) -> Message {
    let payload: serde_json::Value = serde_json::from_slice(&event.payload).unwrap_or_default();
    let document = serde_json::json!({
        "seq": event.seq,
        "at": event.at_ms,
        "kind": event.kind,
        "version": event.version,
        "subject": event.subject,
        "payload": payload,
    });
    Message {
        key: (!event.subject.is_empty()).then(|| event.subject.clone()),
        dedup_id: None,
        payload: Payload::Inline(document.to_string().into_bytes()),
    }
}
