//! Defects put between the simulator and the real queue, each a mistake that somebody could make
//! in it. A simulator that does not find them proves nothing; a test says after how many seeds it
//! does. Beside the beginning of a history the only SQL of the simulator that writes; it names
//! columns of `job`, `job_history`, `job_key`, `attempt`, `authority`, `queue_pause` and
//! `queue_rate`.

use super::message::{Answer, Refusal, Request};
use super::queue::LEASE_MS;
use skep_authority::AuthorityError;
use skep_db::{DbError, Tx, params};
use skep_queue::flow::FlowLimit;
use skep_queue::{Claim, ClaimRequest, EnqueueError, FlowPolicy, Lease, NewJob};
use skep_types::{Fence, JobId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A claim takes work that another node holds.
    ClaimIgnoresLease,
    /// Whoever writes is taken for the holder.
    WriteSkipsFence,
    /// A lapsed lease is never taken back.
    ReconcileForgets,
    /// A lease that has not run out is taken back.
    ReconcileIsHasty,
    /// A node gives back what it works on.
    GivesBackWork,
    /// A lease given before the clock was put back lasts until the clock is there again.
    LeaseOutlivesJump,
    /// An idempotency key is not kept.
    EnqueueForgetsKey,
    /// An idempotency key stands for whatever is asked for under it.
    KeyTakesAnyRequest,
    /// The key of a request that became another's job stands for none.
    KeyMissesName,
    /// A singleton is made although one lives.
    EnqueueForgetsSingleton,
    /// A debounced job is made although one waits.
    EnqueueForgetsDebounce,
    /// Requests for a debounced job do not put its start off.
    PutOffIsLost,
    /// A job is acknowledged before it is committed.
    AnswersBeforeCommit,
    /// An ended job is not moved to the history.
    LosesEndedJob,
    /// A done job can be run again.
    DoneIsNotFinal,
    /// A row changes without an event.
    ChangesWithoutEvent,
    /// A fence stays current when its lease goes.
    FenceOutlivesLease,
    /// A waiting job is told that it was woken, and is not.
    WakeIsLost,
    /// The worker of a lease that went is not ended.
    LeavesAttemptOpen,
    /// Of several jobs that are asked for at once those are made that are not refused.
    BatchMakesSome,
    /// Whoever ends several jobs at once is taken for the holder of each.
    BatchSkipsFence,
    /// Of several jobs that end at once those that were refused are answered last.
    BatchMixesAnswers,
    /// A claim takes work of a paused queue.
    ClaimIgnoresPause,
    /// A paused queue is told to go on, and does not.
    ResumeIsLost,
    /// A claim knows no limits.
    ClaimIgnoresLimits,
    /// A claim knows no keys.
    ClaimIgnoresKeys,
    /// Where the jobs of a key disagree, the one that lets most of them run is heard.
    KeyHearsLargest,
    /// A claim knows no rates.
    ClaimIgnoresRates,
    /// What started under a rate counts until the clock is there again, after it was put back.
    RateOutlivesJump,
    /// One less may run than a limit says.
    LimitIsOneLess,
}

