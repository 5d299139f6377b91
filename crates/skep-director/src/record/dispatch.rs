//! The dispatch record: what was asked for, immutable once written.

use super::{json, to_json};
use skep_api::Waiver;
use skep_db::{DbError, Row, Tx, params};
use skep_types::{Gate, JobId, MicroUsd, Role, Tier};

/// Everything a job was dispatched with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dispatch {
    pub(crate) job: JobId,
    pub(crate) instruction: String,
    pub(crate) repo: Option<String>,
    pub(crate) vault: Option<String>,
    /// Where the work starts; absent while the job waits for others, and then pinned by its first
    /// attempt.
    pub(crate) base_commit: Option<String>,
    /// What that is resolved from: the commit, branch or tag to start from.
    pub(crate) base_from: Option<String>,
    pub(crate) target_branch: Option<String>,
    pub(crate) scope: Vec<String>,
    pub(crate) role: Role,
    pub(crate) tier: Tier,
    pub(crate) worker: String,
    pub(crate) harness: String,
    pub(crate) model: Option<String>,
    pub(crate) command: Vec<String>,
    pub(crate) checks: Vec<String>,
    pub(crate) gate: Gate,
    pub(crate) budget: Option<MicroUsd>,
    /// A waiver of the rule `tests_run` is `--waive-tests`.
    pub(crate) waivers: Vec<Waiver>,
    pub(crate) reviewer: Option<String>,
    /// The job whose result this one reviews.
    pub(crate) reviews: Option<JobId>,
    /// The commit that is reviewed.
    pub(crate) reviewed_commit: Option<String>,
    pub(crate) rework_rounds_max: i64,
    /// The artifacts that it is to leave.
    pub(crate) artifacts: Vec<String>,
    /// The longest one attempt may take; the engine's own limit when absent.
    pub(crate) timeout_ms: Option<i64>,
}

impl Dispatch {
    /// The reason of the waiver for `rule`, if one was given.
    pub(crate) fn waiver(&self, rule: &str) -> Option<&str> {
        self.waivers
            .iter()
            .find(|w| w.finding == rule)
            .map(|w| w.reason.as_str())
    }

    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            job: row.parse("job_id")?,
            instruction: row.get("instruction")?,
            repo: row.get("repo")?,
            vault: row.get("vault")?,
            base_commit: row.get("base_commit")?,
            base_from: row.get("base_from")?,
            target_branch: row.get("target_branch")?,
            scope: json("scope", &row.get::<String>("scope")?)?,
            role: row.parse("role")?,
            tier: row.parse("tier")?,
            worker: row.get("worker")?,
            harness: row.get("harness")?,
            model: row.get("model")?,
            command: json("command", &row.get::<String>("command")?)?,
            checks: json("checks", &row.get::<String>("checks")?)?,
            gate: row.parse("gate")?,
            budget: row.get::<Option<i64>>("budget_micro_usd")?.map(MicroUsd),
            waivers: json("waivers", &row.get::<String>("waivers")?)?,
            reviewer: row.get("reviewer")?,
            reviews: row.parse_opt("reviews")?,
            reviewed_commit: row.get("reviewed_commit")?,
            rework_rounds_max: row.get("rework_rounds_max")?,
            artifacts: match row.get::<Option<String>>("artifacts")? {
                Some(names) => json("artifacts", &names)?,
                None => Vec::new(),
            },
            timeout_ms: row.get("timeout_ms")?,
        })
    }
}

/// Writes the record.
pub(crate) async fn put_dispatch(tx: &mut Tx<'_>, d: &Dispatch) -> Result<(), DbError> {
    let sql = "INSERT INTO dispatch (job_id, instruction, repo, vault, base_commit, target_branch,
            scope, role, tier, worker, harness, model, command, checks, gate, budget_micro_usd,
            waivers, reviewer, reviews, reviewed_commit, rework_rounds_max, base_from, artifacts,
            timeout_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
            ?19, ?20, ?21, ?22, ?23, ?24)";
    let row = params![
        d.job.as_str(),
        &d.instruction,
        d.repo.as_deref(),
        d.vault.as_deref(),
        d.base_commit.as_deref(),
        d.target_branch.as_deref(),
        to_json(&d.scope),
        d.role.as_str(),
        d.tier.as_str(),
        &d.worker,
        &d.harness,
        d.model.as_deref(),
        to_json(&d.command),
        to_json(&d.checks),
        d.gate.as_str(),
        d.budget.map(|b| b.0),
        to_json(&d.waivers),
        d.reviewer.as_deref(),
        d.reviews.as_ref().map(JobId::as_str),
        d.reviewed_commit.as_deref(),
        d.rework_rounds_max,
        d.base_from.as_deref(),
        to_json(&d.artifacts),
        d.timeout_ms,
    ];
    tx.execute(sql, row).await.map(|_| ())
}

/// Reads the record of `job`.
pub(crate) async fn dispatch(tx: &mut Tx<'_>, job: &JobId) -> Result<Dispatch, DbError> {
    let row = tx
        .query_one(
            "SELECT * FROM dispatch WHERE job_id = ?1",
            params![job.as_str()],
        )
        .await?;
    Dispatch::from_row(&row)
}

/// Pins the base of a job that was dispatched without one.
pub(crate) async fn pin_base(tx: &mut Tx<'_>, job: &JobId, commit: &str) -> Result<(), DbError> {
    let sql = "UPDATE dispatch SET base_commit = ?2 WHERE job_id = ?1 AND base_commit IS NULL";
    tx.execute(sql, params![job.as_str(), commit])
        .await
        .map(|_| ())
}

/// Says in one sentence why `job` is in its state.
pub(crate) async fn put_reason(tx: &mut Tx<'_>, job: &JobId, reason: &str) -> Result<(), DbError> {
    let sql = "INSERT INTO job_reason (job_id, reason) VALUES (?1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET reason = excluded.reason";
    tx.execute(sql, params![job.as_str(), reason])
        .await
        .map(|_| ())
}

/// Takes back what was said about a state that `job` has left.
pub(crate) async fn clear_reason(tx: &mut Tx<'_>, job: &JobId) -> Result<(), DbError> {
    let sql = "DELETE FROM job_reason WHERE job_id = ?1";
    tx.execute(sql, params![job.as_str()]).await.map(|_| ())
}

/// Why `job` is in its state, where that was said.
pub(crate) async fn reason(tx: &mut Tx<'_>, job: &JobId) -> Result<Option<String>, DbError> {
    let sql = "SELECT reason FROM job_reason WHERE job_id = ?1";
    tx.query_opt(sql, params![job.as_str()])
        .await?
        .map(|row| row.get("reason"))
        .transpose()
}
