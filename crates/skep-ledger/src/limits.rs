//! The limits of this crate, each with its reason.

/// The largest payload. Events hold ids and numbers; a larger one is text in the wrong place.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// Events sealed in one go. Bounds how long a PostgreSQL sealer holds the head.
pub const SEAL_EVENTS_MAX: i64 = 512;
/// Chain rows in one INSERT statement: enough to hide the round trip, few enough to plan quickly.
pub const SEAL_ROWS_MAX: usize = 64;
/// How long a PostgreSQL event waits for its seal when no wake-up reaches the sealer.
pub const SEAL_POLL_MS: u64 = 100;
/// How long the sealer waits after the store failed, before it tries again.
pub const SEAL_RETRY_MS: u64 = 1_000;
/// Events in one answer of a tail.
pub const TAIL_EVENTS_MAX: i64 = 1_000;
/// Entries that one step of a verification reads; each step is a transaction of its own.
pub const VERIFY_ENTRIES_MAX: i64 = 1_000;
/// The largest key file; a PKCS#8 Ed25519 key is under 100 bytes.
pub const KEY_BYTES_MAX: u64 = 4_096;
