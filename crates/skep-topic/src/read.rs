//! Looking at topics, groups and messages; nothing here changes anything.

use crate::fetch::payload;
use crate::limits::LIST_ROWS_MAX;
use crate::message::{GroupName, MessageId, Payload};
use skep_db::{DbError, Row, Tx, Value, params};
use skep_types::{DeadReason, DeliveryState};

/// A message as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The message.
    pub id: MessageId,
    /// Its key.
    pub key: Option<String>,
    /// Its dedup id.
    pub dedup_id: Option<String>,
    /// What it says.
    pub payload: Payload,
    /// When it was produced, in milliseconds since 1970.
    pub produced_at_ms: i64,
}

/// Where a message stands with a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemView {
    /// Where it stands.
    pub state: DeliveryState,
    /// Why it is a dead letter.
    pub reason: Option<DeadReason>,
    /// What the reader said last.
    pub why: Option<String>,
    /// What is missing from it, if it went on without something.
    pub status: Option<String>,
    /// How often it was refused.
    pub tries: i64,
    /// How often it was put off.
    pub retries: i64,
    /// How often a reader was lost over it.
    pub losses: i64,
    /// When it will be handed out again at the earliest.
    pub due_ms: Option<i64>,
}

/// A topic as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicStatus {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: i64,
    /// Who reads it: `none`, `running` or `outside`.
    pub readers: String,
    /// How long messages are kept at least, in milliseconds.
    pub retention_ms: i64,
    /// How much is kept at most, in bytes.
    pub retention_bytes: Option<i64>,
    /// The largest inline payload, in bytes.
    pub payload_bytes_max: i64,
    /// After which silence an alarm is raised, in milliseconds.
    pub silent_after_ms: Option<i64>,
    /// Messages ever produced.
    pub produced: i64,
    /// Messages that are kept.
    pub kept: i64,
    /// Their payloads' size, in bytes.
    pub bytes: i64,
    /// Its groups.
    pub groups: Vec<GroupStatus>,
}

/// Where a group stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// Messages that it has neither finished nor given up on.
    pub lag: i64,
    /// Of these, in the hands of a reader.
    pub delivering: i64,
    /// Dead letters.
    pub blocked: i64,
    /// Messages that a person dismissed and that are still kept.
    pub dismissed: i64,
    /// Messages that went on with something missing.
    pub incomplete: i64,
    /// Messages that it has finished.
    pub delivered: i64,
    /// When the oldest of its unfinished messages was produced, in milliseconds since 1970.
    pub oldest_unread_ms: Option<i64>,
    /// How often it may refuse a message.
    pub tries_max: i64,
    /// The longest silence, in milliseconds.
    pub silent_after_ms: Option<i64>,
}

/// Every topic, by name.
///
/// # Errors
/// What the store says.
pub async fn statuses(tx: &mut Tx<'_>) -> Result<Vec<TopicStatus>, DbError> {
    let sql = format!("{TOPICS} ORDER BY name LIMIT ?1");
    let rows = tx.query(&sql, params![LIST_ROWS_MAX]).await?;
    let mut statuses = Vec::with_capacity(rows.len());
    for row in &rows {
        statuses.push(topic_status(tx, row).await?);
    }
    Ok(statuses)
}

/// One topic.
///
/// # Errors
/// What the store says.
pub async fn status(tx: &mut Tx<'_>, topic: &str) -> Result<Option<TopicStatus>, DbError> {
    let sql = format!("{TOPICS} WHERE name = ?1");
    match tx.query_opt(&sql, params![topic]).await? {
        Some(row) => topic_status(tx, &row).await.map(Some),
        None => Ok(None),
    }
}

const TOPICS: &str = "SELECT name, partitions, readers, retention_ms, retention_bytes,
    payload_bytes_max, silent_after_ms FROM topic";

async fn topic_status(tx: &mut Tx<'_>, row: &Row) -> Result<TopicStatus, DbError> {
    let name: String = row.get("name")?;
    let sql = "SELECT CAST(COALESCE(SUM(next_offset - 1), 0) AS BIGINT) AS produced,
            CAST(COALESCE(SUM(bytes), 0) AS BIGINT) AS bytes,
            (SELECT COUNT(*) FROM topic_message WHERE topic = ?1) AS kept
        FROM topic_partition WHERE topic = ?1";
    let totals = tx.query_one(sql, params![&name]).await?;
    let sql = "SELECT name, tries_max, silent_after_ms FROM topic_group WHERE topic = ?1
        ORDER BY name LIMIT ?2";
    let mut groups = Vec::new();
    for row in &tx.query(sql, params![&name, LIST_ROWS_MAX]).await? {
        groups.push(group_status(tx, &name, row).await?);
    }
    Ok(TopicStatus {
        name,
        partitions: row.get("partitions")?,
        readers: row.get("readers")?,
        retention_ms: row.get("retention_ms")?,
        retention_bytes: row.get("retention_bytes")?,
        payload_bytes_max: row.get("payload_bytes_max")?,
        silent_after_ms: row.get("silent_after_ms")?,
        produced: totals.get("produced")?,
        kept: totals.get("kept")?,
        bytes: totals.get("bytes")?,
        groups,
    })
}

