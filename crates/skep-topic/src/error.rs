//! What can go wrong with topics, one type per operation.

use crate::message::MessageId;
use skep_db::DbError;
use skep_types::DeliveryState;

const LIST_HINT: &str = "`skep topic list` names every topic and its groups";

/// Why topics were not declared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeclareError {
    /// A name is not a plain lower-case word.
    #[error(
        "declare the {noun} `{name}`: its name is not 1 to 64 of a-z, 0-9, `_` and `-`, beginning with a letter"
    )]
    Name {
        /// What was to be named.
        noun: &'static str,
        /// The name.
        name: String,
    },
    /// A field is out of its bounds.
    #[error("declare the topic `{topic}`: `{field}` {reason}")]
    Invalid {
        /// The topic.
        topic: String,
        /// The field.
        field: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// The schema is none.
    #[error("declare the topic `{topic}`: its schema cannot be used: {reason}")]
    Schema {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        reason: String,
    },
    /// One name was declared twice.
    #[error("declare the topic `{topic}`: it is declared twice")]
    Twice {
        /// The topic.
        topic: String,
    },
    /// The topic exists with another number of partitions.
    #[error("declare the topic `{topic}`: it has {found} partitions, and {asked} are asked for")]
    Partitions {
        /// The topic.
        topic: String,
        /// How many it has.
        found: i64,
        /// How many were asked for.
        asked: i64,
    },
    /// The store failed.
    #[error("declare the topics")]
    Db(#[from] DbError),
}

impl DeclareError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } | Self::Invalid { .. } | Self::Twice { .. } => "topic_invalid",
            Self::Schema { .. } => "topic_schema_invalid",
            Self::Partitions { .. } => "topic_partitions_fixed",
            Self::Db(_) => "database_failed",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Name { .. } | Self::Invalid { .. } | Self::Twice { .. } => {
                "docs/reference/config.md says what [topic.NAME] takes"
            }
            Self::Schema { .. } => {
                "the schema is JSON Schema, draft 2020-12, without references to other files"
            }
            Self::Partitions { .. } => {
                "a key's partition depends on their number: declare a topic of another name, and drain this one"
            }
            Self::Db(_) => "`skep doctor` says what is wrong",
        }
    }
}

/// A declared topic that nobody in this process reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("start: nobody reads {}", .groups.join(", "))]
pub struct TopicWithoutReader {
    /// The groups without a reader, as `TOPIC/GROUP`, or `TOPIC` where no group is declared.
    pub groups: Vec<String>,
}

impl TopicWithoutReader {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        "topic_without_reader"
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        "name its readers in [topic.NAME], or say `readers = \"none\"` there if nobody is meant to read it"
    }
}

/// Why a message was not produced.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// The topic was not declared.
    #[error("produce a message: there is no topic `{topic}`")]
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// The payload is larger than the topic allows.
    #[error("produce a message to `{topic}`: its payload has {bytes} bytes, and {max} are allowed")]
    Oversize {
        /// The topic.
        topic: String,
        /// The payload's size.
        bytes: usize,
        /// The topic's limit.
        max: usize,
    },
    /// The payload is not what the topic's schema asks for.
    #[error("produce a message to `{topic}`: its payload is not of the topic's schema: {reason}")]
    Schema {
        /// The topic.
        topic: String,
        /// Where and why.
        reason: String,
    },
    /// A field is out of its bounds.
    #[error("produce a message: {field} {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// The dedup id stands for a message with another payload.
    #[error("produce a message: its dedup id was used for another one, {existing}")]
    Conflict {
        /// The other message.
        existing: MessageId,
    },
    /// The store failed.
    #[error("produce a message")]
    Db(#[from] DbError),
}

impl ProduceError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoTopic { .. } => "topic_not_found",
            Self::Oversize { .. } => "message_oversize",
            Self::Schema { .. } => "message_schema",
            Self::Invalid { .. } => "message_invalid",
            Self::Conflict { .. } => "dedup_id_conflict",
            Self::Db(_) => "database_failed",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoTopic { .. } => LIST_HINT,
            Self::Oversize { .. } => {
                "produce it with `--spill`, which keeps the payload in a file and sends its name, or raise `payload_bytes_max` of the topic"
            }
            Self::Schema { .. } => "`skep topic show TOPIC --json` prints the schema",
            Self::Invalid { .. } => "shorten it",
            Self::Conflict { .. } => "give another message another dedup id",
            Self::Db(_) => "`skep doctor` says what is wrong",
        }
    }
}

/// Why an answer about a message was refused.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// The lease is not the current one: the message was finished, or handed to another reader.
    #[error("answer for message {message}: its lease is no longer held")]
    Stale {
        /// The message.
        message: MessageId,
    },
    /// The store failed.
    #[error("answer for a message")]
    Db(#[from] DbError),
}

impl FinishError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale_lease",
            Self::Db(_) => "database_failed",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Stale { .. } => {
                "take a longer lease, or answer sooner; the message was handed out again"
            }
            Self::Db(_) => "`skep doctor` says what is wrong",
        }
    }
}

/// Why a dead letter was not replayed or dismissed.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// There is no such message or group.
    #[error("find message {message} of the group `{group}`")]
    NotFound {
        /// The message.
        message: MessageId,
        /// The group.
        group: String,
    },
    /// The message is not in a state that allows it.
    #[error("change message {message}: it is {state}")]
    State {
        /// The message.
        message: MessageId,
        /// Where it stands.
        state: DeliveryState,
    },
    /// The store failed.
    #[error("change a dead letter")]
    Db(#[from] DbError),
}

impl DeadLetterError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "message_not_found",
            Self::State { .. } => "message_not_blocked",
            Self::Db(_) => "database_failed",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NotFound { .. } | Self::State { .. } => {
                "`skep topic dead TOPIC` lists the dead letters"
            }
            Self::Db(_) => "`skep doctor` says what is wrong",
        }
    }
}

/// Why a payload was not spilled or read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpillError {
    /// The file cannot be written or read.
    #[error("use the spilled payload {place}")]
    File {
        /// The file's name.
        place: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file does not hold what the message says.
    #[error("trust the spilled payload {place}: its bytes are not those that were produced")]
    Changed {
        /// The file's name.
        place: String,
    },
    /// The payload lies elsewhere.
    #[error("read {place}: it is not a spilled payload of this home")]
    Foreign {
        /// Where it lies.
        place: String,
    },
}
