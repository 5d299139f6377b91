//! Listens to an answer of the Messages API and reads what it used, while somebody else relays it.
//!
//! Owns the parser's unfinished event, or the body so far where the answer is not a stream.
//! Invariant: what is reported was said by the vendor. Nothing is estimated here, and an answer
//! whose end was not seen is reported as incomplete.
//!
//! Wire facts: `message_start` carries input and cache counts, `message_delta` the cumulative
//! output, and every later count replaces the earlier one, so the maximum of each is the total.

use crate::error::ErrorDetail;
use crate::limits::JSON_ANSWER_BYTES_MAX;
use crate::sse::{SseError, SseEvent, SseLimits, SseParser};
use serde::Deserialize;
use skep_types::TokenCounts;

/// What one answer used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageReport {
    /// Token counts so far; meaningless unless `usage_seen`.
    pub tokens: TokenCounts,
    /// The vendor has given at least one usage object.
    pub usage_seen: bool,
    /// The model that answered.
    pub model_actual: Option<String>,
    /// The vendor's id of the message.
    pub message_id: Option<String>,
    /// Why the model stopped.
    pub stop_reason: Option<String>,
    /// The capacity class that served the call, where the vendor says it.
    pub service_tier: Option<String>,
    /// Requests made by tools at the vendor. They cost fees of their own.
    pub server_tool_requests: i64,
    /// The answer was read to its regular end and its usage is final.
    pub complete: bool,
    /// The vendor's error, where the answer was or became one.
    pub error: Option<ErrorDetail>,
    /// Why reading stopped early.
    pub problem: Option<UsageProblem>,
}

/// Why an answer could not be read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageProblem {
    /// The event stream is not readable.
    #[error("failed to read the event stream")]
    Stream(#[source] SseError),
    /// An answer without streaming is larger than what is kept.
    #[error("answer is larger than {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// An event or the body is not what the format says.
    #[error("answer is malformed at `{place}`")]
    Malformed {
        /// The event's name, or `body`.
        place: String,
    },
}

/// Feed it the bytes that are relayed, in order, then ask for the report.
#[derive(Debug)]
pub struct UsageReader {
    source: Source,
    report: UsageReport,
}

#[derive(Debug)]
enum Source {
    Stream { parser: SseParser, started: bool },
    Json(Vec<u8>),
}

impl UsageReader {
    /// A reader of an event stream.
    pub fn stream() -> Self {
        Self {
            source: Source::Stream {
                parser: SseParser::new(SseLimits::default()),
                started: false,
            },
            report: UsageReport::default(),
        }
    }

    /// A reader of a JSON body.
    pub fn json() -> Self {
        Self {
            source: Source::Json(Vec::new()),
            report: UsageReport::default(),
        }
    }

    /// The reader that fits the answer's `content-type`.
    pub fn for_content_type(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("text/event-stream") {
            Self::stream()
        } else {
            Self::json()
        }
    }

    /// Reads the next bytes. Never fails: a problem is noted in the report and reading stops.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self { source, report } = self;
        if report.problem.is_some() {
            return;
        }
        match source {
            Source::Stream { parser, started } => {
                let fed = parser.feed(bytes, |event| read_event(&event, started, report));
                if let Err(error) = fed {
                    report.problem = Some(UsageProblem::Stream(error));
                }
            }
            Source::Json(body) => {
                if body.len() + bytes.len() > JSON_ANSWER_BYTES_MAX {
                    body.clear();
                    report.problem = Some(UsageProblem::TooLarge {
                        max: JSON_ANSWER_BYTES_MAX,
                    });
                } else {
                    body.extend_from_slice(bytes);
                }
            }
        }
    }

    /// What is known so far; for a JSON body that is nothing before [`Self::finish`].
    pub fn report(&self) -> &UsageReport {
        &self.report
    }

    /// The report, after the last byte.
    pub fn finish(self) -> UsageReport {
        let mut report = self.report;
        if let (Source::Json(body), None) = (self.source, &report.problem) {
            read_body(&body, &mut report);
        }
        report.complete &= report.problem.is_none() && report.error.is_none();
        report
    }
}

fn read_event(event: &SseEvent, started: &mut bool, report: &mut UsageReport) {
    // Most events are content; their names alone tell that they hold nothing to read.
    if event.event.starts_with("content_block") || event.event == "ping" {
        return;
    }
    if report.problem.is_some() || report.complete {
        return;
    }
    // The type alone first: an event that is not known may hold anything.
    let kind = match serde_json::from_slice::<EventType>(&event.data) {
        Ok(EventType { kind }) if is_read(&kind) => kind,
        Ok(_) => return,
        Err(_) => {
            report.problem = Some(malformed(&event.event));
            return;
        }
    };
    let Ok(body) = serde_json::from_slice::<EventBody>(&event.data) else {
        report.problem = Some(malformed(&kind));
        return;
    };
    match kind.as_str() {
        "message_start" => {
            *started = true;
            match body.message {
                Some(message) => message.note(report),
                None => report.problem = Some(malformed("message_start")),
            }
        }
        "message_delta" => {
            if let Some(stop_reason) = body.delta.and_then(|delta| delta.stop_reason) {
                report.stop_reason = Some(stop_reason);
            }
            if let Some(usage) = body.usage {
                usage.note(report);
            }
        }
        "message_stop" => report.complete = *started && report.usage_seen,
        "error" => report.error = Some(body.error.map_or_else(unreadable_error, bounded)),
        _ => {}
    }
}

