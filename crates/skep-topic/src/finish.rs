//! What a reader answers: done, later, refused. Each answer shows the lease, and matches one row
//! or is refused.

use crate::TOPIC;
use crate::error::FinishError;
use crate::event::{MessageCompleted, MessageDeadLettered, MessagesDelivered, Place, record};
use crate::fetch::Delivery;
use crate::limits::{
    EVENT_MESSAGES_MAX, LEASE_MS_MAX, LIST_ROWS_MAX, NAME_BYTES_MAX, WHY_BYTES_MAX,
};
use crate::message::{GroupName, Lease, MessageId};
use skep_db::{DbError, Tx, Value, params};
use skep_types::DeadReason;

/// The item that a lease still holds, over the first values of [`held_by`]. Nobody who was given up
/// on holds one: the next delivery has a higher fence, and an answer ends the state.
const HELD: &str = "topic = ?1 AND reader_group = ?2 AND partition = ?3 AND message_offset = ?4
    AND fence = ?5 AND state = 'delivering'";

/// What became of a refused message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poisoned {
    /// It will be tried again.
    Again,
    /// It was refused too often and is a dead letter.
    Dead,
}

/// The message is done. Its effect has happened, or commits with this transaction.
///
/// # Errors
/// [`FinishError::Stale`] when somebody else was handed the message.
pub async fn ack(tx: &mut Tx<'_>, lease: &Lease) -> Result<(), FinishError> {
    ack_all(tx, std::slice::from_ref(lease)).await
}

/// As [`ack`] for messages of one group, all or none.
///
/// # Errors
/// [`FinishError::Stale`] with the first that somebody else was handed.
pub async fn ack_all(tx: &mut Tx<'_>, leases: &[Lease]) -> Result<(), FinishError> {
    let sql = format!("DELETE FROM topic_item WHERE {HELD}");
    for lease in leases {
        matched(lease, tx.execute(&sql, &held_by(lease, &[])).await?)?;
    }
    delivered(tx, leases, false).await
}

/// The message goes on although something is missing from it, as an enrichment that failed:
/// finished, and listed by [`incomplete`] under `status` until [`complete`]. `status` is a word,
/// not a sentence.
///
/// # Errors
/// [`FinishError::Stale`] when somebody else was handed the message.
pub async fn finish_with_status(
    tx: &mut Tx<'_>,
    lease: &Lease,
    status: &str,
) -> Result<(), FinishError> {
    let now = tx.now_ms().await?;
    let sql = format!(
        "UPDATE topic_item SET state = 'delivered', status = ?6, holder = NULL,
            changed_at_ms = ?7
        WHERE {HELD}"
    );
    let row = held_by(lease, params![cut(status, NAME_BYTES_MAX), now]);
    matched(lease, tx.execute(&sql, &row).await?)?;
    delivered(tx, std::slice::from_ref(lease), true).await
}

/// Messages that went on with `status`, the oldest of each partition first, at most `limit`.
///
/// # Errors
/// What the store says.
pub async fn incomplete(
    tx: &mut Tx<'_>,
    group: &GroupName,
    status: &str,
    limit: i64,
) -> Result<Vec<MessageId>, DbError> {
    let sql = "SELECT partition, message_offset FROM topic_item
        WHERE topic = ?1 AND reader_group = ?2 AND status IS NOT NULL AND status = ?3
        ORDER BY partition, message_offset LIMIT ?4";
    let limit = limit.clamp(0, LIST_ROWS_MAX);
    let rows = tx
        .query(sql, params![&group.topic, &group.group, status, limit])
        .await?;
    let id = |row: &skep_db::Row| {
        Ok(MessageId {
            topic: group.topic.clone(),
            partition: row.get("partition")?,
            offset: row.get("message_offset")?,
        })
    };
    rows.iter().map(id).collect()
}

/// What was missing was added. False if nothing was missing any more.
///
/// # Errors
/// What the store says.
pub async fn complete(
    tx: &mut Tx<'_>,
    group: &GroupName,
    message: &MessageId,
) -> Result<bool, DbError> {
    let sql = "DELETE FROM topic_item WHERE topic = ?1 AND reader_group = ?2 AND partition = ?3
        AND message_offset = ?4 AND status IS NOT NULL";
    let row = params![
        &group.topic,
        &group.group,
        message.partition,
        message.offset
    ];
    if tx.execute(sql, row).await? == 0 {
        return Ok(false);
    }
    let event = MessageCompleted {
        topic: group.topic.clone(),
        group: group.group.clone(),
        partition: message.partition,
        offset: message.offset,
    };
    record(tx, &group.topic, &event).await?;
    Ok(true)
}

/// Puts the message off for a reason that passes, as a reader's own outage. It counts for
/// nothing: the message is not the cause. `why` is kept for whoever looks.
///
/// # Errors
/// [`FinishError::Stale`] when somebody else was handed the message.
pub async fn retry_later(
    tx: &mut Tx<'_>,
    lease: &Lease,
    delay_ms: i64,
    why: &str,
) -> Result<(), FinishError> {
    let now = tx.now_ms().await?;
    let sql = format!(
        "UPDATE topic_item SET state = 'pending', retries = retries + 1, holder = NULL,
            due_ms = ?6, why = COALESCE(NULLIF(?7, ''), why), changed_at_ms = ?8
        WHERE {HELD}"
    );
    let due_ms = now.saturating_add(delay_ms.max(0));
    let row = held_by(lease, params![due_ms, cut(why, WHY_BYTES_MAX), now]);
    matched(lease, tx.execute(&sql, &row).await?)
}

