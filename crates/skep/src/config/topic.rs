//! `[topic.NAME]`: topics of the user's own.

use super::keys::{Section, key};
use super::{Config, ConfigError, read_bounded};
use crate::failure::Failure;
use serde::Deserialize;
use skep_topic::{Group, Readers, Topic, Topics, limits};
use std::path::PathBuf;

/// The unit of `retention_hours`, in milliseconds.
const HOUR_MS: i64 = 60 * 60 * 1_000;
/// The unit of `silent_after_minutes`, in milliseconds.
const MINUTE_MS: i64 = 60 * 1_000;

/// The keys of `[topic.NAME]`.
pub(super) const SECTION: Section = Section {
    heading: "topic.builds",
    path: "topic.NAME",
    about: "A topic of your own: messages that are kept until every group of readers has finished them. One table for each, under a name of lower-case letters, digits, `_` and `-`.",
    keys: &[
        key(
            "topic.NAME.readers",
            "\"none\" | list of names",
            Some("nobody reads it, and the start fails"),
            "[\"mailer\"]",
            "The groups that programs of yours read over the API, or `none` for a topic that is only looked at. With names `silent_after_minutes` must be there.",
        ),
        key(
            "topic.NAME.silent_after_minutes",
            "integer",
            Some("no alarm"),
            "60",
            "A group with messages to read that has finished none for this long raises an alarm.",
        ),
        key(
            "topic.NAME.tries_max",
            "integer",
            Some("5"),
            "5",
            "How often a group may refuse a message before it is a dead letter, from 1 to 100.",
        ),
        key(
            "topic.NAME.partitions",
            "integer",
            Some("1"),
            "1",
            "How many producers write at the same time, from 1 to 64. Fixed once the topic exists.",
        ),
        key(
            "topic.NAME.retention_hours",
            "integer",
            Some("168"),
            "168",
            "How long messages are kept at least. What a group has not finished is kept longer, with an alarm.",
        ),
        key(
            "topic.NAME.retention_bytes",
            "integer",
            Some("no limit"),
            "104857600",
            "How much payload is kept at most once every group has finished it, shared evenly among the partitions.",
        ),
        key(
            "topic.NAME.payload_bytes_max",
            "integer",
            Some("65536"),
            "65536",
            "The largest payload, to 1048576. A larger one is refused with an alarm, unless it is produced with `--spill`.",
        ),
        key(
            "topic.NAME.schema",
            "path",
            Some("any payload"),
            "\"builds.schema.json\"",
            "The JSON Schema of a payload, relative to this file.",
        ),
        key(
            "topic.NAME.from_ledger",
            "list of event kinds",
            Some("[]"),
            "[\"job_advanced\", \"report_delivered\"]",
            "Ledger events that are fed into it, each with all it holds; `skep ledger tail` shows their kinds.",
        ),
    ],
};

/// `[topic.NAME]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TopicTable {
    partitions: Option<i64>,
    readers: Option<ReadersValue>,
    retention_hours: Option<i64>,
    retention_bytes: Option<i64>,
    payload_bytes_max: Option<usize>,
    tries_max: Option<i64>,
    silent_after_minutes: Option<i64>,
    schema: Option<PathBuf>,
    from_ledger: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum ReadersValue {
    /// `none`
    Word(String),
    /// The groups that programs outside read.
    Groups(Vec<String>),
}

impl Config {
    /// The topics of the engine and of the file.
    pub(crate) fn topics(&self) -> Result<Topics, Failure> {
        let mut configured = Vec::with_capacity(self.topic.len());
        for (name, table) in &self.topic {
            configured.push(self.topic(name, table)?);
        }
        skep_director::topics(configured).map_err(|error| {
            let message = format!("{}: failed to {error}", self.path().display());
            Failure::usage(error.code(), message, error.hint())
        })
    }

    fn topic(&self, name: &str, table: &TopicTable) -> Result<Topic, ConfigError> {
        let wrong = |reason: String| ConfigError::Parts {
            path: self.path(),
            reason,
        };
        let readers = match &table.readers {
            // Nobody in this process: the start says so.
            None => Readers::Running(Vec::new()),
            Some(ReadersValue::Word(word)) if word == "none" => Readers::None,
            Some(ReadersValue::Word(word)) => {
                return Err(wrong(format!(
                    "`readers` of topic `{name}` is `{word}`, and neither `none` nor a list of names"
                )));
            }
            Some(ReadersValue::Groups(names)) => Readers::Outside(
                names
                    .iter()
                    .map(|name| Group {
                        tries_max: table.tries_max.unwrap_or(limits::TRIES_DEFAULT),
                        ..Group::new(name)
                    })
                    .collect(),
            ),
        };
        let default = Topic::new(name);
        let retention_ms = table
            .retention_hours
            .map(|hours| hours.saturating_mul(HOUR_MS));
        let schema = match &table.schema {
            None => None,
            Some(path) => Some(
                self.schema(path)
                    .map_err(|reason| wrong(format!("the schema of topic `{name}`: {reason}")))?,
            ),
        };
        Ok(Topic {
            partitions: table.partitions.unwrap_or(default.partitions),
            retention_ms: retention_ms.unwrap_or(default.retention_ms),
            retention_bytes: table.retention_bytes,
            payload_bytes_max: table.payload_bytes_max.unwrap_or(default.payload_bytes_max),
            readers,
            silent_after_ms: table
                .silent_after_minutes
                .map(|n| n.saturating_mul(MINUTE_MS)),
            schema,
            from_ledger: table.from_ledger.clone(),
            name: default.name,
        })
    }

    fn schema(&self, path: &std::path::Path) -> Result<serde_json::Value, String> {
        let path = self.located(path);
        let text = read_bounded(&path, limits::SCHEMA_BYTES_MAX as u64)
            .map_err(|error| format!("the file {} cannot be read: {error}", path.display()))?;
        serde_json::from_str(&text)
            .map_err(|error| format!("the file {} is not JSON: {error}", path.display()))
    }
}
