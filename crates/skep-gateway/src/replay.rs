//! The `replay` provider: a script answers as a model would, through the same wire format.
//!
//! To the rest of the gateway it is an upstream like any other. Invariant: a request that the
//! script does not describe is never answered as if it were described; the answer is an error
//! that shows the difference.

mod memory;
mod message;
mod request;

use crate::digest::{hex, sha256};
use crate::limits::MISMATCH_CONVERSATIONS_MAX;
use crate::script::matcher::{Matcher, Quoted};
use crate::script::template::{Material, fill_fields};
use crate::script::{
    Conversation, Expect, Fault, FaultKind, Reply, ReplyBlock, ResultExpected, Script, ScriptError,
    Turn, UsageRule, When,
};
use crate::upstream::{AnswerBody, Outgoing};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use memory::{Memory, TurnKey};
use message::{MessageBlock, ReplayMessage};
use request::ReplayRequest;
use skep_types::TokenCounts;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Four bytes to a token: the usual ratio of English and code, and never more tokens than bytes.
const BYTES_PER_TOKEN: usize = 4;

/// One script being replayed.
pub(crate) struct Replay {
    script: Script,
    memory: Mutex<Memory>,
}

/// A turn that answers, with everything filled in.
struct Answer {
    message: ReplayMessage,
    stream: bool,
    delay: Duration,
    cut_after_events: Option<usize>,
}