fn is_read(kind: &str) -> bool {
    matches!(
        kind,
        "message_start" | "message_delta" | "message_stop" | "error"
    )
}

fn read_body(body: &[u8], report: &mut UsageReport) {
    let Ok(answer) = serde_json::from_slice::<MessageBody>(body) else {
        report.problem = Some(malformed("body"));
        return;
    };
    match answer.kind.as_deref() {
        Some("error") => {
            report.error = Some(ErrorDetail::parse(body).unwrap_or_else(unreadable_error));
        }
        Some("message") => {
            answer.note(report);
            report.complete = report.usage_seen && report.stop_reason.is_some();
        }
        _ => report.problem = Some(malformed("body")),
    }
}

fn malformed(place: &str) -> UsageProblem {
    const SHOWN_BYTES_MAX: usize = 64;
    let place = place[..place.floor_char_boundary(SHOWN_BYTES_MAX)].to_owned();
    UsageProblem::Malformed { place }
}

fn bounded(error: ErrorDetail) -> ErrorDetail {
    error.bounded()
}

fn unreadable_error() -> ErrorDetail {
    ErrorDetail {
        kind: "unknown".to_owned(),
        message: "the error document could not be read".to_owned(),
    }
}

#[derive(Deserialize)]
struct EventType {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct EventBody {
    message: Option<MessageBody>,
    delta: Option<DeltaBody>,
    usage: Option<UsageBody>,
    error: Option<ErrorDetail>,
}

#[derive(Deserialize)]
struct DeltaBody {
    stop_reason: Option<String>,
}

/// The outer fields of a message, without its content.
#[derive(Deserialize)]
pub(crate) struct MessageBody {
    #[serde(rename = "type")]
    kind: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) model: Option<String>,
    stop_reason: Option<String>,
    usage: Option<UsageBody>,
}

impl MessageBody {
    pub(crate) fn note(self, report: &mut UsageReport) {
        report.message_id = self.id;
        report.model_actual = self.model;
        report.stop_reason = self.stop_reason;
        if let Some(usage) = self.usage {
            usage.note(report);
        }
    }
}

/// The vendor's usage object. Any count may be missing or null.
#[derive(Deserialize, Default)]
pub(crate) struct UsageBody {
    input_tokens: Option<u32>,
    cache_creation_input_tokens: Option<u32>,
    cache_read_input_tokens: Option<u32>,
    output_tokens: Option<u32>,
    cache_creation: Option<CacheCreation>,
    server_tool_use: Option<ServerToolUse>,
    service_tier: Option<String>,
}

#[derive(Deserialize, Default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<u32>,
    ephemeral_1h_input_tokens: Option<u32>,
}

#[derive(Deserialize, Default)]
struct ServerToolUse {
    web_search_requests: Option<u32>,
    web_fetch_requests: Option<u32>,
    code_execution_requests: Option<u32>,
}

impl UsageBody {
    pub(crate) fn note(self, report: &mut UsageReport) {
        let count = |tokens: Option<u32>| tokens.map_or(0, i64::from);
        let split = self.cache_creation.unwrap_or_default();
        let (write_5m, write_1h) = (
            count(split.ephemeral_5m_input_tokens),
            count(split.ephemeral_1h_input_tokens),
        );
        let seen = TokenCounts {
            input: count(self.input_tokens),
            cache_read: count(self.cache_read_input_tokens),
            cache_write: count(self.cache_creation_input_tokens).max(write_5m + write_1h),
            cache_write_1h: write_1h,
            output: count(self.output_tokens),
        };
        let total = &mut report.tokens;
        *total = TokenCounts {
            input: total.input.max(seen.input),
            cache_read: total.cache_read.max(seen.cache_read),
            cache_write: total.cache_write.max(seen.cache_write),
            cache_write_1h: total.cache_write_1h.max(seen.cache_write_1h),
            output: total.output.max(seen.output),
        };
        let tools = self.server_tool_use.unwrap_or_default();
        let requests = count(tools.web_search_requests)
            + count(tools.web_fetch_requests)
            + count(tools.code_execution_requests);
        report.server_tool_requests = report.server_tool_requests.max(requests);
        report.service_tier = self.service_tier.or(report.service_tier.take());
        report.usage_seen = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"stub-large-1","content":[],"stop_reason":null,"usage":{"input_tokens":12,"cache_creation_input_tokens":300,"cache_read_input_tokens":4000,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200},"output_tokens":1,"service_tier":"standard"}}}

