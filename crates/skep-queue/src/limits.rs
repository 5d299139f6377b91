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
/// The longest name of a queue; it is written to the ledger.
pub const FLOW_NAME_BYTES_MAX: usize = 40;
/// What one point of priority is worth: it goes as if it had waited this much longer.
pub const AGEING_MS_PER_POINT: i64 = 60_000;
/// The greatest priority, and the smallest below zero: a week's head start.
pub const PRIORITY_MAX: i64 = 10_000;
/// What each slot that a project holds costs it beside other projects that wait, at weight 1: its
/// next job goes as if it had come this much later.
pub const FAIR_SHARE_MS: i64 = 600_000;
/// Lanes that one claim weighs against each other; the next claim goes on with the next ones.
pub const CLAIM_LANES_MAX: usize = 64;
/// Delayed jobs that one claim puts in line.
pub const DUE_JOBS_MAX: i64 = 256;
/// Jobs of one batch: what one transaction can do without keeping others waiting.
pub const BATCH_JOBS_MAX: usize = 1_000;
/// Queues in one answer.
pub const LIST_QUEUES_MAX: i64 = 1_000;
/// Paused queues; more have no use, there is `*`.
pub const PAUSED_QUEUES_MAX: i64 = 1_000;
