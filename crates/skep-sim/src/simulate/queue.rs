//! The real queue under simulation: every request as one transaction, and the rows and events
//! that it leaves. The only file here that names the queue's functions and tables.

use super::message::{Answer, Course, Refusal, Request};
use super::mutation::Mutation;
use skep_db::{Db, DbError, Row, Tx, params};
use skep_ledger::{LedgerKey, SealedEvent, SealerService, VerifyReport};
use skep_queue::{
    AdvanceError, Attempt, AttemptError, AttemptStart, CancelError, EnqueueError, Finish, Job,
    Lease, PauseError, RefusalReason, RetryError, WakeError,
};
use skep_stdx::ManualClock;
use skep_testkit::{Backend, TestStore};
use skep_types::{Fence, JobId, JobState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a lease lasts in a simulation, in milliseconds.
pub(crate) const LEASE_MS: i64 = 60_000;

/// Why a transaction was not committed.
enum Abort {
    Refused(Refusal),
    Died,
    Db(DbError),
}

impl From<DbError> for Abort {
    fn from(error: DbError) -> Self {
        if error.is_constraint() {
            Self::Refused(Refusal::Taken)
        } else {
            Self::Db(error)
        }
    }
}

/// What a check looks at: one instant of the store.
pub(crate) struct Rows {
    /// Every row of the view of all jobs with a number above the one asked for: the job's id, and
    /// whether it is a row of an ended job.
    pub(crate) places: Vec<(JobId, bool)>,
    /// Each of these jobs, with its attempts.
    pub(crate) jobs: Vec<(Job, Vec<Attempt>)>,
    /// The queues that are paused.
    pub(crate) paused: BTreeSet<String>,
    /// When all starts under each rate are paid for, in microseconds since 1970.
    pub(crate) rates: BTreeMap<String, i64>,
    /// The events after the place asked for.
    pub(crate) events: Vec<SealedEvent>,
}

/// A queue on a store of its own.
pub(crate) struct Queue {
    db: Db,
    key: LedgerKey,
    sealer: SealerService,
    mutation: Option<Mutation>,
    pub(crate) clock: ManualClock,
    pub(crate) backend: Backend,
    /// Gone when the queue is.
    _store: TestStore,
}

impl Queue {
    /// A fresh queue in `store`, with a defect if there is a `mutation`.
    pub(crate) async fn open(
        store: TestStore,
        mutation: Option<Mutation>,
    ) -> anyhow::Result<Arc<Self>> {
        let key = LedgerKey::open_or_create(&store.folder().join("ledger.key"))?;
        let before_commit = Some(skep_ledger::sealer(key.clone()));
        let schema = [
            skep_authority::SCHEMA,
            skep_ledger::SCHEMA,
            skep_queue::SCHEMA,
        ];
        let db = store.open(&schema, before_commit).await?;
        Ok(Arc::new(Self {
            sealer: SealerService::new(db.clone(), key.clone()),
            db,
            key,
            mutation,
            clock: store.clock.clone(),
            backend: store.backend,
            _store: store,
        }))
    }

    /// Forgets what an earlier history started under a rate: its clock is not this one's.
    pub(crate) async fn forget_rates(&self) -> anyhow::Result<()> {
        self.db
            .write("forget", async |tx: &mut Tx<'_>| {
                tx.execute("DELETE FROM queue_rate", &[]).await
            })
            .await?;
        Ok(())
    }

    /// Sends a request; no answer if its process dies.
    pub(crate) async fn send(
        &self,
        request: &Request,
        course: Course,
    ) -> anyhow::Result<Option<Answer>> {
        if course == Course::RunTwice {
            self.run(request, true).await?;
        }
        let answer = self.run(request, course == Course::Dies).await?;
        match &answer {
            Some(Answer::Refused(refusal)) => self.record_refusal(request, refusal).await?,
            Some(Answer::Finished(answers)) => {
                self.record_refusals(request, answers).await?;
            }
            _ => {}
        }
        Ok(answer)
    }

    async fn run(&self, request: &Request, dies: bool) -> anyhow::Result<Option<Answer>> {
        let (asked, mutation) = (request.clone(), self.mutation);
        let outcome = self
            .db
            .write("simulated", async move |tx: &mut Tx<'_>| {
                let asked = match mutation {
                    Some(mutation) => mutation.before(tx, asked.clone()).await?,
                    None => asked.clone(),
                };
                let instead = match mutation {
                    Some(mutation) => mutation.instead(tx, &asked).await?,
                    None => None,
                };
                let mut answer = match instead {
                    Some(answer) => answer,
                    None => perform(tx, &asked).await?,
                };
                if let Some(mutation) = mutation {
                    answer = mutation.after(tx, &asked, answer).await?;
                }
                if dies {
                    return Err(Abort::Died);
                }
                Ok(answer)
            })
            .await;
        match outcome {
            Ok(answer) => Ok(Some(answer)),
            Err(Abort::Refused(refusal)) => Ok((!dies).then_some(Answer::Refused(refusal))),
            Err(Abort::Died) => Ok(self.mutation.and_then(|m| m.answers_the_dead(request))),
            Err(Abort::Db(error)) => Err(error.into()),
        }
    }

    async fn record_refusal(&self, request: &Request, refusal: &Refusal) -> anyhow::Result<()> {
        let (job, to, fence) = match request {
            Request::Advance { lease, to, .. } | Request::Finish { lease, to, .. } => {
                (&lease.job, Some(*to), Some(lease.fence))
            }
            Request::Start { lease, .. } | Request::End { lease, .. } => {
                (&lease.job, None, Some(lease.fence))
            }
            Request::Wake { job, to, .. } => (job, Some(*to), None),
            Request::Enqueue(_)
            | Request::EnqueueAll(_)
            | Request::Claim(_)
            | Request::Heartbeat { .. }
            | Request::FinishAll(_)
            | Request::Cancel { .. }
            | Request::Retry { .. }
            | Request::PauseQueue(_)
            | Request::ResumeQueue(_)
            | Request::Reconcile { .. }
            | Request::GiveBack { .. } => return Ok(()),
        };
        self.record(job, refusal, to, fence).await
    }

    /// Each by itself.
    async fn record_refusals(
        &self,
        request: &Request,
        answers: &[Result<Job, Refusal>],
    ) -> anyhow::Result<()> {
        let Request::FinishAll(finishes) = request else {
            return Ok(());
        };
        for (finish, answer) in finishes.iter().zip(answers) {
            if let Err(refusal) = answer {
                let lease = &finish.lease;
                self.record(&lease.job, refusal, Some(finish.to), Some(lease.fence))
                    .await?;
            }
        }
        Ok(())
    }

    /// As the product does it: what is refused is recorded in a transaction of its own.
    async fn record(
        &self,
        job: &JobId,
        refusal: &Refusal,
        to: Option<JobState>,
        fence: Option<Fence>,
    ) -> anyhow::Result<()> {
        let reason = match refusal {
            Refusal::Stale => RefusalReason::Stale,
            Refusal::Illegal => RefusalReason::Illegal,
            Refusal::NotFound
            | Refusal::Ended(_)
            | Refusal::Live(_)
            | Refusal::Conflict(_)
            | Refusal::Invalid
            | Refusal::Taken => return Ok(()),
        };
        let job = job.clone();
        self.db
            .write("refused", async move |tx: &mut Tx<'_>| {
                skep_queue::record_refusal(tx, &job, reason, to, fence).await
            })
            .await?;
        Ok(())
    }

    /// The jobs with a number above `number`, and the events after `seq`.
    pub(crate) async fn rows(&self, number: i64, seq: i64) -> anyhow::Result<Rows> {
        if self.backend == Backend::Postgres {
            self.sealer.seal_pending().await?;
        }
        let rows = self
            .db
            .read("rows", async move |tx: &mut Tx<'_>| {
                let sql = "SELECT id, ended_at_ms FROM job_all WHERE number > ?1 ORDER BY number";
                let mut places = Vec::new();
                let mut jobs: Vec<(Job, Vec<Attempt>)> = Vec::new();
                for row in tx.query(sql, params![number]).await? {
                    let id: JobId = row.parse("id")?;
                    let ended = row.get::<Option<i64>>("ended_at_ms")?.is_some();
                    if jobs.iter().all(|(job, _)| job.id != id)
                        && let Some(job) = skep_queue::job(tx, &id).await?
                    {
                        jobs.push((job, skep_queue::attempts(tx, &id).await?));
                    }
                    places.push((id, ended));
                }
                let events =
                    skep_ledger::tail(tx, seq, skep_ledger::limits::TAIL_EVENTS_MAX).await?;
                Ok::<_, DbError>(Rows {
                    places,
                    jobs,
                    paused: skep_queue::paused_queues(tx).await?,
                    rates: rates(tx).await?,
                    events,
                })
            })
            .await?;
        Ok(rows)
    }

    /// Which of `leases` give authority over their jobs now.
    pub(crate) async fn current(&self, leases: &[Lease]) -> anyhow::Result<Vec<bool>> {
        let leases = leases.to_vec();
        let current = self
            .db
            .write("demand", async move |tx: &mut Tx<'_>| {
                let mut current = Vec::with_capacity(leases.len());
                for lease in &leases {
                    current.push(
                        match skep_authority::demand(tx, &lease.job, lease.fence).await {
                            Ok(()) => true,
                            Err(skep_authority::AuthorityError::Stale { .. }) => false,
                            Err(skep_authority::AuthorityError::Db(error)) => return Err(error),
                        },
                    );
                }
                Ok(current)
            })
            .await?;
        Ok(current)
    }

    /// Recomputes the whole chain.
    pub(crate) async fn verify(&self) -> anyhow::Result<VerifyReport> {
        if self.backend == Backend::Postgres {
            self.sealer.seal_pending().await?;
        }
        Ok(skep_ledger::verify(&self.db, self.key.public()).await?)
    }
}

