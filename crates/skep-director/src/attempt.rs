//! One attempt: a repository of its own, a fence, a worker in it, and what it left behind.
//!
//! Everything the worker says is a claim. What this step writes is what the engine saw: the proof
//! of the fence, the exit, the tip it imported into its own vault.

mod ending;
mod guard;
mod launch;
mod leftover;
mod observe;

pub(crate) use ending::{back_off, end_failed, end_lost, interrupted, retry_delay_ms};
pub(crate) use launch::{fence_failure, started};

use crate::context::Context;
use crate::dispatch::pin_base;
use crate::engine::StepFailure;
use crate::error::DirectorError;
use crate::limits::LOG_BYTES_MAX;
use crate::liveness::{Life, Reason};
use crate::log::{AtLimit, Captured, Stream};
use crate::record::{self, Dispatch};
use crate::running::Signal;
use crate::{log, prompt};
use ending::read_limited;
use guard::Pulse;
use observe::Observer;
use skep_db::{DbError, Tx};
use skep_harness::{HarnessKind, ProcessExit, RunOutcome};
use skep_queue::{Claim, Lease};
use skep_sandbox::{FencedProcess, Oid};
use skep_stdx::Redactor;
use skep_types::AttemptId;
use std::path::Path;
use tokio::sync::watch;

/// The signal that ends a worker at its limit: SIGKILL.
const KILLED: i32 = 9;

/// What follows an attempt under the same claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// A result was taken in; it is to be verified.
    Verify,
    /// The job has left this claim.
    Left,
}

/// Runs the attempt of `claim`.
pub(crate) async fn run(
    context: &Context,
    claim: &Claim,
    signal: watch::Receiver<Signal>,
) -> Result<After, StepFailure> {
    let Some(attempt) = &claim.attempt else {
        return Err(DirectorError::incomplete("the claim has no attempt").into());
    };
    let lease = Lease {
        job: claim.job.id.clone(),
        fence: claim.fence,
    };
    let folder = context.home.attempts().join(attempt.as_str());
    let ended = run_in(context, claim, &lease, attempt, &folder, signal).await;
    // The folder goes whatever happened; what matters of it is in the vault and the database.
    if let Err(error) = crate::check::remove(&folder).await {
        tracing::warn!(%attempt, error = crate::error::describe(&error), "the attempt's folder was left");
    }
    ended
}

async fn run_in(
    context: &Context,
    claim: &Claim,
    lease: &Lease,
    attempt: &AttemptId,
    folder: &Path,
    signal: watch::Receiver<Signal>,
) -> Result<After, StepFailure> {
    let job = claim.job.id.clone();
    let (mut dispatch, results, verdicts) = context
        .db
        .read("attempt", async move |tx: &mut Tx<'_>| {
            let dispatch = record::dispatch(tx, &job).await?;
            Ok::<_, DbError>((
                dispatch,
                record::results(tx, &job).await?,
                record::verdicts(tx, &job).await?,
            ))
        })
        .await?;
    if dispatch.base_commit.is_none() {
        let (kind, repo) = (claim.job.kind, dispatch.repo.as_deref());
        let from = dispatch.base_from.as_deref();
        dispatch.base_commit = Some(pin_base(context, lease, kind, repo, from).await?);
    }
    let previous = results
        .iter()
        .rev()
        .find_map(|result| result.tip_commit.clone());
    let worker = Worker {
        context,
        claim,
        lease,
        attempt,
        dispatch: &dispatch,
    };
    let repository = worker.prepare(folder, previous.as_deref(), &signal).await?;
    skep_stdx::crash::point("attempt.prepared");
    let instruction = prompt::instruction(context, &dispatch, verdicts.last()).await?;
    let (key, mut process, kind, redactor) = worker.start(folder, &repository, instruction).await?;
    skep_stdx::crash::point("attempt.started");
    let serving = process
        .gateway_listener()
        .map(|listener| (context.serve_gateway)(listener));
    let watched = worker.watch(&mut process, kind, &redactor, signal).await;
    let killed = process.kill().await;
    if let Some(serving) = serving {
        serving.abort();
    }
    worker.revoke(key).await?;
    killed.map_err(|e| DirectorError::outside("end the worker's processes", e))?;
    match watched? {
        Watched::Ended(outcome, proof) => {
            worker
                .take_in(folder, &repository, *outcome, proof, &redactor)
                .await
        }
        Watched::Stopped(how) => worker.stopped(folder, &repository, how, &redactor).await,
    }
}