async fn group_status(tx: &mut Tx<'_>, topic: &str, row: &Row) -> Result<GroupStatus, DbError> {
    let name: String = row.get("name")?;
    let group = GroupName::new(topic, &name);
    let counts = counts(tx, &group).await?;
    Ok(GroupStatus {
        lag: counts.unfinished(),
        delivering: counts.delivering,
        blocked: counts.blocked,
        dismissed: counts.dismissed,
        incomplete: counts.incomplete,
        delivered: counts.delivered(),
        oldest_unread_ms: oldest_unread_ms(tx, &group).await?,
        tries_max: row.get("tries_max")?,
        silent_after_ms: row.get("silent_after_ms")?,
        name,
    })
}

/// What a group has and has not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Looked at since it was declared.
    seen: i64,
    /// Produced and not yet looked at.
    unseen: i64,
    pub(crate) pending: i64,
    pub(crate) delivering: i64,
    pub(crate) blocked: i64,
    pub(crate) dismissed: i64,
    pub(crate) incomplete: i64,
    /// Dismissed ones that retention has removed.
    dismissed_removed: i64,
}

impl Counts {
    pub(crate) const fn unfinished(&self) -> i64 {
        self.unseen + self.pending + self.delivering
    }

    pub(crate) const fn input(&self) -> i64 {
        self.seen + self.unseen
    }

    /// Only what was delivered is an output: a stage that makes dead letters of all it gets has
    /// none.
    pub(crate) const fn delivered(&self) -> i64 {
        self.seen
            - self.pending
            - self.delivering
            - self.blocked
            - self.dismissed
            - self.dismissed_removed
    }
}

pub(crate) async fn counts(tx: &mut Tx<'_>, group: &GroupName) -> Result<Counts, DbError> {
    let names = params![&group.topic, &group.group];
    let sql = "SELECT CAST(COALESCE(SUM(c.next_offset - c.first_offset), 0) AS BIGINT) AS seen,
            CAST(COALESCE(SUM(p.next_offset - c.next_offset), 0) AS BIGINT) AS unseen,
            CAST(COALESCE(SUM(c.dismissed), 0) AS BIGINT) AS dismissed
        FROM topic_cursor c JOIN topic_partition p
            ON p.topic = c.topic AND p.partition = c.partition
        WHERE c.topic = ?1 AND c.reader_group = ?2";
    let cursors = tx.query_one(sql, names).await?;
    let sql = "SELECT state, COUNT(*) AS items, COUNT(status) AS incomplete FROM topic_item
        WHERE topic = ?1 AND reader_group = ?2 GROUP BY state";
    let mut counts = Counts {
        seen: cursors.get("seen")?,
        unseen: cursors.get("unseen")?,
        pending: 0,
        delivering: 0,
        blocked: 0,
        dismissed: 0,
        incomplete: 0,
        dismissed_removed: cursors.get("dismissed")?,
    };
    for row in &tx.query(sql, names).await? {
        let items: i64 = row.get("items")?;
        match row.parse("state")? {
            DeliveryState::Pending => counts.pending = items,
            DeliveryState::Delivering => counts.delivering = items,
            DeliveryState::Blocked => counts.blocked = items,
            DeliveryState::Dismissed => counts.dismissed = items,
            DeliveryState::Delivered => counts.incomplete = row.get("incomplete")?,
        }
    }
    Ok(counts)
}

/// When the oldest message that a group has not finished was produced.
pub(crate) async fn oldest_unread_ms(
    tx: &mut Tx<'_>,
    group: &GroupName,
) -> Result<Option<i64>, DbError> {
    let sql = "SELECT MIN(m.produced_at_ms) AS oldest FROM topic_cursor c JOIN topic_message m
            ON m.topic = c.topic AND m.partition = c.partition AND m.message_offset = COALESCE(
                (SELECT MIN(i.message_offset) FROM topic_item i WHERE i.topic = c.topic
                    AND i.reader_group = c.reader_group AND i.partition = c.partition
                    AND i.state IN ('pending', 'delivering')), c.next_offset)
        WHERE c.topic = ?1 AND c.reader_group = ?2";
    let row = tx
        .query_one(sql, params![&group.topic, &group.group])
        .await?;
    row.get("oldest")
}

