//! Giving out a new fence, and taking every one back.

use skep_db::{DbError, Tx, params};
use skep_types::{Fence, JobId};

/// Makes `holder` the only one with authority over the job; every earlier fence is stale.
pub async fn raise(tx: &mut Tx<'_>, job: &JobId, holder: &str) -> Result<Fence, DbError> {
    let sql = "INSERT INTO authority (job_id, fence, holder) VALUES (?1, 1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET fence = authority.fence + 1, holder = excluded.holder
        RETURNING fence";
    let row = tx.query_one(sql, params![job.as_str(), holder]).await?;
    Ok(Fence(row.get("fence")?))
}

/// Leaves nobody with authority over the job; every fence ever given out is stale.
pub async fn withdraw(tx: &mut Tx<'_>, job: &JobId) -> Result<(), DbError> {
    let sql = "INSERT INTO authority (job_id, fence, holder) VALUES (?1, 1, NULL)
        ON CONFLICT (job_id) DO UPDATE SET fence = authority.fence + 1, holder = NULL";
    tx.execute(sql, params![job.as_str()]).await?;
    Ok(())
}
