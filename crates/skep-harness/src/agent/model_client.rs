//! The model, through the gateway: one streamed Messages call with its retries.
//!
//! Owns nothing between calls; every try has a connection of its own, which on one machine costs
//! less than the bookkeeping of a shared one. Invariant: a call ends with a whole message or with a
//! class, after a bounded number of tries, and what the gateway calls final is final.

use crate::agent::guard::Stop;
use crate::event::EndReason;
use crate::limits::{
    ANSWER_BEGIN_MS_MAX, ANSWER_END_MS_MAX, CONNECT_MS_MAX, ERROR_BODY_BYTES_MAX,
    RETRY_AFTER_MS_MAX, RETRY_CAP_MS,
};
use crate::task::AgentLimits;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use skep_stdx::{Backoff, Secret, SharedEntropy};
use skep_types::FailureClass;
use skep_wire::{
    CompletedMessage, ErrorDetail, MessageStream, SseLimits, SseParser, StreamError, failure_class,
};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The version of the Messages API that is spoken.
const API_VERSION: &str = "2023-06-01";

/// The stable code of an error that the gateway itself answered, which says more than a status.
const ERROR_CODE_HEADER: &str = "x-skep-error";

/// The code for a job that was cancelled, has ended or was taken over.
const STALE_FENCE: &str = "stale_fence";

/// Whether a client should try again, in the words `true` and `false`.
const SHOULD_RETRY_HEADER: &str = "x-should-retry";

pub(crate) struct ModelClient {
    host: String,
    port: u16,
    path: String,
    key: Secret,
    entropy: SharedEntropy,
    backoff: Backoff,
    retries_max: u32,
    silence: Duration,
}

/// A call that gave a message.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) message: CompletedMessage,
    pub(crate) retries: u32,
}

/// A call that gave none.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) stop: Stop,
    pub(crate) retries: u32,
}

/// A try that gave no message.
#[derive(Debug)]
struct Failure {
    class: FailureClass,
    detail: String,
    /// Whether another try is of use, and how long the other side wants to be left alone.
    again: Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Never,
    WithBackoff,
    AfterMs(i64),
}

