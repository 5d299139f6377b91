//! Where a result stands on its way into its target.

use super::Dispatch;
use skep_db::{DbError, Row, Tx, params};
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
    let row = tx.query_opt(sql, params![job.as_str()]).await?;
    row.as_ref().map(LandingRow::from_row).transpose()
}

/// Landings on the target of `dispatch` whose intent is on record and whose end is not; there are
/// at most as many as jobs that one engine had under way.
pub(crate) async fn landings_under_way(
    tx: &mut Tx<'_>,
    dispatch: &Dispatch,
) -> Result<Vec<LandingRow>, DbError> {
    let sql = "SELECT l.* FROM landing l JOIN dispatch d ON d.job_id = l.job_id
        WHERE l.state = 'landing' AND d.vault = ?1 AND l.target = ?2 ORDER BY l.job_id";
    let target = params![dispatch.vault.as_deref(), dispatch.target_branch.as_deref()];
    let rows = tx.query(sql, target).await?;
    rows.iter().map(LandingRow::from_row).collect()
}

/// Those of `jobs` whose landing is intended: each may be about to move its target.
pub(crate) async fn landings_intended(
    tx: &mut Tx<'_>,
    jobs: &[JobId],
) -> Result<Vec<JobId>, DbError> {
    let mut intended = Vec::new();
    for job in jobs {
        if landing(tx, job)
            .await?
            .is_some_and(|row| row.state == LandingState::Landing)
        {
            intended.push(job.clone());
        }
    }
    Ok(intended)
}

impl LandingRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            job: row.parse("job_id")?,
            state: row.parse("state")?,
            target: row.get("target")?,
            old_commit: row.get("old_commit")?,
            commit: row.get("commit_oid")?,
            read_back_at: row.get("read_back_at")?,
            reason: row.get("reason")?,
        })
    }
}