/// How watching a worker ended.
enum Watched {
    /// It ended by itself, or at its time limit; with the proof of its fence.
    Ended(Box<Ended>, String),
    /// It was told to.
    Stopped(Signal),
}

struct Ended {
    outcome: RunOutcome,
    refusals: i64,
    /// Why it was asked to end, if it was.
    ended_for: Option<Reason>,
}

struct Worker<'a> {
    context: &'a Context,
    claim: &'a Claim,
    lease: &'a Lease,
    attempt: &'a AttemptId,
    dispatch: &'a Dispatch,
}

impl Worker<'_> {
    /// Follows the worker to its end, its limit, or a signal.
    async fn watch(
        &self,
        process: &mut FencedProcess,
        kind: HarnessKind,
        redactor: &Redactor,
        mut signal: watch::Receiver<Signal>,
    ) -> Result<Watched, StepFailure> {
        let context = self.context;
        let proof = serde_json::to_string(process.proof()).unwrap_or_default();
        let log = context
            .home
            .logs()
            .join(self.claim.job.id.as_str())
            .join(format!("{}.log", self.attempt));
        let pulse = Pulse::start();
        let interrupter = process.interrupter();
        let mut observer = Observer::new(context, self.lease, self.attempt, kind, pulse.clone());
        let ended = {
            // A worker may close its output and go on; its end is the end, or its limit is.
            let end = async {
                let limit = (LOG_BYTES_MAX, AtLimit::Cut);
                let mut captured = Captured::new(Vec::new());
                log::capture(
                    process,
                    &log,
                    limit,
                    redactor,
                    &mut captured,
                    |stream, line| match stream {
                        Stream::Out => observer.line(line),
                        Stream::Err => pulse.note(Life::seen),
                    },
                )
                .await
                .map_err(|e| DirectorError::outside("keep the worker's output", e))?;
                let exit = process.wait().await;
                exit.map_err(|e| DirectorError::outside("wait for the worker", e))
            };
            tokio::select! {
                exit = end => Some(exit?),
                _ = self.guard(&pulse, &interrupter) => None,
                changed = signal.wait_for(|s| *s != Signal::Go) => {
                    let how = changed.map_or(Signal::LeaseLost, |s| *s);
                    return Ok(Watched::Stopped(how));
                }
            }
        };
        process
            .kill()
            .await
            .map_err(|e| DirectorError::outside("end the worker's processes", e))?;
        let folder = context.home.attempts().join(self.attempt.as_str());
        let contract = read_limited(&folder.join("out/contract.json"), redactor);
        let events = observer.finish().await;
        let refusals = i64::try_from(events.iter().filter(|e| observe::is_refusal(e)).count())
            .unwrap_or(i64::MAX);
        let exit = ProcessExit {
            code: ended.and_then(|exit| exit.code),
            signal: ended.map_or(Some(KILLED), |exit| exit.signal),
        };
        let outcome = skep_harness::outcome(exit, &events, contract.as_deref());
        Ok(Watched::Ended(
            Box::new(Ended {
                outcome,
                refusals,
                ended_for: pulse.note(|life, _| life.reason()),
            }),
            proof,
        ))
    }
}

/// An object name that this crate wrote into a record itself.
pub(crate) fn parse_oid(text: &str) -> Result<Oid, DirectorError> {
    text.parse()
        .map_err(|e| DirectorError::outside("read an object name of the record", e))
}
