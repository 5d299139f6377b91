//! The director's ledger payloads. Ids, numbers and words of enums; never text of users or models.

use crate::error::DirectorError;
use serde::Serialize;
use skep_db::Tx;
use skep_ledger::Payload;
use skep_types::{AttemptId, CallId, Fence, JobId, NodeId};

/// Appends `payload` to the ledger in the caller's transaction.
pub(crate) async fn append<P: Payload>(
    tx: &mut Tx<'_>,
    subject: &str,
    payload: &P,
) -> Result<(), DirectorError> {
    skep_ledger::append(tx, subject, payload)
        .await
        .map_err(|e| DirectorError::outside("append to the ledger", e))
}

macro_rules! payload {
    ($(#[$meta:meta])* $name:ident, $kind:literal { $($(#[$fmeta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Serialize)]
        pub(crate) struct $name { $($(#[$fmeta])* pub(crate) $field: $type),* }
        impl Payload for $name {
            const KIND: &'static str = $kind;
            const VERSION: i64 = 1;
        }
    };
}

payload!(
    /// An engine has started; the subject is the home.
    NodeJoined, "node_joined" { node: NodeId, slots: i64, roles: String }
);
payload!(
    /// An engine has stopped in good order.
    NodeLeft, "node_left" { node: NodeId }
);
payload!(
    /// A person lets a node take no more work.
    NodeDraining, "node_draining" { node: NodeId }
);
payload!(
    /// A person lets a drained node work again.
    NodeResumed, "node_resumed" { node: NodeId }
);
payload!(
    /// Everything in this store came from another one, up to here.
    DataImported, "data_imported" {
        engine: &'static str, rows: i64, content_sha256: String, leases_taken_back: usize,
    }
);
payload!(
    /// The dispatch record was written and its base pinned.
    JobDispatched, "job_dispatched" {
        job: JobId, base_commit: Option<String>, role: &'static str, tier: &'static str,
        gate: &'static str, checks: usize, budget_micro_usd: Option<i64>, instruction_bytes: usize,
    }
);
payload!(
    /// The base of a job that waited for others was pinned.
    BasePinned, "base_pinned" { job: JobId, fence: Fence, commit: String }
);
payload!(
    /// A model call was asked for.
    CallDispatched, "call_dispatched" {
        job: JobId, tier: &'static str, messages: usize, message_bytes: usize,
        max_output_tokens: i64, has_schema: bool, budget_micro_usd: Option<i64>, timeout_ms: i64,
    }
);
payload!(
    /// A model call was answered; the digest is of a salt and the text, both kept elsewhere.
    CallAnswered, "call_answered" {
        job: JobId, attempt: AttemptId, fence: Fence, call: CallId, http_status: i64,
        answer_bytes: usize, answer_sha256: String, fits: bool, provider_ms: i64,
    }
);
payload!(
    /// A command was asked for.
    ShellDispatched, "shell_dispatched" {
        job: JobId, tier: &'static str, base_commit: Option<String>, words: usize,
        command_bytes: usize, timeout_ms: i64, output_bytes_max: i64,
    }
);
payload!(
    /// A command has ended; the digest is of a salt and the output, both kept elsewhere.
    ShellEnded, "shell_ended" {
        job: JobId, attempt: AttemptId, fence: Fence, exit_code: Option<i64>,
        signal: Option<i64>, limit: Option<&'static str>, duration_ms: i64, output_bytes: i64,
        output_sha256: String, level: &'static str,
    }
);
payload!(
    /// The fence was closed around the worker, and proved from inside.
    FenceProved, "fence_proved" {
        job: JobId, attempt: AttemptId, fence: Fence, level: &'static str,
    }
);
payload!(
    /// A tool call of the worker, as its harness reports it.
    ToolCalled, "tool_called" {
        job: JobId, attempt: AttemptId, fence: Fence, tool: &'static str, ok: bool,
        exit_code: Option<i64>, duration_ms: i64, output_bytes: i64, refused_by: Option<&'static str>,
    }
);
payload!(
    /// A worker was asked to end: it showed no sign of life, or its time was up.
    WorkerInterrupted, "worker_interrupted" {
        job: JobId, attempt: AttemptId, fence: Fence, reason: &'static str, idle_ms: i64,
        open_calls: usize,
    }
);
payload!(
    /// A worker that did not end when asked was to be killed, with all it started.
    WorkerKilled, "worker_killed" {
        job: JobId, attempt: AttemptId, fence: Fence, reason: &'static str, idle_ms: i64,
        open_calls: usize,
    }
);
payload!(
    /// What an attempt that was ended left behind was kept.
    LeftoverKept, "leftover_kept" {
        job: JobId, attempt: AttemptId, fence: Fence, tip_commit: Option<String>, files: usize,
        bytes: i64,
    }
);
payload!(
    /// A job ended without success; how often that has happened, and how often in this way.
    DeadLetterWritten, "dead_letter_written" {
        job: JobId, class: &'static str, quarantined: bool, deaths: i64, in_a_row: i64,
    }
);
payload!(
    /// A dead job was started again.
    DeadLetterReplayed, "dead_letter_replayed" { job: JobId, replays: i64 }
);
payload!(
    /// A person said that nobody needs to look at a dead job.
    DeadLetterDismissed, "dead_letter_dismissed" { job: JobId }
);
payload!(
    /// The worker has ended and what it left was taken in.
    ResultRecorded, "result_recorded" {
        job: JobId, attempt: AttemptId, fence: Fence, tip_commit: Option<String>,
        contract_status: Option<&'static str>, exit_code: Option<i64>, refusals: i64,
    }
);
payload!(
    /// A check was run by the engine.
    CheckRun, "check_run" {
        job: JobId, fence: Fence, place: i64, purpose: &'static str, commit: String,
        exit_code: Option<i64>, duration_ms: i64,
    }
);
payload!(
    /// The contract was held against the evidence.
    VerdictFound, "verdict_found" {
        job: JobId, attempt: AttemptId, fence: Fence, result: &'static str, commit: Option<String>,
        contradicted: usize, waived: usize, unproved: usize,
    }
);
payload!(
    /// A review was asked for.
    ReviewRequested, "review_requested" { job: JobId, review: JobId, commit: String }
);
payload!(
    /// A review came back.
    ReviewReceived, "review_received" { job: JobId, review: JobId, verdict: String }
);
payload!(
    /// The landing is about to be made.
    LandingIntended, "landing_intended" { job: JobId, fence: Fence, old_commit: String, new_commit: String }
);
payload!(
    /// The commit was read back from its target.
    LandingReadBack, "landing_read_back" { job: JobId, fence: Fence, commit: String }
);
payload!(
    /// The landing cannot be made now.
    LandingHeld, "landing_held" { job: JobId, fence: Fence, state: &'static str }
);
payload!(
    /// The job's report reached its place.
    ReportDelivered, "report_delivered" { job: JobId }
);