"#;
    const TEXT: &str = r#"event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type":"ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

"#;
    const DELTA: &str = r#"event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":25}}

"#;
    const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    fn read(parts: &[&str]) -> UsageReport {
        let mut reader = UsageReader::for_content_type("text/event-stream; charset=utf-8");
        for byte in parts.concat().as_bytes() {
            reader.feed(&[*byte]);
        }
        reader.finish()
    }

    fn counts(
        input: i64,
        cache_read: i64,
        cache_write: i64,
        one_hour: i64,
        output: i64,
    ) -> TokenCounts {
        TokenCounts {
            input,
            cache_read,
            cache_write,
            cache_write_1h: one_hour,
            output,
        }
    }

    #[test]
    fn a_whole_stream_gives_final_usage() {
        let report = read(&[START, TEXT, DELTA, STOP]);
        assert_eq!(report.tokens, counts(12, 4000, 300, 200, 25));
        assert_eq!(report.model_actual.as_deref(), Some("stub-large-1"));
        assert_eq!(report.message_id.as_deref(), Some("msg_1"));
        assert_eq!(report.stop_reason.as_deref(), Some("end_turn"));
        assert_eq!(report.service_tier.as_deref(), Some("standard"));
        assert!(report.complete && report.problem.is_none() && report.error.is_none());
    }

    #[test]
    fn later_counts_replace_earlier_ones_and_never_lower_them() {
        let more = r#"data: {"type":"message_delta","delta":{},"usage":{"input_tokens":20,"output_tokens":30,"server_tool_use":{"web_search_requests":2}}}

"#;
        let fewer = r#"data: {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"input_tokens":0,"cache_read_input_tokens":null,"output_tokens":3}}

"#;
        let report = read(&[START, more, fewer, STOP]);
        assert_eq!(report.tokens, counts(20, 4000, 300, 200, 30));
        assert_eq!(report.server_tool_requests, 2);
        assert!(report.complete);
    }

    #[test]
    fn a_stream_without_its_end_is_incomplete() {
        for parts in [
            &[][..],
            &[START],
            &[START, TEXT],
            &[START, TEXT, DELTA],
            &[
                START,
                TEXT,
                DELTA,
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n",
            ],
            &[TEXT, DELTA, STOP],
        ] {
            assert!(!read(parts).complete, "{parts:?}");
        }
        assert_eq!(read(&[START, TEXT]).tokens.input, 12);
    }

    #[test]
    fn an_error_in_the_middle_is_kept_and_the_answer_is_incomplete() {
        let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
        let report = read(&[START, TEXT, error, STOP]);
        assert_eq!(report.error.unwrap().kind, "overloaded_error");
        assert!(!report.complete);
    }

    #[test]
    fn malformed_usage_is_a_problem_not_a_zero() {
        let negative = DELTA.replace("25", "-25");
        let twice = DELTA.replace(
            "\"output_tokens\":25",
            "\"output_tokens\":25,\"output_tokens\":1",
        );
        for bad in [
            negative.as_str(),
            &twice,
            "event: message_delta\ndata: {\n\n",
        ] {
            let report = read(&[START, bad, STOP]);
            assert!(!report.complete, "{bad}");
            assert_eq!(report.problem, Some(malformed("message_delta")), "{bad}");
        }
    }

    #[test]
    fn unknown_events_and_fields_are_passed_over() {
        let unknown = "event: future\ndata: {\"type\":\"future\",\"delta\":7}\n\n";
        assert!(read(&[START, unknown, DELTA, STOP]).complete);
    }

    fn read_json(body: &str) -> UsageReport {
        let mut reader = UsageReader::for_content_type("application/json");
        let (first, second) = body.as_bytes().split_at(body.len() / 2);
        reader.feed(first);
        reader.feed(second);
        reader.finish()
    }

    #[test]
    fn a_json_answer_is_read_whole() {
        let report = read_json(
            r#"{"id":"msg_2","type":"message","model":"m","content":[{"type":"text","text":"usage"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":4}}"#,
        );
        assert_eq!(report.tokens, counts(3, 0, 0, 0, 4));
        assert!(report.complete);
        let error = read_json(r#"{"type":"error","error":{"type":"api_error","message":"no"}}"#);
        assert_eq!(error.error.unwrap().kind, "api_error");
        assert!(!error.complete);
        for cut in [
            "",
            "{",
            "<html>",
            "{\"type\":\"message\"}",
            "{\"object\":\"x\"}",
        ] {
            assert!(!read_json(cut).complete, "{cut}");
        }
    }

    #[test]
    fn a_json_answer_beyond_the_limit_is_not_kept() {
        let mut reader = UsageReader::json();
        for _ in 0..=16 {
            reader.feed(&vec![b' '; 1024 * 1024]);
        }
        let report = reader.finish();
        assert!(matches!(
            report.problem,
            Some(UsageProblem::TooLarge { .. })
        ));
    }
}
