//! The documents as tables: which field has which type and when it is there. See `describe` for
//! how the compiler holds these tables against the types.

use crate::describe::{Describe, SchemaBook, describe, object};
use crate::document::{
    AttemptView, DeliveryView, DiffView, DispatchRequest, ErrorBody, ErrorDocument, EventView,
    JobSubmitted, JobSummary, JobView, LandingView, LedgerView, LeftoverView, LogView, Page,
    RetryRequest, ReviewView, VerdictView, Waiver,
};
use crate::installation::{
    CheckState, DoctorCheck, DoctorView, HealthView, KeyChangeView, LedgerEntries, LedgerEntry,
    LedgerExportView, LedgerHeadView, ServerView,
};
use crate::kind::{CallView, ShellView};
use crate::plan::{ArtifactView, EdgeView};
use crate::queue::FlowRequest;
use crate::topic::{
    AlarmView, DeadMessageView, FetchMessages, FinishMessage, GroupView, MessageOutcome,
    MessageView, MessagesChanged, ProduceMessage, ProducedMessage, TopicView,
};
use serde_json::{Value, json};
use skep_types::{
    AlarmKind, AttemptId, AttemptState, DeadReason, DeliveryState, FailureClass, Fence, Finding,
    FindingOutcome, Gate, JobId, JobKind, JobState, LandingState, MicroUsd, Purpose,
    ResultContract, Role, ScheduleId, Tier, TokenCounts, Verdict,
};

describe! { DispatchRequest, "What a job is to do, where, and within which limits.",
    always { instruction: String }
    sometimes {
        kind: Option<JobKind>, repo: Option<String>, base: Option<String>,
        target_branch: Option<String>, scope: Vec<String>, role: Option<Role>, tier: Option<Tier>,
        worker: Option<String>, harness: Option<String>, model: Option<String>,
        checks: Vec<String>, budget_micro_usd: Option<MicroUsd>,
        timeout_seconds: Option<i64>, gate: Option<Gate>, reviewer: Option<String>, waive_tests: Option<String>, waivers: Vec<Waiver>,
        project: Option<String>, owner: Option<String>, idempotency_key: Option<String>,
        flow: FlowRequest,
    }
}

describe! { Waiver, "One finding that is acceptable, given at dispatch.",
    always { finding: String, reason: String }
}

describe! { JobSubmitted, "A job and the state it is in.",
    always { id: JobId, number: i64, state: JobState }
    sometimes { warnings: Vec<String> }
}

describe! { JobSummary, "One line of a list of jobs.",
    always {
        id: JobId, number: i64, kind: JobKind, purpose: Purpose, state: JobState, title: String,
        worker: String, created_at: i64, ended_at: Option<i64>, cost_micro_usd: MicroUsd,
        state_reason: Option<String>,
    }
}

describe! { JobView, "One job with everything known about it.",
    always {
        id: JobId, number: i64, kind: JobKind, purpose: Purpose, state: JobState,
        failure_class: Option<FailureClass>, state_reason: Option<String>, instruction: String,
        repo: Option<String>, base_commit: Option<String>, target_branch: Option<String>,
        scope: Vec<String>, role: Role, tier: Tier, worker: String, owner: String,
        project: String, checks: Vec<String>, gate: Gate, waivers: Vec<Waiver>,
        budget_micro_usd: Option<MicroUsd>, parent: Option<JobId>, schedule: Option<ScheduleId>, created_at: i64,
        ended_at: Option<i64>, cost_micro_usd: MicroUsd, unconfirmed_micro_usd: MicroUsd,
        tokens: TokenCounts, attempts: Vec<AttemptView>, contract: Option<ResultContract>,
        verdict: Option<VerdictView>, verdicts: Vec<VerdictView>, reviews: Vec<ReviewView>,
        landing: LandingView, delivery: DeliveryView, after: Vec<EdgeView>,
        artifacts: Vec<ArtifactView>,
    }
    sometimes { call: Option<CallView>, shell: Option<ShellView> }
}

