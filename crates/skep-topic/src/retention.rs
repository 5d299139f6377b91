//! Retention: messages that every group has finished are removed when they are past their age or
//! their topic's size, in bounded batches.
//!
//! A message that a group has not finished, that is a dead letter or that went on incomplete stays,
//! however old it is, and is an alarm: retention waits for readers and loses nothing.

use crate::alarm;
use crate::declaration::Topic;
use crate::event::{MessagesRemoved, record};
use crate::limits::{RETAIN_MESSAGES_MAX, RETAIN_STEPS_MAX};
use crate::message::GroupName;
use skep_db::{Db, DbError, Tx, params};
use skep_types::AlarmKind;

/// What one pass over a topic did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retained {
    /// Messages that were removed.
    pub removed: i64,
    /// Groups that hold what retention would remove, as `TOPIC/GROUP`.
    pub behind: Vec<String>,
}

/// Removes what may go from one topic, and raises or clears the alarms of its groups. Writes
/// nothing if there is nothing to do.
///
/// # Errors
/// What the store says.
pub async fn retain(db: &Db, topic: &Topic) -> Result<Retained, DbError> {
    let mut retained = Retained::default();
    for partition in 0..topic.partitions {
        for _ in 0..RETAIN_STEPS_MAX {
            let removed = step(db, topic, partition).await?;
            retained.removed += removed;
            if removed < RETAIN_MESSAGES_MAX {
                break;
            }
        }
    }
    for group in topic.readers.groups() {
        let name = GroupName::new(&topic.name, &group.name);
        if mark_behind(db, topic, &name).await? {
            retained.behind.push(name.to_string());
        }
    }
    Ok(retained)
}

async fn step(db: &Db, topic: &Topic, partition: i64) -> Result<i64, DbError> {
    let looked = topic.clone();
    let due = async move |tx: &mut Tx<'_>| removable(tx, &looked, partition).await;
    // Looked at first without holding anything, so that a pass with nothing to do writes nothing.
    if db.read("retention", due).await?.is_empty() {
        return Ok(0);
    }
    let topic = topic.clone();
    db.write("retention", async move |tx: &mut Tx<'_>| {
        let sql = "SELECT bytes FROM topic_partition WHERE topic = ?1 AND partition = ?2 /*lock*/";
        tx.query_one(sql, params![&topic.name, partition]).await?;
        let going = removable(tx, &topic, partition).await?;
        remove(tx, &topic.name, partition, &going).await
    })
    .await
}

/// The oldest messages that are past their retention and that every group has finished.
async fn removable(tx: &mut Tx<'_>, topic: &Topic, partition: i64) -> Result<Vec<i64>, DbError> {
    let now = tx.now_ms().await?;
    let place = params![&topic.name, partition];
    let sql = "SELECT bytes FROM topic_partition WHERE topic = ?1 AND partition = ?2";
    let kept: i64 = tx.query_one(sql, place).await?.get("bytes")?;
    let excess = share(topic).map_or(0, |share| (kept - share).max(0));
    let floor = floor(tx, &topic.name, partition).await?;
    let sql = format!(
        "SELECT m.message_offset, m.bytes, m.produced_at_ms FROM topic_message m
        WHERE m.topic = ?1 AND m.partition = ?2 AND m.message_offset < ?3 AND {NOT_HELD}
        ORDER BY m.message_offset LIMIT ?4"
    );
    let asked = params![&topic.name, partition, floor, RETAIN_MESSAGES_MAX];
    let rows = tx.query(&sql, asked).await?;
    let (mut going, mut freed) = (Vec::new(), 0);
    for row in &rows {
        let produced_at_ms: i64 = row.get("produced_at_ms")?;
        let expired = produced_at_ms.saturating_add(topic.retention_ms) <= now;
        if !expired && freed >= excess {
            break;
        }
        freed += row.get::<i64>("bytes")?;
        going.push(row.get("message_offset")?);
    }
    Ok(going)
}

/// A partition's part of the topic's size.
fn share(topic: &Topic) -> Option<i64> {
    topic
        .retention_bytes
        .map(|bytes| (bytes / topic.partitions).max(1))
}

/// The lowest offset that some group has not finished; the head if all have finished all.
async fn floor(tx: &mut Tx<'_>, topic: &str, partition: i64) -> Result<i64, DbError> {
    let sql = "SELECT MIN(COALESCE((SELECT MIN(i.message_offset) FROM topic_item i
                WHERE i.topic = c.topic AND i.reader_group = c.reader_group
                AND i.partition = c.partition AND i.state IN ('pending', 'delivering')),
            c.next_offset)) AS floor
        FROM topic_cursor c WHERE c.topic = ?1 AND c.partition = ?2";
    let row = tx.query_one(sql, params![topic, partition]).await?;
    if let Some(floor) = row.get::<Option<i64>>("floor")? {
        return Ok(floor);
    }
    let sql = "SELECT next_offset FROM topic_partition WHERE topic = ?1 AND partition = ?2";
    tx.query_one(sql, params![topic, partition])
        .await?
        .get("next_offset")
}

