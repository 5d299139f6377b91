//! Handing messages to a reader.
//!
//! A group has one cursor a partition: everything before it has been looked at, and what is not
//! finished of that has a row in `topic_item`. Fetches of one group take turns at the cursors;
//! answers do not touch them.

use crate::limits::{
    FETCH_MESSAGES_MAX, FETCH_SCAN_MAX, INSERT_ROWS_MAX, LEASE_MS_MAX, LOSSES_MAX, OPEN_ITEMS_MAX,
};
use crate::message::{GroupName, Lease, MessageId, Payload, Reference};
use crate::produce::insert_sql;
use crate::{TOPIC, finish};
use skep_db::{DbError, Row, Tx, Value, params};
use skep_ledger::Digest;
use skep_types::{DeadReason, DeliveryState};
use std::collections::BTreeSet;

/// What a reader asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// The most messages; no more than [`FETCH_MESSAGES_MAX`].
    pub max: i64,
    /// How long the reader may take before the messages are handed out again, in milliseconds.
    pub lease_ms: i64,
    /// Who asks, so that [`take_back`] can tell what a reader that starts again has left.
    pub holder: String,
}

/// One message in the hands of a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What to answer with.
    pub lease: Lease,
    /// The message's key.
    pub key: Option<String>,
    /// What it says.
    pub payload: Payload,
    /// When it was produced, in milliseconds since 1970.
    pub produced_at_ms: i64,
    /// How often the group has refused it.
    pub tries: i64,
    /// How often the group has put it off for a passing reason.
    pub retries: i64,
    /// How often a reader was lost over it.
    pub losses: i64,
}

impl Delivery {
    /// The message.
    pub const fn id(&self) -> &MessageId {
        &self.lease.message
    }
}

/// Hands out messages that nobody holds, the oldest of each partition first, and of each key one
/// at a time. What a reader was handed and did not answer for in time is handed out again; a
/// message over which [`LOSSES_MAX`] readers were lost becomes a dead letter.
///
/// # Errors
/// What the store says.
pub async fn fetch(
    tx: &mut Tx<'_>,
    group: &GroupName,
    request: &FetchRequest,
) -> Result<Vec<Delivery>, DbError> {
    let now = tx.now_ms().await?;
    let mut fetching = Fetching {
        group,
        holder: &request.holder,
        now,
        until_ms: now.saturating_add(request.lease_ms.clamp(1, LEASE_MS_MAX)),
        left: request.max.clamp(0, FETCH_MESSAGES_MAX),
        deliveries: Vec::new(),
    };
    // In the order of their names, so that two fetches never wait for each other in a circle.
    let sql = "SELECT partition, next_offset, turn FROM topic_cursor
        WHERE topic = ?1 AND reader_group = ?2 ORDER BY partition /*lock*/";
    let rows = tx.query(sql, params![&group.topic, &group.group]).await?;
    let mut cursors = rows
        .iter()
        .map(Cursor::from_row)
        .collect::<Result<Vec<_>, _>>()?;
    let last_turn = cursors.iter().map(|cursor| cursor.turn).max().unwrap_or(0);
    // Whose turn is longest ago goes first, so that a full partition starves no other.
    cursors.sort_by_key(|cursor| (cursor.turn, cursor.partition));
    for (cursor, turn) in cursors.into_iter().zip(last_turn + 1..) {
        if fetching.left == 0 {
            break;
        }
        fetching.partition(tx, cursor, turn).await?;
    }
    Ok(fetching.deliveries)
}

/// Ends the leases of `holder`, a reader that starts again and holds nothing of what it held.
/// The answer is how many.
///
/// # Errors
/// What the store says.
pub async fn take_back(tx: &mut Tx<'_>, group: &GroupName, holder: &str) -> Result<u64, DbError> {
    let now = tx.now_ms().await?;
    let sql = "UPDATE topic_item SET due_ms = ?4 WHERE topic = ?1 AND reader_group = ?2
        AND state = 'delivering' AND holder = ?3 AND due_ms > ?4";
    let ended = tx
        .execute(sql, params![&group.topic, &group.group, holder, now])
        .await?;
    if ended > 0 {
        tx.wake(TOPIC);
    }
    Ok(ended)
}

/// Lets what `holder` holds be read again at once. Its reader lives and has done nothing with it, so
/// that none of it counts as lost.
///
/// # Errors
/// What the store says.
pub(crate) async fn give_back(
    tx: &mut Tx<'_>,
    group: &GroupName,
    holder: &str,
) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let sql = "UPDATE topic_item SET state = 'pending', holder = NULL, due_ms = ?4,
            changed_at_ms = ?4
        WHERE topic = ?1 AND reader_group = ?2 AND state = 'delivering' AND holder = ?3";
    let given = tx
        .execute(sql, params![&group.topic, &group.group, holder, now])
        .await?;
    if given > 0 {
        tx.wake(TOPIC);
    }
    Ok(())
}

