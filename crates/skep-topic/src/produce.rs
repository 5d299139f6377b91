//! Producing: a message gets its offset in the transaction of the change that it tells of.
//!
//! The head of a partition stays locked from here to the caller's commit, so that whoever sees
//! offset n also sees every offset below it. A transaction that does more than produce therefore
//! produces last.

use crate::TOPIC;
use crate::declaration::Topic;
use crate::error::ProduceError;
use crate::event::{MessageProduced, MessagesProduced, ProducedPlace, record};
use crate::limits::{EVENT_MESSAGES_MAX, INSERT_ROWS_MAX, KEY_BYTES_MAX, PRODUCE_MESSAGES_MAX};
use crate::message::{Message, MessageId, Payload};
use crate::registry::{Known, Topics};
use skep_db::{DbError, Tx, Value, params};
use skep_ledger::Digest;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produced {
    /// The message, whose place is known for good.
    pub id: MessageId,
    /// Whether this call made it; otherwise an earlier one with the same dedup id did.
    pub created: bool,
}

impl Topics {
    /// Appends a message in the caller's transaction; acknowledged by its commit.
    ///
    /// # Errors
    /// [`ProduceError`]; except for a failed store, nothing was changed.
    pub async fn produce(
        &self,
        tx: &mut Tx<'_>,
        topic: &str,
        message: Message,
    ) -> Result<Produced, ProduceError> {
        let mut produced = self.produce_all(tx, topic, vec![message]).await?;
        produced.pop().ok_or(ProduceError::Invalid {
            field: "the batch",
            reason: "must hold a message",
        })
    }

    /// Appends messages in their order, all or none; one event for up to a hundred of them.
    ///
    /// # Errors
    /// [`ProduceError`] of the first that cannot be produced; except for a failed store, nothing
    /// was changed.
    pub async fn produce_all(
        &self,
        tx: &mut Tx<'_>,
        topic: &str,
        messages: Vec<Message>,
    ) -> Result<Vec<Produced>, ProduceError> {
        let known = self.known(topic).ok_or_else(|| ProduceError::NoTopic {
            topic: topic.to_owned(),
        })?;
        if messages.len() > PRODUCE_MESSAGES_MAX {
            return Err(ProduceError::Invalid {
                field: "the batch",
                reason: "must not hold more than 1000 messages",
            });
        }
        for message in &messages {
            check(known, message)?;
        }
        let mut batch = Batch::new(&known.topic);
        for message in messages {
            batch.place(tx, message).await?;
        }
        batch.write(tx).await
    }
}

fn check(known: &Known, message: &Message) -> Result<(), ProduceError> {
    for (field, text) in [
        ("its key", &message.key),
        ("its dedup id", &message.dedup_id),
    ] {
        let Some(text) = text else { continue };
        if text.is_empty() || text.len() > KEY_BYTES_MAX || text.contains('\0') {
            return Err(ProduceError::Invalid {
                field,
                reason: "must hold 1 to 500 bytes of text",
            });
        }
    }
    let Payload::Inline(bytes) = &message.payload else {
        return Ok(());
    };
    let topic = &known.topic;
    if bytes.len() > topic.payload_bytes_max {
        return Err(ProduceError::Oversize {
            topic: topic.name.clone(),
            bytes: bytes.len(),
            max: topic.payload_bytes_max,
        });
    }
    let Some(schema) = &known.schema else {
        return Ok(());
    };
    let refuse = |reason: String| {
        Err(ProduceError::Schema {
            topic: topic.name.clone(),
            reason,
        })
    };
    match serde_json::from_slice(bytes) {
        Err(_) => refuse("it is not JSON".to_owned()),
        Ok(value) => match schema.validate(&value) {
            Ok(()) => Ok(()),
            // The place, not the error's own text, which repeats the payload.
            Err(error) => {
                let place = error.instance_path().to_string();
                let rule = error.schema_path().to_string();
                let at = if place.is_empty() {
                    "the whole"
                } else {
                    &place
                };
                refuse(format!("{at} breaks {rule}"))
            }
        },
    }
}

/// Messages on their way into one topic.
struct Batch<'t> {
    topic: &'t Topic,
    fresh: BTreeMap<i64, Vec<Fresh>>,
    answers: Vec<Answer>,
}

/// A message that is to be written.
struct Fresh {
    message: Message,
    digest: Digest,
}

/// What the caller hears about one message, in the order of its call.
enum Answer {
    Earlier(MessageId),
    /// The message at this place among the fresh ones of its partition.
    Fresh(i64, usize),
}

