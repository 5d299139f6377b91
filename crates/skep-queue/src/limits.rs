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
/// How much later than due a firing of a schedule is still in time, in milliseconds: a restart of
/// the engine takes less, and so do the pauses between two looks at the clock.
pub const LATE_MS: i64 = 5 * 60_000;
/// Slots of one schedule that one step looks at: five weeks of minutes, done in a few hundredths of
/// a second. What lies beyond is the next step's.
pub const PLAN_SLOTS_MAX: i64 = 50_000;
/// The shortest interval of a schedule, in milliseconds, and what every interval is a multiple of: a
/// minute, as in cron. Whoever needs seconds needs no schedule but a service.
pub const INTERVAL_MS_MIN: i64 = 60_000;
/// The longest interval of a schedule, in milliseconds: 52 weeks; beyond that a cron line says it
/// better.
pub const INTERVAL_MS_MAX: i64 = 52 * 7 * 24 * 3_600_000;
/// The largest jitter, in milliseconds: half a day, beyond which a slot loses its meaning.
pub const JITTER_MS_MAX: i64 = 12 * 3_600_000;
/// Runs of one schedule side by side, at the most.
pub const OVERLAP_MAX: i64 = 100;
/// Slots that one catch-up fires, at the most: more would be a flood after every long downtime.
pub const CATCH_UP_MAX: i64 = 100;
/// The longest window of a catch-up, in milliseconds: 30 days.
pub const CATCH_UP_WINDOW_MS_MAX: i64 = 30 * 24 * 3_600_000;
/// Failures in a row after which a schedule can be told to pause, at the most.
pub const FAILURES_MAX: i64 = 1_000;
/// Schedules of one store: far above what a person can keep in mind, and all of them are looked
/// through at a start.
pub const SCHEDULES_MAX: i64 = 1_000;
/// Due schedules handled in one look.
pub const DUE_SCHEDULES_MAX: i64 = 64;
/// Firings under way that one look handles; more than the slots of any one installation.
pub const OPEN_FIRINGS_MAX: i64 = 1_000;
/// Firings in one answer of a list.
pub const LIST_FIRINGS_MAX: i64 = 500;
/// How long a firing that has ended is kept, in milliseconds: 90 days. The schedule itself keeps its
/// last success and failure, and the ledger everything.
pub const FIRING_KEPT_MS: i64 = 90 * 24 * 3_600_000;
/// The longest reason of a pause or a failure, in bytes: a sentence.
pub const SCHEDULE_REASON_BYTES_MAX: usize = 2 * 1024;
/// How many milliseconds a run asked for by a person looks ahead for a slot of its own; only as many
/// runs as may go on side by side can have taken them.
pub const MANUAL_SLOTS_MAX: i64 = 256;
/// Nodes of one graph: a plan of thousands is made by a program, and this many still fit into one
/// transaction of a second.
pub const GRAPH_NODES_MAX: usize = 20_000;
/// Steps of a graph one after another; other jobs that it comes after count as well.
pub const GRAPH_LEVELS_MAX: i64 = 2_000;
/// Children of one node: what ends with it is settled in one transaction.
pub const GRAPH_FAN_OUT_MAX: usize = 10_000;
/// Edges of one node, to bound what one row of a plan can ask for.
pub const GRAPH_EDGES_MAX: usize = 10_000;
/// Rows written by one statement of a graph: bounds the text of its parameter to a megabyte.
pub const GRAPH_ROWS_MAX: usize = 2_000;
/// The longest name of a node or an artifact: it becomes the name of a folder or file.
pub const NODE_NAME_BYTES_MAX: usize = 64;
/// Generations of parts below one root: a job that asks for jobs that ask for jobs is a runaway
/// long before.
pub const TREE_DEPTH_MAX: i64 = 16;
/// Jobs ever asked for below one root.
pub const TREE_JOBS_MAX: i64 = 50_000;
/// Jobs ended by one transaction while a tree is cancelled; the caller repeats it.
pub const CANCEL_TREE_JOBS_MAX: i64 = 128;
/// Artifacts of one job: more than this is an archive, which is one artifact.
pub const ARTIFACTS_MAX: usize = 32;
/// The largest artifact, in bytes. Each is copied into the fence of every child.
pub const ARTIFACT_BYTES_MAX: i64 = 16 * 1024 * 1024;
/// All artifacts of one job together, in bytes.
pub const ARTIFACTS_BYTES_MAX: i64 = 64 * 1024 * 1024;
