//! One model call as a job: the engine asks the model itself, through the gateway's own admission,
//! and the job is done when the answer is stored.
//!
//! Three transactions carry it. The claim; the start, which mints the key, reserves the worst case
//! and records that the attempt runs; the end, which settles the cost, stores the answer and moves
//! the job on. A call that an engine died over is made again under a higher fence, and what it may
//! have cost stays held as unconfirmed. No repository, no fence process, no loopback.

mod answer;
mod body;

pub(crate) use answer::{validator, value_of};

use crate::attempt::{self, back_off};
use crate::context::Context;
use crate::engine::{StepFailure, advance, finish};
use crate::error::DirectorError;
use crate::event::{self, CallAnswered};
use crate::limits::{CALL_DRAIN_MS, RETRY_AFTER_MS_MAX, SALT_BYTES};
use crate::record::{self, AnswerRow, CallRow, put_answer};
use crate::running::Signal;
use answer::{End, Judged, judge};
use ring::digest::{Context as Hasher, SHA256};
use skep_db::Tx;
use skep_gateway::{
    Admission, DirectAnswer, DirectCall, DirectError, DirectRefusal, NewKey, OnExhaust,
};
use skep_queue::{AttemptEnd, AttemptStart, Claim, Lease};
use skep_stdx::Stopwatch;
use skep_types::{AttemptId, FailureClass, JobKind, JobState};
use std::time::Duration;
use tokio::sync::watch;

/// Said of a call that waits for money.
const BUDGET_USED_UP: &str =
    "the budget does not hold the call; raise it with `skep job retry ID --budget-usd X`";

/// Makes the call of `claim`.
pub(crate) async fn run(
    context: &Context,
    claim: &Claim,
    signal: watch::Receiver<Signal>,
) -> Result<(), StepFailure> {
    let Some(attempt) = &claim.attempt else {
        return Err(DirectorError::incomplete("the claim has no attempt").into());
    };
    let job = claim.job.id.clone();
    let row = context
        .db
        .read("call", async move |tx: &mut Tx<'_>| {
            record::call(tx, &job).await
        })
        .await?;
    let step = Step {
        context,
        claim,
        lease: claim.lease(),
        attempt,
        row: &row,
    };
    step.run(signal).await
}

struct Step<'a> {
    context: &'a Context,
    claim: &'a Claim,
    lease: Lease,
    attempt: &'a AttemptId,
    row: &'a CallRow,
}

/// What came of the exchange with the provider.
enum Exchange {
    Answered(Box<DirectAnswer>),
    /// The call's own limit was reached first.
    TooLong,
    /// The step was told to end.
    Stopped(Signal),
}

