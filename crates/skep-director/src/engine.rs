//! The engine: claims work for free slots, renews its claims, and runs each step to its end.
//!
//! Two kinds of actor: the loop here, which alone claims, and one task for each claimed step.
//! They share the registry of what runs, through which a cancel or a stop reaches a step.

use crate::attempt::{self, After};
use crate::director::Context;
use crate::error::{DirectorError, describe};
use crate::limits::{DRAIN_MS, HEARTBEAT_MS, LEASE_MS, POLL_MS};
use crate::running::Signal;
use crate::{account, delivery, landing, record, verify};
use skep_db::{DbError, Tx};
use skep_queue::{Claim, ClaimRequest, Lease, RefusalReason};
use skep_types::{FailureClass, JobId, JobState, LandingState, NodeId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Why the engine could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// What an earlier engine left could not be put in order.
    #[error("reconcile what an earlier engine left")]
    Reconcile(#[source] DirectorError),
}

/// Runs until [`Running::stop`].
pub(crate) async fn run(context: Arc<Context>) -> Result<(), EngineError> {
    reconcile(&context).await.map_err(EngineError::Reconcile)?;
    let heartbeat = skep_stdx::spawn("heartbeat", heartbeat(Arc::clone(&context)));
    let deliveries = skep_stdx::spawn("delivery", delivery::run(Arc::clone(&context)));
    let mut queue = context.db.listen(skep_queue::TOPIC);
    let mut freed = context.running.freed();
    let mut stop = context.running.stopping();
    while !*stop.borrow_and_update() {
        match claim(&context).await {
            Ok(claims) => claims.into_iter().for_each(|claim| begin(&context, claim)),
            Err(error) => tracing::error!(error = describe(&error), "no work was claimed"),
        }
        tokio::select! {
            _ = queue.changed() => {}
            _ = freed.changed() => {}
            _ = stop.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(POLL_MS)) => {}
        }
    }
    drain(&context).await;
    heartbeat.abort();
    deliveries.abort();
    Ok(())
}

/// Puts in order what an earlier engine of this home left behind.
async fn reconcile(context: &Arc<Context>) -> Result<(), DirectorError> {
    take_back(context, true).await?;
    clear_attempts(context).await
}

/// Takes back leases that ran out, and at the start of a node those of its earlier run.
async fn take_back(context: &Context, restarted: bool) -> Result<(), DirectorError> {
    loop {
        let node = restarted.then(|| context.node.clone());
        let lost = context
            .db
            .write("reconcile", async move |tx: &mut Tx<'_>| {
                reconcile_once(tx, node.as_ref()).await
            })
            .await?;
        if lost == 0 {
            return Ok(());
        }
    }
}

/// Takes back some of the leases that ran out and of those of `restarted`, with what follows for
/// jobs that end by it; the answer is how many.
pub(crate) async fn reconcile_once(
    tx: &mut Tx<'_>,
    restarted: Option<&NodeId>,
) -> Result<usize, DirectorError> {
    let lost = skep_queue::reconcile(tx, restarted).await?.lost;
    for job in lost.iter().filter(|lost| lost.to.is_terminal()) {
        account::report_due(tx, &job.job).await?;
        crate::review::abandoned(tx, &job.job).await?;
    }
    Ok(lost.len())
}

/// Removes the folders of attempts: at the start of the only engine of a home none is in use. One
/// that cannot be removed is left, with a warning; it is in nobody's way.
async fn clear_attempts(context: &Context) -> Result<(), DirectorError> {
    let failed = |e| DirectorError::outside("list the folders of ended attempts", e);
    let mut folders = tokio::fs::read_dir(context.home.attempts())
        .await
        .map_err(failed)?;
    while let Some(folder) = folders.next_entry().await.map_err(failed)? {
        if let Err(error) = crate::check::remove(&folder.path()).await {
            tracing::warn!(
                error = describe(&error),
                "an ended attempt's folder was left"
            );
        }
    }
    Ok(())
}

async fn claim(context: &Arc<Context>) -> Result<Vec<Claim>, DbError> {
    let slots = context.engine.slots - context.running.count();
    if slots <= 0 {
        return Ok(Vec::new());
    }
    let request = ClaimRequest {
        node: context.node.clone(),
        slots,
        lease_ms: LEASE_MS,
        policy: Arc::clone(&context.flow),
        memory: Arc::clone(&context.claims),
    };
    context
        .db
        .write("claim", async move |tx: &mut Tx<'_>| {
            skep_queue::claim(tx, &request).await
        })
        .await
}

async fn heartbeat(context: Arc<Context>) {
    loop {
        tokio::time::sleep(Duration::from_millis(HEARTBEAT_MS)).await;
        let (node, jobs) = (context.node.clone(), context.running.jobs());
        let renewed = context
            .db
            .write("heartbeat", async move |tx: &mut Tx<'_>| {
                let held = skep_queue::heartbeat(tx, &node, &jobs, LEASE_MS).await?;
                let lost = jobs.iter().filter(|job| !held.contains(job)).cloned();
                Ok::<Vec<JobId>, DbError>(lost.collect())
            })
            .await;
        match renewed {
            Ok(lost) => {
                for job in &lost {
                    context.running.tell(job, Signal::LeaseLost);
                }
            }
            Err(error) => tracing::error!(error = describe(&error), "claims were not renewed"),
        }
        // Another node of this store may have died in the meantime.
        if let Err(error) = take_back(&context, false).await {
            tracing::error!(
                error = describe(&error),
                "lapsed claims were not taken back"
            );
        }
    }
}

