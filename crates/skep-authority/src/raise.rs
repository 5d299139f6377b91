//! Giving authority out, and taking it back.

use skep_db::{DbError, Tx, Value, batches, placeholders, rows};
use skep_types::{Fence, JobId};

/// Makes `holder` the only one with authority over each of the jobs, under the fence beside it.
///
/// Whoever gives the fences out sees to it that each is greater than every earlier one of its job;
/// a fence that is not greater than the current one is refused, with the whole transaction.
pub async fn grant(
    tx: &mut Tx<'_>,
    fences: &[(&JobId, Fence)],
    holder: &str,
) -> Result<(), DbError> {
    for batch in batches(fences) {
        let sql = format!(
            "INSERT INTO authority (job_id, fence, holder) VALUES {}
            ON CONFLICT (job_id) DO UPDATE SET fence = excluded.fence, holder = excluded.holder
            WHERE excluded.fence > authority.fence",
            rows(batch.len(), 3)
        );
        let values: Vec<Value> = batch
            .iter()
            .flat_map(|(job, fence)| [job.as_str().into(), fence.0.into(), holder.into()])
            .collect();
        let given = tx.execute(&sql, &values).await?;
        if given != batch.len() as u64 {
            return Err(DbError::BadClosure {
                operation: "grant authority",
                reason: "a fence did not grow",
            });
        }
    }
    Ok(())
}

/// Leaves nobody with authority over the jobs; every fence given out is stale.
pub async fn withdraw(tx: &mut Tx<'_>, jobs: &[&JobId]) -> Result<(), DbError> {
    for batch in batches(jobs) {
        let sql = format!(
            "DELETE FROM authority WHERE job_id IN ({})",
            placeholders(1, batch.len())
        );
        let values: Vec<Value> = batch.iter().map(|job| job.as_str().into()).collect();
        tx.execute(&sql, &values).await?;
    }
    Ok(())
}
