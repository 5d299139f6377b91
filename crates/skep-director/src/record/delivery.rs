//! Where a job's report stands on its way to its owner.

use skep_db::{DbError, Tx, params};
use skep_types::{DeliveryState, JobId};

/// One delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeliveryRow {
    pub(crate) job: JobId,
    pub(crate) state: DeliveryState,
    pub(crate) place: Option<String>,
}

/// Writes the delivery of a job.
pub(crate) async fn put_delivery(tx: &mut Tx<'_>, d: &DeliveryRow) -> Result<(), DbError> {
    let sql = "INSERT INTO delivery (job_id, state, place) VALUES (?1, ?2, ?3)
        ON CONFLICT (job_id) DO UPDATE SET state = excluded.state, place = excluded.place";
    let row = params![d.job.as_str(), d.state.as_str(), d.place.as_deref()];
    tx.execute(sql, row).await.map(|_| ())
}

/// The delivery of `job`, where there is one.
pub(crate) async fn delivery(tx: &mut Tx<'_>, job: &JobId) -> Result<Option<DeliveryRow>, DbError> {
    let sql = "SELECT job_id, state, place FROM delivery WHERE job_id = ?1";
    let Some(row) = tx.query_opt(sql, params![job.as_str()]).await? else {
        return Ok(None);
    };
    Ok(Some(DeliveryRow {
        job: row.parse("job_id")?,
        state: row.parse("state")?,
        place: row.get("place")?,
    }))
}

/// Jobs whose report is still to be delivered, at most `limit`.
pub(crate) async fn open_deliveries(tx: &mut Tx<'_>, limit: i64) -> Result<Vec<JobId>, DbError> {
    let sql = "SELECT job_id FROM delivery WHERE state IN ('pending', 'delivering')
        ORDER BY job_id LIMIT ?1";
    tx.query(sql, params![limit])
        .await?
        .iter()
        .map(|row| row.parse("job_id"))
        .collect()
}