impl Step<'_> {
    async fn run(&self, signal: watch::Receiver<Signal>) -> Result<(), StepFailure> {
        let body = body::compose(&self.row.model, &self.row.question);
        let call = match self.context.gateway.direct(body) {
            Ok(call) => call,
            Err(error @ DirectError::Busy { .. }) => {
                let class = FailureClass::RateLimit;
                let judged = Judged::failed(class, &error.to_string());
                return self.conclude(judged, None, 0).await;
            }
            Err(error) => {
                return Err(DirectorError::outside("compose the model call", error).into());
            }
        };
        let admission = match self.start(&call).await? {
            Ok(admission) => admission,
            Err(refusal) => return self.conclude(refused(&refusal), None, 0).await,
        };
        skep_stdx::crash::point("call.admitted");
        let watch = Stopwatch::start();
        let exchange = self.exchange(call, admission, signal).await;
        let provider_ms = watch.elapsed_ms();
        match exchange {
            Exchange::Answered(answer) => {
                let judged = judge(&answer, &self.row.question);
                skep_stdx::crash::point("call.answered");
                self.conclude(judged, Some(*answer), provider_ms).await
            }
            Exchange::TooLong => {
                let limit_s = self.row.timeout_ms / 1_000;
                let words = format!("there was no answer within {limit_s} s");
                let judged = Judged::failed(FailureClass::WallClock, &words);
                self.conclude(judged, None, provider_ms).await
            }
            Exchange::Stopped(Signal::Stopping) => {
                Ok(attempt::interrupted(self.context, &self.lease, self.attempt).await?)
            }
            Exchange::Stopped(_) => Ok(()),
        }
    }

    /// Starts the attempt, mints its key and reserves its worst case, all of it or nothing.
    async fn start(
        &self,
        call: &DirectCall,
    ) -> Result<Result<Admission, DirectRefusal>, DirectorError> {
        let row = self.row;
        let start = AttemptStart {
            harness: JobKind::Call.as_str().to_owned(),
            model_requested: Some(row.model.clone()),
            session_id: None,
        };
        let expires = self.context.clock.now_ms().saturating_add(row.timeout_ms);
        let key = NewKey {
            job: Some((self.lease.job.clone(), self.lease.fence)),
            attempt: Some(self.attempt.clone()),
            project: Some(self.claim.job.project.clone()),
            worker: Some(row.worker.clone()),
            models: vec![row.model.clone()],
            tier: row.tier,
            limit: None,
            expires_at_ms: Some(expires),
        };
        let (lease, attempt, ask) = (self.lease.clone(), self.attempt.clone(), call.ask());
        self.context
            .db
            .write("start call", async move |tx: &mut Tx<'_>| {
                skep_queue::attempt_started(tx, &lease, &attempt, &start)
                    .await
                    .map_err(|e| DirectorError::outside("record the attempt's start", e))?;
                Ok::<_, DirectorError>(ask.admit(tx, &key).await?)
            })
            .await
    }

    async fn exchange(
        &self,
        call: DirectCall,
        admission: Admission,
        mut signal: watch::Receiver<Signal>,
    ) -> Exchange {
        let limit = Duration::from_millis(u64::try_from(self.row.timeout_ms).unwrap_or(0));
        // Whoever leaves this before the answer has come leaves like a client that hangs up; the
        // gateway accounts for the call all the same.
        let answering = call.run(admission);
        tokio::pin!(answering);
        let told = tokio::select! {
            answer = &mut answering => return Exchange::Answered(Box::new(answer)),
            () = tokio::time::sleep(limit) => return Exchange::TooLong,
            changed = signal.wait_for(|s| *s != Signal::Go) => {
                changed.map_or(Signal::LeaseLost, |s| *s)
            }
        };
        if told != Signal::Stopping {
            return Exchange::Stopped(told);
        }
        // What is already paid for is worth a moment.
        let patience = Duration::from_millis(CALL_DRAIN_MS);
        match tokio::time::timeout(patience, answering).await {
            Ok(answer) => Exchange::Answered(Box::new(answer)),
            Err(_) => Exchange::Stopped(told),
        }
    }

    /// Settles the call, stores what came back, ends the attempt and moves the job on, in one
    /// transaction.
    async fn conclude(
        &self,
        judged: Judged,
        answer: Option<DirectAnswer>,
        provider_ms: i64,
    ) -> Result<(), StepFailure> {
        let delay_ms = self.delay_ms(judged.end, answer.as_ref());
        let kept = answer
            .as_ref()
            .map(|answer| self.keep(&judged, answer, provider_ms));
        let account = answer.map(|answer| answer.account);
        let (lease, attempt) = (self.lease.clone(), self.attempt.clone());
        let (end, problem, unsettled) = (judged.end, judged.problem, account.clone());
        self.context
            .db
            .write("end call", async move |tx: &mut Tx<'_>| {
                let (lease, attempt, problem) = (&lease, &attempt, problem.as_deref());
                if let Some(account) = &unsettled {
                    account.settle(tx).await?;
                }
                if let Some((row, answered)) = &kept {
                    put_answer(tx, row).await?;
                    event::append(tx, lease.job.as_str(), answered).await?;
                }
                let models = skep_gateway::attempt_models(tx, attempt).await?;
                let ended = AttemptEnd {
                    state: end.attempt_state(),
                    failure_class: end.failure(),
                    model_actual: models.into_iter().find_map(|model| model.actual),
                    session_id: None,
                    counts_as_attempt: end.counts(),
                };
                skep_queue::attempt_ended(tx, lease, attempt, &ended)
                    .await
                    .map_err(|e| DirectorError::outside("record the attempt's end", e))?;
                match (end, delay_ms) {
                    (End::Done, _) => finish(tx, lease, JobState::Done, None, None).await,
                    (End::Parked, _) => {
                        record::put_reason(tx, &lease.job, BUDGET_USED_UP).await?;
                        let class = Some(FailureClass::BudgetExceeded);
                        advance(tx, lease, JobState::WaitingBudget, false, class).await
                    }
                    (End::Failed(class), Some(delay_ms)) => {
                        back_off(tx, lease, class, delay_ms, problem.unwrap_or_default()).await
                    }
                    (End::Failed(class), None) => {
                        finish(tx, lease, JobState::Failed, Some(class), problem).await
                    }
                }
            })
            .await?;
        if let Some(account) = account {
            account.settled();
        }
        skep_stdx::crash::point("call.recorded");
        Ok(())
    }

    /// When to ask again what failed for a passing reason; nothing where asking again cannot help.
    fn delay_ms(&self, end: End, answer: Option<&DirectAnswer>) -> Option<i64> {
        let End::Failed(class) = end else { return None };
        let job = &self.claim.job;
        let may_try = !end.counts() || job.attempts_used + 1 < job.attempts_max;
        let asked_ms = answer
            .and_then(|answer| answer.retry_after_s)
            .and_then(|seconds| i64::try_from(seconds).ok())
            .map_or(0, |seconds| {
                seconds.saturating_mul(1_000).min(RETRY_AFTER_MS_MAX)
            });
        (class.is_transient() && may_try)
            .then(|| attempt::retry_delay_ms(self.claim, &*self.context.entropy).max(asked_ms))
    }

    fn keep(
        &self,
        judged: &Judged,
        answer: &DirectAnswer,
        provider_ms: i64,
    ) -> (AnswerRow, CallAnswered) {
        let mut salt = vec![0; SALT_BYTES];
        self.context.entropy.fill(&mut salt);
        let mut hasher = Hasher::new(&SHA256);
        hasher.update(&salt);
        hasher.update(judged.text.as_bytes());
        let answered = CallAnswered {
            job: self.lease.job.clone(),
            attempt: self.attempt.clone(),
            fence: self.lease.fence,
            call: answer.call.clone(),
            http_status: i64::from(answer.status),
            answer_bytes: judged.text.len(),
            answer_sha256: hex(hasher.finish().as_ref()),
            fits: judged.end == End::Done,
            provider_ms,
        };
        let row = AnswerRow {
            attempt: self.attempt.clone(),
            job: self.lease.job.clone(),
            fence: self.lease.fence,
            salt,
            text: judged.text.clone(),
            problem: judged.problem.clone(),
            stop_reason: judged.stop_reason.clone(),
            model_actual: answer.model_actual.clone(),
            provider_ms,
        };
        (row, answered)
    }
}

/// What a refusal of the gateway means.
fn refused(refusal: &DirectRefusal) -> Judged {
    if refusal.on_exhaust == Some(OnExhaust::Pause) {
        return Judged::parked(&refusal.message);
    }
    let class = match refusal.code {
        "stale_fence" => FailureClass::LeaseLost,
        _ => skep_wire::failure_class(Some(refusal.kind.status()), None),
    };
    Judged::failed(class, &refusal.message)
}

/// `bytes` in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
