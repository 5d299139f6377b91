//! A reader: fetches for one group of this process, and answers for what it was handed. The effect
//! comes first, then the commit: a reader that dies between is handed the message again.

use crate::error::FinishError;
use crate::fetch::{Delivery, FetchRequest, fetch, give_back, take_back};
use crate::finish::{ack, poison, retry_later};
use crate::limits::{POLL_MS, RETRY};
use crate::message::{GroupName, Lease};
use crate::registry::{Running, Topics};
use crate::{Poisoned, TOPIC};
use skep_db::{Db, DbError, Tx};
use skep_stdx::SharedEntropy;
use std::time::Duration;
use tokio::sync::watch;

/// Why an effect did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// For a reason that passes and that the message is not to blame for.
    Transient(String),
    /// Because of the message itself.
    Poison(String),
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// Its effect has happened and is committed.
    Delivered,
    /// It will be tried again.
    Again,
    /// It is a dead letter.
    Dead,
    /// Another reader was handed it meanwhile, and answers for it.
    Lost,
}

/// A reader of one group. As long as it lives the group counts as read.
pub struct Reader {
    db: Db,
    group: GroupName,
    holder: String,
    lease_ms: i64,
    entropy: SharedEntropy,
    woken: watch::Receiver<u64>,
    _running: Running,
}

impl Reader {
    /// Starts reading `group` as `holder`, whose name is the same after a restart: what it held
    /// before is handed out again at once.
    ///
    /// # Errors
    /// What the store says.
    pub async fn start(
        topics: &Topics,
        db: Db,
        group: GroupName,
        holder: String,
        lease_ms: i64,
        entropy: SharedEntropy,
    ) -> Result<Self, DbError> {
        let (of, by) = (group.clone(), holder.clone());
        let left = async move |tx: &mut Tx<'_>| take_back(tx, &of, &by).await;
        db.write("take back messages", left).await?;
        Ok(Self {
            woken: db.listen(TOPIC),
            _running: topics.running(group.clone()),
            db,
            group,
            holder,
            lease_ms,
            entropy,
        })
    }

    /// Lets everything that this reader holds be handed out again at once, and counts none of it as
    /// lost: after a fetch whose answer was lost, or messages that were left unanswered.
    ///
    /// # Errors
    /// What the store says.
    pub async fn give_back(&self) -> Result<(), DbError> {
        let (of, by) = (self.group.clone(), self.holder.clone());
        let held = async move |tx: &mut Tx<'_>| give_back(tx, &of, &by).await;
        self.db.write("give back messages", held).await
    }

    /// The messages that can be read now, at most `max`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn fetch(&self, max: i64) -> Result<Vec<Delivery>, DbError> {
        let group = self.group.clone();
        // Looked at first, so that an idle reader writes nothing.
        let looked = group.clone();
        let any = async move |tx: &mut Tx<'_>| crate::read::deliverable(tx, &looked).await;
        if self.db.read("fetch", any).await? == 0 {
            return Ok(Vec::new());
        }
        let request = FetchRequest {
            max,
            lease_ms: self.lease_ms,
            holder: self.holder.clone(),
        };
        let fetched = async move |tx: &mut Tx<'_>| fetch(tx, &group, &request).await;
        self.db.write("fetch", fetched).await
    }

    /// Waits until a message may be there: a wake-up, or [`POLL_MS`].
    pub async fn wait(&mut self) {
        let pause = Duration::from_millis(POLL_MS);
        // Either way the reader looks; the sender lives in the store that the reader holds.
        drop(tokio::time::timeout(pause, self.woken.changed()).await);
    }

    /// Answers for a message whose effect was tried: `effect` is what came of it. If it happened,
    /// `commit` and the answer commit together.
    ///
    /// # Errors
    /// What the store or `commit` says; the message is then handed out again when its lease ends.
    pub async fn answer<T, E, F>(
        &self,
        delivery: &Delivery,
        effect: Result<T, Failure>,
        commit: F,
    ) -> Result<Handled, E>
    where
        F: AsyncFn(&mut Tx<'_>, &T) -> Result<(), E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + From<FinishError> + Send + 'static,
    {
        let lease = delivery.lease.clone();
        let value = match effect {
            Ok(value) => value,
            Err(failure) => return Ok(self.refuse(delivery, lease, failure).await?),
        };
        self.db
            .write("deliver", async move |tx: &mut Tx<'_>| {
                match ack(tx, &lease).await {
                    Ok(()) => {}
                    // Somebody else answers for it; what is committed for it is theirs too.
                    Err(FinishError::Stale { .. }) => return Ok(Handled::Lost),
                    Err(error) => return Err(error.into()),
                }
                commit(tx, &value).await?;
                Ok(Handled::Delivered)
            })
            .await
    }

    async fn refuse(
        &self,
        delivery: &Delivery,
        lease: Lease,
        failure: Failure,
    ) -> Result<Handled, FinishError> {
        let count = match &failure {
            Failure::Transient(_) => delivery.retries,
            Failure::Poison(_) => delivery.tries,
        };
        let retry = u32::try_from(count).unwrap_or(u32::MAX);
        let delay_ms = RETRY.delay_ms(retry, &*self.entropy);
        let answered = self
            .db
            .write(
                "put a message off",
                async move |tx: &mut Tx<'_>| match &failure {
                    Failure::Transient(why) => retry_later(tx, &lease, delay_ms, why)
                        .await
                        .map(|()| Handled::Again),
                    Failure::Poison(why) => match poison(tx, &lease, delay_ms, why).await? {
                        Poisoned::Again => Ok(Handled::Again),
                        Poisoned::Dead => Ok(Handled::Dead),
                    },
                },
            )
            .await;
        match answered {
            Err(FinishError::Stale { .. }) => Ok(Handled::Lost),
            answered => answered,
        }
    }
}
