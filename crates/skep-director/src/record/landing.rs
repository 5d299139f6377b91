//! Where a result stands on its way into its target.

use skep_db::{DbError, Tx, params};
use skep_types::{JobId, LandingState};

/// One landing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LandingRow {
    pub(crate) job: JobId,
    pub(crate) state: LandingState,
    pub(crate) target: String,
    /// The target's tip when the intent was recorded.
    pub(crate) old_commit: Option<String>,
    /// The commit that is, or is to be, the target's new tip.
    pub(crate) commit: Option<String>,
    pub(crate) read_back_at: Option<i64>,
    pub(crate) reason: Option<String>,
}

/// Writes the landing of a job.
pub(crate) async fn put_landing(tx: &mut Tx<'_>, l: &LandingRow) -> Result<(), DbError> {
    let sql =
        "INSERT INTO landing (job_id, state, target, old_commit, commit_oid, read_back_at, reason)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (job_id) DO UPDATE SET state = excluded.state, target = excluded.target,
            old_commit = excluded.old_commit, commit_oid = excluded.commit_oid,
            read_back_at = excluded.read_back_at, reason = excluded.reason";
    let row = params![
        l.job.as_str(),
        l.state.as_str(),
        &l.target,
        l.old_commit.as_deref(),
        l.commit.as_deref(),
        l.read_back_at,
        l.reason.as_deref(),
    ];
    tx.execute(sql, row).await.map(|_| ())
}

/// The landing of `job`, where there is one.
pub(crate) async fn landing(tx: &mut Tx<'_>, job: &JobId) -> Result<Option<LandingRow>, DbError> {
    let sql = "SELECT * FROM landing WHERE job_id = ?1";
    let Some(row) = tx.query_opt(sql, params![job.as_str()]).await? else {
        return Ok(None);
    };
    Ok(Some(LandingRow {
        job: row.parse("job_id")?,
        state: row.parse("state")?,
        target: row.get("target")?,
        old_commit: row.get("old_commit")?,
        commit: row.get("commit_oid")?,
        read_back_at: row.get("read_back_at")?,
        reason: row.get("reason")?,
    }))
}
