//! The limits of this crate, each with its reason.

/// Connections on the TCP port at the same time; a dashboard and a few scripts need a dozen.
pub const NETWORK_CONNECTIONS_MAX: usize = 256;
/// Connections on the socket in the home at the same time.
pub const SOCKET_CONNECTIONS_MAX: usize = 128;
/// Connections of one attempt to the gateway at the same time: parallel calls of one agent.
pub const FENCE_CONNECTIONS_MAX: usize = 64;
/// The longest wait for the whole head of a request, in milliseconds; also closes idle connections.
pub const HEAD_MS: u64 = 30_000;
/// The head of a request, in bytes; clients of the gateway send long beta headers.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Headers of a request.
pub const HEADERS_MAX: usize = 100;
/// The body of an API request, in bytes: the longest instruction, checks and scope with JSON's
/// escapes. The gateway has a limit of its own.
pub const API_BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The longest wait for the body of an API request, in milliseconds.
pub const API_BODY_MS: u64 = 30_000;
/// Events read at once for a stream.
pub const STREAM_PAGE: i64 = 200;
/// How often a stream looks for events by itself, in milliseconds, should a wake-up be lost.
pub const STREAM_POLL_MS: u64 = 2_000;
/// How often a silent stream says that it is alive, in milliseconds.
pub const STREAM_KEEP_ALIVE_MS: u64 = 15_000;
/// How long open answers may take to end when the server stops, in milliseconds.
pub const DRAIN_MS: u64 = 5_000;
/// The pause after a failed accept, in milliseconds: the usual reason is too many open files,
/// which only time mends.
pub const ACCEPT_RETRY_MS: u64 = 100;
/// The token file, in bytes; a longer one is not a token.
pub const TOKEN_FILE_BYTES_MAX: u64 = 4_096;
/// Ledger entries in one answer; each has a payload of up to 16 kB, and most have 200 bytes.
pub const LEDGER_PAGE_MAX: i64 = 1_000;
