//! The limits of this crate, each with its reason.

/// The largest payload. Events hold ids and numbers; a larger one is text in the wrong place.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// Events in one segment of the chain: bounds how long a PostgreSQL sealer holds the head, and what
/// a reader of one event has to read.
pub const SEAL_EVENTS_MAX: i64 = 512;
/// Gaps among the event numbers of a PostgreSQL ledger: transactions under way, and those that
/// failed in their last step while an older one goes on. The head holds them, 24 bytes each.
pub const GAPS_MAX: usize = 512;
/// The least time from one seal to the next on PostgreSQL: each is a transaction with a signature, so
/// under load they are for many events, and for one a person does not see the difference.
pub const SEAL_APART_MS: u64 = 10;
/// How long a PostgreSQL event waits for its seal when no wake-up reaches the sealer.
pub const SEAL_POLL_MS: u64 = 100;
/// How long the sealer waits after the store failed, before it tries again.
pub const SEAL_RETRY_MS: u64 = 1_000;
/// Events in one answer of a tail.
pub const TAIL_EVENTS_MAX: i64 = 1_000;
/// Events of one subject that are looked up at once; each may lie in a segment of its own.
pub const SUBJECT_EVENTS: i64 = 64;
/// How far below the highest event of the chain one may be sealed without being looked for in the
/// index of those that came very late. Far more than are ever under way at once.
pub const LATE_EVENTS: i64 = 65_536;
/// Entries that a purge reads at once.
pub const PURGE_ENTRIES: usize = 1_000;
/// Segments that one step of a verification reads; each step is a transaction of its own.
pub const VERIFY_SEGMENTS_MAX: i64 = 16;
/// Events that are read at once when one outside the chain is looked for.
pub const STRAY_EVENTS: i64 = 1_000;
/// The largest key file; a PKCS#8 Ed25519 key is under 100 bytes.
pub const KEY_BYTES_MAX: u64 = 4_096;
/// The longest line of an export: a payload of [`PAYLOAD_BYTES_MAX`], each byte escaped, and the rest
/// of its entry.
pub const EXPORT_LINE_BYTES_MAX: u64 = 6 * 16 * 1024 + 4_096;