impl ModelClient {
    /// A client of the gateway at `url`, as in `http://127.0.0.1:7575`.
    pub(crate) fn new(
        url: &str,
        key: Secret,
        limits: &AgentLimits,
        entropy: SharedEntropy,
    ) -> Result<Self, String> {
        let uri: Uri = url
            .parse()
            .map_err(|_| format!("`{url}` is not an address"))?;
        let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(format!("`{url}` is not an http:// address"));
        };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            path: format!("{}/v1/messages", uri.path().trim_end_matches('/')),
            key,
            entropy,
            backoff: Backoff {
                base_ms: limits.retry_base_ms,
                cap_ms: RETRY_CAP_MS,
            },
            retries_max: limits.model_retries_max,
            silence: Duration::from_millis(limits.answer_silence_ms_max),
        })
    }

    /// Sends `body` until it is answered, refused, or tried too often. `on_retry` hears why.
    pub(crate) async fn call(
        &self,
        body: Vec<u8>,
        mut on_retry: impl FnMut(&str),
    ) -> Result<Answered, Unanswered> {
        let body = Bytes::from(body);
        let mut retries = 0;
        loop {
            let failure = match self.attempt(body.clone()).await {
                Ok(message) => return Ok(Answered { message, retries }),
                Err(failure) => failure,
            };
            let wait_ms = match failure.again {
                Again::Never => None,
                Again::AfterMs(ms) => (ms <= RETRY_AFTER_MS_MAX).then_some(ms),
                Again::WithBackoff => Some(self.backoff.delay_ms(retries, &*self.entropy)),
            };
            let (Some(wait_ms), true) = (wait_ms, retries < self.retries_max) else {
                let stop = Stop::new(EndReason::ModelCall, failure.class, failure.detail);
                return Err(Unanswered { stop, retries });
            };
            on_retry(&failure.detail);
            retries += 1;
            tokio::time::sleep(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))).await;
        }
    }

    async fn attempt(&self, body: Bytes) -> Result<CompletedMessage, Failure> {
        let response = self.send(body).await?;
        if response.status() != StatusCode::OK {
            return Err(refused(response).await);
        }
        let content_type = response.headers().get(CONTENT_TYPE);
        let is_stream = content_type
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("text/event-stream"));
        if !is_stream {
            return Err(outage("the answer is not an event stream"));
        }
        self.read(response.into_body()).await
    }

    async fn send(&self, body: Bytes) -> Result<Response<Incoming>, Failure> {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let stream = timeout(Duration::from_millis(CONNECT_MS_MAX), connect)
            .await
            .map_err(|_| outage("the gateway did not accept the connection in time"))?
            .map_err(|error| outage(format!("failed to connect to the gateway: {error}")))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| outage(format!("failed to speak to the gateway: {error}")))?;
        // Its error is the request's error, which is reported there.
        drop(skep_stdx::spawn("gateway-connection", connection));
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(HOST, format!("{}:{}", self.host, self.port))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream")
            .header("anthropic-version", API_VERSION)
            .header("x-api-key", self.key.reveal())
            .body(Full::new(body))
            .map_err(|error| Failure {
                class: FailureClass::Unknown,
                detail: format!("failed to make the request: {error}"),
                again: Again::Never,
            })?;
        timeout(
            Duration::from_millis(ANSWER_BEGIN_MS_MAX),
            sender.send_request(request),
        )
        .await
        .map_err(|_| outage("the gateway did not begin to answer in time"))?
        .map_err(|error| outage(format!("failed to send the request: {error}")))
    }

    async fn read(&self, mut body: Incoming) -> Result<CompletedMessage, Failure> {
        let mut parser = SseParser::new(SseLimits::default());
        let mut message = MessageStream::new();
        while !message.is_stopped() {
            let frame = timeout(self.silence, body.frame())
                .await
                .map_err(|_| outage("the answer fell silent"))?;
            // An end without `message_stop` is found by `finish` below.
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| outage(format!("the answer was cut: {error}")))?;
            let Some(bytes) = frame.data_ref() else {
                continue;
            };
            let mut taken = Ok(());
            let parsed = parser.feed(bytes, |event| {
                if taken.is_ok() && !message.is_stopped() {
                    taken = message.take(&event);
                }
            });
            taken.map_err(|error| broken(&error))?;
            parsed.map_err(|error| outage(error.to_string()))?;
        }
        let message = message.finish().map_err(|error| broken(&error))?;
        // Hanging up on the last bytes would look to the gateway like an abort. What they say, or
        // that they do not come, changes nothing any more.
        let rest = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = timeout(Duration::from_millis(ANSWER_END_MS_MAX), rest).await;
        Ok(message)
    }
}

fn outage(detail: impl Into<String>) -> Failure {
    Failure {
        class: FailureClass::ProviderOutage,
        detail: detail.into(),
        again: Again::WithBackoff,
    }
}

/// A stream that began and gave no message.
fn broken(error: &StreamError) -> Failure {
    let (class, again) = match error {
        StreamError::Provider(detail) => class_of_error(None, Some(detail)),
        StreamError::Truncated | StreamError::Malformed { .. } => {
            (FailureClass::ProviderOutage, Again::WithBackoff)
        }
        StreamError::TooLarge { .. } => (FailureClass::InvalidOutput, Again::Never),
    };
    Failure {
        class,
        detail: error.to_string(),
        again,
    }
}

/// An answer that is not 200.
async fn refused(response: Response<Incoming>) -> Failure {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ERROR_BODY_BYTES_MAX).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let detail = ErrorDetail::parse(&body);
    let (class, again) = class_of_error(Some(head.status), detail.as_ref());
    let class = match word(&head.headers, ERROR_CODE_HEADER) {
        Some(STALE_FENCE) => FailureClass::LeaseLost,
        _ => class,
    };
    let again = match (word(&head.headers, SHOULD_RETRY_HEADER), again) {
        (Some("false"), _) => Again::Never,
        (Some("true"), Again::Never) => Again::WithBackoff,
        (_, again) => again,
    };
    let again = match (again, retry_after_ms(&head.headers)) {
        (Again::WithBackoff, Some(ms)) => Again::AfterMs(ms),
        (again, _) => again,
    };
    let words = detail.map_or_else(
        || "without an error document".to_owned(),
        |detail| format!("{}: {}", detail.kind, detail.message),
    );
    Failure {
        class,
        detail: format!("the gateway answered {}, {words}", head.status.as_u16()),
        again,
    }
}

