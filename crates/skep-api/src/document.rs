//! The documents. Amounts are micro-USD, times are milliseconds since 1970 UTC.

use crate::installation::KeyChangeView;
use crate::kind::{CallView, ShellView};
use crate::plan::{ArtifactView, EdgeView};
use crate::queue::FlowRequest;
use serde::{Deserialize, Serialize};
use skep_types::{
    AttemptId, AttemptState, DeliveryState, FailureClass, Fence, Finding, Gate, JobId, JobKind,
    JobState, LandingState, MicroUsd, Purpose, ResultContract, Role, ScheduleId, Tier, TokenCounts,
    Verdict,
};

/// What `skep run` asks for: `POST /api/v1/jobs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DispatchRequest {
    /// The task, in words.
    pub instruction: String,
    /// What kind of job; `agent` when absent.
    pub kind: Option<JobKind>,
    /// The repository's folder; needed for kinds that work in one.
    pub repo: Option<String>,
    /// The commit, branch or tag to start from; the target branch's tip when absent.
    pub base: Option<String>,
    /// The branch to land on; the repository's current branch when absent.
    pub target_branch: Option<String>,
    /// Globs the worker may write to; everything when empty.
    pub scope: Vec<String>,
    /// What the worker may do; the worker's configured role when absent.
    pub role: Option<Role>,
    /// The tier of the task's data; `sensitive` when absent.
    pub tier: Option<Tier>,
    /// The configured worker; the only one, or `default`, when absent.
    pub worker: Option<String>,
    /// Overrides the worker's harness.
    pub harness: Option<String>,
    /// Overrides the worker's model.
    pub model: Option<String>,
    /// Shell command lines that must exit 0.
    pub checks: Vec<String>,
    /// The most this job may spend.
    pub budget_micro_usd: Option<MicroUsd>,
    /// The longest one attempt may take, in seconds; the engine's own limit when absent.
    pub timeout_seconds: Option<i64>,
    /// How deep the result is checked.
    pub gate: Option<Gate>,
    /// The worker that reviews, with gate G2 and above; chosen by family when absent.
    pub reviewer: Option<String>,
    /// Why a result without a test run is acceptable.
    pub waive_tests: Option<String>,
    /// Findings that are acceptable: rule and reason.
    pub waivers: Vec<Waiver>,
    /// The account the job's cost is charged to; the repository's folder name when absent.
    pub project: Option<String>,
    /// On whose authority; the user who runs the engine when absent.
    pub owner: Option<String>,
    /// Submitting the same key again returns the earlier job.
    pub idempotency_key: Option<String>,
    /// How the job takes its turn.
    pub flow: FlowRequest,
}

/// One finding that is acceptable, given at dispatch and shown on the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// The finding's rule, as in `runner_files`.
    pub finding: String,
    /// Why it is acceptable.
    pub reason: String,
}

/// What `skep run --detach` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSubmitted {
    /// The job's id.
    pub id: JobId,
    /// The job's number, for people.
    pub number: i64,
    /// The state it is in.
    pub state: JobState,
    /// What the requester should know, as that the work tree has uncommitted changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One line of `skep job list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSummary {
    /// The job's id.
    pub id: JobId,
    /// The job's number, for people.
    pub number: i64,
    /// What kind of job.
    pub kind: JobKind,
    /// Why it is done.
    pub purpose: Purpose,
    /// Where it stands.
    pub state: JobState,
    /// The first line of the instruction, cut to 120 characters.
    pub title: String,
    /// The worker that does it.
    pub worker: String,
    /// When it was asked for.
    pub created_at: i64,
    /// When it ended.
    pub ended_at: Option<i64>,
    /// What it has cost so far.
    pub cost_micro_usd: MicroUsd,
    /// Why it stands where it stands, where that was said.
    #[serde(default)]
    pub state_reason: Option<String>,
}

/// What `skep job show` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// The job's id.
    pub id: JobId,
    /// The job's number, for people.
    pub number: i64,
    /// What kind of job.
    pub kind: JobKind,
    /// Why it is done.
    pub purpose: Purpose,
    /// Where it stands.
    pub state: JobState,
    /// Why it failed, if it did.
    pub failure_class: Option<FailureClass>,
    /// One sentence on why it is in its state, where that needs one.
    pub state_reason: Option<String>,
    /// The task, in words.
    pub instruction: String,
    /// The repository's folder.
    pub repo: Option<String>,
    /// The commit it starts from.
    pub base_commit: Option<String>,
    /// The branch it lands on.
    pub target_branch: Option<String>,
    /// Globs the worker may write to.
    pub scope: Vec<String>,
    /// What the worker may do.
    pub role: Role,
    /// The tier of the task's data.
    pub tier: Tier,
    /// The worker's name.
    pub worker: String,
    /// On whose authority.
    pub owner: String,
    /// The account its cost is charged to.
    pub project: String,
    /// The command lines that must exit 0.
    pub checks: Vec<String>,
    /// How deep the result is checked.
    pub gate: Gate,
    /// The waivers given at dispatch.
    pub waivers: Vec<Waiver>,
    /// The most it may spend.
    pub budget_micro_usd: Option<MicroUsd>,
    /// The job whose result this one reviews.
    pub parent: Option<JobId>,
    /// The schedule whose run it is.
    pub schedule: Option<ScheduleId>,
    /// When it was asked for.
    pub created_at: i64,
    /// When it ended.
    pub ended_at: Option<i64>,
    /// What it has cost so far, settled calls only.
    pub cost_micro_usd: MicroUsd,
    /// What calls of unknown end may have cost on top.
    pub unconfirmed_micro_usd: MicroUsd,
    /// What its calls used.
    pub tokens: TokenCounts,
    /// Every claim that started a worker.
    pub attempts: Vec<AttemptView>,
    /// The latest contract, as claimed by the worker.
    pub contract: Option<ResultContract>,
    /// The latest verdict, as found by the engine.
    pub verdict: Option<VerdictView>,
    /// Every verdict, oldest first, the latest included.
    pub verdicts: Vec<VerdictView>,
    /// Reviews of its results.
    pub reviews: Vec<ReviewView>,
    /// What only a job of kind `call` has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallView>,
    /// What only a job of kind `shell` has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<ShellView>,
    /// Where its result stands on the way into the target.
    pub landing: LandingView,
    /// Where its report stands on the way to its owner.
    pub delivery: DeliveryView,
    /// What it waits for, or waited for.
    #[serde(default)]
    pub after: Vec<EdgeView>,
    /// The artifacts that it left.
    #[serde(default)]
    pub artifacts: Vec<ArtifactView>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    /// The attempt's id.
    pub id: AttemptId,
    /// The fence of its claim.
    pub fence: Fence,
    /// Where it stands.
    pub state: AttemptState,
    /// The harness that ran it.
    pub harness: Option<String>,
    /// The model that was asked for.
    pub model_requested: Option<String>,
    /// The model that answered.
    pub model_actual: Option<String>,
    /// The harness's own session.
    pub session_id: Option<String>,
    /// The isolation that was applied and proved.
    pub isolation: Option<String>,
    /// When it was claimed.
    pub started_at: i64,
    /// When it ended.
    pub ended_at: Option<i64>,
    /// What its calls cost.
    pub cost_micro_usd: MicroUsd,
    /// Why it did not succeed.
    pub failure_class: Option<FailureClass>,
    /// Tool calls that the fence or the scope refused.
    pub refusals: i64,
    /// What was kept of an attempt that left no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leftover: Option<LeftoverView>,
}

