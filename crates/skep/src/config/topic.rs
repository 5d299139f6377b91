//! `[topic.NAME]`: topics of the user's own.

use super::{Config, ConfigError, read_bounded};
use crate::failure::Failure;
use serde::Deserialize;
use skep_topic::{Group, Readers, Topic, Topics, limits};
use std::path::PathBuf;

/// The unit of `retention_hours`, in milliseconds.
const HOUR_MS: i64 = 60 * 60 * 1_000;
/// The unit of `silent_after_minutes`, in milliseconds.
const MINUTE_MS: i64 = 60 * 1_000;

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
