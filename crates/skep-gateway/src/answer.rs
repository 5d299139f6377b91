//! Answers that the gateway gives itself, in the error form of the Messages API.
//!
//! Every one carries its stable code in `x-skep-error`, because the form has no place for it.

use crate::body::ReplyBody;
use crate::config::OnExhaust;
use crate::refusal::Refusal;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use skep_types::CallId;
use skep_wire::{ErrorKind, spend_limit_answer};

/// The call's id, on every answer to a call.
pub(crate) const CALL_ID: HeaderName = HeaderName::from_static("x-skep-call-id");
/// The model that answered, in the provider's words.
pub(crate) const MODEL_ACTUAL: HeaderName = HeaderName::from_static("x-skep-model-actual");
/// The stable code of an error of our own.
pub(crate) const ERROR_CODE: HeaderName = HeaderName::from_static("x-skep-error");
/// What the exhausted budget wants of the work: `pause` or `refuse`.
const ON_EXHAUST: HeaderName = HeaderName::from_static("x-skep-on-exhaust");

/// An error of our own, without the store or a provider having a part in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("there is no such route")]
    NoRoute,
    #[error("the request's headers are larger than {max} bytes")]
    HeadersTooLarge { max: usize },
    #[error("the request's body is larger than {max} bytes")]
    BodyTooLarge { max: usize },
    #[error("the request's body broke off")]
    BodyBrokeOff,
    #[error("the request's body did not come within {ms} ms")]
    BodyTooSlow { ms: u64 },
    #[error("{0}")]
    BadRequest(String),
    #[error("{max} model calls are under way; try again")]
    TooManyCalls { max: usize },
    #[error("the gateway cannot reach its store; nothing was sent to a provider")]
    StoreUnavailable,
    #[error("the answer has come, but its cost could not be recorded; it is withheld")]
    NotSettled,
    #[error("provider `{provider}` cannot be reached")]
    Unreachable { provider: String },
    #[error("provider `{provider}` did not begin to answer within {ms} ms")]
    FirstByte { provider: String, ms: u64 },
    #[error("provider `{provider}` broke off before it answered")]
    BrokeOff { provider: String },
    #[error("provider `{provider}` answered with a redirect, which is not followed")]
    Redirect { provider: String },
    #[error("the call failed inside the gateway")]
    Internal,
}

impl Fault {
    /// The stable code.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::NoRoute => "not_found",
            Self::HeadersTooLarge { .. } => "headers_too_large",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyBrokeOff => "body_broke_off",
            Self::BodyTooSlow { .. } => "body_too_slow",
            Self::BadRequest(_) => "request_malformed",
            Self::TooManyCalls { .. } => "gateway_busy",
            Self::StoreUnavailable => "database_unavailable",
            Self::NotSettled => "not_settled",
            Self::Unreachable { .. } => "provider_unreachable",
            Self::FirstByte { .. } => "provider_silent",
            Self::BrokeOff { .. } => "provider_broke_off",
            Self::Redirect { .. } => "provider_redirected",
            Self::Internal => "internal",
        }
    }

    const fn form(&self) -> (ErrorKind, StatusCode) {
        match self {
            Self::NoRoute => (ErrorKind::NotFound, StatusCode::NOT_FOUND),
            Self::HeadersTooLarge { .. } => (
                ErrorKind::InvalidRequest,
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ),
            Self::BodyTooLarge { .. } => {
                (ErrorKind::RequestTooLarge, StatusCode::PAYLOAD_TOO_LARGE)
            }
            Self::BodyBrokeOff | Self::BadRequest(_) => {
                (ErrorKind::InvalidRequest, StatusCode::BAD_REQUEST)
            }
            Self::BodyTooSlow { .. } => (ErrorKind::Timeout, StatusCode::REQUEST_TIMEOUT),
            Self::TooManyCalls { .. } | Self::StoreUnavailable | Self::NotSettled => {
                (ErrorKind::Api, StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::Unreachable { .. } | Self::BrokeOff { .. } | Self::Redirect { .. } => {
                (ErrorKind::Api, StatusCode::BAD_GATEWAY)
            }
            Self::FirstByte { .. } => (ErrorKind::Timeout, StatusCode::GATEWAY_TIMEOUT),
            Self::Internal => (ErrorKind::Api, StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// The answer.
    pub(crate) fn answer(&self) -> Response<ReplyBody> {
        let (kind, status) = self.form();
        let mut answer = error(kind, status, self.code(), &self.to_string());
        if matches!(self, Self::TooManyCalls { .. } | Self::StoreUnavailable) {
            answer
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// The answer to a call that was refused.
pub(crate) fn refused(refusal: &Refusal) -> Response<ReplyBody> {
    let Refusal::Budget(exhausted) = refusal else {
        let kind = refusal.kind();
        let status = StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::BAD_REQUEST);
        return error(kind, status, refusal.code(), &refusal.to_string());
    };
    let form = spend_limit_answer(&refusal.to_string(), exhausted.retry_after_s());
    let status = StatusCode::from_u16(form.status).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
    let mut answer = whole(status, form.body);
    for (name, value) in form.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(name, value);
        }
    }
    let word = match exhausted.on_exhaust {
        OnExhaust::Pause => "pause",
        OnExhaust::Refuse => "refuse",
    };
    let headers = answer.headers_mut();
    headers.insert(ON_EXHAUST, HeaderValue::from_static(word));
    headers.insert(ERROR_CODE, HeaderValue::from_static(refusal.code()));
    answer
}

/// A JSON document of our own.
pub(crate) fn document(status: StatusCode, body: Vec<u8>) -> Response<ReplyBody> {
    let mut answer = whole(status, body);
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// An answer with nothing in it.
pub(crate) fn empty(status: StatusCode) -> Response<ReplyBody> {
    whole(status, Vec::new())
}

/// Puts the call's id on an answer.
pub(crate) fn name_call(headers: &mut HeaderMap, call: &CallId) {
    if let Ok(value) = HeaderValue::from_str(call.as_str()) {
        headers.insert(CALL_ID, value);
    }
}

fn error(
    kind: ErrorKind,
    status: StatusCode,
    code: &'static str,
    message: &str,
) -> Response<ReplyBody> {
    let mut answer = document(status, kind.document(message));
    answer
        .headers_mut()
        .insert(ERROR_CODE, HeaderValue::from_static(code));
    answer
}

fn whole(status: StatusCode, body: Vec<u8>) -> Response<ReplyBody> {
    let mut answer = Response::new(ReplyBody::whole(body));
    *answer.status_mut() = status;
    answer
}