struct Cursor {
    partition: i64,
    next_offset: i64,
    turn: i64,
}

impl Cursor {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            partition: row.get("partition")?,
            next_offset: row.get("next_offset")?,
            turn: row.get("turn")?,
        })
    }
}

struct Fetching<'f> {
    group: &'f GroupName,
    holder: &'f str,
    now: i64,
    until_ms: i64,
    left: i64,
    deliveries: Vec<Delivery>,
}

/// What is read of a message with its item.
const MESSAGE: &str = "m.message_offset, m.message_key, m.payload, m.reference, m.digest, m.bytes,
    m.produced_at_ms";

impl Fetching<'_> {
    async fn partition(
        &mut self,
        tx: &mut Tx<'_>,
        cursor: Cursor,
        turn: i64,
    ) -> Result<(), DbError> {
        let before = self.left;
        let open = self.open_items(tx, cursor.partition).await?;
        if open > 0 {
            self.again(tx, cursor.partition).await?;
        }
        let next_offset = self.fresh(tx, &cursor, open).await?;
        if next_offset != cursor.next_offset || self.left < before {
            let sql = "UPDATE topic_cursor SET next_offset = ?4, turn = ?5
                WHERE topic = ?1 AND reader_group = ?2 AND partition = ?3";
            let (topic, group) = (&self.group.topic, &self.group.group);
            tx.execute(
                sql,
                params![topic, group, cursor.partition, next_offset, turn],
            )
            .await?;
        }
        Ok(())
    }

    async fn open_items(&self, tx: &mut Tx<'_>, partition: i64) -> Result<i64, DbError> {
        let sql = "SELECT COUNT(*) AS items FROM topic_item WHERE topic = ?1
            AND reader_group = ?2 AND partition = ?3 AND state IN ('pending', 'delivering')";
        let (topic, group) = (&self.group.topic, &self.group.group);
        tx.query_one(sql, params![topic, group, partition])
            .await?
            .get("items")
    }

    /// Hands out what was put off until now, or whose reader did not answer. The rows are locked, so
    /// that an answer that comes after all is either seen here or finds its lease gone.
    async fn again(&mut self, tx: &mut Tx<'_>, partition: i64) -> Result<(), DbError> {
        let sql = format!(
            "SELECT {MESSAGE}, i.state, i.fence, i.tries, i.retries, i.losses
            FROM topic_item i JOIN topic_message m ON m.topic = i.topic
                AND m.partition = i.partition AND m.message_offset = i.message_offset
            WHERE i.topic = ?1 AND i.reader_group = ?2 AND i.partition = ?3
                AND i.state IN ('pending', 'delivering') AND i.due_ms <= ?4
                AND NOT EXISTS (SELECT 1 FROM topic_item e WHERE e.topic = i.topic
                    AND e.reader_group = i.reader_group AND e.partition = i.partition
                    AND e.state IN ('pending', 'delivering') AND e.message_key IS NOT NULL
                    AND e.message_key = i.message_key AND e.message_offset < i.message_offset)
            ORDER BY i.message_offset LIMIT ?5 /*lock*/"
        );
        let (topic, group) = (&self.group.topic, &self.group.group);
        let rows = tx
            .query(&sql, params![topic, group, partition, self.now, self.left])
            .await?;
        for row in &rows {
            let lost = i64::from(row.get::<String>("state")? == DeliveryState::Delivering.as_str());
            let mut delivery = self.delivery(partition, row)?;
            delivery.lease.fence = row.get::<i64>("fence")? + 1;
            delivery.tries = row.get("tries")?;
            delivery.retries = row.get("retries")?;
            delivery.losses = row.get::<i64>("losses")? + lost;
            if lost == 1 && delivery.losses >= LOSSES_MAX {
                finish::bury(tx, &delivery, DeadReason::Lost, None).await?;
                continue;
            }
            let sql = "UPDATE topic_item SET state = 'delivering', fence = ?5, holder = ?6,
                    due_ms = ?7, losses = ?8, changed_at_ms = ?9
                WHERE topic = ?1 AND reader_group = ?2 AND partition = ?3 AND message_offset = ?4";
            let held = params![
                topic,
                group,
                partition,
                delivery.lease.message.offset,
                delivery.lease.fence,
                self.holder,
                self.until_ms,
                delivery.losses,
                self.now,
            ];
            tx.execute(sql, held).await?;
            self.left -= 1;
            self.deliveries.push(delivery);
        }
        Ok(())
    }

    /// Hands out what nobody has looked at. A message whose key is held is passed over and gets a
    /// row, so that the cursor can go on; the answer is where it stands then.
    async fn fresh(&mut self, tx: &mut Tx<'_>, cursor: &Cursor, open: i64) -> Result<i64, DbError> {
        let mut room = (OPEN_ITEMS_MAX - open).clamp(0, FETCH_SCAN_MAX);
        let mut next_offset = cursor.next_offset;
        if self.left == 0 || room == 0 {
            return Ok(next_offset);
        }
        let mut held = self.held_keys(tx, cursor.partition, open).await?;
        let sql = format!(
            "SELECT {MESSAGE} FROM topic_message m WHERE m.topic = ?1 AND m.partition = ?2
                AND m.message_offset >= ?3 ORDER BY m.message_offset LIMIT ?4"
        );
        let (mut items, mut page) = (Vec::new(), self.left);
        while self.left > 0 && room > 0 {
            // At first as many as could be handed out; those that wait for their key make another
            // look, twice as far each time.
            let scan = page.min(room);
            let asked = params![&self.group.topic, cursor.partition, next_offset, scan];
            let rows = tx.query(&sql, asked).await?;
            for row in &rows {
                if self.left == 0 {
                    break;
                }
                let delivery = self.delivery(cursor.partition, row)?;
                next_offset = delivery.lease.message.offset + 1;
                let key = delivery.key.clone();
                let free = key.is_none_or(|key| held.insert(key));
                items.push(self.item(&delivery, free));
                if free {
                    self.left -= 1;
                    self.deliveries.push(delivery);
                }
            }
            (room, page) = (room - scan, scan * 2);
            if i64::try_from(rows.len()).is_ok_and(|found| found < scan) {
                break;
            }
        }
        insert(tx, &items).await?;
        Ok(next_offset)
    }

    async fn held_keys(
        &self,
        tx: &mut Tx<'_>,
        partition: i64,
        open: i64,
    ) -> Result<BTreeSet<String>, DbError> {
        if open == 0 {
            return Ok(BTreeSet::new());
        }
        let sql = "SELECT DISTINCT message_key FROM topic_item WHERE topic = ?1
            AND reader_group = ?2 AND partition = ?3 AND state IN ('pending', 'delivering')
            AND message_key IS NOT NULL";
        let (topic, group) = (&self.group.topic, &self.group.group);
        let rows = tx.query(sql, params![topic, group, partition]).await?;
        rows.iter().map(|row| row.get("message_key")).collect()
    }

    fn delivery(&self, partition: i64, row: &Row) -> Result<Delivery, DbError> {
        Ok(Delivery {
            lease: Lease {
                group: self.group.group.clone(),
                message: MessageId {
                    topic: self.group.topic.clone(),
                    partition,
                    offset: row.get("message_offset")?,
                },
                fence: 1,
            },
            key: row.get("message_key")?,
            payload: payload(row)?,
            produced_at_ms: row.get("produced_at_ms")?,
            tries: 0,
            retries: 0,
            losses: 0,
        })
    }

    fn item(&self, delivery: &Delivery, free: bool) -> [Value; COLUMNS] {
        let message = &delivery.lease.message;
        let state = if free {
            DeliveryState::Delivering
        } else {
            DeliveryState::Pending
        };
        [
            (&self.group.topic).into(),
            (&self.group.group).into(),
            message.partition.into(),
            message.offset.into(),
            delivery.key.as_deref().into(),
            state.as_str().into(),
            i64::from(free).into(),
            free.then_some(self.holder).into(),
            (if free { self.until_ms } else { self.now }).into(),
            0.into(),
            0.into(),
            0.into(),
            self.now.into(),
        ]
    }
}

