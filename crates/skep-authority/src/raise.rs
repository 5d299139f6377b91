//! Giving authority out, and taking it back.

use skep_db::{DbError, Kind, List, Rows, Tx};
use skep_types::{Fence, JobId};

/// Makes `holder` the only one with authority over each of the jobs, under the fence beside it.
///
/// Whoever gives the fences out sees to it that each is greater than every earlier one of its job;
/// a fence that is not greater than the current one breaks the table's rule that a fence is greater
/// than 0, and with it the whole transaction.
pub async fn grant(
    tx: &mut Tx<'_>,
    fences: &[(&JobId, Fence)],
    holder: &str,
) -> Result<(), DbError> {
    let sql = "WITH r (job_id, fence, holder) AS (/*rows*/)
        INSERT INTO authority (job_id, fence, holder) SELECT job_id, fence, holder FROM r WHERE true
        ON CONFLICT (job_id) DO UPDATE SET holder = excluded.holder,
            fence = CASE WHEN excluded.fence > authority.fence THEN excluded.fence ELSE 0 END";
    let rows = fences
        .iter()
        .map(|(job, fence)| [job.as_str().into(), fence.0.into(), holder.into()]);
    let rows = Rows::new(&[Kind::Text, Kind::Int, Kind::Text], rows);
    tx.execute_rows_later(sql, &rows).await
}

/// Leaves nobody with authority over the jobs; every fence given out is stale.
pub async fn withdraw(tx: &mut Tx<'_>, jobs: &[&JobId]) -> Result<(), DbError> {
    let jobs = List::of_texts(jobs.iter().map(|job| job.as_str()));
    let sql = "DELETE FROM authority WHERE job_id /*in list*/";
    tx.execute_list_later(sql, &[], &jobs).await
}
