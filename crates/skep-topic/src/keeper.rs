//! The keeper: a reconciler that looks after retention, the health of stages, feeds from the ledger
//! and spilled files. It has no input, may be repeated, and writes nothing when nothing is to do.

use crate::alarm;
use crate::bridge;
use crate::checkpoint;
use crate::error::ProduceError;
use crate::limits::{KEEP_MS, RETAIN_MESSAGES_MAX};
use crate::registry::Topics;
use crate::retention::retain;
use crate::spill::Spill;
use crate::stage::{Look, look_at_groups, look_at_stages};
use skep_db::{Db, DbError, Tx};
use skep_types::AlarmKind;
use std::time::Duration;

/// Why a pass of the keeper ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeeperError {
    /// A topic was not fed.
    #[error("feed the topic `{topic}` from the ledger")]
    Feed {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        source: ProduceError,
    },
    /// The store failed.
    #[error("look after the topics")]
    Db(#[from] DbError),
}

/// What one pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Messages that retention removed.
    pub removed: i64,
    /// Stages and groups about which an alarm is new.
    pub alarmed: usize,
    /// Messages that were fed from the ledger.
    pub fed: usize,
}

/// Looks after the topics of a process.
#[derive(Clone)]
pub struct Keeper {
    db: Db,
    topics: Topics,
    spill: Option<Spill>,
}

impl Keeper {
    /// A keeper of `topics`; nothing runs until [`Keeper::run`].
    pub const fn new(db: Db, topics: Topics, spill: Option<Spill>) -> Self {
        Self { db, topics, spill }
    }

    /// Looks after everything until the task is ended: feeds whenever the ledger has grown, the
    /// rest every [`KEEP_MS`].
    pub async fn run(&self) {
        let mut ledger = self.db.listen(skep_ledger::TOPIC);
        let mut timer = tokio::time::interval(Duration::from_millis(KEEP_MS));
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let kept = tokio::select! {
                _ = ledger.changed() => self.feed().await.map(|_| ()),
                _ = timer.tick() => self.keep().await.map(|_| ()),
            };
            if let Err(error) = kept {
                complain(&error);
                tokio::time::sleep(Duration::from_millis(KEEP_MS)).await;
            }
        }
    }

    /// One pass over everything.
    ///
    /// # Errors
    /// [`KeeperError`]; what was done before it stays done.
    pub async fn keep(&self) -> Result<Kept, KeeperError> {
        let mut kept = Kept::default();
        for topic in self.topics.declared() {
            kept.removed += retain(&self.db, topic).await?.removed;
        }
        kept.alarmed = self.look_at_health().await?;
        self.forget().await?;
        if let Some(spill) = &self.spill {
            let now = async |tx: &mut Tx<'_>| tx.now_ms().await;
            let now = self.db.read("now", now).await?;
            spill.sweep(&self.db, now).await?;
        }
        // Last, because a topic that cannot be fed is no reason to leave the rest.
        kept.fed = self.feed().await?;
        Ok(kept)
    }

    /// Feeds every topic that is fed from the ledger until it has all that is sealed. A topic that
    /// cannot be fed stops no other.
    ///
    /// # Errors
    /// [`KeeperError`] of the last one that was not fed.
    pub async fn feed(&self) -> Result<usize, KeeperError> {
        let mut fed = 0;
        let mut failed = None;
        for topic in self.topics.declared() {
            match self.feed_one(&topic.name).await {
                Ok(produced) => fed += produced,
                Err(source) => {
                    self.topics.refused(&self.db, &source).await?;
                    let topic = topic.name.clone();
                    failed = Some(KeeperError::Feed { topic, source });
                }
            }
        }
        failed.map_or(Ok(fed), Err)
    }

    async fn feed_one(&self, topic: &str) -> Result<usize, ProduceError> {
        let mut fed = 0;
        loop {
            let (produced, more) = bridge::feed(&self.db, &self.topics, topic).await?;
            fed += produced;
            if !more {
                return Ok(fed);
            }
        }
    }

    async fn look_at_health(&self) -> Result<usize, KeeperError> {
        let mut alarmed = 0;
        for topic in self.topics.declared() {
            let topic = topic.clone();
            let look = async move |tx: &mut Tx<'_>| look_at_groups(tx, &topic).await;
            alarmed += self
                .write(self.db.read("health", look).await?, false)
                .await?;
        }
        let look = async |tx: &mut Tx<'_>| look_at_stages(tx).await;
        alarmed += self
            .write(self.db.read("health", look).await?, true)
            .await?;
        Ok(alarmed)
    }

    async fn write(&self, mut looks: Vec<Look>, own: bool) -> Result<usize, DbError> {
        looks.retain(|look| !look.is_idle());
        if looks.is_empty() {
            return Ok(0);
        }
        self.db
            .write("health", async move |tx: &mut Tx<'_>| {
                let mut alarmed = 0;
                for look in &looks {
                    alarmed += usize::from(look.write(tx, own).await?);
                }
                Ok(alarmed)
            })
            .await
    }

    async fn forget(&self) -> Result<(), DbError> {
        let old = async |tx: &mut Tx<'_>| checkpoint::any_old(tx).await;
        if self.db.read("checkpoints", old).await? {
            let forget = async |tx: &mut Tx<'_>| checkpoint::forget(tx, RETAIN_MESSAGES_MAX).await;
            self.db.write("checkpoints", forget).await?;
        }
        Ok(())
    }
}

fn complain(error: &KeeperError) {
    let error = error as &dyn std::error::Error;
    tracing::error!(error, "topics were not looked after");
}

impl Topics {
    /// Makes a refusal of a message that was too large an alarm, in a transaction of its own: the
    /// one that was to produce it is gone. Other refusals are the caller's to tell.
    ///
    /// # Errors
    /// What the store says.
    pub async fn refused(&self, db: &Db, error: &ProduceError) -> Result<(), DbError> {
        let ProduceError::Oversize { topic, .. } = error else {
            return Ok(());
        };
        let topic = topic.clone();
        db.write("oversize", async move |tx: &mut Tx<'_>| {
            alarm::raise(tx, AlarmKind::MessageOversize, &topic)
                .await
                .map(|_| ())
        })
        .await
    }
}