describe! { TokenCounts, "What model calls used; `input` excludes what went through a cache.",
    always { input: i64, cache_read: i64, cache_write: i64, output: i64 }
    sometimes { cache_write_1h: i64 }
}

describe! { AttemptView, "One claim of a job that started a worker.",
    always {
        id: AttemptId, fence: Fence, state: AttemptState, harness: Option<String>,
        model_requested: Option<String>, model_actual: Option<String>, session_id: Option<String>,
        isolation: Option<String>, started_at: i64, ended_at: Option<i64>,
        cost_micro_usd: MicroUsd, failure_class: Option<FailureClass>, refusals: i64,
    }
    sometimes { leftover: Option<LeftoverView> }
}

describe! { LeftoverView, "What an attempt left that ended without a result.",
    always { tip_commit: Option<String>, place: Option<String>, files: i64, bytes: i64 }
}

describe! { VerdictView, "What the engine found when it held a contract against the evidence.",
    always { attempt: AttemptId, result: Verdict, commit: Option<String>, findings: Vec<Finding> }
}

describe! { Finding, "One claim held against its evidence.",
    always { rule: String, claim: String, evidence: String, outcome: FindingOutcome }
}

describe! { ReviewView, "One review of a result.",
    always {
        job: JobId, worker: String, model: Option<String>, verdict: Option<String>, report: Value,
    }
}

describe! { LandingView, "Where a result stands on its way into its target branch.",
    always {
        state: LandingState, commit: Option<String>, target: Option<String>,
        read_back_at: Option<i64>, reason: Option<String>,
    }
}

describe! { DeliveryView, "Where a report stands on its way to its owner.",
    always { state: DeliveryState, place: Option<String> }
}

describe! { LogView, "What a worker wrote, cut to the newest part; untrusted text.",
    always { attempt: AttemptId, text: String, cut: bool }
}

describe! { DiffView, "What a job changed.",
    always { base: String, tip: String, diff: String }
}

describe! { EventView, "One sealed ledger event.",
    always {
        seq: i64, at: i64, kind: String, version: i64, subject: String, payload: Value,
        hash: String,
    }
}

describe! { LedgerView, "Whether the chain of the ledger holds.",
    always {
        ok: bool, events: i64, purged: i64, unsealed: i64, head: String, anchor: String,
        key_changes: Vec<KeyChangeView>, first_bad_seq: Option<i64>, fault: Option<String>,
        reason: Option<String>, hint: Option<String>,
    }
}

describe! { RetryRequest, "What a retry may change.",
    always {}
    sometimes { budget_micro_usd: Option<MicroUsd> }
}

describe! { ErrorDocument, "Every error, on every surface.",
    always { error: ErrorBody }
}

describe! { ErrorBody, "What went wrong and what to do.",
    always { code: String, message: String, hint: Option<String> }
    hidden { exit }
}

describe! { HealthView, "Whether the server answers.",
    always { ok: bool, version: String }
}

describe! { ServerView, "Where a server listens.",
    always { address: String, home: String, socket: String, token_file: String }
    sometimes { token: Option<String> }
}

describe! { DoctorView, "Every check of the installation.",
    always { ok: bool, version: String, home: String, checks: Vec<DoctorCheck> }
}

describe! { DoctorCheck, "One check of the installation.",
    always { name: String, state: CheckState, found: String, remedy: Option<String> }
}

describe! { LedgerEntry, "One ledger entry with everything that its hash covers.",
    always {
        seq: i64, event_id: i64, at: i64, kind: String, version: i64, subject: String,
        payload: Option<String>, payload_digest: String, hash: String,
    }
}

describe! { LedgerEntries, "A part of the ledger, for a verifier of its own.",
    always { public_key: String, items: Vec<LedgerEntry>, next_cursor: Option<String> }
}

describe! { LedgerHeadView, "The signed end of the ledger's chain.",
    always {
        seq: i64, hash: String, anchor: String, signature: Option<String>, public_key: String,
    }
}

