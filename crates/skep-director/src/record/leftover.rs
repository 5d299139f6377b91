//! What was kept of attempts that left no result.

use skep_db::{DbError, Row, Tx, params};
use skep_types::{AttemptId, Fence, JobId};

/// What one attempt left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftoverRow {
    pub(crate) attempt: AttemptId,
    pub(crate) job: JobId,
    pub(crate) fence: Fence,
    /// The commit it got to, in the engine's vault.
    pub(crate) tip_commit: Option<String>,
    /// Where its files lie, relative to the home.
    pub(crate) place: Option<String>,
    pub(crate) files: i64,
    pub(crate) bytes: i64,
}

/// Writes what one attempt left.
pub(crate) async fn put_leftover(tx: &mut Tx<'_>, l: &LeftoverRow) -> Result<(), DbError> {
    let sql = "INSERT INTO leftover (attempt_id, job_id, fence, tip_commit, place, files, bytes)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = params![
        l.attempt.as_str(),
        l.job.as_str(),
        l.fence.0,
        l.tip_commit.as_deref(),
        l.place.as_deref(),
        l.files,
        l.bytes,
    ];
    tx.execute(sql, row).await.map(|_| ())
}

/// What the attempts of `job` left, oldest first; at most as many as attempts.
pub(crate) async fn leftovers(tx: &mut Tx<'_>, job: &JobId) -> Result<Vec<LeftoverRow>, DbError> {
    let sql = "SELECT * FROM leftover WHERE job_id = ?1 ORDER BY fence";
    tx.query(sql, params![job.as_str()])
        .await?
        .iter()
        .map(LeftoverRow::from_row)
        .collect()
}

impl LeftoverRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            attempt: row.parse("attempt_id")?,
            job: row.parse("job_id")?,
            fence: Fence(row.get("fence")?),
            tip_commit: row.get("tip_commit")?,
            place: row.get("place")?,
            files: row.get("files")?,
            bytes: row.get("bytes")?,
        })
    }
}
