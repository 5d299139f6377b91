//! The inbox of a group: which messages it has made visible.
//!
//! A reader whose effect and whose answer commit together needs none. It is for readers that
//! commit their effect first, into the same store, and may die before they answer.

use crate::message::{GroupName, MessageId};
use skep_db::{DbError, Tx, params};

/// True the first time the group sees the message, in the transaction that makes it visible;
/// false ever after. The row goes with the message.
///
/// # Errors
/// What the store says.
pub async fn once(
    tx: &mut Tx<'_>,
    group: &GroupName,
    message: &MessageId,
) -> Result<bool, DbError> {
    let sql = "INSERT INTO topic_inbox (topic, reader_group, partition, message_offset)
        VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    let row = params![
        &group.topic,
        &group.group,
        message.partition,
        message.offset
    ];
    Ok(tx.execute(sql, row).await? == 1)
}
