//! The limits of this crate, each with its reason.

/// The longest name of a topic, group, holder, stage, consumer or step, in bytes: it stands in
/// tables of 100 columns.
pub const NAME_BYTES_MAX: usize = 64;
/// The longest key or dedup id of a message, and the longest key of an effect, in bytes.
pub const KEY_BYTES_MAX: usize = 500;
/// Partitions of one topic: above it the heads cost more than the parallelism brings.
pub const PARTITIONS_MAX: i64 = 64;
/// The largest payload a topic may allow, in bytes: what is larger is a file, and goes by
/// reference.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// The largest payload of a topic that says nothing, in bytes.
pub const PAYLOAD_BYTES_DEFAULT: usize = 64 * 1024;
/// How long messages are kept where nothing is said, in milliseconds: a week, so that what broke
/// on a Friday can be read on a Monday.
pub const RETENTION_MS_DEFAULT: i64 = 7 * 24 * 60 * 60 * 1_000;
/// The shortest retention, in milliseconds.
pub const RETENTION_MS_MIN: i64 = 60_000;
/// The largest schema of a topic, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Messages of one `produce_all`: one transaction holds the head of a partition for all of them.
pub const PRODUCE_MESSAGES_MAX: usize = 1_000;
/// Messages named in one ledger event: its payload has a limit, and a digest takes 64 bytes.
pub const EVENT_MESSAGES_MAX: usize = 100;
/// Rows in one INSERT: enough to hide the round trip, few enough to plan quickly.
pub const INSERT_ROWS_MAX: usize = 16;
/// Messages in one answer of a fetch.
pub const FETCH_MESSAGES_MAX: i64 = 500;
/// Messages of one partition that are looked at in one fetch, those that wait for their key
/// included.
pub const FETCH_SCAN_MAX: i64 = 1_000;
/// Unfinished messages of one group in one partition that have been looked at. Bounds what a
/// fetch searches; beyond it the reader first finishes what it has.
pub const OPEN_ITEMS_MAX: i64 = 4_096;
/// The longest lease of a message, in milliseconds.
pub const LEASE_MS_MAX: i64 = 24 * 60 * 60 * 1_000;
/// How often readers may die over one message before it is taken for the cause.
pub const LOSSES_MAX: i64 = 10;
/// How often a message may be refused where its group says nothing.
pub const TRIES_DEFAULT: i64 = 5;
/// The most refusals a group may allow.
pub const TRIES_MAX: i64 = 100;
/// The longest text of a refusal that is kept, in bytes.
pub const WHY_BYTES_MAX: usize = 1_000;
/// Rows in one answer of a list.
pub const LIST_ROWS_MAX: i64 = 500;
/// Dead letters replayed or dismissed in one transaction.
pub const DRAIN_LETTERS_MAX: i64 = 500;
/// Messages that one step of retention removes; it holds the head of the partition so long.
pub const RETAIN_MESSAGES_MAX: i64 = 500;
/// Steps of retention in one pass over a partition; the next pass goes on.
pub const RETAIN_STEPS_MAX: usize = 20;
/// Ledger events that one step of a feed reads.
pub const FEED_EVENTS_MAX: i64 = 500;
/// How long checkpoints are kept, in milliseconds: more than a year, for yearly jobs.
pub const CHECKPOINT_MS_MAX: i64 = 400 * 24 * 60 * 60 * 1_000;
/// How often the keeper looks after retention and health, in milliseconds.
pub const KEEP_MS: u64 = 30_000;
/// How long a reader waits for a wake-up before it looks by itself, in milliseconds.
pub const POLL_MS: u64 = 1_000;
/// How long an effect may take before another doer may look after it, in milliseconds.
pub const EFFECT_LEASE_MS: i64 = 120_000;
/// How long a doer is waited for, in milliseconds: less than its lease, so that nobody else has
/// begun when it is given up on.
pub const EFFECT_PERFORM_MS: u64 = 90_000;
/// The longest outcome of an effect that is kept, in bytes.
pub const OUTCOME_BYTES_MAX: usize = 64 * 1024;
/// Restarts of one child within [`RESTART_WINDOW_MS`] that raise no alarm.
pub const RESTARTS_MAX: usize = 10;
/// The time over which restarts are counted, in milliseconds: an hour.
pub const RESTART_WINDOW_MS: i64 = 60 * 60 * 1_000;
/// The largest file of restarts that is read, in bytes; it is rewritten when it is longer.
pub const RESTART_FILE_BYTES_MAX: u64 = 256 * 1024;
/// How old a spilled file has to be before it is removed when no message names it, in
/// milliseconds: long enough for the transaction that names it.
pub const SPILL_ORPHAN_MS: i64 = 24 * 60 * 60 * 1_000;
/// Spilled files that one pass looks at.
pub const SPILL_FILES_MAX: usize = 1_000;
/// The waits between tries of a message: a second at first, five minutes at the most.
pub const RETRY: skep_stdx::Backoff = skep_stdx::Backoff {
    base_ms: 1_000,
    cap_ms: 300_000,
};
