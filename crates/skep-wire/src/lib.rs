//! The model vendors' wire formats: server-sent events and the Anthropic Messages API.
//!
//! Used from both sides: the gateway listens in on bytes that it relays unchanged, and the own
//! agent loop speaks the format as a client. Pure functions over bytes: no IO, no clock, and no
//! knowledge of keys, budgets or routes.
//!
//! Invariant: nothing here changes a byte of what passes through, except [`request_head::rewrite_model`],
//! which replaces exactly one string.

pub mod anthropic;
pub mod error;
pub mod limits;
pub mod message_stream;
mod raw_object;
pub mod request_head;
mod request_walk;
pub mod sse;
pub mod usage;

pub use anthropic::{Block, Message, MessagesRequest, Role, StopReason, SystemBlock};
pub use error::{ErrorDetail, ErrorKind, failure_class, spend_limit_answer};
pub use message_stream::{CompletedMessage, MessageStream, StreamError, ToolUse};
pub use request_head::{RequestHead, RequestHeadError, Unbounded, read_head, rewrite_model};
pub use sse::{SseError, SseEvent, SseLimits, SseParser};
pub use usage::{UsageProblem, UsageReader, UsageReport};
