//! What a claim gives its holder, and how the holder keeps it.

use crate::limits::LEASE_MS_MAX;
use crate::row::{Held, Job};
use skep_db::{DbError, List, Tx, params};
use skep_types::{Fence, JobId, NodeId};

/// The right to change a job: shown with every change, good as long as its fence is current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// The fence of the claim.
    pub fence: Fence,
}

/// Extends the leases of `node` on `jobs`, those it really works on, to `lease_ms` from now. A
/// lease that nobody works on runs out, so that a step that vanished does not hold its job.
///
/// The answer is the jobs that it still holds; of any other job it must stop the work. A lease is
/// over when it is taken back, not before: until then nobody else can have the job, so a node
/// that slept, or whose clock was put forward, goes on where it was.
pub async fn heartbeat(
    tx: &mut Tx<'_>,
    node: &NodeId,
    jobs: &[JobId],
    lease_ms: i64,
) -> Result<Vec<JobId>, DbError> {
    let now = tx.now_ms().await?;
    let until = lease_end(now, lease_ms);
    let sql =
        "UPDATE job SET lease_until_ms = ?1 WHERE lease_node = ?2 AND id /*in list*/ RETURNING id";
    let list = List::of_texts(jobs.iter().map(JobId::as_str));
    let held = tx
        .query_list(sql, params![until, node.as_str()], &list)
        .await?;
    held.iter().map(|row| row.parse("id")).collect()
}

/// Shortens every lease that would last longer than `lease_ms` from now; the answer is how many.
///
/// No lease is given for longer, so such a one was given before the store's clock was put back.
/// Its holder, if it lives, renews it in time; if not, its job is free after one lease and not
/// after as long as the clock was put back. Goes before every [`reconcile`](crate::reconcile).
pub async fn bound_leases(tx: &mut Tx<'_>, lease_ms: i64) -> Result<u64, DbError> {
    let until = lease_end(tx.now_ms().await?, lease_ms);
    let sql = "UPDATE job SET lease_until_ms = ?1
        WHERE lease_node IS NOT NULL AND lease_until_ms > ?1";
    tx.execute(sql, params![until]).await
}

/// The job and its holder, if the lease is current; else the fence that somebody holds now.
pub(crate) fn current(job: Option<Job>, lease: &Lease) -> Result<(Job, Held), Option<Fence>> {
    let held = holder(job.as_ref(), lease)?;
    job.map(|job| (job, held)).ok_or(None)
}

/// Who holds the job, if it is by this lease; else the fence that somebody holds now.
pub(crate) fn holder(job: Option<&Job>, lease: &Lease) -> Result<Held, Option<Fence>> {
    let Some(job) = job else { return Err(None) };
    match &job.held {
        Some(held) if job.fence == lease.fence => Ok(held.clone()),
        Some(_) => Err(Some(job.fence)),
        None => Err(None),
    }
}

/// When a lease of `lease_ms` that begins now runs out.
pub(crate) fn lease_end(now_ms: i64, lease_ms: i64) -> i64 {
    now_ms.saturating_add(lease_ms.clamp(1, LEASE_MS_MAX))
}
