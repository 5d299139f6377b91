//! Messages and their names.

use crate::error::DeclareError;
use crate::limits::NAME_BYTES_MAX;
use skep_ledger::Digest;
use std::fmt;
use std::str::FromStr;

/// A message to be produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Messages of one key go to one partition and are read in order, one at a time.
    pub key: Option<String>,
    /// Producing the same id again, as long as the first is retained, makes no second message.
    pub dedup_id: Option<String>,
    /// What it says.
    pub payload: Payload,
}

impl Message {
    /// A message without a key.
    pub fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            key: None,
            dedup_id: None,
            payload: Payload::Inline(payload.into()),
        }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same with a dedup id.
    #[must_use]
    pub fn with_dedup_id(mut self, id: impl Into<String>) -> Self {
        self.dedup_id = Some(id.into());
        self
    }
}

/// What a message says, or where that lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The bytes themselves, within the topic's limit.
    Inline(Vec<u8>),
    /// Where the bytes are, for what is too large.
    Spilled(Reference),
}

impl Payload {
    /// The SHA-256 of the bytes, wherever they are.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Inline(bytes) => Digest::of(bytes),
            Self::Spilled(reference) => reference.digest,
        }
    }

    /// How many bytes there are, wherever they are.
    pub fn bytes(&self) -> i64 {
        match self {
            Self::Inline(bytes) => i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            Self::Spilled(reference) => reference.bytes,
        }
    }
}

/// Where a payload lies that is not in the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The file's name in the folder of spilled payloads, or the path of an artifact.
    pub place: String,
    /// The SHA-256 of the bytes there.
    pub digest: Digest,
    /// How many they are.
    pub bytes: i64,
}

/// Which message: topic, partition from 0, offset from 1, as in `reports/0/17`. It is the
/// message's identity for as long as it exists, however often it is delivered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i64,
    /// The offset in it.
    pub offset: i64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// Text that names no message or group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not of the form {form}")]
pub struct MalformedName {
    text: String,
    form: &'static str,
}

impl FromStr for MessageId {
    type Err = MalformedName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || MalformedName {
            text: text.to_owned(),
            form: "TOPIC/PARTITION/OFFSET",
        };
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or_else(malformed);
        let (topic, partition, offset) = (next()?, next()?, next()?);
        let number = |text: &str| text.parse::<i64>().map_err(|_| malformed());
        if parts.next().is_some() {
            return Err(malformed());
        }
        Ok(Self {
            topic: topic.to_owned(),
            partition: number(partition)?,
            offset: number(offset)?,
        })
    }
}

/// Which group of readers, as in `reports/home`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName {
    /// The topic it reads.
    pub topic: String,
    /// Its own name.
    pub group: String,
}

impl GroupName {
    /// The group `group` of `topic`.
    pub fn new(topic: impl Into<String>, group: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            group: group.into(),
        }
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.group)
    }
}

/// What a reader shows with its answer: it may answer as long as nobody else was handed the
/// message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The group that reads.
    pub group: String,
    /// The message.
    pub message: MessageId,
    /// The number of this delivery. It grows with every delivery of the message to the group.
    pub fence: i64,
}

/// Names are lower-case words that need no quotes anywhere.
pub(crate) fn check_name(noun: &'static str, name: &str) -> Result<(), DeclareError> {
    let well_formed = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if well_formed {
        Ok(())
    } else {
        Err(DeclareError::Name {
            noun,
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_reads_back_and_nothing_else_does() {
        let id = MessageId {
            topic: "reports".to_owned(),
            partition: 3,
            offset: 17,
        };
        assert_eq!(id.to_string(), "reports/3/17");
        assert_eq!("reports/3/17".parse(), Ok(id));
        for text in ["", "reports", "reports/3", "reports/3/x", "reports/3/17/1"] {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_plain_words() {
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for (name, good) in [
            ("reports", true),
            ("a-b_2", true),
            ("", false),
            ("Reports", false),
            ("2a", false),
            ("a/b", false),
            ("a b", false),
            (long.as_str(), false),
        ] {
            assert_eq!(check_name("topic", name).is_ok(), good, "{name}");
        }
    }
}
