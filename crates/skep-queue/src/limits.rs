//! The limits of this crate, each with its reason.

/// Jobs in one claim: more than any machine has slots for.
pub const CLAIM_JOBS_MAX: i64 = 256;
/// Lost leases handled by one reconciliation; the caller repeats it while it is full.
pub const RECONCILE_JOBS_MAX: i64 = 256;
/// Jobs in one answer of a list.
pub const LIST_JOBS_MAX: i64 = 500;
/// Attempts in one answer; far above any sensible number of tries.
pub const LIST_ATTEMPTS_MAX: i64 = 1_000;
/// The longest lease, in milliseconds: a day without a heartbeat is a dead node.
pub const LEASE_MS_MAX: i64 = 24 * 60 * 60 * 1_000;
/// How often an engine may die over one job before the job is set aside as its likely cause.
/// High, because an engine that dies uses up none of a job's attempts.
pub const LOSSES_MAX: i64 = 100;
/// The largest number of attempts that can be asked for.
pub const ATTEMPTS_MAX: i64 = 1_000;
/// The longest name of an owner, project, harness or model, or idempotency key.
pub const NAME_BYTES_MAX: usize = 200;
/// The longest session id; it comes from a harness.
pub const SESSION_BYTES_MAX: usize = 500;
/// The largest digest of a request: SHA-512.
pub const DIGEST_BYTES_MAX: usize = 64;