impl Replay {
    /// Loads the script in `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, ScriptError> {
        Ok(Self::of(Script::load(path)?))
    }

    fn of(script: Script) -> Self {
        Self {
            script,
            memory: Mutex::default(),
        }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, outgoing: &Outgoing) -> Response<AnswerBody> {
        if outgoing.path.ends_with("/count_tokens") {
            let count = serde_json::json!({"input_tokens": tokens(outgoing.body.len())});
            return json(StatusCode::OK, count.to_string().into());
        }
        match self.find(&outgoing.body) {
            Ok(Found::Answer(answer)) => {
                tokio::time::sleep(answer.delay).await;
                answer.response()
            }
            Ok(Found::Fault(response)) => *response,
            Err(difference) => {
                let message = format!("replay script `{}`: {difference}", self.script.name);
                error(StatusCode::BAD_REQUEST, "invalid_request_error", &message)
            }
        }
    }

    fn find(&self, body: &Bytes) -> Result<Found, String> {
        let request = ReplayRequest::read(body)?;
        let (place, conversation) = self.conversation(&request)?;
        let name = &conversation.name;
        let turn = conversation.turns.get(request.turn).ok_or_else(|| {
            let (turns, turn) = (conversation.turns.len(), request.turn);
            format!("conversation `{name}` has {turns} turns, and the request is for turn {turn} (counted from 0)")
        })?;
        let at_turn =
            |difference| format!("conversation `{name}`, turn {}: {difference}", request.turn);
        if let Some(difference) = unexpected(&turn.expect, &request) {
            return Err(at_turn(difference));
        }
        let start = sha256(request.first_user_text.as_bytes());
        let key = (place, start, request.turn);
        let cut_after_events = match self.due_fault(turn, &key) {
            Some(FaultKind::Status {
                status,
                error: kind,
                message,
                retry_after_s,
            }) => {
                let mut response = error(*status, kind, message);
                if let Some(seconds) = retry_after_s {
                    response
                        .headers_mut()
                        .insert(RETRY_AFTER, HeaderValue::from(*seconds));
                }
                return Ok(Found::Fault(Box::new(response)));
            }
            Some(FaultKind::CutAfterEvents(events)) => Some(*events),
            None => None,
        };
        let message = self
            .message(&turn.reply, &request, &key, body)
            .map_err(at_turn)?;
        Ok(Found::Answer(Answer {
            message,
            stream: request.stream,
            delay: Duration::from_millis(turn.delay_ms),
            cut_after_events,
        }))
    }

    /// The first conversation that fits.
    fn conversation(&self, request: &ReplayRequest) -> Result<(usize, &Conversation), String> {
        let mut differences = Vec::new();
        for (place, conversation) in self.script.conversations.iter().enumerate() {
            match misfit(&conversation.when, request) {
                None => return Ok((place, conversation)),
                Some(difference) => {
                    differences.push(format!("`{}`: {difference}", conversation.name));
                }
            }
        }
        let more = differences.len().saturating_sub(MISMATCH_CONVERSATIONS_MAX);
        differences.truncate(MISMATCH_CONVERSATIONS_MAX);
        let mut text = format!(
            "no conversation fits the request: {}",
            differences.join("; ")
        );
        if more > 0 {
            text = format!("{text}; and {more} more");
        }
        Err(text)
    }

    fn due_fault<'a>(&self, turn: &'a Turn, key: &TurnKey) -> Option<&'a FaultKind> {
        let Fault { times, kind } = turn.fault.as_ref()?;
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.fault_is_due(key, *times).then_some(kind)
    }

    fn message(
        &self,
        reply: &Reply,
        request: &ReplayRequest,
        key: &TurnKey,
        body: &Bytes,
    ) -> Result<ReplayMessage, String> {
        let material = Material {
            tool_results: request
                .tool_results
                .iter()
                .map(|r| r.text.as_str())
                .collect(),
            instruction: &request.first_user_text,
        };
        let mark = hex(&sha256(body)[..10]);
        let mut blocks = Vec::with_capacity(reply.blocks.len());
        for (index, block) in reply.blocks.iter().enumerate() {
            blocks.push(match block {
                ReplyBlock::Text(text) => MessageBlock::Text(text.fill(&material)?),
                ReplyBlock::Tool { name, input } => MessageBlock::ToolUse {
                    id: format!("toolu_{mark}{index:02}"),
                    name: name.clone(),
                    input: fill_fields(input, &material)?,
                },
            });
        }
        let calls_a_tool = reply
            .blocks
            .iter()
            .any(|b| matches!(b, ReplyBlock::Tool { .. }));
        let stop_reason = if calls_a_tool { "tool_use" } else { "end_turn" };
        let stop_reason = reply
            .stop_reason
            .clone()
            .unwrap_or_else(|| stop_reason.to_owned());
        let usage = self.usage(reply.usage, &blocks, request, key, body);
        Ok(ReplayMessage {
            id: format!("msg_{mark}"),
            model: reply.model.clone().unwrap_or_else(|| request.model.clone()),
            blocks,
            stop_reason,
            usage,
        })
    }

    fn usage(
        &self,
        rule: UsageRule,
        blocks: &[MessageBlock],
        request: &ReplayRequest,
        key: &TurnKey,
        body: &Bytes,
    ) -> TokenCounts {
        let cached = {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            let cached = memory.common_prefix(key, body);
            memory.keep(key, body.clone());
            cached
        };
        match rule {
            UsageRule::Measured => {
                let cache_read = whole(cached / BYTES_PER_TOKEN);
                let written = tokens(blocks.iter().map(MessageBlock::bytes).sum());
                TokenCounts {
                    input: tokens(body.len()) - cache_read,
                    cache_read,
                    output: written.min(request.max_tokens.unwrap_or(i64::MAX)),
                    ..TokenCounts::default()
                }
            }
            UsageRule::Fixed(fixed) => TokenCounts {
                input: fixed.input.into(),
                cache_read: fixed.cache_read.into(),
                cache_write: i64::from(fixed.cache_write_5m) + i64::from(fixed.cache_write_1h),
                cache_write_1h: fixed.cache_write_1h.into(),
                output: fixed.output.into(),
            },
        }
    }
}

enum Found {
    Answer(Answer),
    Fault(Box<Response<AnswerBody>>),
}

impl Answer {
    fn response(self) -> Response<AnswerBody> {
        if !self.stream {
            return match self.cut_after_events {
                None => json(StatusCode::OK, self.message.json()),
                Some(_) => with_type("application/json", cut(Vec::new())),
            };
        }
        let mut events = self.message.events();
        let body = match self.cut_after_events {
            Some(count) if count < events.len() => {
                events.truncate(count);
                cut(events)
            }
            _ => stream(events.into_iter().map(Ok)),
        };
        with_type("text/event-stream; charset=utf-8", body)
    }
}

