//! Parts of a job: how many there may be, whoever waits for them, and ending them all.

use super::error::GraphError;
use super::release::release;
use super::set;
use crate::cancel::{Cancelled, cancel};
use crate::change::{Change, apply, lock};
use crate::enqueue::NewJob;
use crate::error::{AdvanceError, CancelError, EnqueueError};
use crate::event::{JobAdvanced, record};
use crate::lease::{Lease, current};
use crate::limits::{CANCEL_TREE_JOBS_MAX, TREE_DEPTH_MAX, TREE_JOBS_MAX};
use skep_db::{DbError, Tx, params};
use skep_types::{AttemptState, JobId, JobState};
use std::collections::BTreeMap;

/// Why a job cannot be a part of another one.
#[derive(Debug)]
pub(crate) enum TreeError {
    TooDeep { depth: i64 },
    TooWide { count: i64 },
    Db(DbError),
}

/// What a tree's width is called in an error.
const WIDTH: &str = "the jobs below one root";

impl From<DbError> for TreeError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl From<TreeError> for GraphError {
    fn from(error: TreeError) -> Self {
        let limit = TREE_DEPTH_MAX;
        match error {
            TreeError::TooDeep { depth } => Self::TooDeep { depth, limit },
            TreeError::TooWide { count } => Self::TooWide {
                what: WIDTH,
                count,
                limit: TREE_JOBS_MAX,
            },
            TreeError::Db(error) => Self::Db(error),
        }
    }
}

impl From<TreeError> for EnqueueError {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::TooDeep { depth } => Self::TooDeep { depth },
            TreeError::TooWide { count } => Self::TooWide { count },
            TreeError::Db(error) => Self::Db(error),
        }
    }
}

/// Where jobs stand in the trees that they join.
#[derive(Debug, Default)]
pub(super) struct Joining(BTreeMap<JobId, (JobId, i64)>);

impl Joining {
    /// The root of the job's tree, and how deep below it the job is.
    pub(super) fn place<'a>(&'a self, job: &'a NewJob) -> (&'a JobId, i64) {
        let of = job.parent.as_ref().and_then(|parent| self.0.get(parent));
        of.map_or((&job.id, 0), |(root, depth)| (root, *depth))
    }
}

/// Enters `jobs` with the jobs that they are parts of.
pub(super) async fn join_all<'a>(
    tx: &mut Tx<'_>,
    jobs: impl Iterator<Item = &'a NewJob>,
) -> Result<Joining, TreeError> {
    let mut parts: BTreeMap<&JobId, i64> = BTreeMap::new();
    for parent in jobs.filter_map(|job| job.parent.as_ref()) {
        *parts.entry(parent).or_default() += 1;
    }
    let mut joining = Joining::default();
    for (parent, count) in parts {
        let place = join_one(tx, parent, count).await?;
        joining.0.insert(parent.clone(), place);
    }
    Ok(joining)
}

/// Enters jobs that are enqueued by themselves.
pub(crate) async fn join(tx: &mut Tx<'_>, jobs: &[&NewJob]) -> Result<(), TreeError> {
    if jobs.iter().all(|job| job.parent.is_none()) {
        return Ok(());
    }
    let joining = join_all(tx, jobs.iter().copied()).await?;
    for job in jobs.iter().filter(|job| job.parent.is_some()) {
        let (root, depth) = joining.place(job);
        let sql = "INSERT INTO job_node (job, root, depth, level, edges_open)
            VALUES (?1, ?2, ?3, 0, 0)";
        tx.execute(sql, params![job.id.as_str(), root.as_str(), depth])
            .await?;
    }
    Ok(())
}

async fn join_one(tx: &mut Tx<'_>, parent: &JobId, count: i64) -> Result<(JobId, i64), TreeError> {
    let sql = "SELECT root, depth FROM job_node WHERE job = ?1";
    let (root, above) = match tx.query_opt(sql, params![parent.as_str()]).await? {
        Some(row) => (row.parse("root")?, row.get("depth")?),
        None => (parent.clone(), 0),
    };
    let depth = above + 1;
    if depth > TREE_DEPTH_MAX {
        return Err(TreeError::TooDeep { depth });
    }
    let below_root = if root == *parent { count } else { 0 };
    let mut jobs = grow(tx, parent, count, below_root).await?;
    if root != *parent {
        jobs = grow(tx, &root, 0, count).await?;
    }
    if jobs > TREE_JOBS_MAX {
        return Err(TreeError::TooWide { count: jobs });
    }
    Ok((root, depth))
}

