//! Reading jobs, live and ended alike, and their attempts.

use crate::attempt;
use crate::limits::{LIST_ATTEMPTS_MAX, LIST_JOBS_MAX};
use crate::row::{Attempt, Job, job_all_columns};
use skep_db::{DbError, Tx, Value, params};
use skep_types::{JobId, JobState};

/// Which jobs to list; the default is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// In one of these states; empty for any.
    pub states: Vec<JobState>,
    /// Parts of this job.
    pub parent: Option<JobId>,
    /// Of this project.
    pub project: Option<String>,
}

/// One piece of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What it holds.
    pub items: Vec<T>,
    /// Where the next piece begins; `None` at the end.
    pub next_cursor: Option<i64>,
}

/// The job with this id.
pub async fn job(tx: &mut Tx<'_>, id: &JobId) -> Result<Option<Job>, DbError> {
    let sql = concat!("SELECT ", job_all_columns!(), " FROM job_all WHERE id = ?1");
    let row = tx.query_opt(sql, params![id.as_str()]).await?;
    row.as_ref().map(Job::from_row).transpose()
}

/// The job with this number.
pub async fn job_by_number(tx: &mut Tx<'_>, number: i64) -> Result<Option<Job>, DbError> {
    let sql = concat!(
        "SELECT ",
        job_all_columns!(),
        " FROM job_all WHERE number = ?1"
    );
    let row = tx.query_opt(sql, params![number]).await?;
    row.as_ref().map(Job::from_row).transpose()
}

/// The jobs that `filter` lets through, the newest first, up to `limit` from `cursor` on.
pub async fn jobs(
    tx: &mut Tx<'_>,
    filter: &JobFilter,
    cursor: Option<i64>,
    limit: i64,
) -> Result<Page<Job>, DbError> {
    let limit = usize::try_from(limit.clamp(1, LIST_JOBS_MAX)).unwrap_or(1);
    let (sql, params) = list_query(filter, cursor, limit);
    let rows = tx.query(&sql, &params).await?;
    let mut items: Vec<Job> = rows.iter().map(Job::from_row).collect::<Result<_, _>>()?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|job| job.number);
    Ok(Page { items, next_cursor })
}

/// The attempts of a job, in the order of their claims.
pub async fn attempts(tx: &mut Tx<'_>, job: &JobId) -> Result<Vec<Attempt>, DbError> {
    let mut attempts = attempt::rows_of(tx, job, LIST_ATTEMPTS_MAX).await?;
    // One that was claimed and not yet started has no row: the job's row tells of it.
    if let Some(job) = self::job(tx, job).await?
        && job.attempt_open
        && attempts.last().is_none_or(|last| last.fence < job.fence)
        && let Some(held) = job.held.clone()
    {
        attempts.push(Attempt::leased(&job, held.node));
    }
    Ok(attempts)
}

/// One row more than asked for is read: it tells whether there is a next piece.
fn list_query(filter: &JobFilter, cursor: Option<i64>, limit: usize) -> (String, Vec<Value>) {
    let mut params: Vec<Value> = vec![
        cursor.unwrap_or(i64::MAX).into(),
        i64::try_from(limit + 1).unwrap_or(i64::MAX).into(),
    ];
    let mut placeholder = |value: &str| {
        params.push(value.into());
        format!("?{}", params.len())
    };
    let mut sql = concat!(
        "SELECT ",
        job_all_columns!(),
        " FROM job_all WHERE number < ?1"
    )
    .to_owned();
    if !filter.states.is_empty() {
        let mut states = filter.states.clone();
        states.sort_unstable();
        states.dedup();
        let states: Vec<String> = states
            .iter()
            .map(|state| placeholder(state.as_str()))
            .collect();
        sql += &format!(" AND state IN ({})", states.join(", "));
    }
    if let Some(parent) = &filter.parent {
        sql += &format!(" AND parent = {}", placeholder(parent.as_str()));
    }
    if let Some(project) = &filter.project {
        sql += &format!(" AND project = {}", placeholder(project));
    }
    sql += " ORDER BY number DESC LIMIT ?2";
    (sql, params)
}