async fn rates(tx: &mut Tx<'_>) -> Result<BTreeMap<String, i64>, DbError> {
    let sql = "SELECT name, next_us FROM queue_rate ORDER BY name";
    let rows = tx.query(sql, &[]).await?;
    let rate = |row: &Row| Ok((row.get("name")?, row.get("next_us")?));
    rows.iter().map(rate).collect()
}

async fn perform(tx: &mut Tx<'_>, request: &Request) -> Result<Answer, Abort> {
    Ok(match request {
        Request::Enqueue(new) => {
            let enqueued = skep_queue::enqueue(tx, new).await?;
            Answer::Enqueued(enqueued.id, enqueued.created)
        }
        Request::EnqueueAll(new) => {
            let enqueued = skep_queue::enqueue_all(tx, new).await?;
            Answer::EnqueuedAll(enqueued.into_iter().map(|e| (e.id, e.created)).collect())
        }
        Request::Claim(claim) => Answer::Claimed(skep_queue::claim(tx, claim).await?),
        Request::Heartbeat { node, jobs } => {
            Answer::Held(skep_queue::heartbeat(tx, node, jobs, LEASE_MS).await?)
        }
        Request::Start { lease, attempt } => {
            let start = AttemptStart {
                harness: "skep".to_owned(),
                model_requested: Some("stub-large".to_owned()),
                session_id: None,
            };
            skep_queue::attempt_started(tx, lease, attempt, &start).await?;
            Answer::Changed
        }
        Request::End {
            lease,
            attempt,
            end,
        } => {
            skep_queue::attempt_ended(tx, lease, attempt, end).await?;
            Answer::Changed
        }
        Request::Advance { lease, to, how } => {
            Answer::Moved(Box::new(skep_queue::advance(tx, lease, *to, *how).await?))
        }
        Request::Finish {
            lease,
            attempt,
            end,
            to,
            how,
        } => {
            skep_queue::attempt_ended(tx, lease, attempt, end).await?;
            Answer::Moved(Box::new(skep_queue::advance(tx, lease, *to, *how).await?))
        }
        Request::FinishAll(finishes) => finish_all(tx, finishes).await?,
        Request::Wake { job, from, to } => {
            Answer::Woken(skep_queue::wake_job(tx, job, *from, *to).await?)
        }
        Request::Cancel { job } => Answer::Cancelled(skep_queue::cancel(tx, job).await?.from),
        Request::Retry { job, extra } => {
            Answer::Moved(Box::new(skep_queue::retry(tx, job, *extra).await?))
        }
        Request::PauseQueue(queue) => Answer::Switched(skep_queue::pause_queue(tx, queue).await?),
        Request::ResumeQueue(queue) => Answer::Switched(skep_queue::resume_queue(tx, queue).await?),
        Request::GiveBack { node, at_work } => {
            let given_back = skep_queue::give_back_idle(tx, node, at_work).await?;
            Answer::TakenBack(given_back.lost)
        }
        Request::Reconcile { restarted } => {
            skep_queue::bound_leases(tx, LEASE_MS).await?;
            Answer::TakenBack(skep_queue::reconcile(tx, restarted.as_ref()).await?.lost)
        }
    })
}