impl Mutation {
    /// Every defect.
    pub const ALL: &'static [Self] = &[
        Self::ClaimIgnoresLease,
        Self::WriteSkipsFence,
        Self::ReconcileForgets,
        Self::ReconcileIsHasty,
        Self::GivesBackWork,
        Self::LeaseOutlivesJump,
        Self::EnqueueForgetsKey,
        Self::KeyTakesAnyRequest,
        Self::KeyMissesName,
        Self::EnqueueForgetsSingleton,
        Self::EnqueueForgetsDebounce,
        Self::PutOffIsLost,
        Self::AnswersBeforeCommit,
        Self::LosesEndedJob,
        Self::DoneIsNotFinal,
        Self::ChangesWithoutEvent,
        Self::FenceOutlivesLease,
        Self::WakeIsLost,
        Self::LeavesAttemptOpen,
        Self::BatchMakesSome,
        Self::BatchSkipsFence,
        Self::BatchMixesAnswers,
        Self::ClaimIgnoresPause,
        Self::ResumeIsLost,
        Self::ClaimIgnoresLimits,
        Self::ClaimIgnoresKeys,
        Self::KeyHearsLargest,
        Self::ClaimIgnoresRates,
        Self::RateOutlivesJump,
        Self::LimitIsOneLess,
    ];

    /// What goes wrong before the operation; the answer is the request that is then performed.
    pub(crate) async fn before(
        self,
        tx: &mut Tx<'_>,
        mut request: Request,
    ) -> Result<Request, DbError> {
        match (self, &mut request) {
            (Self::ClaimIgnoresLease, Request::Claim(_)) => {
                let sql = "UPDATE job SET lease_node = NULL, lease_until_ms = NULL, line = 1
                    WHERE state IN ('verifying', 'landing')";
                tx.execute(sql, &[]).await?;
            }
            (Self::ClaimIgnoresLimits, Request::Claim(asked)) => {
                let policy = Arc::make_mut(&mut asked.policy);
                (policy.running_max, policy.projects) = (None, BTreeMap::new());
                for limit in of_queues_and_backends(policy) {
                    limit.running_max = None;
                }
            }
            (Self::ClaimIgnoresRates, Request::Claim(asked)) => {
                let policy = Arc::make_mut(&mut asked.policy);
                for limit in of_queues_and_backends(policy) {
                    limit.rate = None;
                }
            }
            (Self::LimitIsOneLess, Request::Claim(asked)) => {
                let policy = Arc::make_mut(&mut asked.policy);
                policy.running_max = policy.running_max.map(|max| max - 1);
            }
            (
                Self::WriteSkipsFence,
                Request::Start { lease, .. }
                | Request::End { lease, .. }
                | Request::Advance { lease, .. }
                | Request::Finish { lease, .. },
            ) => {
                lease.fence = held(tx, lease).await?;
            }
            (Self::BatchSkipsFence, Request::FinishAll(finishes)) => {
                for finish in finishes {
                    finish.lease.fence = held(tx, &finish.lease).await?;
                }
            }
            (Self::ReconcileIsHasty, Request::Reconcile { .. }) => {
                let sql = "UPDATE job SET lease_until_ms = 0 WHERE lease_node IS NOT NULL";
                tx.execute(sql, &[]).await?;
            }
            (Self::GivesBackWork, Request::GiveBack { at_work, .. }) => at_work.clear(),
            (Self::EnqueueForgetsKey, Request::Enqueue(new)) => new.idempotency_key = None,
            (Self::KeyTakesAnyRequest, Request::Enqueue(new)) => new.idempotency_digest.clear(),
            (Self::EnqueueForgetsSingleton, Request::Enqueue(new)) => new.flow.singleton = None,
            (Self::EnqueueForgetsDebounce, Request::Enqueue(new)) => new.flow.debounce = None,
            (Self::DoneIsNotFinal, Request::Retry { job, .. }) => {
                let sql = "UPDATE job_history SET state = 'failed'
                    WHERE id = ?1 AND state = 'done'";
                tx.execute(sql, params![job.as_str()]).await?;
            }
            _ => {}
        }
        Ok(request)
    }

    /// What is done in the operation's place.
    pub(crate) async fn instead(
        self,
        tx: &mut Tx<'_>,
        request: &Request,
    ) -> Result<Option<Answer>, DbError> {
        Ok(match (self, request) {
            (Self::ReconcileForgets, Request::Reconcile { .. }) => {
                skep_queue::bound_leases(tx, LEASE_MS).await?;
                Some(Answer::TakenBack(Vec::new()))
            }
            (Self::LeaseOutlivesJump, Request::Reconcile { restarted }) => {
                let lost = skep_queue::reconcile(tx, restarted.as_ref()).await?.lost;
                Some(Answer::TakenBack(lost))
            }
            (Self::WakeIsLost, Request::Wake { from, to, .. }) if from.to(*to).is_ok() => {
                Some(Answer::Woken(true))
            }
            (Self::PutOffIsLost, Request::Enqueue(new)) if new.idempotency_key.is_none() => {
                let waiting = waiting(tx, new).await?;
                waiting.map(|job| Answer::Enqueued(job, false))
            }
            (Self::BatchMakesSome, Request::EnqueueAll(new)) => Some(make_some(tx, new).await?),
            (Self::ClaimIgnoresPause, Request::Claim(asked)) => {
                Some(Answer::Claimed(claim_all(tx, asked).await?))
            }
            (Self::ClaimIgnoresKeys, Request::Claim(asked)) => {
                let sql = "UPDATE job SET flow_key_max = 1000 WHERE flow_key IS NOT NULL";
                Some(Answer::Claimed(claim_with(tx, asked, sql).await?))
            }
            (Self::KeyHearsLargest, Request::Claim(asked)) => {
                let sql = "UPDATE job SET flow_key_max =
                        (SELECT MAX(j.flow_key_max) FROM job j WHERE j.flow_key = job.flow_key)
                    WHERE flow_key IS NOT NULL";
                Some(Answer::Claimed(claim_with(tx, asked, sql).await?))
            }
            (Self::RateOutlivesJump, Request::Claim(asked)) => {
                Some(Answer::Claimed(claim_at_old_pace(tx, asked).await?))
            }
            (Self::ResumeIsLost, Request::ResumeQueue(_)) => Some(Answer::Switched(true)),
            _ => None,
        })
    }

    /// What goes wrong after the operation.
    pub(crate) async fn after(
        self,
        tx: &mut Tx<'_>,
        request: &Request,
        mut answer: Answer,
    ) -> Result<Answer, DbError> {
        if let (Self::BatchMixesAnswers, Answer::Finished(answers)) = (self, &mut answer) {
            answers.sort_by_key(Result::is_err);
        }
        if let (Self::KeyMissesName, Request::Enqueue(new), Answer::Enqueued(job, false)) =
            (self, request, &answer)
            && let Some(key) = &new.idempotency_key
        {
            let sql = "UPDATE job_key SET job_id = ?3 WHERE idempotency_key = ?1 AND job_id = ?2";
            tx.execute(sql, params![key, job.as_str(), new.id.as_str()])
                .await?;
        }
        let Answer::Moved(job) = &answer else {
            return Ok(answer);
        };
        let id = &job.id;
        let (ended, held) = (job.state.is_terminal(), job.held.is_some());
        match (self, ended, held) {
            (Self::LosesEndedJob, true, _) => {
                change(tx, "DELETE FROM job_history WHERE id = ?1", id).await?;
            }
            (Self::ChangesWithoutEvent, false, _) => {
                let sql = "UPDATE job SET attempts_used = attempts_used + 1 WHERE id = ?1";
                change(tx, sql, id).await?;
            }
            (Self::FenceOutlivesLease, _, false) => {
                let (Request::Advance { lease, .. } | Request::Finish { lease, .. }) = request
                else {
                    return Ok(answer);
                };
                let sql = "INSERT INTO authority (job_id, fence, holder) VALUES (?1, ?2, 'nobody')
                    ON CONFLICT (job_id) DO UPDATE SET fence = excluded.fence, holder = 'nobody'";
                tx.execute(sql, params![id.as_str(), lease.fence.0]).await?;
            }
            (Self::LeavesAttemptOpen, _, false) => {
                let sql = "UPDATE attempt SET state = 'running'
                    WHERE job_id = ?1 AND state = 'failed'";
                change(tx, sql, id).await?;
            }
            _ => {}
        }
        Ok(answer)
    }

    /// What a request is answered whose process died before the commit.
    pub(crate) fn answers_the_dead(self, request: &Request) -> Option<Answer> {
        match (self, request) {
            (Self::AnswersBeforeCommit, Request::Enqueue(new)) if is_plain(new) => {
                Some(Answer::Enqueued(new.id.clone(), true))
            }
            _ => None,
        }
    }
}