impl<'t> Batch<'t> {
    const fn new(topic: &'t Topic) -> Self {
        Self {
            topic,
            fresh: BTreeMap::new(),
            answers: Vec::new(),
        }
    }

    /// Finds the message's partition, and whether it was produced before.
    async fn place(&mut self, tx: &mut Tx<'_>, message: Message) -> Result<(), ProduceError> {
        let digest = message.payload.digest();
        let partition = partition_of(self.topic, &message, &digest);
        if let Some(id) = &message.dedup_id
            && let Some(earlier) = self.take_dedup_id(tx, id, &digest, partition).await?
        {
            self.answers.push(earlier);
            return Ok(());
        }
        let fresh = self.fresh.entry(partition).or_default();
        self.answers.push(Answer::Fresh(partition, fresh.len()));
        fresh.push(Fresh { message, digest });
        Ok(())
    }

    /// Takes the dedup id, or finds the message that has it. Of two at once, the second waits here
    /// for the first to commit.
    async fn take_dedup_id(
        &self,
        tx: &mut Tx<'_>,
        id: &str,
        digest: &Digest,
        partition: i64,
    ) -> Result<Option<Answer>, ProduceError> {
        let sql = "INSERT INTO topic_dedup (topic, dedup_id, digest, partition, message_offset)
            VALUES (?1, ?2, ?3, ?4, 0) ON CONFLICT DO NOTHING";
        let bytes = &digest.0[..];
        let topic = &self.topic.name;
        if tx
            .execute(sql, params![topic, id, bytes, partition])
            .await?
            == 1
        {
            return Ok(None);
        }
        let sql = "SELECT digest, partition, message_offset FROM topic_dedup
            WHERE topic = ?1 AND dedup_id = ?2";
        let row = tx.query_one(sql, params![topic, id]).await?;
        let (partition, offset) = (row.get("partition")?, row.get("message_offset")?);
        let existing = MessageId {
            topic: topic.clone(),
            partition,
            offset,
        };
        if row.get::<Vec<u8>>("digest")? != bytes {
            return Err(ProduceError::Conflict { existing });
        }
        if offset > 0 {
            return Ok(Some(Answer::Earlier(existing)));
        }
        // Twice in one batch: the first of the two has no offset yet.
        let fresh = self.fresh.get(&partition).map_or(&[][..], Vec::as_slice);
        let place = fresh
            .iter()
            .position(|f| f.message.dedup_id.as_deref() == Some(id));
        Ok(place.map(|place| Answer::Fresh(partition, place)))
    }

    async fn write(self, tx: &mut Tx<'_>) -> Result<Vec<Produced>, ProduceError> {
        let now = tx.now_ms().await?;
        let mut first_offsets = BTreeMap::new();
        let mut produced = Vec::new();
        for (partition, fresh) in &self.fresh {
            let first = take_offsets(tx, &self.topic.name, *partition, fresh).await?;
            first_offsets.insert(*partition, first);
            let rows = fresh
                .iter()
                .zip(first..)
                .map(|(fresh, offset)| row(&self.topic.name, *partition, offset, fresh, now));
            insert(tx, rows.collect()).await?;
            for (fresh, offset) in fresh.iter().zip(first..) {
                if let Some(id) = &fresh.message.dedup_id {
                    let sql = "UPDATE topic_dedup SET message_offset = ?3
                        WHERE topic = ?1 AND dedup_id = ?2";
                    tx.execute(sql, params![&self.topic.name, id, offset])
                        .await?;
                }
                produced.push((*partition, offset, fresh));
            }
        }
        record_produced(tx, &self.topic.name, &produced).await?;
        if !produced.is_empty() {
            tx.wake(TOPIC);
        }
        let mut told = BTreeMap::new();
        let answers = self.answers.iter().map(|answer| match answer {
            Answer::Earlier(id) => Produced {
                id: id.clone(),
                created: false,
            },
            Answer::Fresh(partition, place) => {
                let first = first_offsets.get(partition).copied().unwrap_or_default();
                let offset = first + i64::try_from(*place).unwrap_or_default();
                Produced {
                    id: MessageId {
                        topic: self.topic.name.clone(),
                        partition: *partition,
                        offset,
                    },
                    created: told.insert((*partition, offset), ()).is_none(),
                }
            }
        });
        Ok(answers.collect())
    }
}

/// The first eight bytes of the SHA-256 of the key, or without a key of the payload, as a
/// big-endian number modulo the number of partitions.
fn partition_of(topic: &Topic, message: &Message, digest: &Digest) -> i64 {
    if topic.partitions == 1 {
        return 0;
    }
    let digest = match &message.key {
        Some(key) => Digest::of(key.as_bytes()),
        None => *digest,
    };
    let mut first = [0; 8];
    first.copy_from_slice(&digest.0[..8]);
    let partitions = u64::try_from(topic.partitions).unwrap_or(1);
    i64::try_from(u64::from_be_bytes(first) % partitions).unwrap_or_default()
}

