//! The limits of this crate, each with its reason.

/// The longest wait for a connection to the server, in milliseconds: it is on this machine.
pub const CONNECT_MS: u64 = 5_000;
/// The longest wait for the head of an answer, in milliseconds: `ledger verify` recomputes a chain
/// of millions of events before it answers.
pub const ANSWER_MS: u64 = 600_000;
/// The largest answer that is read, in bytes: a page of 500 jobs with room to spare.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The longest event of a stream, in bytes: a ledger payload holds ids and numbers only.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;
/// The longest silence of a stream, in milliseconds: four times the server's keep-alive.
pub const STREAM_SILENCE_MS: u64 = 60_000;
/// The longest text of a foreign answer that an error repeats, in characters.
pub const FOREIGN_ANSWER_CHARS_MAX: usize = 200;