fn of_queues_and_backends(policy: &mut FlowPolicy) -> impl Iterator<Item = &mut FlowLimit> {
    let queues = policy.queues.values_mut();
    queues.chain(policy.backends.values_mut())
}

/// The fence that somebody holds now, or the one that is shown.
async fn held(tx: &mut Tx<'_>, lease: &Lease) -> Result<Fence, DbError> {
    match skep_authority::demand(tx, &lease.job, Fence(-1)).await {
        Err(AuthorityError::Stale { current }) => Ok(current.unwrap_or(lease.fence)),
        Err(AuthorityError::Db(error)) => Err(error),
        Ok(()) => Ok(lease.fence),
    }
}

/// The job that a request for a debounced one puts off.
async fn waiting(tx: &mut Tx<'_>, new: &NewJob) -> Result<Option<JobId>, DbError> {
    let name = new.flow.debounce.as_ref().map(|debounce| &debounce.name);
    let sql = "SELECT id FROM job WHERE debounce = ?1 AND fence = 0";
    let row = tx.query_opt(sql, params![name]).await?;
    row.map(|row| row.parse("id")).transpose()
}

/// Whether the request can be for no job that is there.
const fn is_plain(new: &NewJob) -> bool {
    let flow = &new.flow;
    new.idempotency_key.is_none() && flow.singleton.is_none() && flow.debounce.is_none()
}