/// What an error means, and whether it passes by itself.
fn class_of_error(
    status: Option<StatusCode>,
    detail: Option<&ErrorDetail>,
) -> (FailureClass, Again) {
    let class = failure_class(status.map(|status| status.as_u16()), detail);
    let again = if matches!(
        class,
        FailureClass::RateLimit | FailureClass::ProviderOutage
    ) {
        Again::WithBackoff
    } else {
        Again::Never
    };
    (class, again)
}

fn word<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `retry-after` in seconds, whole or not. A date is not used by any model vendor.
fn retry_after_ms(headers: &HeaderMap) -> Option<i64> {
    const SECONDS_MAX: f64 = 1e9;
    let seconds: f64 = word(headers, RETRY_AFTER.as_str())?.trim().parse().ok()?;
    if !(0.0..=SECONDS_MAX).contains(&seconds) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range was just checked"
    )]
    Some((seconds * 1_000.0).ceil() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, kind: &str, message: &str, expected: (FailureClass, Again)) {
        let detail = ErrorDetail {
            kind: kind.to_owned(),
            message: message.to_owned(),
        };
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(
            class_of_error(Some(status), Some(&detail)),
            expected,
            "{status} {kind} {message}"
        );
    }

    #[test]
    fn errors_have_classes() {
        use Again::{Never, WithBackoff};
        check(
            429,
            "rate_limit_error",
            "slow down",
            (FailureClass::RateLimit, WithBackoff),
        );
        check(
            429,
            "billing_error",
            "budget",
            (FailureClass::BudgetExceeded, Never),
        );
        check(
            529,
            "overloaded_error",
            "",
            (FailureClass::ProviderOutage, WithBackoff),
        );
        check(
            529,
            "something_new",
            "",
            (FailureClass::ProviderOutage, WithBackoff),
        );
        check(
            500,
            "api_error",
            "",
            (FailureClass::ProviderOutage, WithBackoff),
        );
        check(401, "authentication_error", "", (FailureClass::Auth, Never));
        check(403, "something_new", "", (FailureClass::Auth, Never));
        check(
            413,
            "request_too_large",
            "",
            (FailureClass::ContextOverflow, Never),
        );
        check(
            400,
            "invalid_request_error",
            "prompt is too long: 210000 tokens > 200000 maximum",
            (FailureClass::ContextOverflow, Never),
        );
        check(
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit",
            (FailureClass::ContextOverflow, Never),
        );
        check(
            400,
            "invalid_request_error",
            "tools: bad",
            (FailureClass::Unknown, Never),
        );
        check(
            404,
            "not_found_error",
            "model",
            (FailureClass::Unknown, Never),
        );
        check(418, "something_new", "", (FailureClass::Unknown, Never));
    }

    #[test]
    fn a_wait_that_is_asked_for_is_read() {
        let wait = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after_ms(&headers)
        };
        assert_eq!(wait("2"), Some(2_000));
        assert_eq!(wait("0.5"), Some(500));
        for odd in ["-1", "nan", "1e99", "Wed, 21 Oct 2026 07:28:00 GMT", ""] {
            assert_eq!(wait(odd), None, "{odd}");
        }
    }

    #[test]
    fn only_plain_addresses_are_taken() {
        let client = |url: &str| {
            let entropy = std::sync::Arc::new(skep_stdx::SeededEntropy::new(1));
            ModelClient::new(url, Secret::new("k"), &AgentLimits::default(), entropy)
                .map(|client| (client.host, client.port, client.path))
        };
        let place = |host: &str, port, path: &str| Ok((host.to_owned(), port, path.to_owned()));
        assert_eq!(
            client("http://127.0.0.1:4000"),
            place("127.0.0.1", 4000, "/v1/messages")
        );
        assert_eq!(
            client("http://[::1]:4000/k/x/"),
            place("::1", 4000, "/k/x/v1/messages")
        );
        assert!(client("https://example.com").is_err());
        assert!(client("127.0.0.1:1").is_err());
        assert!(client("").is_err());
    }
}