async fn grow(tx: &mut Tx<'_>, job: &JobId, open: i64, jobs: i64) -> Result<i64, DbError> {
    let sql = "INSERT INTO job_tree (job, open, jobs, ending) VALUES (?1, ?2, ?3, 0)
        ON CONFLICT (job) DO UPDATE
            SET open = job_tree.open + excluded.open, jobs = job_tree.jobs + excluded.jobs
        RETURNING jobs";
    let row = tx.query_one(sql, params![job.as_str(), open, jobs]).await?;
    row.get("jobs")
}

/// Makes a job one that waits for its parts and then goes on to `wake_to`.
pub(super) async fn plant(tx: &mut Tx<'_>, job: &JobId, wake_to: JobState) -> Result<(), DbError> {
    let sql = "INSERT INTO job_tree (job, open, jobs, wake_to, ending) VALUES (?1, 0, 0, ?2, 0)
        ON CONFLICT (job) DO UPDATE SET wake_to = excluded.wake_to";
    tx.execute(sql, params![job.as_str(), wake_to.as_str()])
        .await?;
    Ok(())
}

/// `count` parts of `job` are live again.
pub(super) async fn parts_back(tx: &mut Tx<'_>, job: &JobId, count: i64) -> Result<(), DbError> {
    grow(tx, job, count, 0).await.map(|_| ())
}

/// `count` parts of `job` have ended. If these were the last and it waits for them, it goes on.
pub(super) async fn parts_ended(tx: &mut Tx<'_>, job: &JobId, count: i64) -> Result<(), DbError> {
    let sql = "UPDATE job_tree SET open = open - ?2 WHERE job = ?1 RETURNING open, wake_to";
    let Some(row) = tx.query_opt(sql, params![job.as_str(), count]).await? else {
        return Ok(());
    };
    let wake_to: Option<JobState> = row.parse_opt("wake_to")?;
    match wake_to {
        Some(to) if row.get::<i64>("open")? <= 0 => {
            release(tx, std::slice::from_ref(job), JobState::WaitingChildren, to).await
        }
        Some(_) | None => Ok(()),
    }
}

/// Lets a claimed job wait for its parts: its lease and its slot go, its attempt is parked and
/// does not count. When all parts have ended it goes on to `wake_to`, as `queued`.
///
/// `false`: no part of it is open; nothing was changed, and it still has its lease.
pub async fn wait_for_children(
    tx: &mut Tx<'_>,
    lease: &Lease,
    wake_to: JobState,
) -> Result<bool, AdvanceError> {
    // The row of the tree comes before that of the job here as it does when a part ends.
    let sql = "SELECT open FROM job_tree WHERE job = ?1 /*lock*/";
    let row = tx.query_opt(sql, params![lease.job.as_str()]).await?;
    let open: i64 = row.map_or(Ok(0), |row| row.get("open"))?;
    let job = lock(tx, &lease.job).await?;
    let (job, _) = current(job, lease).map_err(|current| AdvanceError::Stale { current })?;
    if open <= 0 {
        return Ok(false);
    }
    let from = job.state;
    let to = from
        .to(JobState::WaitingChildren)
        .map_err(AdvanceError::Illegal)?;
    to.to(wake_to).map_err(AdvanceError::Illegal)?;
    plant(tx, &job.id, wake_to).await?;
    let change = Change {
        to,
        failure: None,
        run_at_ms: None,
        losses: job.losses,
        release: Some(AttemptState::Parked),
    };
    let job = apply(tx, job, change).await?;
    let event = JobAdvanced {
        from,
        to,
        failure: None,
        run_at_ms: job.run_at_ms,
        fence: Some(lease.fence),
        lease_kept: false,
    };
    record(tx, &job.id, &event).await?;
    Ok(true)
}

/// How many parts of `job` stand where, ended ones included.
pub async fn parts_by_state(
    tx: &mut Tx<'_>,
    job: &JobId,
) -> Result<BTreeMap<JobState, i64>, DbError> {
    let sql = "SELECT state, COUNT(*) AS parts FROM job_all WHERE parent = ?1 GROUP BY state";
    let rows = tx.query(sql, params![job.as_str()]).await?;
    rows.iter()
        .map(|row| Ok((row.parse("state")?, row.get("parts")?)))
        .collect()
}

