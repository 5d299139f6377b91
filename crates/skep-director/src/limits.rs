//! The limits of the director, each with its reason.

/// The longest instruction, in bytes: a longer task is a file, and belongs in the repository.
pub const INSTRUCTION_BYTES_MAX: usize = 64 * 1024;
/// Checks of one job.
pub const CHECKS_MAX: usize = 16;
/// What one job gets of other jobs, in bytes: it is copied into the fence of each attempt.
pub const INPUT_ARTIFACTS_BYTES_MAX: i64 = 256 * 1024 * 1024;
/// Nodes of a plan that a person writes; programs enqueue larger graphs in parts.
pub const PLAN_NODES_MAX: usize = 200;
/// Artifacts that a node of a plan can promise.
pub const PLAN_ARTIFACTS_MAX: usize = 32;
/// Edges that are read to say what the jobs of one page wait for.
pub const EDGES_SHOWN_MAX: i64 = 5_000;
/// How many of the jobs that a job waits for are named in a sentence.
pub const REASON_JOBS_MAX: usize = 3;
/// The longest check, in bytes.
pub const CHECK_BYTES_MAX: usize = 4 * 1024;
/// Scope globs of one job.
pub const SCOPE_GLOBS_MAX: usize = 64;
/// Waivers of one job.
pub const WAIVERS_MAX: usize = 16;
/// The longest waiver, in bytes: a sentence for the people who read the result.
pub const WAIVER_BYTES_MAX: usize = 2 * 1024;
/// What a worker is told of the findings on its last result, in bytes; together with the longest
/// instruction they stay below what a harness takes.
pub const FINDINGS_BYTES_MAX: usize = 32 * 1024;
/// What is shown of the reason why a contract cannot be read, in bytes.
pub const CONTRACT_ERROR_BYTES_MAX: usize = 512;
/// All texts of one model call together, in bytes: about 65,000 tokens, and room in a request.
pub const CALL_BYTES_MAX: usize = 256 * 1024;
/// Messages of one model call.
pub const CALL_MESSAGES_MAX: usize = 256;
/// The schema of an answer, in bytes; it is sent with the question.
pub const SCHEMA_BYTES_MAX: usize = 32 * 1024;
/// The longest answer to a call that names no limit, in tokens.
pub const CALL_OUTPUT_TOKENS: i64 = 4_096;
/// The longest a call takes that names no limit, in seconds: what a provider is waited for.
pub const CALL_SECONDS: i64 = 600;
/// The longest limit of one attempt that can be asked for, in seconds: a day.
pub const TIMEOUT_SECONDS_MAX: i64 = 86_400;
/// Attempts of a call that end by a failure of their own; each may cost money.
pub const CALL_ATTEMPTS_MAX: i64 = 3;
/// Attempts of a command: its exit code is its result, whatever it is.
pub const SHELL_ATTEMPTS_MAX: i64 = 1;
/// The longest pause that a provider may ask for, in milliseconds; beyond it is a day's work.
pub const RETRY_AFTER_MS_MAX: i64 = 3_600_000;
/// How long an engine that stops waits for an answer that is already paid for, in milliseconds;
/// less than it waits for the step itself.
pub const CALL_DRAIN_MS: u64 = 8_000;
/// What is kept of an answer that is no message, in bytes.
pub const ANSWER_ERROR_BYTES_MAX: usize = 2_000;
/// Words of one command.
pub const COMMAND_WORDS_MAX: usize = 1_024;
/// One command, in bytes; longer ones are scripts.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// The output of a command that names no limit, in bytes.
pub const SHELL_OUTPUT_BYTES: i64 = 16 * 1024 * 1024;
/// The largest output of a command that can be asked for, in bytes.
pub const SHELL_OUTPUT_BYTES_MAX: i64 = 256 * 1024 * 1024;
/// The end of a command's output that stands in its account, in bytes.
pub const SHELL_TAIL_BYTES_MAX: usize = 4 * 1024;
/// How long a claim holds without a heartbeat, in milliseconds.
pub const LEASE_MS: i64 = 60_000;
/// How often a node renews its claims, in milliseconds: three tries fit into one lease.
pub const HEARTBEAT_MS: u64 = 15_000;
/// The salt of a digest on the ledger, in bytes: enough that nobody guesses a short text from it.
pub(crate) const SALT_BYTES: usize = 16;
/// Nodes of one store that are looked at, dead ones included.
pub const NODES_MAX: i64 = 256;
/// What is kept free on the disk of the home, in bytes: with less, no job is taken and none is
/// claimed. Room to record to their end the jobs under way, at some hundred kilobytes each.
pub const DISK_FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// By how much the store's clock may run ahead of the machine's steady one between two heartbeats,
/// in milliseconds: half a lease; with more, leases that are renewed in time seem to run out.
pub const CLOCK_JUMP_MS: i64 = LEASE_MS / 2;
/// How long nothing is taken back after such a jump, in milliseconds: two heartbeats of the others.
pub const CLOCK_GRACE_MS: i64 = 30_000;
/// How often the engine looks for work when nothing wakes it, in milliseconds.
pub const POLL_MS: u64 = 1_000;
/// What is kept of an attempt's output, in bytes.
pub const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What is kept of one check's output, in bytes.
pub const CHECK_LOG_BYTES_MAX: u64 = 1024 * 1024;
/// What `skep job log` shows, in bytes.
pub const LOG_VIEW_BYTES_MAX: usize = 256 * 1024;
/// The largest diff that is shown, in bytes.
pub const DIFF_BYTES_MAX: usize = 512 * 1024;
/// What a reviewer is told of the diff, in bytes; the whole change is checked out for it. Task,
/// diff and outputs together fit into the longest instruction that a harness takes, 128 KiB.
pub const REVIEW_DIFF_BYTES_MAX: usize = 40 * 1024;
/// What a reviewer is told of one check's output, in bytes.
pub const REVIEW_OUTPUT_BYTES_MAX: usize = 1024;
/// Files that are kept of an attempt without a result; a harness leaves a handful.
pub const LEFTOVER_FILES_MAX: usize = 32;
/// The same, in bytes: the longest transcript.
pub const LEFTOVER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Tool calls of one attempt that become ledger events of their own; the rest is counted.
pub const TOOL_EVENTS_MAX: i64 = 2_000;
/// The longest line of a worker's output that is read as an event, in bytes.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Attempts of one job that end by a failure of their own; a lost engine uses none.
pub const ATTEMPTS_MAX: i64 = 5;
/// How often a landing is computed anew because the target moved.
pub const LANDING_TRIES_MAX: u32 = 8;
/// Reviews asked for one result when a reviewer leaves no usable report.
pub const REVIEWS_MAX: usize = 2;
/// Attempts, or ends, of one job in a row that failed with the same class before the job is set
/// aside as poison: twice may be chance.
pub const POISON_ATTEMPTS: i64 = 3;
/// How often one job is replayed as a dead letter; after that a person retries it by name.
pub const REPLAYS_MAX: i64 = 5;
/// Dead jobs that one drain starts when nothing is asked for.
pub const DEAD_DRAIN: i64 = 10;
/// The same, at the most: as many as a queue of people can watch.
pub const DEAD_DRAIN_MAX: i64 = 500;
/// Events that stand in the account of a dead letter.
pub const DEAD_EVENTS: usize = 30;
/// The longest wait for running steps at shutdown, in milliseconds.
pub const DRAIN_MS: u64 = 10_000;
/// The longest `prepare` command, in milliseconds.
pub const PREPARE_MS: u64 = 600_000;
/// How long a part of the engine that ended waits before it is started again, in milliseconds.
pub const CHILD_PAUSE_MS: u64 = 1_000;
/// One page of a list, when nothing is asked for and at the most.
pub const PAGE_DEFAULT: i64 = 50;
/// See [`PAGE_DEFAULT`].
pub const PAGE_MAX: i64 = 500;
/// The waits between attempts that failed for a passing reason: two seconds at first, five minutes
/// at the most.
pub const RETRY: skep_stdx::Backoff = skep_stdx::Backoff {
    base_ms: 2_000,
    cap_ms: 300_000,
};
/// How often schedules are looked at when none is due, in milliseconds: a clock that was set forward
/// is noticed within this time.
pub const SCHEDULE_IDLE_MS: i64 = 30_000;
/// How often they are looked at while a run of one is under way, in milliseconds: its end starts
/// the one that waits.
pub const SCHEDULE_SETTLE_MS: i64 = 1_000;
/// The shortest wait between two looks, in milliseconds, whatever the rows say.
pub const SCHEDULE_PAUSE_MS: i64 = 20;
/// How far the clock may stand before what a schedule has accounted for, in milliseconds, until the
/// schedule follows it: a clock that is kept in step moves by less.
pub const CLOCK_BACK_MS: i64 = 60_000;
/// Steps of one schedule in one look: a whole catch-up and what was missed before it.
pub const SCHEDULE_STEPS_MAX: usize = 128;
/// How often a change of a schedule is tried when somebody else changes it at the same time.
pub const SCHEDULE_TRIES_MAX: usize = 8;
/// Pre-checks that run at the same time; they come on top of the slots of jobs.
pub const PRECHECKS_MAX: u32 = 4;
/// How long a pre-check may take when nothing is asked for, in seconds: it is to be cheaper than
/// what it saves.
pub const PRECHECK_S_DEFAULT: i64 = 60;
/// The longest a pre-check may take, in seconds.
pub const PRECHECK_S_MAX: i64 = 600;
/// What a node has beyond the limit of a pre-check to lay it out and to write down its end, in
/// milliseconds; another node takes the pre-check over after that.
pub const PRECHECK_MARGIN_MS: i64 = 120_000;
/// The exit code of a pre-check that found nothing to do, when none is asked for: EX_TEMPFAIL of
/// sysexits.h, which no common tool ends with by itself.
pub const PRECHECK_NOTHING_TO_DO: i64 = 75;
/// The next times that a preview shows when nothing is asked for, and at the most.
pub const PREVIEW_DEFAULT: i64 = 10;
/// See [`PREVIEW_DEFAULT`].
pub const PREVIEW_MAX: i64 = 500;
