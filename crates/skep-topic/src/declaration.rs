//! What a topic and a group are declared to be, in code or in the configuration.

use crate::error::DeclareError;
use crate::event::OWN_KINDS;
use crate::limits::{
    PARTITIONS_MAX, PAYLOAD_BYTES_DEFAULT, PAYLOAD_BYTES_MAX, RETENTION_MS_DEFAULT,
    RETENTION_MS_MIN, SCHEMA_BYTES_MAX, TRIES_DEFAULT, TRIES_MAX,
};
use crate::message::check_name;

/// One topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// Its name: lower-case letters, digits, `_` and `-`.
    pub name: String,
    /// How many partitions; fixed once it exists, because a key's place depends on it.
    pub partitions: i64,
    /// How long messages are kept at least, in milliseconds.
    pub retention_ms: i64,
    /// How much is kept at most, in bytes of payload, shared evenly among the partitions.
    pub retention_bytes: Option<i64>,
    /// The largest inline payload, in bytes.
    pub payload_bytes_max: usize,
    /// Who reads it.
    pub readers: Readers,
    /// A group with input and no output for this long raises an alarm, in milliseconds.
    pub silent_after_ms: Option<i64>,
    /// The JSON Schema of a payload; inline payloads are held against it when produced.
    pub schema: Option<serde_json::Value>,
    /// Kinds of ledger events that are fed into it.
    pub from_ledger: Vec<String>,
}

/// Who reads a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readers {
    /// Nobody, on purpose: it is looked at with `skep topic tail`.
    None,
    /// These groups, each by a reader of this process that has to run.
    Running(Vec<Group>),
    /// These groups, by programs that ask over the API. That they run cannot be known at the
    /// start, so the topic needs `silent_after_ms`.
    Outside(Vec<Group>),
}

impl Readers {
    /// The declared groups.
    pub fn groups(&self) -> &[Group] {
        match self {
            Self::None => &[],
            Self::Running(groups) | Self::Outside(groups) => groups,
        }
    }

    /// The word that stands in the store.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Running(_) => "running",
            Self::Outside(_) => "outside",
        }
    }
}

/// One group of readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name; unique within the topic.
    pub name: String,
    /// How often it may refuse a message before that is a dead letter.
    pub tries_max: i64,
    /// Where it starts when it is declared for the first time.
    pub start: Start,
}

/// Where a new group starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that is still kept.
    Earliest,
    /// With the next message.
    Latest,
}

impl Topic {
    /// A topic with one partition, a week's retention and nobody to read it.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: 1,
            retention_ms: RETENTION_MS_DEFAULT,
            retention_bytes: None,
            payload_bytes_max: PAYLOAD_BYTES_DEFAULT,
            readers: Readers::None,
            silent_after_ms: None,
            schema: None,
            from_ledger: Vec::new(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), DeclareError> {
        check_name("topic", &self.name)?;
        let refuse = |field, reason| {
            Err(DeclareError::Invalid {
                topic: self.name.clone(),
                field,
                reason,
            })
        };
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return refuse("partitions", "must be from 1 to 64");
        }
        if self.retention_ms < RETENTION_MS_MIN {
            return refuse("retention", "must be a minute or longer");
        }
        if self.retention_bytes.is_some_and(|bytes| bytes < 1) {
            return refuse("retention_bytes", "must be above zero");
        }
        if !(1..=PAYLOAD_BYTES_MAX).contains(&self.payload_bytes_max) {
            return refuse("payload_bytes_max", "must be from 1 to 1048576");
        }
        if self.silent_after_ms.is_some_and(|ms| ms < 1) {
            return refuse("silent_after_minutes", "must be above zero");
        }
        if matches!(self.readers, Readers::Outside(_)) && self.silent_after_ms.is_none() {
            return refuse(
                "silent_after_minutes",
                "must be there when its readers are outside this process: nothing else notices that they are gone",
            );
        }
        if self
            .from_ledger
            .iter()
            .any(|kind| OWN_KINDS.contains(&kind.as_str()))
        {
            return refuse(
                "from_ledger",
                "must not name events that topics themselves write: they would feed themselves",
            );
        }
        let schema_bytes = self
            .schema
            .as_ref()
            .map_or(0, |schema| schema.to_string().len());
        if schema_bytes > SCHEMA_BYTES_MAX {
            return refuse("schema", "must not be longer than 65536 bytes");
        }
        self.check_groups()
    }

    fn check_groups(&self) -> Result<(), DeclareError> {
        let groups = self.readers.groups();
        for (place, group) in groups.iter().enumerate() {
            check_name("group", &group.name)?;
            let refuse = |field, reason| {
                Err(DeclareError::Invalid {
                    topic: self.name.clone(),
                    field,
                    reason,
                })
            };
            if !(1..=TRIES_MAX).contains(&group.tries_max) {
                return refuse("tries_max", "must be from 1 to 100");
            }
            if groups[..place].iter().any(|other| other.name == group.name) {
                return refuse("readers", "must not name one group twice");
            }
        }
        Ok(())
    }
}

impl Group {
    /// A group that starts with the oldest message and refuses a message five times at most.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            tries_max: TRIES_DEFAULT,
            start: Start::Earliest,
        }
    }
}
