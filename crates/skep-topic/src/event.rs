//! What topics write to the ledger: which message, by its place and the SHA-256 of its payload,
//! never its text, its key or a reader's words.
//!
//! Leases and passing retries are not recorded: they change nothing that anybody outside a reader
//! can see, and there are many of them.

use serde::{Deserialize, Serialize};
use skep_db::{DbError, Tx};
use skep_ledger::Payload;
use skep_types::{AlarmKind, DeadReason, EffectState, Fence, JobId};

macro_rules! event {
    ($(#[$meta:meta])* $name:ident, $kind:literal { $($(#[$fmeta:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),+ }

        impl Payload for $name {
            const KIND: &'static str = $kind;
            const VERSION: i64 = 1;
        }
    };
}

/// Where a message stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The partition.
    pub partition: i64,
    /// The offset.
    pub offset: i64,
}

event! {
    /// A message was produced.
    MessageProduced, "message_produced" {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i64,
        /// The offset.
        offset: i64,
        /// The SHA-256 of the payload, in hexadecimal.
        payload_sha256: String,
        /// How large the payload is, in bytes.
        bytes: i64,
        /// Whether the payload lies outside the store.
        spilled: bool,
    }
}

/// One message of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducedPlace {
    /// The partition.
    pub partition: i64,
    /// The offset.
    pub offset: i64,
    /// The SHA-256 of the payload, in hexadecimal.
    pub payload_sha256: String,
}

event! {
    /// Messages were produced together, at most
    /// [`EVENT_MESSAGES_MAX`](crate::limits::EVENT_MESSAGES_MAX) in one event.
    MessagesProduced, "messages_produced" {
        /// The topic.
        topic: String,
        /// The messages.
        messages: Vec<ProducedPlace>,
    }
}

event! {
    /// A group has finished messages.
    MessagesDelivered, "messages_delivered" {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// The messages.
        messages: Vec<Place>,
        /// Whether they go on without something that is still to be added.
        incomplete: bool,
    }
}

event! {
    /// What was missing from a delivered message was added.
    MessageCompleted, "message_completed" {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// The partition.
        partition: i64,
        /// The offset.
        offset: i64,
    }
}

event! {
    /// A group has given up on a message.
    MessageDeadLettered, "message_dead_lettered" {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// The partition.
        partition: i64,
        /// The offset.
        offset: i64,
        /// Why.
        reason: DeadReason,
        /// How often it was refused.
        tries: i64,
        /// How often a reader died over it.
        losses: i64,
    }
}

event! {
    /// A person had dead letters delivered again.
    DeadLettersReplayed, "dead_letters_replayed" {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// The messages.
        messages: Vec<Place>,
    }
}

event! {
    /// A person said that nobody needs these messages.
    MessagesDismissed, "messages_dismissed" {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// The messages.
        messages: Vec<Place>,
    }
}

event! {
    /// Messages were removed, each finished by every group and past its retention.
    MessagesRemoved, "messages_removed" {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i64,
        /// The first offset that was removed.
        first_offset: i64,
        /// The last one; between them unfinished ones may have stayed.
        last_offset: i64,
        /// How many.
        count: i64,
    }
}

event! {
    /// Something must be looked at.
    AlarmRaised, "alarm_raised" {
        /// The alarm's number.
        number: i64,
        /// What it is about.
        kind: AlarmKind,
        /// The topic, group, stage or child.
        subject: String,
    }
}

event! {
    /// A stage has input and gave nothing out for its declared time.
    StageSilent, "stage_silent" {
        /// The stage.
        stage: String,
        /// Since when it owes an output.
        waiting_since_ms: i64,
        /// Its declared time, in milliseconds.
        silent_after_ms: i64,
    }
}

event! {
    /// What an alarm was about is over.
    AlarmCleared, "alarm_cleared" {
        /// The alarm's number.
        number: i64,
        /// What it was about.
        kind: AlarmKind,
        /// The topic, group, stage or child.
        subject: String,
    }
}

event! {
    /// A person has seen an alarm.
    AlarmAcknowledged, "alarm_acknowledged" {
        /// The alarm's number.
        number: i64,
    }
}

event! {
    /// An effect on the world outside changed its state.
    EffectChanged, "effect_changed" {
        /// What kind of effect.
        effect: String,
        /// The SHA-256 of its key, in hexadecimal.
        key_sha256: String,
        /// Where it stands.
        state: EffectState,
        /// How often it was tried.
        tries: i64,
        /// The job it belongs to.
        job: Option<JobId>,
        /// The fence that was shown for it.
        fence: Option<Fence>,
    }
}

/// The kinds above: a topic is not fed from them.
pub(crate) const OWN_KINDS: &[&str] = &[
    MessageProduced::KIND,
    MessagesProduced::KIND,
    MessagesDelivered::KIND,
    MessageCompleted::KIND,
    MessageDeadLettered::KIND,
    DeadLettersReplayed::KIND,
    MessagesDismissed::KIND,
    MessagesRemoved::KIND,
];

/// Appends an event about a topic.
pub(crate) async fn record<P: Payload>(
    tx: &mut Tx<'_>,
    topic: &str,
    payload: &P,
) -> Result<(), DbError> {
    skep_ledger::append(tx, topic, payload).await?;
    Ok(())
}