/// Makes the jobs that are not refused, whatever becomes of the others.
async fn make_some(tx: &mut Tx<'_>, new: &[NewJob]) -> Result<Answer, DbError> {
    let mut made = Vec::with_capacity(new.len());
    let mut refused = None;
    for job in new {
        match skep_queue::enqueue(tx, job).await {
            Ok(one) => made.push((one.id, one.created)),
            Err(EnqueueError::Db(error)) => return Err(error),
            Err(_) => refused = Some(Answer::Refused(Refusal::Invalid)),
        }
    }
    Ok(refused.unwrap_or(Answer::EnqueuedAll(made)))
}

/// Claims as if no queue were paused.
async fn claim_all(tx: &mut Tx<'_>, asked: &ClaimRequest) -> Result<Vec<Claim>, DbError> {
    let paused = skep_queue::paused_queues(tx).await?;
    tx.execute("DELETE FROM queue_pause", &[]).await?;
    let claims = skep_queue::claim(tx, asked).await?;
    let sql = "INSERT INTO queue_pause (queue, paused_at_ms) VALUES (?1, 0)";
    for queue in paused {
        tx.execute(sql, params![queue]).await?;
    }
    Ok(claims)
}

/// Claims as if the keys let as many run as `sql` makes them.
async fn claim_with(
    tx: &mut Tx<'_>,
    asked: &ClaimRequest,
    sql: &str,
) -> Result<Vec<Claim>, DbError> {
    let keyed = "SELECT number, flow_key_max FROM job WHERE flow_key IS NOT NULL";
    let before = tx.query(keyed, &[]).await?;
    tx.execute(sql, &[]).await?;
    let claims = skep_queue::claim(tx, asked).await?;
    for row in before {
        let (number, max): (i64, i64) = (row.get("number")?, row.get("flow_key_max")?);
        let sql = "UPDATE job SET flow_key_max = ?2 WHERE number = ?1";
        tx.execute(sql, params![number, max]).await?;
    }
    Ok(claims)
}

/// Claims as if no clock had been put back.
async fn claim_at_old_pace(tx: &mut Tx<'_>, asked: &ClaimRequest) -> Result<Vec<Claim>, DbError> {
    let before = tx
        .query("SELECT name, next_us FROM queue_rate", &[])
        .await?;
    let claims = skep_queue::claim(tx, asked).await?;
    for row in before {
        let (name, next_us): (String, i64) = (row.get("name")?, row.get("next_us")?);
        let sql = "UPDATE queue_rate SET next_us = ?2 WHERE name = ?1 AND next_us < ?2";
        tx.execute(sql, params![name, next_us]).await?;
    }
    Ok(claims)
}

async fn change(tx: &mut Tx<'_>, sql: &str, job: &JobId) -> Result<(), DbError> {
    tx.execute(sql, params![job.as_str()]).await.map(drop)
}
