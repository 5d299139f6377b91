//! What a run refuses to exceed, each with its reason. The limits of one run that an engine may
//! choose are in [`crate::task::AgentLimits`]; the defaults there come from here.

/// An instruction, in bytes. It is sent with every model call; a longer one belongs in a file of
/// the repository.
pub const INSTRUCTION_BYTES_MAX: usize = 128 * 1024;

/// One line of a worker's standard output that is kept, in bytes. Longer lines are data, not words.
pub const OUTPUT_LINE_BYTES_MAX: usize = 64 * 1024;

/// A review report, in bytes; the same reason as for a contract.
pub const REVIEW_BYTES_MAX: usize = 256 * 1024;

/// The task document the agent reads at its start, in bytes: the instruction, escaped, and lists.
pub const TASK_BYTES_MAX: u64 = 1024 * 1024;

/// Model calls of one run. The reference systems stop at 60 turns; a task that needs more is two.
pub const STEPS_MAX: u32 = 60;

/// The same call with the same input while nothing has changed: the third ends the run.
pub const REPEATED_CALLS_MAX: u32 = 3;

/// Steps in a row in which no call succeeded that had not succeeded before.
pub const IDLE_STEPS_MAX: u32 = 10;

/// Turns in a row that end without a tool call, each answered with a reminder to finish.
pub const REMINDERS_MAX: u32 = 2;

/// Tool calls of one turn that are carried out; the rest is answered with an error.
pub const PARALLEL_CALLS_MAX: usize = 24;

/// The time a command may take where the model does not say, in milliseconds.
pub const COMMAND_MS: u64 = 120_000;

/// The longest time a model may give a command, in milliseconds: a cold build of a large crate.
pub const COMMAND_MS_MAX: u64 = 1_200_000;

/// How long the rest of a killed command's output is waited for, in milliseconds. A process that
/// left the group may hold the pipe open for ever.
pub const COMMAND_DRAIN_MS: u64 = 500;

/// The beginning of a command's output that the model sees, in bytes.
pub const COMMAND_HEAD_BYTES: usize = 4 * 1024;

/// The end of a command's output that the model sees, in bytes; failures stand at the end.
pub const COMMAND_TAIL_BYTES: usize = 12 * 1024;

/// The beginning, and again the end, of a command's output that is stored, in bytes.
pub const COMMAND_STORED_BYTES: usize = 1024 * 1024;

/// A file that `read` and `edit` open, in bytes. Larger ones are data; `run` has tools for them.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What one `read` returns, in bytes, about 10,000 tokens.
pub const READ_BYTES_MAX: usize = 32 * 1024;

/// One line as `read` shows it, in bytes; minified files have lines of a megabyte.
pub const READ_LINE_BYTES_MAX: usize = 2_000;

/// A file that `write` makes, in bytes.
pub const WRITE_BYTES_MAX: usize = 1024 * 1024;

/// Entries that one `list` returns.
pub const LIST_ENTRIES_MAX: usize = 400;

/// Entries that a walk over the repository visits; a guard against generated forests.
pub const WALK_ENTRIES_MAX: usize = 100_000;

/// How deep a walk over the repository goes, in folders.
pub const WALK_DEPTH_MAX: usize = 48;

/// A file that `search` looks into, in bytes; see [`FILE_BYTES_MAX`], and it reads many of them.
pub const SEARCH_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// All files that one `search` looks into, in bytes: a few seconds of matching.
pub const SEARCH_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Matching lines that one `search` returns.
pub const SEARCH_MATCHES_MAX: usize = 200;

/// One matching line as `search` shows it, in bytes.
pub const SEARCH_LINE_BYTES_MAX: usize = 300;

/// A search pattern, in bytes; the matcher's memory grows with it.
pub const PATTERN_BYTES_MAX: usize = 1_000;

/// The transcript of one run, in bytes. Beyond it lines are left out and the last one says so.
pub const TRANSCRIPT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The time one git command of the harness may take, in milliseconds.
pub const GIT_MS_MAX: u64 = 120_000;

/// The output of one git command of the harness, in bytes.
pub const GIT_OUTPUT_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Files that a contract may list; one change of more is nothing a person can review.
pub const CONTRACT_FILES_MAX: usize = 1_000;

/// A commit subject, in bytes, as the widest convention has it.
pub const SUBJECT_BYTES_MAX: usize = 100;

/// The time to connect to the gateway, in milliseconds. It is on this machine.
pub const CONNECT_MS_MAX: u64 = 10_000;

/// The time until the gateway's answer begins, in milliseconds. The gateway may hold a call while
/// a budget decision is pending, and a long prompt takes a slow model minutes.
pub const ANSWER_BEGIN_MS_MAX: u64 = 900_000;

/// Silence inside an answer, in milliseconds; the value that the vendors' own clients use.
pub const ANSWER_SILENCE_MS_MAX: u64 = 300_000;

/// The time between the end of a message and the end of its HTTP body, in milliseconds.
pub const ANSWER_END_MS_MAX: u64 = 2_000;

/// Tries of one model call after the first.
pub const MODEL_RETRIES_MAX: u32 = 6;

/// The wait before the first retry of a model call, in milliseconds.
pub const RETRY_BASE_MS: i64 = 1_000;

/// The longest wait before a retry that nobody asked for, in milliseconds.
pub const RETRY_CAP_MS: i64 = 60_000;

/// The longest wait that a provider may ask for, in milliseconds. Beyond it the run ends and the
/// engine decides when the work goes on.
pub const RETRY_AFTER_MS_MAX: i64 = 300_000;

/// The body of an error answer that is read, in bytes.
pub const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

/// The context window where the configuration does not give the model's, in tokens.
pub const CONTEXT_TOKENS: i64 = 200_000;

/// The cap on the output of one model call, in tokens.
pub const OUTPUT_TOKENS_MAX: u32 = 16_000;

/// The share of the window that one answer may take, in percent: with a small local model the usual
/// cap would leave no room for the question.
pub const OUTPUT_PERCENT_MAX: i64 = 25;

/// The share of the window at which the model is told to come to an end, in percent.
pub const CONTEXT_WARN_PERCENT: i64 = 80;