async fn finish_all(tx: &mut Tx<'_>, finishes: &[Finish]) -> Result<Answer, Abort> {
    let mut answers = Vec::with_capacity(finishes.len());
    for answer in skep_queue::finish_all(tx, finishes).await? {
        answers.push(match answer.map_err(Abort::from) {
            Ok(job) => Ok(job),
            Err(Abort::Refused(refusal)) => Err(refusal),
            Err(other) => return Err(other),
        });
    }
    Ok(Answer::Finished(answers))
}

/// The refusals of each operation; everything else is a fault of the store.
macro_rules! refusals {
    ($($error:ident { $($pattern:pat => $refusal:expr),+ $(,)? })+) => { $(
        impl From<$error> for Abort {
            fn from(error: $error) -> Self {
                use $error as E;
                match error {
                    $($pattern => Self::Refused($refusal),)+
                    E::Db(error) => error.into(),
                    other => Self::Db(DbError::Unavailable(Box::new(other))),
                }
            }
        }
    )+ };
}

refusals! {
    EnqueueError {
        E::Conflict { existing } => Refusal::Conflict(existing),
        E::Invalid { .. } => Refusal::Invalid,
    }
    AdvanceError {
        E::Stale { .. } => Refusal::Stale,
        E::Illegal(_) => Refusal::Illegal,
        E::NotFound => Refusal::NotFound,
    }
    AttemptError {
        E::Stale { .. } => Refusal::Stale,
        E::Illegal { .. } => Refusal::Illegal,
        E::NotFound => Refusal::NotFound,
    }
    PauseError { E::Name => Refusal::Invalid }
    WakeError { E::Illegal(_) => Refusal::Illegal }
    CancelError {
        E::Ended { state } => Refusal::Ended(state),
        E::NotFound => Refusal::NotFound,
    }
    RetryError {
        E::Live { state } => Refusal::Live(state),
        E::Illegal(_) => Refusal::Illegal,
        E::NotFound => Refusal::NotFound,
    }
}
