//! What a command was asked with, and what the engine measured of each run of it.

use super::{json, to_json};
use skep_db::{DbError, Row, Tx, params};
use skep_types::{AttemptId, Fence, JobId, Tier};

/// A command as it was asked for; immutable once written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShellRow {
    pub(crate) job: JobId,
    pub(crate) command: Vec<String>,
    pub(crate) repo: Option<String>,
    pub(crate) vault: Option<String>,
    /// What the command sees; absent while it waits for other jobs, and then pinned by its first
    /// attempt.
    pub(crate) base_commit: Option<String>,
    /// What that is resolved from.
    pub(crate) base_from: Option<String>,
    pub(crate) scope: Vec<String>,
    pub(crate) tier: Tier,
    pub(crate) timeout_ms: i64,
    pub(crate) output_bytes_max: i64,
}

/// One run, as the engine saw it from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunRow {
    pub(crate) attempt: AttemptId,
    pub(crate) job: JobId,
    pub(crate) fence: Fence,
    pub(crate) exit_code: Option<i64>,
    pub(crate) signal: Option<i64>,
    /// `time` or `output`.
    pub(crate) limit: Option<String>,
    pub(crate) duration_ms: i64,
    pub(crate) output_bytes: i64,
    /// Makes the digest on the ledger say nothing once the output is gone.
    pub(crate) salt: Vec<u8>,
    pub(crate) output_sha256: Vec<u8>,
    pub(crate) tail: String,
    /// The fence's proof, as JSON.
    pub(crate) isolation: String,
}

/// Writes what a command is asked with.
pub(crate) async fn put_shell(tx: &mut Tx<'_>, s: &ShellRow) -> Result<(), DbError> {
    let sql = "INSERT INTO shell_request (job_id, command, repo, vault, base_commit, scope, tier,
            timeout_ms, output_bytes_max, base_from)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let row = params![
        s.job.as_str(),
        to_json(&s.command),
        s.repo.as_deref(),
        s.vault.as_deref(),
        s.base_commit.as_deref(),
        to_json(&s.scope),
        s.tier.as_str(),
        s.timeout_ms,
        s.output_bytes_max,
        s.base_from.as_deref(),
    ];
    tx.execute(sql, row).await.map(|_| ())
}

/// What `job` was asked with.
pub(crate) async fn shell(tx: &mut Tx<'_>, job: &JobId) -> Result<ShellRow, DbError> {
    let sql = "SELECT * FROM shell_request WHERE job_id = ?1";
    let row = tx.query_one(sql, params![job.as_str()]).await?;
    Ok(ShellRow {
        job: row.parse("job_id")?,
        command: json("command", &row.get::<String>("command")?)?,
        repo: row.get("repo")?,
        vault: row.get("vault")?,
        base_commit: row.get("base_commit")?,
        base_from: row.get("base_from")?,
        scope: json("scope", &row.get::<String>("scope")?)?,
        tier: row.parse("tier")?,
        timeout_ms: row.get("timeout_ms")?,
        output_bytes_max: row.get("output_bytes_max")?,
    })
}

/// Pins what a command sees that was asked for without a commit.
pub(crate) async fn pin_shell(tx: &mut Tx<'_>, job: &JobId, commit: &str) -> Result<(), DbError> {
    let sql = "UPDATE shell_request SET base_commit = ?2
        WHERE job_id = ?1 AND base_commit IS NULL";
    tx.execute(sql, params![job.as_str(), commit])
        .await
        .map(|_| ())
}

/// Writes a run.
pub(crate) async fn put_run(tx: &mut Tx<'_>, r: &RunRow) -> Result<(), DbError> {
    let sql = "INSERT INTO shell_run (attempt_id, job_id, fence, exit_code, signal, limit_hit,
            duration_ms, output_bytes, salt, output_sha256, tail, isolation)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let row = params![
        r.attempt.as_str(),
        r.job.as_str(),
        r.fence.0,
        r.exit_code,
        r.signal,
        r.limit.as_deref(),
        r.duration_ms,
        r.output_bytes,
        r.salt.as_slice(),
        r.output_sha256.as_slice(),
        &r.tail,
        &r.isolation,
    ];
    tx.execute(sql, row).await.map(|_| ())
}

/// The newest run of `job`.
pub(crate) async fn latest_run(tx: &mut Tx<'_>, job: &JobId) -> Result<Option<RunRow>, DbError> {
    let sql = "SELECT * FROM shell_run WHERE job_id = ?1 ORDER BY fence DESC LIMIT 1";
    let row = tx.query_opt(sql, params![job.as_str()]).await?;
    row.as_ref().map(RunRow::from_row).transpose()
}

impl RunRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            attempt: row.parse("attempt_id")?,
            job: row.parse("job_id")?,
            fence: Fence(row.get("fence")?),
            exit_code: row.get("exit_code")?,
            signal: row.get("signal")?,
            limit: row.get("limit_hit")?,
            duration_ms: row.get("duration_ms")?,
            output_bytes: row.get("output_bytes")?,
            salt: row.get("salt")?,
            output_sha256: row.get("output_sha256")?,
            tail: row.get("tail")?,
            isolation: row.get("isolation")?,
        })
    }
}
