//! A recording is a script: what a conversation must look like, and what the model says to it.
//!
//! The file's shape, read and checked once. Reference: `docs/reference/replay-script.md`.
//! Invariant of a [`Script`]: every pattern compiles, every template names something that can
//! exist, every turn says something.

pub(crate) mod matcher;
pub(crate) mod normalise;
pub(crate) mod template;

use crate::limits::{REPLAY_DELAY_MS_MAX, SCRIPT_BYTES_MAX};
use matcher::Matcher;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::path::Path;
use template::{Input, Template};

/// A script, ready to be replayed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The file's name, for messages.
    #[serde(skip)]
    pub(crate) name: String,
    #[serde(rename = "version", deserialize_with = "version_1")]
    _version: (),
    #[serde(rename = "conversation", deserialize_with = "at_least_one")]
    pub(crate) conversations: Vec<Conversation>,
}

/// One conversation: the first whose `when` fits answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Conversation {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) when: When,
    #[serde(rename = "turn", deserialize_with = "at_least_one")]
    pub(crate) turns: Vec<Turn>,
}

/// Which requests belong to a conversation.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct When {
    pub(crate) model: Option<Matcher>,
    pub(crate) system: Option<Matcher>,
    pub(crate) first_user_text: Option<Matcher>,
    pub(crate) tools: ToolSet,
}

/// Which tools a request offers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ToolSet {
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
}

/// One turn of the model. Its number is the number of answers that the request already holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Turn {
    #[serde(default)]
    pub(crate) expect: Expect,
    #[serde(default, deserialize_with = "delay")]
    pub(crate) delay_ms: u64,
    #[serde(default)]
    pub(crate) fault: Option<Fault>,
    pub(crate) reply: Reply,
}

/// What the request must hold for this turn to answer it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    pub(crate) last_user_text: Option<Matcher>,
    pub(crate) tool_results: Option<usize>,
    pub(crate) tool_result: Vec<ResultExpected>,
}

/// What one tool result of the last message must hold.
#[derive(Debug)]
pub(crate) struct ResultExpected {
    /// Counts only the results of this tool.
    pub(crate) tool: Option<String>,
    /// Which of them, from 0.
    pub(crate) index: usize,
    pub(crate) is_error: Option<bool>,
    pub(crate) text: Option<Matcher>,
}

/// What the model says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reply {
    #[serde(deserialize_with = "at_least_one")]
    pub(crate) blocks: Vec<ReplyBlock>,
    /// Left out: `tool_use` if a block calls a tool, else `end_turn`.
    #[serde(default)]
    pub(crate) stop_reason: Option<String>,
    /// Left out: the model that was asked for.
    #[serde(default)]
    pub(crate) model: Option<String>,
    #[serde(default)]
    pub(crate) usage: UsageRule,
}

/// One block of an answer.
#[derive(Debug)]
pub(crate) enum ReplyBlock {
    Text(Template),
    Tool {
        name: String,
        input: Vec<(String, Input)>,
    },
}

/// Where the numbers of the usage come from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum UsageRule {
    /// From the bytes of request and reply, four to a token.
    #[default]
    Measured,
    /// From the script.
    Fixed(FixedUsage),
}

/// Usage as the script gives it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FixedUsage {
    pub(crate) input: u32,
    pub(crate) output: u32,
    #[serde(default)]
    pub(crate) cache_read: u32,
    #[serde(default)]
    pub(crate) cache_write_5m: u32,
    #[serde(default)]
    pub(crate) cache_write_1h: u32,
}

/// Something that goes wrong in a turn, the first `times` times.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) times: u32,
    pub(crate) kind: FaultKind,
}

#[derive(Debug)]
pub(crate) enum FaultKind {
    /// An error instead of an answer.
    Status {
        status: http::StatusCode,
        error: String,
        message: String,
        retry_after_s: Option<u64>,
    },
    /// The stream breaks off after so many events.
    CutAfterEvents(usize),
}