/// Refuses the message: it is itself the cause. Counted against the message, whoever reads it and
/// however often it was replayed; after as many refusals as its group allows it is a dead letter.
///
/// # Errors
/// [`FinishError::Stale`] when somebody else was handed the message.
pub async fn poison(
    tx: &mut Tx<'_>,
    lease: &Lease,
    delay_ms: i64,
    why: &str,
) -> Result<Poisoned, FinishError> {
    let now = tx.now_ms().await?;
    let sql = format!(
        "UPDATE topic_item SET state = 'pending', tries = tries + 1, holder = NULL,
            due_ms = ?6, why = COALESCE(NULLIF(?7, ''), why), changed_at_ms = ?8
        WHERE {HELD} RETURNING tries, losses"
    );
    let why = cut(why, WHY_BYTES_MAX);
    let due_ms = now.saturating_add(delay_ms.max(0));
    let row = held_by(lease, params![due_ms, why, now]);
    let rows = tx.query(&sql, &row).await?;
    matched(lease, rows.len() as u64)?;
    let Some(row) = rows.first() else {
        return Ok(Poisoned::Again);
    };
    let (tries, losses): (i64, i64) = (row.get("tries")?, row.get("losses")?);
    let sql = "SELECT tries_max FROM topic_group WHERE topic = ?1 AND name = ?2";
    let group = tx
        .query_one(sql, params![&lease.message.topic, &lease.group])
        .await?;
    if tries < group.get("tries_max")? {
        return Ok(Poisoned::Again);
    }
    let counts = Counts { tries, losses };
    bury_counted(tx, lease, counts, DeadReason::Poison, Some(why)).await?;
    Ok(Poisoned::Dead)
}

/// Extends leases; the answer holds those that are no longer held.
///
/// # Errors
/// What the store says.
pub async fn extend(
    tx: &mut Tx<'_>,
    leases: &[Lease],
    lease_ms: i64,
) -> Result<Vec<Lease>, DbError> {
    let until_ms = tx
        .now_ms()
        .await?
        .saturating_add(lease_ms.clamp(1, LEASE_MS_MAX));
    let sql = format!("UPDATE topic_item SET due_ms = ?6 WHERE {HELD}");
    let mut lost = Vec::new();
    for lease in leases {
        let row = held_by(lease, params![until_ms]);
        if tx.execute(&sql, &row).await? == 0 {
            lost.push(lease.clone());
        }
    }
    Ok(lost)
}

/// Makes a dead letter of a message that is in nobody's hands.
pub(crate) async fn bury(
    tx: &mut Tx<'_>,
    delivery: &Delivery,
    reason: DeadReason,
    why: Option<&str>,
) -> Result<(), DbError> {
    let counts = Counts {
        tries: delivery.tries,
        losses: delivery.losses,
    };
    bury_counted(tx, &delivery.lease, counts, reason, why).await
}

struct Counts {
    tries: i64,
    losses: i64,
}

async fn bury_counted(
    tx: &mut Tx<'_>,
    lease: &Lease,
    counts: Counts,
    reason: DeadReason,
    why: Option<&str>,
) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let sql =
        "UPDATE topic_item SET state = 'blocked', reason = ?5, why = COALESCE(NULLIF(?6, ''), why),
            losses = ?7, holder = NULL, changed_at_ms = ?8
        WHERE topic = ?1 AND reader_group = ?2 AND partition = ?3 AND message_offset = ?4";
    let message = &lease.message;
    let row = params![
        &message.topic,
        &lease.group,
        message.partition,
        message.offset,
        reason.as_str(),
        why,
        counts.losses,
        now,
    ];
    tx.execute(sql, row).await?;
    let event = MessageDeadLettered {
        topic: message.topic.clone(),
        group: lease.group.clone(),
        partition: message.partition,
        offset: message.offset,
        reason,
        tries: counts.tries,
        losses: counts.losses,
    };
    // The next message of its key can be read now.
    tx.wake(TOPIC);
    record(tx, &message.topic, &event).await
}

async fn delivered(tx: &mut Tx<'_>, leases: &[Lease], incomplete: bool) -> Result<(), FinishError> {
    for chunk in leases.chunks(EVENT_MESSAGES_MAX) {
        let Some(first) = chunk.first() else { continue };
        let places = chunk.iter().map(|lease| Place {
            partition: lease.message.partition,
            offset: lease.message.offset,
        });
        let event = MessagesDelivered {
            topic: first.message.topic.clone(),
            group: first.group.clone(),
            messages: places.collect(),
            incomplete,
        };
        record(tx, &first.message.topic, &event).await?;
    }
    // The next message of a key can be read now.
    tx.wake(TOPIC);
    Ok(())
}

/// The values of a statement over [`HELD`]: `?1` to `?5` are the lease's, then comes `more`.
fn held_by(lease: &Lease, more: &[Value]) -> Vec<Value> {
    let message = &lease.message;
    let own = params![
        &message.topic,
        &lease.group,
        message.partition,
        message.offset,
        lease.fence,
    ];
    [own, more].concat()
}

fn matched(lease: &Lease, rows: u64) -> Result<(), FinishError> {
    if rows == 1 {
        return Ok(());
    }
    Err(FinishError::Stale {
        message: lease.message.clone(),
    })
}

/// The beginning of `text` that fits into `bytes_max`.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let text = text.split('\0').next().unwrap_or_default();
    &text[..text.floor_char_boundary(bytes_max)]
}
