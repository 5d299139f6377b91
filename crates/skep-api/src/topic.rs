//! Documents about topics, their messages and alarms. Times are milliseconds since 1970 UTC.

use serde::{Deserialize, Serialize};
use skep_types::{AlarmKind, DeadReason, DeliveryState};

/// One topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicView {
    /// Its name.
    pub name: String,
    /// Whether it is declared; one that no longer is keeps its messages and takes no more.
    pub declared: bool,
    /// Its partitions.
    pub partitions: i64,
    /// Who reads it: `none`, `running` (this engine) or `outside` (over the API).
    pub readers: String,
    /// How long messages are kept at least.
    pub retention_ms: i64,
    /// How much is kept at most, in bytes.
    pub retention_bytes: Option<i64>,
    /// The largest payload that is not spilled, in bytes.
    pub payload_bytes_max: i64,
    /// After which silence of a group an alarm is raised.
    pub silent_after_ms: Option<i64>,
    /// Kinds of ledger events that are fed into it.
    pub from_ledger: Vec<String>,
    /// The JSON Schema of a payload.
    pub schema: Option<serde_json::Value>,
    /// Messages ever produced.
    pub produced: i64,
    /// Messages that are kept.
    pub kept: i64,
    /// Their payloads' size, in bytes.
    pub bytes: i64,
    /// Who reads it, and how far.
    pub groups: Vec<GroupView>,
}

/// One group of readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// Messages that it has neither finished nor given up on.
    pub lag: i64,
    /// Of these, in the hands of a reader.
    pub delivering: i64,
    /// Dead letters.
    pub blocked: i64,
    /// Dismissed messages that are still kept.
    pub dismissed: i64,
    /// Messages that went on with something missing.
    pub incomplete: i64,
    /// Messages that it has finished.
    pub delivered: i64,
    /// When the oldest of its unfinished messages was produced.
    pub oldest_unread_at: Option<i64>,
    /// How often it may refuse a message.
    pub tries_max: i64,
}

/// One message; for a reader with its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageView {
    /// Topic, partition and offset, as in `reports/0/17`.
    pub id: String,
    /// Its key.
    pub key: Option<String>,
    /// What it says; untrusted text. Absent if it was spilled.
    pub payload: Option<String>,
    /// The file in the home's folder `spill` that holds what it says.
    pub reference: Option<String>,
    /// The SHA-256 of the payload, in hexadecimal.
    pub payload_sha256: String,
    /// The payload's size, in bytes.
    pub bytes: i64,
    /// When it was produced.
    pub produced_at: i64,
    /// What a reader shows with its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<i64>,
    /// How often the group has refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<i64>,
}

/// What `skep topic produce` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProduceMessage {
    /// What the message says.
    pub payload: String,
    /// Messages of one key are read in order, one at a time.
    pub key: Option<String>,
    /// Producing the same id again makes no second message.
    pub dedup_id: Option<String>,
    /// Keeps the payload in a file and sends its name.
    pub spill: bool,
}

/// A message that was produced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducedMessage {
    /// Topic, partition and offset.
    pub message: String,
    /// Whether it is new; otherwise an earlier one has its dedup id.
    pub created: bool,
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadMessageView {
    /// Topic, partition and offset.
    pub message: String,
    /// The group that has given up on it.
    pub group: String,
    /// Its key.
    pub key: Option<String>,
    /// Why it is a dead letter.
    pub reason: DeadReason,
    /// How often it was refused.
    pub tries: i64,
    /// How often a reader was lost over it.
    pub losses: i64,
    /// What the reader said last; untrusted text.
    pub why: Option<String>,
    /// Since when.
    pub since: i64,
    /// What it says; untrusted text. Absent if it was spilled.
    pub payload: Option<String>,
}

/// Messages whose place with a group has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagesChanged {
    /// Topic and group, as in `reports/home`.
    pub group: String,
    /// The messages, in the order in which they will be read.
    pub messages: Vec<String>,
    /// Whether there are more to which the same could be done.
    pub more: bool,
    /// Where they stand now.
    pub state: DeliveryState,
}

/// What a reader outside asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchMessages {
    /// The most messages; 1 when absent.
    pub max: Option<i64>,
    /// How long the reader may take for its answer, in seconds; 60 when absent.
    pub lease_seconds: Option<i64>,
    /// The reader's own name.
    pub reader: Option<String>,
}

/// What a reader outside answers about one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishMessage {
    /// Topic, partition and offset.
    pub message: String,
    /// The fence that came with it.
    pub fence: i64,
    /// What came of it.
    pub outcome: MessageOutcome,
    /// When to try again, in seconds from now; about a second when absent.
    #[serde(default)]
    pub delay_seconds: Option<i64>,
    /// Why it was put off or refused.
    #[serde(default)]
    pub why: Option<String>,
}

/// What came of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageOutcome {
    /// Its effect has happened.
    Done,
    /// It is put off for a reason that passes; this counts for nothing.
    Later,
    /// It is itself the cause; after as many refusals as the group allows it is a dead letter.
    Refused,
}

impl MessageOutcome {
    /// Every word, in declaration order.
    pub const WORDS: [&'static str; 3] = ["done", "later", "refused"];
}

/// One alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmView {
    /// Its number.
    pub number: i64,
    /// What it is about.
    pub kind: AlarmKind,
    /// The topic, group, stage or child.
    pub subject: String,
    /// How often it was raised while it was open.
    pub occurrences: i64,
    /// When it was raised first.
    pub raised_at: i64,
    /// When it was raised last.
    pub last_at: i64,
    /// When a person said to have seen it.
    pub acknowledged_at: Option<i64>,
    /// When it was over.
    pub cleared_at: Option<i64>,
}
