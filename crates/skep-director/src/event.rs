//! The director's ledger payloads. Ids, numbers and words of enums; never text of users or models.

use crate::error::DirectorError;
use serde::Serialize;
use skep_db::Tx;
use skep_ledger::Payload;
use skep_types::{AttemptId, Fence, JobId};

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
