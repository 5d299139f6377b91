//! A replayed answer as bytes: the event stream of the Messages API, or its JSON document.
//!
//! The same request gives the same bytes. Wire format: the vendor's API reference, "Streaming".

use crate::limits::REPLAY_DELTA_BYTES;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use skep_types::TokenCounts;

/// One answer of the model.
#[derive(Debug)]
pub(crate) struct ReplayMessage {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) blocks: Vec<MessageBlock>,
    pub(crate) stop_reason: String,
    pub(crate) usage: TokenCounts,
}

/// One content block.
#[derive(Debug)]
pub(crate) enum MessageBlock {
    Text(String),
    ToolUse {
        id: String,
        name: String,
        input: Map<String, Value>,
    },
}

impl MessageBlock {
    fn document(&self) -> Value {
        match self {
            Self::Text(text) => json!({"type": "text", "text": text}),
            Self::ToolUse { id, name, input } => {
                json!({"type": "tool_use", "id": id, "name": name, "input": input})
            }
        }
    }

    /// What of the block the model wrote, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::ToolUse { name, input, .. } => {
                name.len() + Value::Object(input.clone()).to_string().len()
            }
        }
    }

    /// The block's start, pieces and end as events.
    fn events(&self, index: usize, events: &mut Vec<Bytes>) {
        let (start, field, kind, whole) = match self {
            Self::Text(text) => (
                json!({"type": "text", "text": ""}),
                "text",
                "text_delta",
                text.clone(),
            ),
            Self::ToolUse { id, name, input } => (
                json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
                "partial_json",
                "input_json_delta",
                Value::Object(input.clone()).to_string(),
            ),
        };
        let start = json!({"type": "content_block_start", "index": index, "content_block": start});
        events.push(event(&start));
        for piece in pieces(&whole) {
            let delta = json!({"type": kind, field: piece});
            let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
            events.push(event(&delta));
        }
        events.push(event(
            &json!({"type": "content_block_stop", "index": index}),
        ));
    }
}

impl ReplayMessage {
    /// The answer as an event stream, one element per event.
    pub(crate) fn events(&self) -> Vec<Bytes> {
        let mut start = self.document(&[], None);
        start["usage"] = self.usage_document(1);
        let mut events = vec![event(&json!({"type": "message_start", "message": start}))];
        for (index, block) in self.blocks.iter().enumerate() {
            block.events(index, &mut events);
        }
        events.push(event(&json!({
            "type": "message_delta",
            "delta": {"stop_reason": self.stop_reason, "stop_sequence": null},
            "usage": {"output_tokens": self.usage.output},
        })));
        events.push(event(&json!({"type": "message_stop"})));
        events
    }

    /// The answer as one document.
    pub(crate) fn json(&self) -> Bytes {
        let blocks: Vec<Value> = self.blocks.iter().map(MessageBlock::document).collect();
        let mut document = self.document(&blocks, Some(&self.stop_reason));
        document["usage"] = self.usage_document(self.usage.output);
        document.to_string().into()
    }

    fn document(&self, content: &[Value], stop_reason: Option<&str>) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
        })
    }

    fn usage_document(&self, output: i64) -> Value {
        let usage = &self.usage;
        json!({
            "input_tokens": usage.input,
            "cache_read_input_tokens": usage.cache_read,
            "cache_creation_input_tokens": usage.cache_write,
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage.cache_write - usage.cache_write_1h,
                "ephemeral_1h_input_tokens": usage.cache_write_1h,
            },
            "output_tokens": output,
            "service_tier": "standard",
        })
    }
}

fn event(document: &Value) -> Bytes {
    let name = document["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {document}\n\n").into()
}

/// `text` in pieces of about the same size, cut between characters; at least one.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > REPLAY_DELTA_BYTES {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(REPLAY_DELTA_BYTES));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_wire::{MessageStream, SseParser, UsageReader};

    fn message() -> ReplayMessage {
        let input = json!({"path": "src/lib.rs", "text": "\u{1f41d}".repeat(40)});
        let Value::Object(input) = input else {
            panic!("an object");
        };
        ReplayMessage {
            id: "msg_1".to_owned(),
            model: "m-1".to_owned(),
            blocks: vec![
                MessageBlock::Text("Let me look.".to_owned()),
                MessageBlock::ToolUse {
                    id: "toolu_1".to_owned(),
                    name: "edit".to_owned(),
                    input,
                },
            ],
            stop_reason: "tool_use".to_owned(),
            usage: TokenCounts {
                input: 10,
                cache_read: 20,
                cache_write: 30,
                cache_write_1h: 5,
                output: 40,
            },
        }
    }

    #[test]
    fn a_client_reads_the_stream_as_any_other() {
        let mut stream = MessageStream::new();
        let mut usage = UsageReader::stream();
        let mut parser = SseParser::default();
        for part in message().events() {
            usage.feed(&part);
            let mut failed = None;
            parser
                .feed(&part, |event| failed = stream.take(&event).err())
                .unwrap();
            assert!(failed.is_none(), "{failed:?}");
        }
        let report = usage.finish();
        assert!(report.complete, "{report:?}");
        assert_eq!(report.tokens, message().usage);
        let whole = stream.finish().unwrap();
        assert_eq!(whole.tokens, message().usage);
    }

    #[test]
    fn the_document_says_the_same() {
        let mut usage = UsageReader::json();
        usage.feed(&message().json());
        let report = usage.finish();
        assert!(report.complete, "{report:?}");
        assert_eq!(report.tokens, message().usage);
    }
}
