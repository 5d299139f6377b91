//! Reviews: which job reviews which commit of which job, and what it said.

use skep_db::{DbError, Row, Tx, params};
use skep_types::JobId;

/// One review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReviewRow {
    pub(crate) job: JobId,
    pub(crate) parent: JobId,
    pub(crate) commit: String,
    pub(crate) worker: String,
    pub(crate) model: Option<String>,
    /// Absent until the review is in.
    pub(crate) verdict: Option<String>,
    pub(crate) report: Option<String>,
}

impl ReviewRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            job: row.parse("job_id")?,
            parent: row.parse("parent_id")?,
            commit: row.get("commit_oid")?,
            worker: row.get("worker")?,
            model: row.get("model")?,
            verdict: row.get("verdict")?,
            report: row.get("report")?,
        })
    }
}

/// Writes a review that was asked for.
pub(crate) async fn put_review(tx: &mut Tx<'_>, r: &ReviewRow) -> Result<(), DbError> {
    let sql = "INSERT INTO review (job_id, parent_id, commit_oid, worker, model, verdict, report)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = params![
        r.job.as_str(),
        r.parent.as_str(),
        &r.commit,
        &r.worker,
        r.model.as_deref(),
        r.verdict.as_deref(),
        r.report.as_deref(),
    ];
    tx.execute(sql, row).await.map(|_| ())
}

/// Writes what a review said.
pub(crate) async fn finish_review(
    tx: &mut Tx<'_>,
    job: &JobId,
    verdict: &str,
    report: Option<&str>,
) -> Result<(), DbError> {
    let sql = "UPDATE review SET verdict = ?2, report = ?3 WHERE job_id = ?1";
    tx.execute(sql, params![job.as_str(), verdict, report])
        .await
        .map(|_| ())
}

/// The review that `job` does.
pub(crate) async fn review(tx: &mut Tx<'_>, job: &JobId) -> Result<Option<ReviewRow>, DbError> {
    let sql = "SELECT * FROM review WHERE job_id = ?1";
    tx.query_opt(sql, params![job.as_str()])
        .await?
        .as_ref()
        .map(ReviewRow::from_row)
        .transpose()
}

/// Every review of `parent`, oldest first.
pub(crate) async fn reviews(tx: &mut Tx<'_>, parent: &JobId) -> Result<Vec<ReviewRow>, DbError> {
    let sql = "SELECT * FROM review WHERE parent_id = ?1 ORDER BY job_id";
    tx.query(sql, params![parent.as_str()])
        .await?
        .iter()
        .map(ReviewRow::from_row)
        .collect()
}
