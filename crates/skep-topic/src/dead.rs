//! Dead letters: messages that a group has given up on, kept until a person decides.
//!
//! A dead letter keeps its identity and its count of refusals when it is replayed: it gets one more
//! try, and is a dead letter again if that fails too. It does not hold its key, so that one bad
//! message stops no others.

use crate::TOPIC;
use crate::error::DeadLetterError;
use crate::event::{DeadLettersReplayed, MessagesDismissed, Place, record};
use crate::limits::{DRAIN_LETTERS_MAX, EVENT_MESSAGES_MAX, LIST_ROWS_MAX};
use crate::message::{GroupName, MessageId};
use crate::read;
use skep_db::{DbError, Row, Tx, params};
use skep_types::{DeadReason, DeliveryState};

/// A message that a group has given up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message.
    pub message: MessageId,
    /// The group.
    pub group: String,
    /// Its key.
    pub key: Option<String>,
    /// Why it is a dead letter.
    pub reason: DeadReason,
    /// How often it was refused.
    pub tries: i64,
    /// How often a reader was lost over it.
    pub losses: i64,
    /// What the reader said last; text of the reader, untrusted.
    pub why: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
}

/// What a drain did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// The messages that were put back, in the order in which they will be read.
    pub messages: Vec<MessageId>,
    /// Whether there are more.
    pub more: bool,
}

/// The dead letters of a topic, of one group if named, the oldest of each partition first.
///
/// # Errors
/// What the store says.
pub async fn dead_letters(
    tx: &mut Tx<'_>,
    topic: &str,
    group: Option<&str>,
    limit: i64,
) -> Result<Vec<DeadLetter>, DbError> {
    let sql = "SELECT reader_group, partition, message_offset, message_key, reason, tries, losses,
            why, changed_at_ms
        FROM topic_item WHERE topic = ?1 AND state = 'blocked'
            AND (CAST(?2 AS TEXT) IS NULL OR reader_group = ?2)
        ORDER BY reader_group, partition, message_offset LIMIT ?3";
    let limit = limit.clamp(0, LIST_ROWS_MAX);
    let rows = tx.query(sql, params![topic, group, limit]).await?;
    let letter = |row: &Row| {
        Ok(DeadLetter {
            message: MessageId {
                topic: topic.to_owned(),
                partition: row.get("partition")?,
                offset: row.get("message_offset")?,
            },
            group: row.get("reader_group")?,
            key: row.get("message_key")?,
            reason: row.parse("reason")?,
            tries: row.get("tries")?,
            losses: row.get("losses")?,
            why: row.get("why")?,
            since_ms: row.get("changed_at_ms")?,
        })
    };
    rows.iter().map(letter).collect()
}

/// Has one dead letter delivered once more.
///
/// # Errors
/// [`DeadLetterError`].
pub async fn replay(
    tx: &mut Tx<'_>,
    group: &GroupName,
    message: &MessageId,
) -> Result<(), DeadLetterError> {
    let now = tx.now_ms().await?;
    let sql = "UPDATE topic_item SET state = 'pending', due_ms = ?5, changed_at_ms = ?5,
            reason = NULL
        WHERE topic = ?1 AND reader_group = ?2 AND partition = ?3 AND message_offset = ?4
            AND state = 'blocked'";
    let row = params![
        &group.topic,
        &group.group,
        message.partition,
        message.offset,
        now
    ];
    if tx.execute(sql, row).await? == 0 {
        return Err(refusal(tx, group, message).await?);
    }
    record_replayed(tx, group, std::slice::from_ref(message)).await?;
    Ok(())
}

/// Has up to `limit` dead letters delivered once more, the oldest of each partition first; they
/// are read in that order, before anything newer.
///
/// # Errors
/// What the store says.
pub async fn drain(tx: &mut Tx<'_>, group: &GroupName, limit: i64) -> Result<Drained, DbError> {
    let now = tx.now_ms().await?;
    let limit = limit.clamp(0, DRAIN_LETTERS_MAX);
    let sql = "SELECT partition, message_offset FROM topic_item
        WHERE topic = ?1 AND reader_group = ?2 AND state = 'blocked'
        ORDER BY partition, message_offset LIMIT ?3 /*lock*/";
    let rows = tx
        .query(sql, params![&group.topic, &group.group, limit + 1])
        .await?;
    let more = i64::try_from(rows.len()).is_ok_and(|found| found > limit);
    let mut messages = Vec::with_capacity(rows.len());
    for row in rows.iter().take(usize::try_from(limit).unwrap_or_default()) {
        let (partition, offset): (i64, i64) = (row.get("partition")?, row.get("message_offset")?);
        let sql = "UPDATE topic_item SET state = 'pending', due_ms = ?5, changed_at_ms = ?5,
                reason = NULL
            WHERE topic = ?1 AND reader_group = ?2 AND partition = ?3 AND message_offset = ?4";
        tx.execute(
            sql,
            params![&group.topic, &group.group, partition, offset, now],
        )
        .await?;
        messages.push(MessageId {
            topic: group.topic.clone(),
            partition,
            offset,
        });
    }
    record_replayed(tx, group, &messages).await?;
    Ok(Drained { messages, more })
}

/// Says that nobody needs a message: a dead letter, or one that waits to be tried again.
///
/// # Errors
/// [`DeadLetterError`].
pub async fn dismiss(
    tx: &mut Tx<'_>,
    group: &GroupName,
    message: &MessageId,
) -> Result<(), DeadLetterError> {
    let now = tx.now_ms().await?;
    let sql = "UPDATE topic_item SET state = 'dismissed', changed_at_ms = ?5
        WHERE topic = ?1 AND reader_group = ?2 AND partition = ?3 AND message_offset = ?4
            AND state IN ('blocked', 'pending')";
    let row = params![
        &group.topic,
        &group.group,
        message.partition,
        message.offset,
        now
    ];
    if tx.execute(sql, row).await? == 0 {
        return Err(refusal(tx, group, message).await?);
    }
    let event = MessagesDismissed {
        topic: group.topic.clone(),
        group: group.group.clone(),
        messages: vec![place(message)],
    };
    record(tx, &group.topic, &event).await?;
    // The next message of its key can be read now.
    tx.wake(TOPIC);
    Ok(())
}

async fn record_replayed(
    tx: &mut Tx<'_>,
    group: &GroupName,
    messages: &[MessageId],
) -> Result<(), DbError> {
    for chunk in messages.chunks(EVENT_MESSAGES_MAX) {
        let event = DeadLettersReplayed {
            topic: group.topic.clone(),
            group: group.group.clone(),
            messages: chunk.iter().map(place).collect(),
        };
        record(tx, &group.topic, &event).await?;
        tx.wake(TOPIC);
    }
    Ok(())
}

const fn place(message: &MessageId) -> Place {
    Place {
        partition: message.partition,
        offset: message.offset,
    }
}

async fn refusal(
    tx: &mut Tx<'_>,
    group: &GroupName,
    message: &MessageId,
) -> Result<DeadLetterError, DbError> {
    let state: Option<DeliveryState> = read::item(tx, group, message).await?.map(|item| item.state);
    let message = message.clone();
    Ok(match state {
        Some(state) => DeadLetterError::State { message, state },
        None => DeadLetterError::NotFound {
            message,
            group: group.group.clone(),
        },
    })
}
