//! The PostgreSQL sealer: follows the commits of every node and chains what they appended.
//!
//! Every node runs one. Which of them seals is decided anew for every batch by the lock on the
//! head's row, so there is no lease to wait for when a node dies, and a node's own events are
//! sealed as soon as its own wake-up says so.

use crate::error::LedgerError;
use crate::key::LedgerKey;
use crate::limits::{SEAL_APART_MS, SEAL_EVENTS_MAX, SEAL_POLL_MS, SEAL_RETRY_MS};
use crate::seal::{Sealer, Turn};
use crate::{APPENDED, TOPIC};
use skep_db::{Db, DbError, Engine, Tx};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// Seals events on PostgreSQL; on SQLite, where every commit seals its own, it has nothing to do.
pub struct SealerService {
    db: Db,
    sealer: Arc<Sealer>,
}

impl SealerService {
    /// A service over `db` that signs with `key`; [`run`](Self::run) starts it.
    pub fn new(db: Db, key: LedgerKey) -> Self {
        Self {
            db,
            sealer: Arc::new(Sealer::new(key)),
        }
    }

    /// Seals until `stop` resolves, then seals what is left.
    ///
    /// Outlives failures of the store; ends early only with [`LedgerError::ForeignHead`], after
    /// which nothing may be sealed until a person has looked.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), LedgerError> {
        if self.db.engine() == Engine::Sqlite {
            stop.await;
            return Ok(());
        }
        let mut appended = self.db.listen(APPENDED);
        let mut stop = pin!(stop);
        let mut woken = true;
        loop {
            appended.mark_unchanged();
            let pause_ms = match self.seal_if(woken).await {
                Ok(()) => SEAL_POLL_MS,
                Err(error @ LedgerError::ForeignHead { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "events wait for their seal"
                    );
                    SEAL_RETRY_MS
                }
            };
            let apart = tokio::time::sleep(Duration::from_millis(SEAL_APART_MS));
            woken = tokio::select! {
                () = &mut stop => break,
                // The sender lives in `db`, so this never fails while the service runs.
                () = async { appended.changed().await.ok(); apart.await } => true,
                () = tokio::time::sleep(Duration::from_millis(pause_ms)) => false,
            };
        }
        self.seal_pending().await.map(|_| ())
    }

    /// Seals what waits. Unless something here was appended it looks first, without taking the
    /// head's row, which would write to the disk of a store where nothing happens.
    async fn seal_if(&self, woken: bool) -> Result<(), LedgerError> {
        if woken || self.db.read("seal_due", is_due).await? {
            // Whoever seals at this moment sees to the rest.
            self.seal(Turn::IfFree).await?;
        }
        Ok(())
    }

    /// Seals everything that is committed and not yet sealed, after whoever seals at this moment;
    /// the answer is how many events.
    pub async fn seal_pending(&self) -> Result<i64, LedgerError> {
        self.seal(Turn::Next).await
    }

    async fn seal(&self, turn: Turn) -> Result<i64, LedgerError> {
        if self.db.engine() == Engine::Sqlite {
            return Ok(0);
        }
        let mut total = 0;
        loop {
            let sealer = Arc::clone(&self.sealer);
            let sealed = self
                .db
                .write("seal", async move |tx: &mut Tx<'_>| {
                    let sealed = sealer.seal(tx, turn).await?;
                    if sealed > 0 {
                        tx.wake(TOPIC);
                    }
                    Ok::<i64, LedgerError>(sealed)
                })
                .await?;
            total += sealed;
            if sealed < SEAL_EVENTS_MAX {
                return Ok(total);
            }
        }
    }
}

/// Whether there is an event without a place, or a gap that wants looking at.
async fn is_due(tx: &mut Tx<'_>) -> Result<bool, DbError> {
    let sql = "SELECT 1 AS due FROM (SELECT last_event, gaps FROM ledger_head
            ORDER BY seq DESC LIMIT 1) h
        WHERE length(h.gaps) > 0 OR EXISTS (SELECT 1 FROM ledger_event WHERE id > h.last_event)";
    Ok(tx.query_opt(sql, &[]).await?.is_some())
}