type Part = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

fn stream(parts: impl Iterator<Item = Part> + Send + 'static) -> AnswerBody {
    let frames = parts.map(|part| part.map(Frame::data));
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

fn cut(events: Vec<Bytes>) -> AnswerBody {
    let broken: Part = Err("the script cuts the stream here".into());
    stream(events.into_iter().map(Ok).chain([broken]))
}

fn with_type(content_type: &'static str, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    let value = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, value);
    response
}

fn json(status: StatusCode, document: Bytes) -> Response<AnswerBody> {
    let body = Full::new(document)
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut response = with_type("application/json", body);
    *response.status_mut() = status;
    response
}

fn error(status: StatusCode, kind: &str, message: &str) -> Response<AnswerBody> {
    let document = serde_json::json!({
        "type": "error",
        "error": {"type": kind, "message": message},
    });
    json(status, document.to_string().into())
}

/// What keeps a request out of a conversation; `None` if it belongs there.
fn misfit(when: &When, request: &ReplayRequest) -> Option<String> {
    let fields = [
        ("model", &when.model, &request.model),
        ("system", &when.system, &request.system),
        (
            "first_user_text",
            &when.first_user_text,
            &request.first_user_text,
        ),
    ];
    if let Some(difference) = fields.iter().find_map(|(name, matcher, found)| {
        matcher
            .as_ref()
            .and_then(|matcher| matcher.difference(name, found))
    }) {
        return Some(difference);
    }
    let offers = |tool: &&String| request.tools.contains(tool);
    if let Some(tool) = when.tools.include.iter().find(|tool| !offers(tool)) {
        return Some(format!(
            "`tools` should include `{tool}`, but is {:?}",
            request.tools
        ));
    }
    let tool = when.tools.exclude.iter().find(offers)?;
    Some(format!(
        "`tools` should not include `{tool}`, but is {:?}",
        request.tools
    ))
}

/// What in a request is not as its turn expects; `None` if all is.
fn unexpected(expect: &Expect, request: &ReplayRequest) -> Option<String> {
    let last = &request.last_user_text;
    let text: Option<&Matcher> = expect.last_user_text.as_ref();
    if let Some(difference) = text.and_then(|matcher| matcher.difference("last_user_text", last)) {
        return Some(difference);
    }
    let count = request.tool_results.len();
    if let Some(expected) = expect.tool_results.filter(|expected| *expected != count) {
        return Some(format!(
            "`tool_results` should be {expected}, but the last message has {count}"
        ));
    }
    expect
        .tool_result
        .iter()
        .find_map(|expected| unexpected_result(expected, request))
}

fn unexpected_result(expected: &ResultExpected, request: &ReplayRequest) -> Option<String> {
    let of_tool = |tool: &String| expected.tool.as_ref().is_none_or(|wanted| wanted == tool);
    let field = match &expected.tool {
        Some(tool) => format!("tool_result[{}] of {tool}", expected.index),
        None => format!("tool_result[{}]", expected.index),
    };
    let mut results = request
        .tool_results
        .iter()
        .filter(|result| of_tool(&result.tool));
    let Some(found) = results.nth(expected.index) else {
        let tools: Vec<&str> = request
            .tool_results
            .iter()
            .map(|r| r.tool.as_str())
            .collect();
        return Some(format!(
            "`{field}` does not exist: the last message has results of {tools:?}"
        ));
    };
    if let Some(wanted) = expected.is_error.filter(|wanted| *wanted != found.is_error) {
        return Some(format!(
            "`{field}` should have is_error = {wanted}, but it is {}: {}",
            found.is_error,
            Quoted(&found.text)
        ));
    }
    expected.text.as_ref()?.difference(&field, &found.text)
}

fn tokens(bytes: usize) -> i64 {
    whole(bytes.div_ceil(BYTES_PER_TOKEN))
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
