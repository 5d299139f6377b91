//! The Messages request of our own loop.
//!
//! Owns nothing. Invariant: the same values give the same bytes, with everything that stays the
//! same from turn to turn in front of what grows, because the vendor's prompt cache matches on the
//! longest common prefix. Blocks are raw JSON: what the model said goes back as it came.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One request. The order of the fields is the order on the wire.
#[derive(Debug, Serialize)]
pub struct MessagesRequest<'a> {
    /// The model to ask.
    pub model: &'a str,
    /// The cap on output tokens.
    pub max_tokens: u32,
    /// Whether to answer as an event stream.
    pub stream: bool,
    /// The instructions that stand before every conversation.
    pub system: &'a [SystemBlock<'a>],
    /// A JSON array of tool definitions.
    pub tools: &'a RawValue,
    /// The conversation so far.
    pub messages: &'a [Message],
}

impl MessagesRequest<'_> {
    /// The body to send.
    ///
    /// # Errors
    /// None in practice: every part is text already.
    pub fn to_body(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

/// One block of the system prompt.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "text")]
pub struct SystemBlock<'a> {
    /// The text.
    pub text: &'a str,
    /// Set on the last block of the part to be cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
}

/// A mark: everything up to here is worth caching for the default lifetime of five minutes.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "type", rename = "ephemeral")]
pub struct CacheControl {}

/// How a cache mark reads at the end of a block made by [`Block::with_cache_mark`].
pub const CACHE_MARK: &str = r#","cache_control":{"type":"ephemeral"}"#;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The loop: the task, tool results.
    User,
    /// The model.
    Assistant,
}

/// One turn of the conversation.
#[derive(Debug, Clone, Serialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, at least one block.
    pub content: Vec<Block>,
}

/// One content block, as the text of a JSON object.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Block(Box<RawValue>);

impl Block {
    /// A block that came from the wire.
    pub fn from_raw(raw: Box<RawValue>) -> Self {
        Self(raw)
    }

    /// A text block.
    pub fn text(text: &str) -> Self {
        #[derive(Serialize)]
        #[serde(tag = "type", rename = "text")]
        struct Text<'a> {
            text: &'a str,
        }
        Self::of(&Text { text })
    }

    /// The result of the tool call `tool_use_id`.
    pub fn tool_result(tool_use_id: &str, content: &str, is_error: bool) -> Self {
        #[derive(Serialize)]
        #[serde(tag = "type", rename = "tool_result")]
        struct ToolResult<'a> {
            tool_use_id: &'a str,
            content: &'a str,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            is_error: bool,
        }
        Self::of(&ToolResult {
            tool_use_id,
            content,
            is_error,
        })
    }

    /// The block's JSON.
    pub fn json(&self) -> &str {
        self.0.get()
    }

    /// The block with [`CACHE_MARK`] as its last field.
    pub fn with_cache_mark(&self) -> Self {
        let Some(open) = self.json().strip_suffix('}') else {
            return self.clone();
        };
        let marked = format!("{open}{CACHE_MARK}}}");
        RawValue::from_string(marked).map_or_else(|_| self.clone(), Self)
    }

    fn of(block: &impl Serialize) -> Self {
        // Strings and booleans always serialise, so the fallback is never sent.
        Self(serde_json::value::to_raw_value(block).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

/// Why the model stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// It has nothing more to say.
    EndTurn,
    /// It wants tools to be called.
    ToolUse,
    /// The output cap was reached.
    MaxTokens,
    /// The context window was reached.
    ContextWindow,
    /// One of the request's stop sequences appeared.
    StopSequence,
    /// The vendor paused a long turn.
    PauseTurn,
    /// The model, or a filter on it, refused.
    Refusal,
    /// A reason that is not known here.
    Other(String),
}

impl StopReason {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::EndTurn => "end_turn",
            Self::ToolUse => "tool_use",
            Self::MaxTokens => "max_tokens",
            Self::ContextWindow => "model_context_window_exceeded",
            Self::StopSequence => "stop_sequence",
            Self::PauseTurn => "pause_turn",
            Self::Refusal => "refusal",
            Self::Other(word) => word,
        }
    }
}

impl From<String> for StopReason {
    fn from(word: String) -> Self {
        match word.as_str() {
            "end_turn" => Self::EndTurn,
            "tool_use" => Self::ToolUse,
            "max_tokens" => Self::MaxTokens,
            "model_context_window_exceeded" => Self::ContextWindow,
            "stop_sequence" => Self::StopSequence,
            "pause_turn" => Self::PauseTurn,
            "refusal" => Self::Refusal,
            _ => Self::Other(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_its_growing_part_last() {
        let tools = RawValue::from_string(r#"[{"name":"read"}]"#.to_owned()).unwrap();
        let request = MessagesRequest {
            model: "stub",
            max_tokens: 10,
            stream: true,
            system: &[SystemBlock {
                text: "s",
                cache_control: Some(CacheControl {}),
            }],
            tools: &tools,
            messages: &[
                Message {
                    role: Role::User,
                    content: vec![Block::text("do \"it\"")],
                },
                Message {
                    role: Role::User,
                    content: vec![
                        Block::tool_result("t1", "ok", false),
                        Block::tool_result("t2", "no", true).with_cache_mark(),
                    ],
                },
            ],
        };
        let body = String::from_utf8(request.to_body().unwrap()).unwrap();
        assert_eq!(
            body,
            concat!(
                r#"{"model":"stub","max_tokens":10,"stream":true,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"#,
                r#""tools":[{"name":"read"}],"messages":[{"role":"user","content":[{"type":"text","text":"do \"it\""}]},"#,
                r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"ok"},"#,
                r#"{"type":"tool_result","tool_use_id":"t2","content":"no","is_error":true,"cache_control":{"type":"ephemeral"}}]}]}"#
            )
        );
    }
}
