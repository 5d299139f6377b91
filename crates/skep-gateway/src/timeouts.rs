//! How long the gateway waits, for what. The defaults are in `limits`; tests shorten them.

use crate::limits::{
    CALL_MS_MAX, CLIENT_IDLE_MS, CONNECT_MS, DRAIN_MS, FIRST_BYTE_MS, HEAD_HOLD_MS, IDLE_MS,
    REQUEST_BODY_IDLE_MS,
};
use std::time::Duration;

/// Every wait of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// The next part of a request's body.
    pub request_body_idle: Duration,
    /// Reaching a provider.
    pub connect: Duration,
    /// The head of a provider's answer.
    pub first_byte: Duration,
    /// The next part of a provider's answer.
    pub idle: Duration,
    /// A client that takes nothing.
    pub client_idle: Duration,
    /// The rest of an answer whose client has gone.
    pub drain: Duration,
    /// The first event of a stream, before the head of the answer goes out without the name of
    /// the model that answers.
    pub head_hold: Duration,
    /// One whole call; no longer than the default, which decides when a call counts as lost.
    pub call: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request_body_idle: Duration::from_millis(REQUEST_BODY_IDLE_MS),
            connect: Duration::from_millis(CONNECT_MS),
            first_byte: Duration::from_millis(FIRST_BYTE_MS),
            idle: Duration::from_millis(IDLE_MS),
            client_idle: Duration::from_millis(CLIENT_IDLE_MS),
            drain: Duration::from_millis(DRAIN_MS),
            head_hold: Duration::from_millis(HEAD_HOLD_MS),
            call: Duration::from_millis(CALL_MS_MAX),
        }
    }
}
