//! The error document of the Messages API, to read and to write.
//!
//! `{"type":"error","error":{"type":…,"message":…}}`; the known types and their status codes are
//! those of the vendor's API reference, section "Errors".

use crate::limits::ERROR_TEXT_BYTES_MAX;
use serde::{Deserialize, Serialize};
use skep_types::FailureClass;

/// The known error types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is malformed or asks for something that is not allowed.
    InvalidRequest,
    /// The credential is missing or unknown.
    Authentication,
    /// Money: a spend limit or an unpaid account.
    Billing,
    /// The credential may not do this.
    Permission,
    /// There is no such route or model.
    NotFound,
    /// The body is too large.
    RequestTooLarge,
    /// Too many requests or tokens for now.
    RateLimit,
    /// The server failed.
    Api,
    /// The server gave up waiting.
    Timeout,
    /// The server has no capacity for now.
    Overloaded,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::InvalidRequest,
        Self::Authentication,
        Self::Billing,
        Self::Permission,
        Self::NotFound,
        Self::RequestTooLarge,
        Self::RateLimit,
        Self::Api,
        Self::Timeout,
        Self::Overloaded,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Billing => "billing_error",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::RequestTooLarge => "request_too_large",
            Self::RateLimit => "rate_limit_error",
            Self::Api => "api_error",
            Self::Timeout => "timeout_error",
            Self::Overloaded => "overloaded_error",
        }
    }

    /// The HTTP status the vendor sends with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Authentication => 401,
            Self::Billing => 402,
            Self::Permission => 403,
            Self::NotFound => 404,
            Self::RequestTooLarge => 413,
            Self::RateLimit => 429,
            Self::Api => 500,
            Self::Timeout => 504,
            Self::Overloaded => 529,
        }
    }

    /// The document with this type and `message`, ready to send.
    pub fn document(self, message: &str) -> Vec<u8> {
        let document = serde_json::json!({
            "type": "error",
            "error": {"type": self.as_str(), "message": message},
        });
        document.to_string().into_bytes()
    }
}

/// What an error document says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// The type on the wire; see [`ErrorKind`] for the known ones.
    #[serde(rename = "type")]
    pub kind: String,
    /// The vendor's words.
    pub message: String,
}

impl ErrorDetail {
    /// Reads an error document; `None` if `body` is none.
    pub fn parse(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Document {
            error: ErrorDetail,
        }
        let document: Document = serde_json::from_slice(body).ok()?;
        Some(document.error.bounded())
    }

    /// The known kind, if it is one.
    pub fn known(&self) -> Option<ErrorKind> {
        ErrorKind::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == self.kind)
    }

    pub(crate) fn bounded(mut self) -> Self {
        for text in [&mut self.kind, &mut self.message] {
            text.truncate(text.floor_char_boundary(ERROR_TEXT_BYTES_MAX));
        }
        self
    }
}

/// What an error answer means for the work that asked: by its document where there is one, else by
/// its HTTP status. `rate_limit` and `provider_outage` pass by themselves; nothing else does.
pub fn failure_class(status: Option<u16>, detail: Option<&ErrorDetail>) -> FailureClass {
    use FailureClass as Class;
    let by_kind = match detail.and_then(ErrorDetail::known) {
        Some(ErrorKind::Authentication | ErrorKind::Permission) => Some(Class::Auth),
        Some(ErrorKind::Billing) => Some(Class::BudgetExceeded),
        Some(ErrorKind::RequestTooLarge) => Some(Class::ContextOverflow),
        Some(ErrorKind::RateLimit) => Some(Class::RateLimit),
        Some(ErrorKind::Overloaded | ErrorKind::Api | ErrorKind::Timeout) => {
            Some(Class::ProviderOutage)
        }
        Some(ErrorKind::InvalidRequest) if detail.is_some_and(is_overflow) => {
            Some(Class::ContextOverflow)
        }
        Some(ErrorKind::InvalidRequest | ErrorKind::NotFound) => Some(Class::Unknown),
        None => None,
    };
    by_kind.unwrap_or_else(|| match status.unwrap_or_default() {
        401 | 403 => Class::Auth,
        402 => Class::BudgetExceeded,
        413 => Class::ContextOverflow,
        429 => Class::RateLimit,
        0 | 408 | 500..=599 => Class::ProviderOutage,
        _ => Class::Unknown,
    })
}

/// The vendor has no type of its own for a prompt that does not fit; it has these words.
fn is_overflow(detail: &ErrorDetail) -> bool {
    let message = detail.message.to_ascii_lowercase();
    message.contains("prompt is too long")
        || (message.contains("context") && message.contains("exceed"))
}

/// An HTTP answer in parts; the caller knows which HTTP library it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// The status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The error document.
    pub body: Vec<u8>,
}

/// The answer to a call that a budget forbids, in the one form that clients take as final and show
/// word for word: 429, `billing_error`, `x-should-retry: false`. `retry_after_s` is the time until
/// the budget renews, where it does.
pub fn spend_limit_answer(message: &str, retry_after_s: Option<u64>) -> ErrorAnswer {
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("x-should-retry", "false".to_owned()),
    ];
    if let Some(seconds) = retry_after_s {
        headers.push(("retry-after", seconds.to_string()));
    }
    ErrorAnswer {
        status: 429,
        headers,
        body: ErrorKind::Billing.document(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back() {
        for kind in ErrorKind::ALL {
            let detail = ErrorDetail::parse(&kind.document("it \"failed\"")).unwrap();
            assert_eq!(detail.known(), Some(*kind));
            assert_eq!(detail.message, "it \"failed\"");
        }
        assert_eq!(ErrorDetail::parse(b"<html>bad gateway</html>"), None);
        assert_eq!(ErrorDetail::parse(b"{}"), None);
    }

    #[test]
    fn the_spend_limit_answer_is_final() {
        let answer = spend_limit_answer("budget daily is spent; it renews in 90 s", Some(90));
        assert_eq!(answer.status, 429);
        assert!(
            answer
                .headers
                .contains(&("x-should-retry", "false".to_owned()))
        );
        assert!(answer.headers.contains(&("retry-after", "90".to_owned())));
        assert_eq!(
            String::from_utf8(answer.body).unwrap(),
            r#"{"type":"error","error":{"type":"billing_error","message":"budget daily is spent; it renews in 90 s"}}"#
        );
        assert_eq!(spend_limit_answer("x", None).headers.len(), 2);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = "\u{e9}".repeat(ERROR_TEXT_BYTES_MAX);
        let detail = ErrorDetail::parse(&ErrorKind::Api.document(&long)).unwrap();
        assert!(detail.message.len() <= ERROR_TEXT_BYTES_MAX);
        assert!(detail.message.ends_with('\u{e9}'));
    }
}
