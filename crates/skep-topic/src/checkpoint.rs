//! Checkpoints: which steps of a job of a consumer were done for an item and a date, so that a job
//! that starts again passes over them.

use crate::limits::{CHECKPOINT_MS_MAX, LIST_ROWS_MAX};
use skep_db::{Db, DbError, Tx, params};

/// Whose steps: a consumer, what it works on, and for which date (`2026-11-20`, or any word that
/// tells one run from the next).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The consumer, as in `journal`.
    pub consumer: String,
    /// What it works on, as a job's id.
    pub item: String,
    /// The date it works for.
    pub date: String,
}

impl Checkpoint {
    /// The steps that were done, in the order of their names.
    ///
    /// # Errors
    /// What the store says.
    pub async fn steps(&self, tx: &mut Tx<'_>) -> Result<Vec<String>, DbError> {
        let sql = "SELECT step FROM checkpoint WHERE consumer = ?1 AND item = ?2 AND date = ?3
            ORDER BY step LIMIT ?4";
        let row = params![&self.consumer, &self.item, &self.date, LIST_ROWS_MAX];
        tx.query(sql, row)
            .await?
            .iter()
            .map(|row| row.get("step"))
            .collect()
    }

    /// Whether a step was done.
    ///
    /// # Errors
    /// What the store says.
    pub async fn is_done(&self, tx: &mut Tx<'_>, step: &str) -> Result<bool, DbError> {
        let sql = "SELECT done_at_ms FROM checkpoint
            WHERE consumer = ?1 AND item = ?2 AND date = ?3 AND step = ?4";
        let row = params![&self.consumer, &self.item, &self.date, step];
        Ok(tx.query_opt(sql, row).await?.is_some())
    }

    /// Says that a step is done, in the transaction that holds its outcome. False if it was
    /// done before.
    ///
    /// # Errors
    /// What the store says.
    pub async fn done(&self, tx: &mut Tx<'_>, step: &str) -> Result<bool, DbError> {
        let now = tx.now_ms().await?;
        let sql = "INSERT INTO checkpoint (consumer, item, date, step, done_at_ms)
            VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
        let row = params![&self.consumer, &self.item, &self.date, step, now];
        Ok(tx.execute(sql, row).await? == 1)
    }

    /// Runs a step unless it was done, and says so after it: the step may be run again after a
    /// crash, and never after it was said to be done. True if it was run.
    ///
    /// # Errors
    /// What the step or the store says.
    pub async fn run<E>(
        &self,
        db: &Db,
        step: &'static str,
        perform: impl Future<Output = Result<(), E>>,
    ) -> Result<bool, E>
    where
        E: From<DbError> + Send + 'static,
    {
        let own = self.clone();
        let done = db.read("checkpoint", async move |tx: &mut Tx<'_>| {
            own.is_done(tx, step).await
        });
        if done.await? {
            return Ok(false);
        }
        perform.await?;
        let own = self.clone();
        db.write("checkpoint", async move |tx: &mut Tx<'_>| {
            own.done(tx, step).await
        })
        .await?;
        Ok(true)
    }
}

/// Removes checkpoints that are older than [`CHECKPOINT_MS_MAX`], at most `limit`.
pub(crate) async fn forget(tx: &mut Tx<'_>, limit: i64) -> Result<u64, DbError> {
    let before = tx.now_ms().await?.saturating_sub(CHECKPOINT_MS_MAX);
    let sql = "DELETE FROM checkpoint WHERE (consumer, item, date, step) IN
        (SELECT consumer, item, date, step FROM checkpoint WHERE done_at_ms < ?1 LIMIT ?2)";
    tx.execute(sql, params![before, limit]).await
}

/// Whether there is a checkpoint to be removed.
pub(crate) async fn any_old(tx: &mut Tx<'_>) -> Result<bool, DbError> {
    let before = tx.now_ms().await?.saturating_sub(CHECKPOINT_MS_MAX);
    let sql = "SELECT done_at_ms FROM checkpoint WHERE done_at_ms < ?1 LIMIT 1";
    Ok(tx.query_opt(sql, params![before]).await?.is_some())
}