/// One step of ending a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeCancelled {
    /// The jobs that were ended, at most [`CANCEL_TREE_JOBS_MAX`]. Jobs that waited for one of
    /// them were skipped besides.
    pub cancelled: Vec<Cancelled>,
    /// Whether there may be more: call again, in a transaction of its own.
    pub more: bool,
}

/// Ends a job, its parts, and everything that waits for one of them, step by step.
///
/// The first step ends the job itself, if it has not ended, and marks its tree; from then on
/// [`ending_trees`] names it until a step finds nothing left, so that whoever comes after a crash
/// goes on. Jobs of `spare` are left alone, and what waits for them is not.
pub async fn cancel_tree(
    tx: &mut Tx<'_>,
    job: &JobId,
    spare: &[JobId],
) -> Result<TreeCancelled, CancelError> {
    let sql = "SELECT ending FROM job_tree WHERE job = ?1";
    let row = tx.query_opt(sql, params![job.as_str()]).await?;
    let marked = row.map_or(Ok(0), |row| row.get::<i64>("ending"))? == 1;
    if !marked {
        let cancelled = match cancel(tx, job).await {
            Ok(cancelled) => vec![cancelled],
            // What is below an ended job may still live.
            Err(CancelError::Ended { state }) => {
                if below(tx, job, spare, 1).await?.is_empty() {
                    return Err(CancelError::Ended { state });
                }
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        mark(tx, job, true).await?;
        return Ok(TreeCancelled {
            cancelled,
            more: true,
        });
    }
    let mut cancelled = Vec::new();
    let found = below(tx, job, spare, CANCEL_TREE_JOBS_MAX).await?;
    for id in &found {
        match cancel(tx, id).await {
            Ok(ended) => cancelled.push(ended),
            // It was skipped for one of those before it, or has ended by itself.
            Err(CancelError::Ended { .. } | CancelError::NotFound) => {}
            Err(error @ CancelError::Db(_)) => return Err(error),
        }
    }
    let more = !found.is_empty();
    if !more {
        mark(tx, job, false).await?;
    }
    Ok(TreeCancelled { cancelled, more })
}

/// The trees whose ending was begun and not finished.
pub async fn ending_trees(tx: &mut Tx<'_>) -> Result<Vec<JobId>, DbError> {
    let sql = "SELECT job FROM job_tree WHERE ending = 1 ORDER BY job LIMIT ?1";
    let rows = tx.query(sql, params![CANCEL_TREE_JOBS_MAX]).await?;
    rows.iter().map(|row| row.parse("job")).collect()
}

async fn mark(tx: &mut Tx<'_>, job: &JobId, ending: bool) -> Result<(), DbError> {
    let sql = "INSERT INTO job_tree (job, open, jobs, ending) VALUES (?1, 0, 0, ?2)
        ON CONFLICT (job) DO UPDATE SET ending = excluded.ending";
    tx.execute(sql, params![job.as_str(), ending]).await?;
    Ok(())
}

/// The live jobs that are parts of `job` or wait for it, directly or not; those that somebody
/// works on first.
async fn below(
    tx: &mut Tx<'_>,
    job: &JobId,
    spare: &[JobId],
    limit: i64,
) -> Result<Vec<JobId>, DbError> {
    let sql = format!(
        "WITH RECURSIVE below(id) AS (
            SELECT CAST(?2 AS TEXT)
            UNION
            SELECT link.child FROM below b JOIN (
                SELECT parent, id AS child FROM job_all WHERE parent IS NOT NULL
                UNION ALL
                SELECT parent, child FROM job_edge) AS link ON link.parent = b.id)
        SELECT j.id AS id FROM below b JOIN job j ON j.id = b.id
        WHERE j.id <> ?2 AND j.id NOT IN {}
        ORDER BY CASE WHEN j.lease_node IS NULL THEN 1 ELSE 0 END, j.number LIMIT ?3",
        set::ids(tx.engine())
    );
    let params = [set::list(spare), job.as_str().into(), limit.into()];
    let rows = tx.query(&sql, &params).await?;
    rows.iter().map(|row| row.parse("id")).collect()
}