/// Removes from the first to the last of `going` what no group holds. The condition stands in the
/// statement again: a dead letter may have been put back since it was looked at.
async fn remove(
    tx: &mut Tx<'_>,
    topic: &str,
    partition: i64,
    going: &[i64],
) -> Result<i64, DbError> {
    let (Some(&first_offset), Some(&last_offset)) = (going.first(), going.last()) else {
        return Ok(0);
    };
    let range = params![topic, partition, first_offset, last_offset];
    let sql = format!(
        "DELETE FROM topic_dedup WHERE topic = ?1 AND dedup_id IN (SELECT m.dedup_id
            FROM topic_message m WHERE {IN_RANGE} AND m.dedup_id IS NOT NULL AND {NOT_HELD})"
    );
    tx.execute(&sql, range).await?;
    let sql =
        format!("DELETE FROM topic_message AS m WHERE {IN_RANGE} AND {NOT_HELD} RETURNING bytes");
    let rows = tx.query(&sql, range).await?;
    let bytes = rows
        .iter()
        .map(|row| row.get::<i64>("bytes"))
        .sum::<Result<i64, _>>()?;
    let sql = format!(
        "UPDATE topic_cursor SET dismissed = dismissed + (SELECT COUNT(*) FROM topic_item m
            WHERE {IN_RANGE} AND m.reader_group = topic_cursor.reader_group
                AND m.state = 'dismissed' AND {GONE})
        WHERE topic = ?1 AND partition = ?2 AND EXISTS (SELECT 1 FROM topic_item m
            WHERE {IN_RANGE} AND m.reader_group = topic_cursor.reader_group
                AND m.state = 'dismissed' AND {GONE})"
    );
    tx.execute(&sql, range).await?;
    for table in ["topic_item", "topic_inbox"] {
        let sql = format!("DELETE FROM {table} AS m WHERE {IN_RANGE} AND {GONE}");
        tx.execute(&sql, range).await?;
    }
    let sql = "UPDATE topic_partition SET bytes = bytes - ?3 WHERE topic = ?1 AND partition = ?2";
    tx.execute(sql, params![topic, partition, bytes]).await?;
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let event = MessagesRemoved {
        topic: topic.to_owned(),
        partition,
        first_offset,
        last_offset,
        count,
    };
    record(tx, topic, &event).await?;
    Ok(count)
}

const IN_RANGE: &str = "m.topic = ?1 AND m.partition = ?2 AND m.message_offset BETWEEN ?3 AND ?4";

/// No group has the message `m` open, dead or incomplete.
const NOT_HELD: &str = "NOT EXISTS (SELECT 1 FROM topic_item i WHERE i.topic = m.topic
    AND i.partition = m.partition AND i.message_offset = m.message_offset
    AND (i.state IN ('pending', 'delivering', 'blocked') OR i.status IS NOT NULL))";

/// The message of the row `m` was removed.
const GONE: &str = "NOT EXISTS (SELECT 1 FROM topic_message g WHERE g.topic = m.topic
    AND g.partition = m.partition AND g.message_offset = m.message_offset)";

/// Raises or clears the alarm of a group that holds what is past its retention.
async fn mark_behind(db: &Db, topic: &Topic, group: &GroupName) -> Result<bool, DbError> {
    let (looked, of) = (topic.clone(), group.clone());
    let subject = group.to_string();
    let (behind, open) = db
        .read("retention", async move |tx: &mut Tx<'_>| {
            let behind = is_behind(tx, &looked, &of).await?;
            let open = alarm::is_open(tx, AlarmKind::GroupBehind, &of.to_string()).await?;
            Ok::<_, DbError>((behind, open))
        })
        .await?;
    if behind != open {
        db.write("alarm", async move |tx: &mut Tx<'_>| {
            if behind {
                alarm::raise(tx, AlarmKind::GroupBehind, &subject).await
            } else {
                alarm::clear(tx, AlarmKind::GroupBehind, &subject).await
            }
        })
        .await?;
    }
    Ok(behind)
}

async fn is_behind(tx: &mut Tx<'_>, topic: &Topic, group: &GroupName) -> Result<bool, DbError> {
    let now = tx.now_ms().await?;
    // Per partition the oldest message that the group holds: unfinished, dead or incomplete.
    let sql = "SELECT p.bytes, m.produced_at_ms FROM topic_cursor c
        JOIN topic_partition p ON p.topic = c.topic AND p.partition = c.partition
        JOIN topic_message m ON m.topic = c.topic AND m.partition = c.partition
            AND m.message_offset = COALESCE((SELECT MIN(i.message_offset) FROM topic_item i
                WHERE i.topic = c.topic AND i.reader_group = c.reader_group
                AND i.partition = c.partition
                AND (i.state IN ('pending', 'delivering', 'blocked') OR i.status IS NOT NULL)),
            c.next_offset)
        WHERE c.topic = ?1 AND c.reader_group = ?2";
    let rows = tx.query(sql, params![&group.topic, &group.group]).await?;
    for row in &rows {
        let produced_at_ms: i64 = row.get("produced_at_ms")?;
        let bytes: i64 = row.get("bytes")?;
        let expired = produced_at_ms.saturating_add(topic.retention_ms) <= now;
        if expired || share(topic).is_some_and(|share| bytes > share) {
            return Ok(true);
        }
    }
    Ok(false)
}
