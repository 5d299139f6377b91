//! The limits of this crate, each with its reason.

/// The body of a request, in bytes: what the Messages API itself takes.
pub const REQUEST_BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long the next part of a request's body may be awaited, in milliseconds.
pub const REQUEST_BODY_IDLE_MS: u64 = 60_000;
/// All header names and values of a request together, in bytes. Real clients send under 4 kB.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Headers of a request.
pub const HEADERS_MAX: usize = 100;
/// Calls under way at the same time; beyond it clients are told to come back.
pub const CALLS_MAX: usize = 1_024;
/// Reaching a provider, in milliseconds: name, TCP connection.
pub const CONNECT_MS: u64 = 10_000;
/// Waiting for the head of a provider's answer, in milliseconds: the clients' own default, because
/// an answer without streaming comes only when the model is done.
pub const FIRST_BYTE_MS: u64 = 600_000;
/// Silence of a provider in the middle of an answer, in milliseconds; clients give up after the same.
pub const IDLE_MS: u64 = 300_000;
/// A client that takes nothing for this long, in milliseconds, counts as gone.
pub const CLIENT_IDLE_MS: u64 = 300_000;
/// One whole call, in milliseconds: ends streams that never end.
pub const CALL_MS_MAX: u64 = 3_600_000;
/// After a client has gone: how long its answer is still read, in milliseconds, to learn the usage.
pub const DRAIN_MS: u64 = 10_000;
/// How long after the longest call a reservation still counts as under way, in milliseconds.
pub const RESERVATION_GRACE_MS: i64 = 60_000;
/// How long the head of an answer is held until the model's name is seen, in milliseconds.
pub const HEAD_HOLD_MS: u64 = 2_000;
/// How much of an event stream is held with its head, in bytes; the first event has about 500.
pub const HEAD_HOLD_BYTES_MAX: usize = 64 * 1024;
/// Parts of an answer that wait for the client. Bounds memory; beyond it the provider waits too.
pub const RELAY_PARTS_MAX: usize = 16;
/// Idle connections kept per provider.
pub const IDLE_CONNECTIONS_MAX: usize = 32;
/// How long an idle connection is kept, in milliseconds; below the usual 60 s of servers.
pub const IDLE_CONNECTION_MS: u64 = 50_000;
/// How often settling is tried while the store does not answer.
pub const SETTLE_TRIES_MAX: u32 = 8;
/// The delay before the second try to settle, in milliseconds; it doubles.
pub const SETTLE_RETRY_BASE_MS: i64 = 100;
/// The longest delay between two tries to settle, in milliseconds.
pub const SETTLE_RETRY_CAP_MS: i64 = 5_000;
/// The name of the answering model as it is stored, in bytes.
pub const MODEL_ACTUAL_BYTES_MAX: usize = 256;

/// Keys in one answer of the key list.
pub const KEYS_PAGE_MAX: i64 = 500;
/// Different pairs of requested and answering model reported for one job.
pub const MODELS_OF_JOB_MAX: i64 = 32;
/// Calls that one reconciliation ends; the next one takes the rest.
pub const RECONCILE_CALLS_MAX: i64 = 10_000;

/// Tokens that a provider may add to a request with tools: its own instructions for tool use (up
/// to about 500) and for the tools it defines and the client runs (up to about 2,500 together).
pub const TOOL_PROMPT_TOKENS_MAX: i64 = 4_096;
/// Tokens of one inline image at the highest resolution that models read (about 4,800 today).
pub const IMAGE_TOKENS_MAX: i64 = 8_192;

/// A replay script, in bytes.
pub const SCRIPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a message about a mismatch quotes of one value, in bytes.
pub const MISMATCH_QUOTE_BYTES_MAX: usize = 400;
/// Conversations that a message about a mismatch lists.
pub const MISMATCH_CONVERSATIONS_MAX: usize = 8;
/// Request bodies kept to measure common prefixes, in bytes altogether; the oldest go first.
pub const REPLAY_BODIES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Conversation turns whose faults and bodies are remembered; the oldest go first.
pub const REPLAY_TURNS_MAX: usize = 4_096;
/// Text and tool input is streamed in pieces of this many bytes, as a model would.
pub const REPLAY_DELTA_BYTES: usize = 48;
/// A delay that a script may ask for, in milliseconds.
pub const REPLAY_DELAY_MS_MAX: u64 = 600_000;
