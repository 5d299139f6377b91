//! What the engine found: verdicts, and the check runs behind them.

use super::{json, to_json};
use skep_db::{DbError, Row, Tx, params};
use skep_types::{AttemptId, Fence, Finding, JobId, Verdict};

/// One verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerdictRow {
    pub(crate) attempt: AttemptId,
    pub(crate) job: JobId,
    pub(crate) fence: Fence,
    pub(crate) result: Verdict,
    pub(crate) commit: Option<String>,
    pub(crate) findings: Vec<Finding>,
}

impl VerdictRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            attempt: row.parse("attempt_id")?,
            job: row.parse("job_id")?,
            fence: Fence(row.get("fence")?),
            result: row.parse("result")?,
            commit: row.get("commit_oid")?,
            findings: json("findings", &row.get::<String>("findings")?)?,
        })
    }
}

/// Writes a verdict; the same attempt verified again replaces the earlier word.
pub(crate) async fn put_verdict(tx: &mut Tx<'_>, v: &VerdictRow) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let sql =
        "INSERT INTO verdict (attempt_id, job_id, fence, result, commit_oid, findings, found_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (attempt_id) DO UPDATE SET result = excluded.result,
            fence = excluded.fence, commit_oid = excluded.commit_oid,
            findings = excluded.findings, found_at = excluded.found_at";
    let row = params![
        v.attempt.as_str(),
        v.job.as_str(),
        v.fence.0,
        v.result.as_str(),
        v.commit.as_deref(),
        to_json(&v.findings),
        now,
    ];
    tx.execute(sql, row).await.map(|_| ())
}

/// Every verdict on `job`, oldest first.
pub(crate) async fn verdicts(tx: &mut Tx<'_>, job: &JobId) -> Result<Vec<VerdictRow>, DbError> {
    let sql = "SELECT * FROM verdict WHERE job_id = ?1 ORDER BY fence";
    tx.query(sql, params![job.as_str()])
        .await?
        .iter()
        .map(VerdictRow::from_row)
        .collect()
}

/// One run of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckRow {
    pub(crate) job: JobId,
    pub(crate) fence: Fence,
    /// From 1, in the order of the job's checks.
    pub(crate) place: i64,
    /// `check` on the result, `merge_check` on its merge with the target.
    pub(crate) purpose: String,
    pub(crate) commit: String,
    pub(crate) command: String,
    /// Absent when the check ran into its time limit.
    pub(crate) exit_code: Option<i64>,
    pub(crate) duration_ms: i64,
    /// Where its output lies.
    pub(crate) log: String,
}

/// Writes a check run; the same place and purpose under the same fence replaces the earlier run.
pub(crate) async fn put_check_run(tx: &mut Tx<'_>, c: &CheckRow) -> Result<(), DbError> {
    let sql =
        "INSERT INTO check_run (job_id, fence, place, purpose, commit_oid, command, exit_code,
            duration_ms, log)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT (job_id, fence, purpose, place) DO UPDATE SET
            commit_oid = excluded.commit_oid, command = excluded.command,
            exit_code = excluded.exit_code, duration_ms = excluded.duration_ms,
            log = excluded.log";
    let row = params![
        c.job.as_str(),
        c.fence.0,
        c.place,
        &c.purpose,
        &c.commit,
        &c.command,
        c.exit_code,
        c.duration_ms,
        &c.log,
    ];
    tx.execute(sql, row).await.map(|_| ())
}

/// The check runs of `job` on `commit`, in order; the newest run of each place last.
pub(crate) async fn check_runs(
    tx: &mut Tx<'_>,
    job: &JobId,
    commit: &str,
) -> Result<Vec<CheckRow>, DbError> {
    let sql = "SELECT * FROM check_run WHERE job_id = ?1 AND commit_oid = ?2 ORDER BY fence, purpose, place";
    let rows = tx.query(sql, params![job.as_str(), commit]).await?;
    rows.iter()
        .map(|row| {
            Ok(CheckRow {
                job: row.parse("job_id")?,
                fence: Fence(row.get("fence")?),
                place: row.get("place")?,
                purpose: row.get("purpose")?,
                commit: row.get("commit_oid")?,
                command: row.get("command")?,
                exit_code: row.get("exit_code")?,
                duration_ms: row.get("duration_ms")?,
                log: row.get("log")?,
            })
        })
        .collect()
}
