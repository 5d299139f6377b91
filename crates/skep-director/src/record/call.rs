//! What a model call was asked with, and every answer that came back.

use super::{json, to_json};
use serde::{Deserialize, Serialize};
use skep_api::CallMessage;
use skep_db::{DbError, Row, Tx, params};
use skep_types::{AttemptId, Fence, JobId, MicroUsd, Tier};

/// A call as it was asked for; immutable once written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallRow {
    pub(crate) job: JobId,
    pub(crate) question: Question,
    pub(crate) model: String,
    /// Whom the cost is charged to.
    pub(crate) worker: String,
    pub(crate) tier: Tier,
    pub(crate) budget: Option<MicroUsd>,
    pub(crate) timeout_ms: i64,
}

/// The part of a call that its model sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) system: Option<String>,
    /// The prompt is the last one.
    pub(crate) messages: Vec<CallMessage>,
    pub(crate) max_output_tokens: i64,
    pub(crate) temperature: Option<f64>,
    pub(crate) schema: Option<serde_json::Value>,
}

impl Question {
    /// What was asked last.
    pub(crate) fn prompt(&self) -> &str {
        self.messages
            .last()
            .map_or("", |message| message.text.as_str())
    }
}

/// One answer, or what came instead of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerRow {
    pub(crate) attempt: AttemptId,
    pub(crate) job: JobId,
    pub(crate) fence: Fence,
    /// Makes the digest on the ledger say nothing once the text is gone.
    pub(crate) salt: Vec<u8>,
    pub(crate) text: String,
    /// Why it does not do.
    pub(crate) problem: Option<String>,
    pub(crate) stop_reason: Option<String>,
    pub(crate) model_actual: Option<String>,
    pub(crate) provider_ms: i64,
}

/// Writes what a call is asked with.
pub(crate) async fn put_call(tx: &mut Tx<'_>, c: &CallRow) -> Result<(), DbError> {
    let sql = "INSERT INTO call_request (job_id, request, model, worker, tier, budget_micro_usd,
            timeout_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = params![
        c.job.as_str(),
        to_json(&c.question),
        &c.model,
        &c.worker,
        c.tier.as_str(),
        c.budget.map(|b| b.0),
        c.timeout_ms,
    ];
    tx.execute(sql, row).await.map(|_| ())
}

/// What `job` was asked with.
pub(crate) async fn call(tx: &mut Tx<'_>, job: &JobId) -> Result<CallRow, DbError> {
    let sql = "SELECT * FROM call_request WHERE job_id = ?1";
    let row = tx.query_one(sql, params![job.as_str()]).await?;
    Ok(CallRow {
        job: row.parse("job_id")?,
        question: json("request", &row.get::<String>("request")?)?,
        model: row.get("model")?,
        worker: row.get("worker")?,
        tier: row.parse("tier")?,
        budget: row.get::<Option<i64>>("budget_micro_usd")?.map(MicroUsd),
        timeout_ms: row.get("timeout_ms")?,
    })
}

/// Writes an answer.
pub(crate) async fn put_answer(tx: &mut Tx<'_>, a: &AnswerRow) -> Result<(), DbError> {
    let sql = "INSERT INTO call_answer (attempt_id, job_id, fence, salt, text, problem,
            stop_reason, model_actual, provider_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let row = params![
        a.attempt.as_str(),
        a.job.as_str(),
        a.fence.0,
        a.salt.as_slice(),
        &a.text,
        a.problem.as_deref(),
        a.stop_reason.as_deref(),
        a.model_actual.as_deref(),
        a.provider_ms,
    ];
    tx.execute(sql, row).await.map(|_| ())
}

/// The newest answer to `job`.
pub(crate) async fn latest_answer(
    tx: &mut Tx<'_>,
    job: &JobId,
) -> Result<Option<AnswerRow>, DbError> {
    let sql = "SELECT * FROM call_answer WHERE job_id = ?1 ORDER BY fence DESC LIMIT 1";
    let row = tx.query_opt(sql, params![job.as_str()]).await?;
    row.as_ref().map(AnswerRow::from_row).transpose()
}

impl AnswerRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            attempt: row.parse("attempt_id")?,
            job: row.parse("job_id")?,
            fence: Fence(row.get("fence")?),
            salt: row.get("salt")?,
            text: row.get("text")?,
            problem: row.get("problem")?,
            stop_reason: row.get("stop_reason")?,
            model_actual: row.get("model_actual")?,
            provider_ms: row.get("provider_ms")?,
        })
    }
}