describe! { KeyChangeView, "A place where the ledger went on under another key.",
    always {
        seq: i64, reason: String, old_head: String, old_key: Option<String>, new_key: String,
    }
}

describe! { LedgerExportView, "Whether an exported ledger holds.",
    always {
        ok: bool, events: i64, purged: i64, head: String, public_key: Option<String>,
        key_changes: Vec<KeyChangeView>, first_bad_line: Option<i64>, first_bad_seq: Option<i64>,
        fault: Option<String>, reason: Option<String>, hint: Option<String>,
    }
}

impl Describe for CheckState {
    fn describe(book: &mut SchemaBook) -> Value {
        let words = [Self::Ok, Self::Warn, Self::Fail].map(Self::as_str);
        book.refer("CheckState", |_| json!({ "type": "string", "enum": words }))
    }
}

describe! { TopicView, "One topic with its groups.",
    always {
        name: String, declared: bool, partitions: i64, readers: String, retention_ms: i64,
        retention_bytes: Option<i64>, payload_bytes_max: i64, silent_after_ms: Option<i64>,
        from_ledger: Vec<String>, schema: Option<Value>, produced: i64, kept: i64, bytes: i64,
        groups: Vec<GroupView>,
    }
}

describe! { GroupView, "One group of readers and how far it is.",
    always {
        name: String, lag: i64, delivering: i64, blocked: i64, dismissed: i64, incomplete: i64,
        delivered: i64, oldest_unread_at: Option<i64>, tries_max: i64,
    }
}

describe! { MessageView, "One message; its payload is untrusted text.",
    always {
        id: String, key: Option<String>, payload: Option<String>, reference: Option<String>,
        payload_sha256: String, bytes: i64, produced_at: i64,
    }
    sometimes { fence: Option<i64>, tries: Option<i64> }
}

describe! { ProduceMessage, "A message to be produced.",
    always { payload: String }
    sometimes { key: Option<String>, dedup_id: Option<String>, spill: bool }
}

describe! { ProducedMessage, "A message that was produced.",
    always { message: String, created: bool }
}

describe! { DeadMessageView, "A message that a group has given up on.",
    always {
        message: String, group: String, key: Option<String>, reason: DeadReason, tries: i64,
        losses: i64, why: Option<String>, since: i64, payload: Option<String>,
    }
}

describe! { MessagesChanged, "Messages whose place with a group has changed.",
    always { group: String, messages: Vec<String>, more: bool, state: DeliveryState }
}

describe! { FetchMessages, "What a reader asks for.",
    always {}
    sometimes { max: Option<i64>, lease_seconds: Option<i64>, reader: Option<String> }
}

describe! { FinishMessage, "What came of a message.",
    always { message: String, fence: i64, outcome: MessageOutcome }
    sometimes { delay_seconds: Option<i64>, why: Option<String> }
}

impl Describe for MessageOutcome {
    fn describe(book: &mut SchemaBook) -> Value {
        let words = Self::WORDS;
        book.refer(
            "MessageOutcome",
            |_| json!({ "type": "string", "enum": words }),
        )
    }
}

describe! { AlarmView, "Something that must be looked at.",
    always {
        number: i64, kind: AlarmKind, subject: String, occurrences: i64, raised_at: i64,
        last_at: i64, acknowledged_at: Option<i64>, cleared_at: Option<i64>,
    }
}

impl<T: Describe> Describe for Page<T> {
    fn describe(book: &mut SchemaBook) -> Value {
        const {
            // The table below against the type, as in `describe!`.
            let _: fn(&Self) -> (&Vec<T>, &Option<String>) =
                |Self { items, next_cursor }| (items, next_cursor);
        }
        let fields = vec![
            ("items", Vec::<T>::describe(book), true),
            ("next_cursor", Option::<String>::describe(book), true),
        ];
        object("One page of a list.", fields)
    }
}