/// What an attempt left that ended without a result: evidence, believed by nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftoverView {
    /// The commit it got to, in the engine's own copy of the repository.
    pub tip_commit: Option<String>,
    /// Where its files lie, relative to the home.
    pub place: Option<String>,
    /// How many files.
    pub files: i64,
    /// Their size.
    pub bytes: i64,
}

/// What the engine found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerdictView {
    /// The attempt whose result it is.
    pub attempt: AttemptId,
    /// The engine's word.
    pub result: Verdict,
    /// The commit that was checked.
    pub commit: Option<String>,
    /// Every claim with its evidence.
    pub findings: Vec<Finding>,
}

/// One review.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReviewView {
    /// The job that did the review.
    pub job: JobId,
    /// The worker that reviewed.
    pub worker: String,
    /// The model that reviewed.
    pub model: Option<String>,
    /// `pass`, `fix`, `reject`, or `void` when a pass cites no evidence.
    pub verdict: Option<String>,
    /// The report as the reviewer left it.
    pub report: serde_json::Value,
}

/// A landing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandingView {
    /// Where it stands.
    pub state: LandingState,
    /// The commit that was, or is to be, the target's new tip.
    pub commit: Option<String>,
    /// The target branch.
    pub target: Option<String>,
    /// When the commit was read back from the target.
    pub read_back_at: Option<i64>,
    /// Why it is pending, in conflict or refused.
    pub reason: Option<String>,
}

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryView {
    /// Where it stands.
    pub state: DeliveryState,
    /// Where the report was put.
    pub place: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, newest first unless the list says otherwise.
    pub items: Vec<T>,
    /// What to pass as `cursor` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// What `skep job log` prints: what the worker wrote, cut to the newest part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogView {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its standard output and error, in order of arrival, untrusted text.
    pub text: String,
    /// Whether the beginning was cut.
    pub cut: bool,
}

/// What `skep job diff` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffView {
    /// The commit the work starts from.
    pub base: String,
    /// The commit that was verified.
    pub tip: String,
    /// A unified diff.
    pub diff: String,
}

/// One sealed ledger event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// Its place in the chain.
    pub seq: i64,
    /// When it was appended.
    pub at: i64,
    /// What happened, in the past tense.
    pub kind: String,
    /// The version of the payload's shape.
    pub version: i64,
    /// What it happened to: a job, a key, the home.
    pub subject: String,
    /// Ids and numbers; never text of users or models.
    pub payload: serde_json::Value,
    /// SHA-256 of the chain up to here, in hexadecimal.
    pub hash: String,
}

/// What `skep ledger verify` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerView {
    /// Whether the whole chain holds.
    pub ok: bool,
    /// Sealed events.
    pub events: i64,
    /// Of these, events whose payload was purged on record.
    pub purged: i64,
    /// Events that wait for their seal.
    pub unsealed: i64,
    /// The hash of the last event, in hexadecimal.
    pub head: String,
    /// The head as `SEQ:HASH`: what to keep elsewhere.
    pub anchor: String,
    /// Where the ledger went on under another key.
    pub key_changes: Vec<KeyChangeView>,
    /// The first bad sequence number.
    pub first_bad_seq: Option<i64>,
    /// What kind of fault it is: a stable word.
    pub fault: Option<String>,
    /// What is wrong there.
    pub reason: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What `skep job retry` may change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryRequest {
    /// A new limit for the job.
    pub budget_micro_usd: Option<MicroUsd>,
}

/// Every error, on every surface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDocument {
    /// The error.
    pub error: ErrorBody,
}

/// What went wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Stable, for scripts.
    pub code: String,
    /// One sentence, for people.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The exit code of the command line: 1 not successful, 2 usage, 3 policy, 4 not found, 5
    /// unreachable or degraded. Not part of the printed document.
    #[serde(default = "exit_failed", skip_serializing)]
    pub exit: u8,
}

const fn exit_failed() -> u8 {
    1
}
