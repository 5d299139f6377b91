//! Which message of the topic `reports` a job's report is, and where it was put.

use skep_db::{DbError, Tx, params};
use skep_topic::MessageId;
use skep_types::JobId;

/// One delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeliveryRow {
    /// The newest message about the job.
    pub(crate) message: Option<MessageId>,
    /// Where the report is, once it was delivered.
    pub(crate) place: Option<String>,
}

/// Writes down that the report of a job is on its way.
pub(crate) async fn put_delivery(
    tx: &mut Tx<'_>,
    job: &JobId,
    message: &MessageId,
) -> Result<(), DbError> {
    let sql = "INSERT INTO delivery (job_id, message) VALUES (?1, ?2)
        ON CONFLICT (job_id) DO UPDATE SET message = excluded.message, place = NULL";
    tx.execute(sql, params![job.as_str(), message.to_string()])
        .await
        .map(|_| ())
}

/// Writes down where the report of a job is.
pub(crate) async fn put_place(tx: &mut Tx<'_>, job: &JobId, place: &str) -> Result<(), DbError> {
    let sql = "UPDATE delivery SET place = ?2 WHERE job_id = ?1";
    tx.execute(sql, params![job.as_str(), place])
        .await
        .map(|_| ())
}

/// The delivery of `job`, where there is one.
pub(crate) async fn delivery(tx: &mut Tx<'_>, job: &JobId) -> Result<Option<DeliveryRow>, DbError> {
    let sql = "SELECT message, place FROM delivery WHERE job_id = ?1";
    let Some(row) = tx.query_opt(sql, params![job.as_str()]).await? else {
        return Ok(None);
    };
    Ok(Some(DeliveryRow {
        message: row.parse_opt("message")?,
        place: row.get("place")?,
    }))
}

/// Jobs whose report was due before there were topics, at most `limit`.
pub(crate) async fn unsent_deliveries(tx: &mut Tx<'_>, limit: i64) -> Result<Vec<JobId>, DbError> {
    let sql = "SELECT job_id FROM delivery WHERE message IS NULL AND place IS NULL
        ORDER BY job_id LIMIT ?1";
    let rows = tx.query(sql, params![limit]).await?;
    rows.iter().map(|row| row.parse("job_id")).collect()
}