/// How many messages of a group are in the hands of a reader or could be now: what does not wait
/// for its time.
///
/// # Errors
/// What the store says.
pub async fn deliverable(tx: &mut Tx<'_>, group: &GroupName) -> Result<i64, DbError> {
    let now = tx.now_ms().await?;
    let counts = counts(tx, group).await?;
    let sql = "SELECT COUNT(*) AS items FROM topic_item WHERE topic = ?1 AND reader_group = ?2
        AND state = 'pending' AND due_ms > ?3";
    let later = tx
        .query_one(sql, params![&group.topic, &group.group, now])
        .await?;
    Ok(counts.unfinished() - later.get::<i64>("items")?)
}

/// Where a message stands with a group; `None` if there is no such message or group.
///
/// # Errors
/// What the store says.
pub async fn item(
    tx: &mut Tx<'_>,
    group: &GroupName,
    message: &MessageId,
) -> Result<Option<ItemView>, DbError> {
    let sql = "SELECT c.first_offset, c.next_offset, p.next_offset AS head, i.state, i.reason,
            i.why, i.status, i.tries, i.retries, i.losses, i.due_ms
        FROM topic_cursor c JOIN topic_partition p
            ON p.topic = c.topic AND p.partition = c.partition
        LEFT JOIN topic_item i ON i.topic = c.topic AND i.reader_group = c.reader_group
            AND i.partition = c.partition AND i.message_offset = ?4
        WHERE c.topic = ?1 AND c.reader_group = ?2 AND c.partition = ?3";
    let names = params![
        &group.topic,
        &group.group,
        message.partition,
        message.offset
    ];
    let Some(row) = tx.query_opt(sql, names).await? else {
        return Ok(None);
    };
    if let Some(state) = row.parse_opt("state")? {
        return Ok(Some(ItemView {
            state,
            reason: row.parse_opt("reason")?,
            why: row.get("why")?,
            status: row.get("status")?,
            tries: row.get("tries")?,
            retries: row.get("retries")?,
            losses: row.get("losses")?,
            due_ms: row.get("due_ms")?,
        }));
    }
    let offset = message.offset;
    let (first, next, head): (i64, i64, i64) = (
        row.get("first_offset")?,
        row.get("next_offset")?,
        row.get("head")?,
    );
    if message.topic != group.topic || offset < first || offset >= head {
        return Ok(None);
    }
    Ok(Some(ItemView {
        state: if offset < next {
            DeliveryState::Delivered
        } else {
            DeliveryState::Pending
        },
        reason: None,
        why: None,
        status: None,
        tries: 0,
        retries: 0,
        losses: 0,
        due_ms: None,
    }))
}

/// Messages of one partition after an offset, in order.
///
/// # Errors
/// What the store says.
pub async fn messages(
    tx: &mut Tx<'_>,
    topic: &str,
    partition: i64,
    after: i64,
    limit: i64,
) -> Result<Vec<StoredMessage>, DbError> {
    let sql = format!("{MESSAGES} AND message_offset > ?3 ORDER BY message_offset LIMIT ?4");
    let limit = limit.clamp(0, LIST_ROWS_MAX);
    stored(
        tx,
        topic,
        partition,
        &sql,
        params![topic, partition, after, limit],
    )
    .await
}

/// The newest offset of a partition; 0 if nothing was produced to it.
///
/// # Errors
/// What the store says.
pub async fn newest(tx: &mut Tx<'_>, topic: &str, partition: i64) -> Result<i64, DbError> {
    let sql = "SELECT next_offset FROM topic_partition WHERE topic = ?1 AND partition = ?2";
    let row = tx.query_opt(sql, params![topic, partition]).await?;
    row.map_or(Ok(0), |row| Ok(row.get::<i64>("next_offset")? - 1))
}

/// One message.
///
/// # Errors
/// What the store says.
pub async fn message(tx: &mut Tx<'_>, id: &MessageId) -> Result<Option<StoredMessage>, DbError> {
    let sql = format!("{MESSAGES} AND message_offset = ?3");
    let place = params![&id.topic, id.partition, id.offset];
    Ok(stored(tx, &id.topic, id.partition, &sql, place)
        .await?
        .pop())
}

const MESSAGES: &str = "SELECT message_offset, message_key, dedup_id, payload, reference, digest,
    bytes, produced_at_ms FROM topic_message WHERE topic = ?1 AND partition = ?2";

async fn stored(
    tx: &mut Tx<'_>,
    topic: &str,
    partition: i64,
    sql: &str,
    place: &[Value],
) -> Result<Vec<StoredMessage>, DbError> {
    let message = |row: &Row| {
        Ok(StoredMessage {
            id: MessageId {
                topic: topic.to_owned(),
                partition,
                offset: row.get("message_offset")?,
            },
            key: row.get("message_key")?,
            dedup_id: row.get("dedup_id")?,
            payload: payload(row)?,
            produced_at_ms: row.get("produced_at_ms")?,
        })
    };
    tx.query(sql, place).await?.iter().map(message).collect()
}