/// The payload of a row of [`MESSAGE`].
pub(crate) fn payload(row: &Row) -> Result<Payload, DbError> {
    if let Some(bytes) = row.get::<Option<Vec<u8>>>("payload")? {
        return Ok(Payload::Inline(bytes));
    }
    Ok(Payload::Spilled(Reference {
        place: row.get("reference")?,
        digest: Digest::from_slice(&row.get::<Vec<u8>>("digest")?).ok_or_else(|| {
            DbError::Column {
                column: "digest".to_owned(),
                found: "not 32 bytes",
            }
        })?,
        bytes: row.get("bytes")?,
    }))
}

const COLUMNS: usize = 13;

async fn insert(tx: &mut Tx<'_>, items: &[[Value; COLUMNS]]) -> Result<(), DbError> {
    let whole = items.chunks_exact(INSERT_ROWS_MAX);
    let rest = whole.remainder();
    // Two shapes of statement only, so that both stay prepared.
    for chunk in whole.chain(rest.chunks(1)) {
        let head = "INSERT INTO topic_item (topic, reader_group, partition, message_offset,
            message_key, state, fence, holder, due_ms, tries, retries, losses, changed_at_ms)
            VALUES";
        tx.execute(&insert_sql(head, chunk.len(), COLUMNS), &chunk.concat())
            .await?;
    }
    Ok(())
}