fn begin(context: &Arc<Context>, claim: Claim) {
    let entry = context.running.begin(&claim.job.id, claim.fence);
    let context = Arc::clone(context);
    // The task ends by itself and reports through the database; nobody waits for its handle.
    drop(skep_stdx::spawn("step", async move {
        step(&context, &claim, entry.signal.clone()).await;
        drop(entry);
    }));
}

/// Runs the step that the job's state asks for, and the ones that follow under the same claim.
async fn step(context: &Context, claim: &Claim, signal: watch::Receiver<Signal>) {
    // Nothing here is dropped half done: a worker and a check hear the signal themselves, so that
    // they are dead when they return, and what is between them is short and demands the fence.
    let outcome = steps(context, claim, &signal).await;
    if let Err(failure) = outcome {
        let told = *signal.borrow();
        give_up(context, claim, failure, told).await;
    }
}

async fn steps(
    context: &Context,
    claim: &Claim,
    signal: &watch::Receiver<Signal>,
) -> Result<(), StepFailure> {
    if claim.found.claim_starts_attempt() {
        match attempt::run(context, claim, signal.clone()).await? {
            After::Left => return Ok(()),
            After::Verify => {}
        }
    }
    if claim.found != JobState::Landing
        && verify::run(context, claim, signal).await? != verify::After::Land
    {
        return Ok(());
    }
    landing::run(context, claim, signal).await
}

/// A step that could not be finished.
#[derive(Debug)]
pub(crate) struct StepFailure {
    pub(crate) class: FailureClass,
    pub(crate) error: DirectorError,
}

impl From<DirectorError> for StepFailure {
    fn from(error: DirectorError) -> Self {
        Self {
            class: FailureClass::Unknown,
            error,
        }
    }
}

impl From<DbError> for StepFailure {
    fn from(error: DbError) -> Self {
        DirectorError::Db(error).into()
    }
}

/// Puts a move that the queue refused on record; what it refused has left no trace itself.
async fn record_refused(context: &Context, claim: &Claim, reason: RefusalReason) {
    let (job, fence) = (claim.job.id.clone(), claim.fence);
    let written = context
        .db
        .write("refused", async move |tx: &mut Tx<'_>| {
            skep_queue::record_refusal(tx, &job, reason, None, Some(fence)).await
        })
        .await;
    if let Err(error) = written {
        tracing::error!(job = %claim.job.id, error = describe(&error), "a refusal was not recorded");
    }
}

async fn give_up(context: &Context, claim: &Claim, failure: StepFailure, signal: Signal) {
    let reason = describe(&failure.error);
    if let Some(refusal) = failure.error.queue_refusal() {
        record_refused(context, claim, refusal).await;
    }
    if signal != Signal::Go {
        tracing::info!(job = %claim.job.id, reason, ?signal, "a step was left");
        return;
    }
    tracing::error!(job = %claim.job.id, class = %failure.class, reason, "a step failed");
    let lease = Lease {
        job: claim.job.id.clone(),
        fence: claim.fence,
    };
    let (class, attempts_left) = (
        failure.class,
        claim.job.attempts_used + 1 < claim.job.attempts_max,
    );
    let delay_ms = attempt::retry_delay_ms(claim, &*context.entropy);
    let attempt = claim.attempt.clone();
    let written = context
        .db
        .write("give up", async move |tx: &mut Tx<'_>| {
            let landing = record::landing(tx, &lease.job).await?;
            if landing.is_some_and(|row| row.state == LandingState::Landing) {
                // The swap may have happened. The claim lapses, and the next one looks.
                return Ok(());
            }
            if let Some(attempt) = &attempt {
                attempt::end_failed(tx, &lease, attempt, class).await?;
            }
            if class.is_transient() && attempts_left {
                attempt::back_off(tx, &lease, class, delay_ms, &reason).await
            } else {
                finish(tx, &lease, JobState::Failed, Some(class), Some(&reason)).await
            }
        })
        .await;
    if let Err(error) = written {
        // The claim lapses by itself, and the next engine starts the step again.
        tracing::error!(job = %claim.job.id, error = describe(&error), "the failure was not recorded");
    }
}

/// Ends a job under its lease: the last state, its reason, and the report that is now due.
pub(crate) async fn finish(
    tx: &mut Tx<'_>,
    lease: &Lease,
    to: JobState,
    failure: Option<FailureClass>,
    reason: Option<&str>,
) -> Result<(), DirectorError> {
    advance(tx, lease, to, false, failure).await?;
    match reason {
        Some(reason) => record::put_reason(tx, &lease.job, reason).await?,
        None => record::clear_reason(tx, &lease.job).await?,
    }
    skep_gateway::revoke_of_job(tx, &lease.job).await?;
    account::report_due(tx, &lease.job).await?;
    crate::review::abandoned(tx, &lease.job).await
}

/// Moves a job under its lease.
pub(crate) async fn advance(
    tx: &mut Tx<'_>,
    lease: &Lease,
    to: JobState,
    keep_lease: bool,
    failure: Option<FailureClass>,
) -> Result<(), DirectorError> {
    let how = skep_queue::Advance {
        keep_lease,
        failure,
        run_at_ms: None,
    };
    skep_queue::advance(tx, lease, to, how)
        .await
        .map(|_| ())
        .map_err(|e| DirectorError::outside(format!("move the job to {to}"), e))
}

async fn drain(context: &Arc<Context>) {
    context.running.tell_all(Signal::Stopping);
    let mut freed = context.running.freed();
    let empty = async {
        while context.running.count() > 0 {
            if freed.changed().await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(Duration::from_millis(DRAIN_MS), empty)
        .await
        .is_err()
    {
        tracing::error!("some steps did not end in time; their claims lapse by themselves");
    }
}
