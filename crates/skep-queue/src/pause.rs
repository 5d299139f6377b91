//! Pausing and resuming queues. What runs goes on; nothing new starts.

use crate::error::PauseError;
use crate::event::{QueuePaused, QueueResumed};
use crate::flow::is_queue_name;
use crate::limits::PAUSED_QUEUES_MAX;
use skep_db::{DbError, Tx, params};
use std::collections::BTreeSet;

/// The name that stands for every queue.
pub const EVERY_QUEUE: &str = "*";

/// Pauses a queue, or with [`EVERY_QUEUE`] all of them. `false`: it is paused already.
pub async fn pause_queue(tx: &mut Tx<'_>, queue: &str) -> Result<bool, PauseError> {
    check(queue)?;
    let now = tx.now_ms().await?;
    let sql = "INSERT INTO queue_pause (queue, paused_at_ms) VALUES (?1, ?2)
        ON CONFLICT DO NOTHING";
    let changed = tx.execute(sql, params![queue, now]).await? == 1;
    if changed {
        let queue = queue.to_owned();
        skep_ledger::append(tx, skep_ledger::HOME, &QueuePaused { queue })
            .await
            .map_err(DbError::from)?;
    }
    Ok(changed)
}

/// Lets a paused queue go on. `false`: it was not paused by that name.
pub async fn resume_queue(tx: &mut Tx<'_>, queue: &str) -> Result<bool, PauseError> {
    check(queue)?;
    let sql = "DELETE FROM queue_pause WHERE queue = ?1";
    let changed = tx.execute(sql, params![queue]).await? == 1;
    if changed {
        let queue = queue.to_owned();
        skep_ledger::append(tx, skep_ledger::HOME, &QueueResumed { queue })
            .await
            .map_err(DbError::from)?;
        tx.wake(crate::TOPIC);
    }
    Ok(changed)
}

/// The paused queues, by name.
pub async fn paused_queues(tx: &mut Tx<'_>) -> Result<BTreeSet<String>, DbError> {
    let sql = "SELECT queue FROM queue_pause ORDER BY queue LIMIT ?1";
    let rows = tx.query(sql, params![PAUSED_QUEUES_MAX]).await?;
    rows.iter().map(|row| row.get("queue")).collect()
}

fn check(queue: &str) -> Result<(), PauseError> {
    if queue == EVERY_QUEUE || is_queue_name(queue) {
        Ok(())
    } else {
        Err(PauseError::Name)
    }
}
