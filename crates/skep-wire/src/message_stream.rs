//! A streamed answer of the Messages API put together into one message.
//!
//! Owns the blocks that are still open. Invariant: either the whole message as the vendor sent it,
//! with every block in its order and every unknown field in its place, or a named error; never a
//! part of a message that looks like a whole one.

use crate::anthropic::{Block, StopReason};
use crate::error::ErrorDetail;
use crate::limits::{MESSAGE_BLOCKS_MAX, MESSAGE_BYTES_MAX};
use crate::raw_object::RawObject;
use crate::sse::SseEvent;
use crate::usage::{MessageBody, UsageBody, UsageReport};
use serde::Deserialize;
use serde_json::value::RawValue;
use skep_types::TokenCounts;

/// One whole answer.
#[derive(Debug, Clone)]
pub struct CompletedMessage {
    /// The vendor's id of the message.
    pub id: String,
    /// The model that answered.
    pub model: String,
    /// The blocks, to be sent back as they are.
    pub content: Vec<Block>,
    /// All text blocks, joined.
    pub text: String,
    /// The tool calls among the blocks, in order.
    pub tool_uses: Vec<ToolUse>,
    /// Why the model stopped.
    pub stop_reason: StopReason,
    /// What the call used.
    pub tokens: TokenCounts,
}

/// One tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolUse {
    /// The id its result has to carry.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The input's JSON text; what the model wrote instead, if that is no JSON object.
    pub input: Result<String, String>,
}

