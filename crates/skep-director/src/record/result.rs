//! What an attempt left behind, taken in by the engine: claims, and the commit they are about.

use skep_db::{DbError, Row, Tx, params};
use skep_types::{AttemptId, Fence, JobId};

/// One attempt's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResultRow {
    pub(crate) attempt: AttemptId,
    pub(crate) job: JobId,
    pub(crate) fence: Fence,
    pub(crate) tip_commit: Option<String>,
    /// The contract's own bytes, when they are a contract.
    pub(crate) contract: Option<String>,
    /// Why there is no contract, when there is none.
    pub(crate) contract_error: Option<String>,
    /// A reviewer's report.
    pub(crate) report: Option<String>,
    pub(crate) exit_code: Option<i64>,
    /// The fence's proof, as JSON.
    pub(crate) isolation: String,
    pub(crate) refusals: i64,
}

impl ResultRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            attempt: row.parse("attempt_id")?,
            job: row.parse("job_id")?,
            fence: Fence(row.get("fence")?),
            tip_commit: row.get("tip_commit")?,
            contract: row.get("contract")?,
            contract_error: row.get("contract_error")?,
            report: row.get("report")?,
            exit_code: row.get("exit_code")?,
            isolation: row.get("isolation")?,
            refusals: row.get("refusals")?,
        })
    }
}

/// Writes a result.
pub(crate) async fn put_result(tx: &mut Tx<'_>, r: &ResultRow) -> Result<(), DbError> {
    let sql = "INSERT INTO result (attempt_id, job_id, fence, tip_commit, contract, contract_error,
            report, exit_code, isolation, refusals)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let row = params![
        r.attempt.as_str(),
        r.job.as_str(),
        r.fence.0,
        r.tip_commit.as_deref(),
        r.contract.as_deref(),
        r.contract_error.as_deref(),
        r.report.as_deref(),
        r.exit_code,
        &r.isolation,
        r.refusals,
    ];
    tx.execute(sql, row).await.map(|_| ())
}

/// Every result of `job`, oldest first; there are at most as many as attempts.
pub(crate) async fn results(tx: &mut Tx<'_>, job: &JobId) -> Result<Vec<ResultRow>, DbError> {
    let sql = "SELECT * FROM result WHERE job_id = ?1 ORDER BY fence";
    tx.query(sql, params![job.as_str()])
        .await?
        .iter()
        .map(ResultRow::from_row)
        .collect()
}

/// The newest result of `job`.
pub(crate) async fn latest_result(
    tx: &mut Tx<'_>,
    job: &JobId,
) -> Result<Option<ResultRow>, DbError> {
    let sql = "SELECT * FROM result WHERE job_id = ?1 ORDER BY fence DESC LIMIT 1";
    tx.query_opt(sql, params![job.as_str()])
        .await?
        .as_ref()
        .map(ResultRow::from_row)
        .transpose()
}
