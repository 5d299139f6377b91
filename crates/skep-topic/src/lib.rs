//! Topics: messages that are written with the change they tell of, and read until every group of
//! readers has finished them.
//!
//! Owns `topic`, `topic_partition`, `topic_message`, `topic_dedup`, `topic_group`, `topic_cursor`,
//! `topic_item`, `topic_inbox`, `topic_bridge`, `topic_stage`, `checkpoint`, `effect` and `alarm`.
//! Every function that takes a transaction joins the caller's, so that a message commits with the
//! completion it belongs to, and an answer with what the reader made of it.
//!
//! Invariants:
//! - the offsets of a partition have no gaps and follow the order of the commits;
//! - per group a message is pending, delivering, delivered, blocked or dismissed, and only a person
//!   dismisses;
//! - of one key at most one message of a group is being delivered, and it is the oldest one that is
//!   neither finished nor a dead letter;
//! - a message leaves the store only when every group has finished it.
//!
//! Locks are taken in the order dedup id, head of a partition (ascending), cursor, item. Knows
//! nothing of what the messages mean. Decision record 031.

pub mod alarm;
mod bridge;
pub mod checkpoint;
mod dead;
mod declaration;
pub mod effect;
mod error;
pub mod event;
mod fetch;
mod finish;
mod health;
mod inbox;
mod keeper;
pub mod limits;
mod message;
mod produce;
mod read;
mod reader;
mod registry;
mod restart;
mod retention;
mod schema;
mod spill;
mod stage;

pub use bridge::feed;
pub use dead::{DeadLetter, Drained, dead_letters, dismiss, drain, replay};
pub use declaration::{Group, Readers, Start, Topic};
pub use error::{
    DeadLetterError, DeclareError, FinishError, ProduceError, SpillError, TopicWithoutReader,
};
pub use fetch::{Delivery, FetchRequest, fetch, take_back};
pub use finish::{
    Poisoned, ack, ack_all, complete, extend, finish_with_status, incomplete, poison, retry_later,
};
pub use inbox::once;
pub use keeper::{Keeper, KeeperError, Kept};
pub use message::{GroupName, Lease, MalformedName, Message, MessageId, Payload, Reference};
pub use produce::Produced;
pub use read::{
    GroupStatus, ItemView, StoredMessage, TopicStatus, deliverable, item, message, messages,
    newest, status, statuses,
};
pub use reader::{Failure, Handled, Reader};
pub use registry::{Running, Topics};
pub use restart::{RestartWatch, Restarts};
pub use retention::{Retained, retain};
pub use schema::SCHEMA;
pub use spill::Spill;
pub use stage::Stage;

/// The topic of [`skep_db::Tx::wake`] that is woken whenever a message can be read.
pub const TOPIC: &str = "topic";