/// Why a stream gave no whole message.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The vendor reported an error in the middle of the stream.
    #[error("provider broke off the answer with {}: {}", .0.kind, .0.message)]
    Provider(ErrorDetail),
    /// The stream ended before the message did.
    #[error("answer was cut before its end")]
    Truncated,
    /// An event is not what the format says.
    #[error("event `{event}` of the answer is malformed: {reason}")]
    Malformed {
        /// The event's type.
        event: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is larger than a message can be.
    #[error("answer has more than {blocks_max} blocks or {bytes_max} bytes")]
    TooLarge {
        /// The limit in blocks.
        blocks_max: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
}

/// Puts the events of one answer together.
#[derive(Debug, Default)]
pub struct MessageStream {
    usage: UsageReport,
    started: bool,
    stopped: bool,
    bytes: usize,
    blocks: Vec<OpenBlock>,
}

impl MessageStream {
    /// At the start of an answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next event. Pings and unknown events change nothing.
    ///
    /// # Errors
    /// See [`StreamError`]; the stream is of no use afterwards.
    pub fn take(&mut self, event: &SseEvent) -> Result<(), StreamError> {
        self.bytes += event.data.len();
        if self.bytes > MESSAGE_BYTES_MAX || self.blocks.len() > MESSAGE_BLOCKS_MAX {
            return Err(StreamError::TooLarge {
                blocks_max: MESSAGE_BLOCKS_MAX,
                bytes_max: MESSAGE_BYTES_MAX,
            });
        }
        let Typed { kind } = read(&event.event, &event.data)?;
        match kind.as_str() {
            "message_start" => {
                let start: MessageStart = read(&kind, &event.data)?;
                start.message.note(&mut self.usage);
                self.started = true;
            }
            "content_block_start" => self.open(&kind, read(&kind, &event.data)?)?,
            "content_block_delta" => {
                let delta: BlockDelta = read(&kind, &event.data)?;
                self.block(&kind, delta.index)?.extend(&kind, delta.delta)?;
            }
            "content_block_stop" => {
                let stop: BlockStop = read(&kind, &event.data)?;
                self.block(&kind, stop.index)?.closed = true;
            }
            "message_delta" => {
                let delta: MessageDelta = read(&kind, &event.data)?;
                if let Some(stop_reason) = delta.delta.and_then(|delta| delta.stop_reason) {
                    self.usage.stop_reason = Some(stop_reason);
                }
                if let Some(usage) = delta.usage {
                    usage.note(&mut self.usage);
                }
            }
            "message_stop" => self.stopped = true,
            "error" => {
                let error: ErrorEvent = read(&kind, &event.data)?;
                return Err(StreamError::Provider(error.error.bounded()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the message has ended; what the stream says after that is nothing.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// What the answer used so far, also where it ends in an error.
    pub fn tokens(&self) -> TokenCounts {
        self.usage.tokens
    }

    /// The whole message.
    ///
    /// # Errors
    /// [`StreamError::Truncated`] before the end of the message.
    pub fn finish(self) -> Result<CompletedMessage, StreamError> {
        let whole = self.started && self.stopped && self.blocks.iter().all(|block| block.closed);
        let (true, Some(stop_reason)) = (whole, self.usage.stop_reason) else {
            return Err(StreamError::Truncated);
        };
        let mut message = CompletedMessage {
            id: self.usage.message_id.unwrap_or_default(),
            model: self.usage.model_actual.unwrap_or_default(),
            content: Vec::with_capacity(self.blocks.len()),
            text: String::new(),
            tool_uses: Vec::new(),
            stop_reason: stop_reason.into(),
            tokens: self.usage.tokens,
        };
        for block in self.blocks {
            block.finish(&mut message)?;
        }
        Ok(message)
    }

    fn open(&mut self, event: &str, start: BlockStart) -> Result<(), StreamError> {
        if start.index != self.blocks.len() {
            return Err(malformed(event, "blocks are out of order"));
        }
        let Some(kind) = start.content_block.text("type") else {
            return Err(malformed(event, "the block has no type"));
        };
        self.blocks.push(OpenBlock {
            kind,
            fields: start.content_block,
            ..OpenBlock::default()
        });
        Ok(())
    }

    fn block(&mut self, event: &str, index: usize) -> Result<&mut OpenBlock, StreamError> {
        match self.blocks.get_mut(index) {
            Some(block) if !block.closed => Ok(block),
            _ => Err(malformed(event, "there is no open block of this index")),
        }
    }
}

/// A block and what its deltas have added.
#[derive(Debug, Default)]
struct OpenBlock {
    kind: String,
    fields: RawObject,
    closed: bool,
    text: String,
    thinking: String,
    signature: String,
    input: String,
    citations: Vec<Box<RawValue>>,
}

impl OpenBlock {
    fn extend(&mut self, event: &str, delta: Delta) -> Result<(), StreamError> {
        match delta.kind.as_str() {
            "text_delta" => self.text.push_str(&delta.text),
            "thinking_delta" => self.thinking.push_str(&delta.thinking),
            "signature_delta" => self.signature.push_str(&delta.signature),
            "input_json_delta" => self.input.push_str(&delta.partial_json),
            "citations_delta" => self.citations.extend(delta.citation),
            // Passed over, it would leave a hole in a block that goes back to the vendor.
            other => {
                let reason = format!("the delta's type `{other}` is not known");
                return Err(malformed(event, &reason));
            }
        }
        Ok(())
    }

    fn finish(mut self, message: &mut CompletedMessage) -> Result<(), StreamError> {
        let appended = [
            ("text", std::mem::take(&mut self.text)),
            ("thinking", std::mem::take(&mut self.thinking)),
            ("signature", std::mem::take(&mut self.signature)),
        ];
        for (key, more) in appended {
            if !more.is_empty() {
                let whole = self.fields.text(key).unwrap_or_default() + &more;
                self.set(key, &whole)?;
            }
        }
        if !self.citations.is_empty() {
            let citations = std::mem::take(&mut self.citations);
            self.set("citations", &citations)?;
        }
        let written = self.finish_input()?;
        match self.kind.as_str() {
            "text" => message.text += &self.fields.text("text").unwrap_or_default(),
            "tool_use" => message.tool_uses.push(self.tool_use(written)?),
            _ => {}
        }
        let raw = self.fields.to_raw().map_err(unserialisable)?;
        message.content.push(Block::from_raw(raw));
        Ok(())
    }

    /// Puts the streamed input into the block. What is no JSON object cannot go back to the vendor:
    /// the block keeps its empty input, and what the model wrote is returned.
    fn finish_input(&mut self) -> Result<Option<String>, StreamError> {
        let written = std::mem::take(&mut self.input);
        if written.trim().is_empty() {
            return Ok(None);
        }
        match serde_json::from_str::<RawObject>(&written) {
            Ok(_) => {
                let raw = RawValue::from_string(written.trim().to_owned());
                self.fields.set("input", raw.map_err(unserialisable)?);
                Ok(None)
            }
            Err(_) => Ok(Some(written)),
        }
    }

    fn tool_use(&self, written: Option<String>) -> Result<ToolUse, StreamError> {
        let field = |key: &str| {
            self.fields
                .text(key)
                .ok_or_else(|| malformed("content_block_start", "a tool call lacks its id or name"))
        };
        let input = match written {
            Some(written) => Err(written),
            None => Ok(self.fields.raw("input").unwrap_or("{}").to_owned()),
        };
        Ok(ToolUse {
            id: field("id")?,
            name: field("name")?,
            input,
        })
    }

    fn set(&mut self, key: &str, value: &impl serde::Serialize) -> Result<(), StreamError> {
        let raw = serde_json::value::to_raw_value(value).map_err(unserialisable)?;
        self.fields.set(key, raw);
        Ok(())
    }
}

fn read<'de, T: Deserialize<'de>>(event: &str, data: &'de [u8]) -> Result<T, StreamError> {
    serde_json::from_slice(data).map_err(|error| malformed(event, &error.to_string()))
}

fn malformed(event: &str, reason: &str) -> StreamError {
    StreamError::Malformed {
        event: event.to_owned(),
        reason: reason.to_owned(),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` wants"
)]
fn unserialisable(error: serde_json::Error) -> StreamError {
    malformed("content_block_stop", &error.to_string())
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct MessageStart {
    message: MessageBody,
}

#[derive(Deserialize)]
struct BlockStart {
    index: usize,
    content_block: RawObject,
}

#[derive(Deserialize)]
struct BlockDelta {
    index: usize,
    delta: Delta,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    thinking: String,
    #[serde(default)]
    signature: String,
    #[serde(default)]
    partial_json: String,
    citation: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct BlockStop {
    index: usize,
}

#[derive(Deserialize)]
struct MessageDelta {
    delta: Option<StopDelta>,
    usage: Option<UsageBody>,
}

#[derive(Deserialize)]
struct StopDelta {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct ErrorEvent {
    error: ErrorDetail,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::SseParser;

    const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","model":"m-1","usage":{"input_tokens":5,"output_tokens":1}}}"#;
    const END: &str = r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}"#;
    const STOP: &str = r#"{"type":"message_stop"}"#;

    fn run(events: &[&str]) -> Result<CompletedMessage, StreamError> {
        let text: String = events.iter().map(|e| format!("data: {e}\n\n")).collect();
        let mut parsed = Vec::new();
        SseParser::default()
            .feed(text.as_bytes(), |e| parsed.push(e))
            .unwrap();
        let mut stream = MessageStream::new();
        parsed.iter().try_for_each(|event| stream.take(event))?;
        stream.finish()
    }

    fn whole(blocks: &[&str]) -> Result<CompletedMessage, StreamError> {
        run(&[&[START], blocks, &[END, STOP]].concat())
    }

    #[test]
    fn parallel_tool_calls_and_thinking_come_together_verbatim() {
        let message = whole(&[
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm \u00e9"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"x==","later":{"b":1, "a":1.0}}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"text","text":"I "}}"#,
            r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t1","name":"read","input":{}}}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"read"}}"#,
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":""}}"#,
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"path\": \"a"}}"#,
            r#"{"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"t2","name":"list","input":{}}}"#,
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":".rs\", \"n\": 1.50}"}}"#,
            r#"{"type":"content_block_stop","index":2}"#,
            r#"{"type":"content_block_stop","index":3}"#,
            r#"{"type":"content_block_stop","index":4}"#,
            r#"{"type":"an_event_of_next_year","index":"?"}"#,
        ])
        .unwrap();
        let blocks: Vec<&str> = message.content.iter().map(Block::json).collect();
        assert_eq!(
            blocks,
            [
                "{\"type\":\"thinking\",\"thinking\":\"hm \u{e9}\",\"signature\":\"c2ln\"}",
                r#"{"type":"redacted_thinking","data":"x==","later":{"b":1, "a":1.0}}"#,
                r#"{"type":"text","text":"I read"}"#,
                r#"{"type":"tool_use","id":"t1","name":"read","input":{"path": "a.rs", "n": 1.50}}"#,
                r#"{"type":"tool_use","id":"t2","name":"list","input":{}}"#,
            ]
        );
        assert_eq!(message.text, "I read");
        let inputs: Vec<_> = message.tool_uses.iter().map(|t| t.input.clone()).collect();
        assert_eq!(
            inputs,
            [
                Ok(r#"{"path": "a.rs", "n": 1.50}"#.to_owned()),
                Ok("{}".to_owned())
            ]
        );
        assert_eq!(message.stop_reason, StopReason::ToolUse);
        assert_eq!((message.tokens.input, message.tokens.output), (5, 9));
        assert_eq!(
            (message.id.as_str(), message.model.as_str()),
            ("msg_1", "m-1")
        );
    }

    #[test]
    fn input_that_is_no_object_is_named_and_the_block_stays_sendable() {
        for written in [
            r#"{\"path\": "#,
            r#"[1]"#,
            "nonsense",
            r#"{\"a\":1,\"a\":2}"#,
        ] {
            let delta = format!(
                r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"input_json_delta","partial_json":"{written}"}}}}"#
            );
            let message = whole(&[
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"read","input":{}}}"#,
                &delta,
                r#"{"type":"content_block_stop","index":0}"#,
            ])
            .unwrap();
            assert!(message.tool_uses[0].input.is_err(), "{written}");
            assert!(
                message.content[0].json().ends_with(r#""input":{}}"#),
                "{written}"
            );
        }
    }

    fn check_error(events: &[&str], expected: &str) {
        let error = run(events).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }

    #[test]
    fn what_is_not_a_whole_message_is_a_named_error() {
        let open =
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
        let close = r#"{"type":"content_block_stop","index":0}"#;
        let cut = "answer was cut before its end";
        check_error(&[], cut);
        check_error(&[START, open, close, END], cut);
        check_error(&[START, open, END, STOP], cut);
        check_error(&[START, STOP], cut);
        check_error(&[END, STOP], cut);
        check_error(
            &[
                START,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            ],
            "overloaded_error: Overloaded",
        );
        check_error(&[START, close], "no open block");
        check_error(&[START, open, close, close], "no open block");
        check_error(&[START, open, open], "out of order");
        check_error(&[START, "{"], "malformed");
        check_error(
            &[
                START,
                open,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"new_delta"}}"#,
            ],
            "`new_delta` is not known",
        );
        check_error(
            &[
                START,
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","name":"x"}}"#,
                close,
                END,
                STOP,
            ],
            "lacks its id",
        );
    }

    #[test]
    fn a_flood_of_blocks_is_stopped() {
        let mut stream = MessageStream::new();
        let feed = |stream: &mut MessageStream, data: String| {
            stream.take(&SseEvent {
                event: "message".to_owned(),
                data: data.into_bytes(),
                id: None,
            })
        };
        let flood = (0..=MESSAGE_BLOCKS_MAX + 1).try_for_each(|index| {
            feed(&mut stream, format!(r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"text"}}}}"#))
        });
        assert!(matches!(flood, Err(StreamError::TooLarge { .. })));
    }
}
