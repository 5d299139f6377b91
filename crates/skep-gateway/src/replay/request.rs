//! The named fields of a request that a script's matchers look at.

use serde_json::Value;

/// One request as a script sees it.
#[derive(Debug)]
pub(crate) struct ReplayRequest {
    pub(crate) model: String,
    pub(crate) stream: bool,
    pub(crate) max_tokens: Option<i64>,
    pub(crate) system: String,
    pub(crate) tools: Vec<String>,
    /// The texts of the first message of the user.
    pub(crate) first_user_text: String,
    /// The texts of the last message.
    pub(crate) last_user_text: String,
    /// The tool results of the last message, in order.
    pub(crate) tool_results: Vec<ToolResult>,
    /// How many answers the conversation already holds: the number of the turn to come.
    pub(crate) turn: usize,
}

/// One tool result.
#[derive(Debug)]
pub(crate) struct ToolResult {
    /// The tool whose result it is; empty if the conversation holds no such call.
    pub(crate) tool: String,
    pub(crate) is_error: bool,
    pub(crate) text: String,
}

impl ReplayRequest {
    /// Reads a Messages request; the error says what is missing.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| format!("the body is not JSON: {error}"))?;
        let messages = body["messages"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let is_from = |message: &&Value, role: &str| message["role"] == role;
        let first = messages.iter().find(|message| is_from(message, "user"));
        let last = messages.last().filter(|message| is_from(message, "user"));
        let (Some(first), Some(last)) = (first, last) else {
            return Err("the conversation does not end with a message of the user".to_owned());
        };
        let blocks = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let results = blocks(&last["content"]);
        let tools = blocks(&body["tools"]);
        Ok(Self {
            model: word(&body["model"]),
            stream: body["stream"].as_bool().unwrap_or(false),
            max_tokens: body["max_tokens"].as_i64(),
            system: text(&body["system"]),
            tools: tools.iter().map(|tool| word(&tool["name"])).collect(),
            first_user_text: text(&first["content"]),
            last_user_text: text(&last["content"]),
            tool_results: results
                .iter()
                .filter(|block| block["type"] == "tool_result")
                .map(|block| ToolResult {
                    tool: tool_of(messages, &block["tool_use_id"]),
                    is_error: block["is_error"].as_bool().unwrap_or(false),
                    text: text(&block["content"]),
                })
                .collect(),
            turn: messages
                .iter()
                .filter(|message| is_from(message, "assistant"))
                .count(),
        })
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A content's text: itself, or its text blocks joined by line ends.
fn text(content: &Value) -> String {
    if let Some(text) = content.as_str() {
        return text.to_owned();
    }
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<&str> = blocks
        .iter()
        .filter(|block| block["type"] == "text")
        .filter_map(|block| block["text"].as_str())
        .collect();
    texts.join("\n")
}

fn tool_of(messages: &[Value], id: &Value) -> String {
    let blocks = messages
        .iter()
        .rev()
        .filter_map(|message| message["content"].as_array())
        .flatten();
    let mut calls = blocks.filter(|block| block["type"] == "tool_use");
    calls
        .find(|call| call["id"] == *id)
        .map_or_else(String::new, |call| word(&call["name"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_in_both_forms_of_content() {
        let body = serde_json::json!({
            "model": "m", "max_tokens": 9, "stream": true,
            "system": [{"type": "text", "text": "You build."}, {"type": "text", "text": "Be brief."}],
            "tools": [{"name": "run"}, {"name": "edit"}],
            "messages": [
                {"role": "user", "content": "the task"},
                {"role": "assistant", "content": [
                    {"type": "text", "text": "ok"},
                    {"type": "tool_use", "id": "t1", "name": "run", "input": {}},
                    {"type": "tool_use", "id": "t2", "name": "edit", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "edited"}]},
                    {"type": "tool_result", "tool_use_id": "t1", "content": "failed", "is_error": true},
                    {"type": "text", "text": "go on"}]},
            ],
        });
        let request = ReplayRequest::read(body.to_string().as_bytes()).unwrap();
        assert_eq!(request.system, "You build.\nBe brief.");
        assert_eq!(request.tools, ["run", "edit"]);
        assert_eq!(
            (request.turn, request.max_tokens, request.stream),
            (1, Some(9), true)
        );
        assert_eq!(request.first_user_text, "the task");
        assert_eq!(request.last_user_text, "go on");
        let results: Vec<_> = request
            .tool_results
            .iter()
            .map(|r| (r.tool.as_str(), r.text.as_str(), r.is_error))
            .collect();
        assert_eq!(
            results,
            [("edit", "edited", false), ("run", "failed", true)]
        );
    }

    #[test]
    fn a_conversation_that_waits_for_nothing_is_refused() {
        for body in [
            "{}",
            "[]",
            "nonsense",
            r#"{"messages":[{"role":"assistant","content":"x"}]}"#,
        ] {
            assert!(ReplayRequest::read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