async fn take_offsets(
    tx: &mut Tx<'_>,
    topic: &str,
    partition: i64,
    fresh: &[Fresh],
) -> Result<i64, DbError> {
    let count = i64::try_from(fresh.len()).unwrap_or(i64::MAX);
    let bytes: i64 = fresh
        .iter()
        .map(|fresh| fresh.message.payload.bytes())
        .sum();
    let sql = "UPDATE topic_partition SET next_offset = next_offset + ?3, bytes = bytes + ?4
        WHERE topic = ?1 AND partition = ?2 RETURNING next_offset - ?3 AS first_offset";
    tx.query_one(sql, params![topic, partition, count, bytes])
        .await?
        .get("first_offset")
}

const COLUMNS: usize = 10;

fn row(topic: &str, partition: i64, offset: i64, fresh: &Fresh, now: i64) -> [Value; COLUMNS] {
    let (payload, reference) = match &fresh.message.payload {
        Payload::Inline(bytes) => (Value::from(&bytes[..]), Value::Null),
        Payload::Spilled(reference) => (Value::Null, Value::from(&reference.place)),
    };
    [
        topic.into(),
        partition.into(),
        offset.into(),
        fresh.message.key.as_deref().into(),
        fresh.message.dedup_id.as_deref().into(),
        payload,
        reference,
        fresh.digest.0[..].into(),
        fresh.message.payload.bytes().into(),
        now.into(),
    ]
}

async fn insert(tx: &mut Tx<'_>, rows: Vec<[Value; COLUMNS]>) -> Result<(), DbError> {
    let whole = rows.chunks_exact(INSERT_ROWS_MAX);
    let rest = whole.remainder();
    // Two shapes of statement only, so that both stay prepared.
    for chunk in whole.chain(rest.chunks(1)) {
        let values = chunk.concat();
        let head = "INSERT INTO topic_message (topic, partition, message_offset, message_key,
            dedup_id, payload, reference, digest, bytes, produced_at_ms) VALUES";
        tx.execute(&insert_sql(head, chunk.len(), COLUMNS), &values)
            .await?;
    }
    Ok(())
}

/// `head` and then `rows` times a row of numbered parameters.
pub(crate) fn insert_sql(head: &str, rows: usize, columns: usize) -> String {
    let mut sql = head.to_owned();
    for row in 0..rows {
        sql.push_str(if row == 0 { " (" } else { ", (" });
        for column in 1..=columns {
            let comma = if column == 1 { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(sql, "{comma}?{}", row * columns + column);
        }
        sql.push(')');
    }
    sql
}

async fn record_produced(
    tx: &mut Tx<'_>,
    topic: &str,
    produced: &[(i64, i64, &Fresh)],
) -> Result<(), DbError> {
    if let [(partition, offset, fresh)] = produced {
        let event = MessageProduced {
            topic: topic.to_owned(),
            partition: *partition,
            offset: *offset,
            payload_sha256: fresh.digest.to_string(),
            bytes: fresh.message.payload.bytes(),
            spilled: matches!(fresh.message.payload, Payload::Spilled(_)),
        };
        return record(tx, topic, &event).await;
    }
    for chunk in produced.chunks(EVENT_MESSAGES_MAX) {
        let messages = chunk
            .iter()
            .map(|(partition, offset, fresh)| ProducedPlace {
                partition: *partition,
                offset: *offset,
                payload_sha256: fresh.digest.to_string(),
            });
        let event = MessagesProduced {
            topic: topic.to_owned(),
            messages: messages.collect(),
        };
        record(tx, topic, &event).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_partition_and_keys_spread() {
        let mut topic = Topic::new("bees");
        topic.partitions = 8;
        let place = |key: &str| {
            let message = Message::new("x").with_key(key);
            partition_of(&topic, &message, &message.payload.digest())
        };
        // The first eight bytes of SHA-256("a") are ca978112ca1bbdca; modulo 8 that is 2.
        assert_eq!(place("a"), 2);
        let used: std::collections::BTreeSet<i64> =
            (0..100).map(|n| place(&format!("key {n}"))).collect();
        assert_eq!(used.len(), 8);
    }

    #[test]
    fn rows_are_numbered_through() {
        assert_eq!(insert_sql("I", 2, 3), "I (?1, ?2, ?3), (?4, ?5, ?6)");
    }
}
