//! A Messages server on loopback that answers from a list, one reply a request, and keeps what it
//! was asked. It answers as the vendor does: an event stream of whole or cut events.

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// One reply of the script.
pub(crate) enum Reply {
    /// A whole answer of these blocks.
    Blocks(Vec<Value>),
    /// The same, cut off before its end.
    Cut(Vec<Value>),
    /// Any answer: status line, headers, body.
    Raw(&'static str, Vec<(&'static str, &'static str)>, String),
}

impl Reply {
    /// An error document with this status.
    pub(crate) fn error(
        status: &'static str,
        kind: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Self {
        let body = json!({"type": "error", "error": {"type": kind, "message": "scripted"}});
        Self::Raw(status, headers.to_vec(), body.to_string())
    }
}

/// One request as it came.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The results in the last turn, as text and whether they are errors.
    pub(crate) fn results(&self) -> Vec<(String, bool)> {
        let body = self.json();
        let last = body["messages"].as_array().unwrap().last().unwrap().clone();
        let blocks = last["content"].as_array().unwrap().iter();
        blocks
            .filter(|block| block["type"] == "tool_result")
            .map(|block| {
                let text = block["content"].as_str().unwrap().to_owned();
                (text, block["is_error"] == true)
            })
            .collect()
    }
}

pub(crate) struct ScriptedModel {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl ScriptedModel {
    pub(crate) async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&asked);
        let mut replies = VecDeque::from(replies);
        drop(skep_stdx::spawn("scripted-model", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let over = || Reply::error("400 Bad Request", "script_is_over", &[]);
                let reply = replies.pop_front().unwrap_or_else(over);
                answer(stream, reply, &record).await;
            }
        }));
        Self { url, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// A tool call as a block of an answer.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a script reads better without borrows"
)]
pub(crate) fn call(id: &str, name: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": id, "name": name, "input": input})
}

async fn answer(mut stream: TcpStream, reply: Reply, record: &Mutex<Vec<Asked>>) {
    let asked = receive(&mut stream).await;
    record.lock().unwrap().push(asked);
    let stream_head = ("200 OK", vec![("content-type", "text/event-stream")]);
    let (status, headers, body) = match reply {
        Reply::Blocks(blocks) => (stream_head.0, stream_head.1, events(&blocks).concat()),
        Reply::Cut(blocks) => {
            let events = events(&blocks);
            (
                stream_head.0,
                stream_head.1,
                events[..events.len() - 2].concat(),
            )
        }
        Reply::Raw(status, headers, body) => (status, headers, body),
    };
    let mut head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    // A client that hangs up early has read what it wanted.
    let _ = stream
        .write_all(format!("{head}\r\n{body}").as_bytes())
        .await;
    let _ = stream.shutdown().await;
}

async fn receive(stream: &mut TcpStream) -> Asked {
    let mut bytes = Vec::new();
    loop {
        let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = head_end {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse::<usize>().unwrap())
            });
            if bytes.len() == end + 4 + length.unwrap() {
                let body = String::from_utf8(bytes[end + 4..].to_vec()).unwrap();
                return Asked { head, body };
            }
        }
        assert_ne!(
            stream.read_buf(&mut bytes).await.unwrap(),
            0,
            "the request was cut"
        );
    }
}

/// The events of an answer. Inputs of tool calls come in two pieces, as they do in life.
fn events(blocks: &[Value]) -> Vec<String> {
    let start = json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
        "role": "assistant", "model": "stub-large-1", "content": [], "stop_reason": null,
        "usage": {"input_tokens": 100, "output_tokens": 1}}});
    let mut events = vec![start, json!({"type": "ping"})];
    for (index, block) in blocks.iter().enumerate() {
        let mut opened = block.clone();
        let mut deltas = Vec::new();
        if block["type"] == "tool_use" {
            // A string stands for input that the model got wrong.
            let input = block["input"]
                .as_str()
                .map_or_else(|| block["input"].to_string(), str::to_owned);
            opened["input"] = json!({});
            let half = input.floor_char_boundary(input.len() / 2);
            for part in [&input[..half], &input[half..]] {
                deltas.push(json!({"type": "input_json_delta", "partial_json": part}));
            }
        } else {
            opened["text"] = json!("");
            deltas.push(json!({"type": "text_delta", "text": block["text"]}));
        }
        events
            .push(json!({"type": "content_block_start", "index": index, "content_block": opened}));
        for delta in deltas {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let has_tools = blocks.iter().any(|block| block["type"] == "tool_use");
    let stop_reason = if has_tools { "tool_use" } else { "end_turn" };
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": null},
        "usage": {"output_tokens": 20}}));
    events.push(json!({"type": "message_stop"}));
    events
        .iter()
        .map(|event| {
            format!(
                "event: {}\ndata: {event}\n\n",
                event["type"].as_str().unwrap()
            )
        })
        .collect()
}
