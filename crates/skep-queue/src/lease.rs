//! What a claim gives its holder, and how the holder keeps it.

use crate::limits::LEASE_MS_MAX;
use skep_db::{DbError, Tx, params};
use skep_types::{Fence, JobId, NodeId};

/// The right to change a job: shown with every change, good as long as its fence is current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// The fence of the claim.
    pub fence: Fence,
}

/// Extends all leases of `node` to `lease_ms` from now, in one statement.
///
/// The answer is the jobs that it still holds; of any other job it must stop the work. A lease
/// that has run out by the store's clock stays so.
pub async fn heartbeat(
    tx: &mut Tx<'_>,
    node: &NodeId,
    lease_ms: i64,
) -> Result<Vec<JobId>, DbError> {
    let now = tx.now_ms().await?;
    let sql = "UPDATE job SET lease_until_ms = ?2
        WHERE lease_node = ?1 AND lease_until_ms > ?3 RETURNING id";
    let until = lease_end(now, lease_ms);
    let rows = tx.query(sql, params![node.as_str(), until, now]).await?;
    rows.iter().map(|row| row.parse("id")).collect()
}

/// When a lease of `lease_ms` that begins now runs out.
pub(crate) fn lease_end(now_ms: i64, lease_ms: i64) -> i64 {
    now_ms.saturating_add(lease_ms.clamp(1, LEASE_MS_MAX))
}