/// Why a script cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("read {file}")]
    File {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("read {file}: it is larger than {max} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// The limit.
        max: usize,
    },
    /// The file does not say what a script says.
    #[error("read {file}, line {line}, `{text}`: {message}")]
    Malformed {
        /// The file.
        file: String,
        /// The line, from 1; 0 where the file as a whole lacks something.
        line: usize,
        /// The line's text.
        text: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Script {
    /// Reads the script in `path`.
    ///
    /// # Errors
    /// The file cannot be read or is not a script; the line and its text are named.
    pub fn load(path: &Path) -> Result<Self, ScriptError> {
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| ScriptError::File {
            file: file.clone(),
            source,
        })?;
        if bytes.len() > SCRIPT_BYTES_MAX {
            let max = SCRIPT_BYTES_MAX;
            return Err(ScriptError::TooLarge { file, max });
        }
        let text = String::from_utf8(bytes).map_err(|error| ScriptError::File {
            file: file.clone(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        })?;
        let mut script = Self::parse(file, &text)?;
        // Messages to callers name the file and not where it lies.
        if let Some(name) = path.file_name() {
            script.name = name.to_string_lossy().into_owned();
        }
        Ok(script)
    }

    /// Reads a script from its text; `name` is how messages call it.
    ///
    /// # Errors
    /// The text is not a script; the line and its text are named.
    pub fn parse(name: String, text: &str) -> Result<Self, ScriptError> {
        match toml::from_str::<Self>(text) {
            Ok(script) => Ok(Self { name, ..script }),
            Err(error) => {
                let place = error.span().map(|span| line_at(text, span.start));
                let (line, found) = place.unwrap_or_default();
                Err(ScriptError::Malformed {
                    file: name,
                    line,
                    text: found.trim().chars().take(120).collect(),
                    message: error.message().to_owned(),
                })
            }
        }
    }
}

fn line_at(text: &str, at: usize) -> (usize, &str) {
    let before = &text[..at.min(text.len())];
    let line = before.matches('\n').count();
    (line + 1, text.lines().nth(line).unwrap_or_default())
}

fn version_1<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    match i64::deserialize(deserializer)? {
        1 => Ok(()),
        other => Err(D::Error::custom(format!(
            "version {other} is not known (known: 1)"
        ))),
    }
}

fn at_least_one<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(deserializer)?;
    if list.is_empty() {
        return Err(D::Error::custom("an empty list: at least one is needed"));
    }
    Ok(list)
}

fn delay<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let ms = u64::deserialize(deserializer)?;
    if ms > REPLAY_DELAY_MS_MAX {
        return Err(D::Error::custom(format!(
            "a delay of more than {REPLAY_DELAY_MS_MAX} ms"
        )));
    }
    Ok(ms)
}

impl<'de> Deserialize<'de> for ResultExpected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Shape {
            tool: Option<String>,
            #[serde(default)]
            index: usize,
            is_error: Option<bool>,
            equals: Option<String>,
            contains: Option<matcher::Texts>,
            matches: Option<matcher::Pattern>,
            #[serde(default)]
            normalise: Vec<normalise::Normaliser>,
        }
        let shape = Shape::deserialize(deserializer)?;
        let has_test =
            shape.equals.is_some() || shape.contains.is_some() || shape.matches.is_some();
        let text = if has_test || !shape.normalise.is_empty() {
            let test = (shape.equals, shape.contains, shape.matches);
            Some(Matcher::of(test, shape.normalise).map_err(D::Error::custom)?)
        } else {
            None
        };
        Ok(Self {
            tool: shape.tool,
            index: shape.index,
            is_error: shape.is_error,
            text,
        })
    }
}

impl<'de> Deserialize<'de> for ReplyBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Shape {
            text: Option<Template>,
            tool: Option<String>,
            #[serde(default)]
            input: Option<template::Fields>,
        }
        let shape = Shape::deserialize(deserializer)?;
        match (shape.text, shape.tool, shape.input) {
            (Some(text), None, None) => Ok(Self::Text(text)),
            (None, Some(name), input) => Ok(Self::Tool {
                name,
                input: input.unwrap_or_default().0,
            }),
            _ => Err(D::Error::custom(
                "a block is { text = \"...\" } or { tool = \"name\", input = { ... } }",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for UsageRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rule;
        impl<'de> serde::de::Visitor<'de> for Rule {
            type Value = UsageRule;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"measured\" or a table of token counts")
            }
            fn visit_str<E: Error>(self, word: &str) -> Result<UsageRule, E> {
                match word {
                    "measured" => Ok(UsageRule::Measured),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
                }
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<UsageRule, A::Error> {
                let table = serde::de::value::MapAccessDeserializer::new(map);
                FixedUsage::deserialize(table).map(UsageRule::Fixed)
            }
        }
        deserializer.deserialize_any(Rule)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Shape {
            #[serde(default = "once")]
            times: u32,
            status: Option<u16>,
            error: Option<String>,
            message: Option<String>,
            retry_after_s: Option<u64>,
            cut_after_events: Option<usize>,
        }
        const fn once() -> u32 {
            1
        }
        let shape = Shape::deserialize(deserializer)?;
        let kind = match (shape.status, shape.cut_after_events) {
            (Some(status), None) => FaultKind::Status {
                status: http::StatusCode::from_u16(status)
                    .ok()
                    .filter(|s| s.is_client_error() || s.is_server_error())
                    .ok_or_else(|| D::Error::custom("`status` is not between 400 and 599"))?,
                error: shape.error.unwrap_or_else(|| "api_error".to_owned()),
                message: shape
                    .message
                    .unwrap_or_else(|| "a fault of the script".to_owned()),
                retry_after_s: shape.retry_after_s,
            },
            (None, Some(events)) => FaultKind::CutAfterEvents(events),
            _ => {
                return Err(D::Error::custom(
                    "a fault has either `status` or `cut_after_events`",
                ));
            }
        };
        Ok(Self {
            times: shape.times,
            kind,
        })
    }
}
