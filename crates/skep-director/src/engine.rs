//! The engine: claims work for free slots, renews its claims, and runs each step to its end.
//!
//! Three kinds of actor: the loop here, which alone claims; one task for each claimed step; and the
//! children, which renew leases and read topics. The first two share the registry of what runs,
//! through which a cancel or a stop reaches a step.

use crate::attempt::{self, After};
use crate::context::Context;
use crate::error::{DirectorError, describe};
use crate::limits::{DRAIN_MS, LEASE_MS, POLL_MS};
use crate::running::Signal;
use crate::{
    call, children, dead, delivery, heartbeat, landing, node, record, room, schedule, shell, verify,
};
use skep_db::{DbError, Tx};
use skep_queue::{Claim, ClaimRequest, Lease, RefusalReason};
use skep_topic::TopicWithoutReader;
use skep_types::{FailureClass, JobKind, JobState, LandingState, NodeRole};
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
    /// The folder that nodes share cannot be used.
    #[error("use the folder that the nodes of this store share")]
    Shared(#[source] std::io::Error),
    /// Another node of the store shares another folder.
    #[error("join the nodes of this store: the one on {host} shares another folder")]
    NotShared {
        /// Where it runs.
        host: String,
    },
    /// The node could not be written down.
    #[error("join the nodes of this store")]
    Join(#[source] DirectorError),
    /// A reader of a topic could not be started.
    #[error("start the readers of topics")]
    Readers(#[source] DbError),
    /// A declared topic is read by nobody.
    #[error(transparent)]
    TopicWithoutReader(TopicWithoutReader),
}

impl EngineError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Reconcile(_) | Self::Join(_) | Self::Readers(_) => "engine_failed",
            Self::Shared(_) => "shared_folder_unusable",
            Self::NotShared { .. } => "shared_folder_differs",
            Self::TopicWithoutReader(error) => error.code(),
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Reconcile(_) | Self::Join(_) | Self::Readers(_) => {
                "`skep doctor` says what is wrong"
            }
            Self::TopicWithoutReader(error) => error.hint(),
            Self::Shared(_) => "`shared` of [cluster] names a folder that this user can write",
            Self::NotShared { .. } => {
                "give every node the same `shared` folder in [cluster]; `skep node list` names them"
            }
        }
    }
}

impl From<DbError> for EngineError {
    fn from(error: DbError) -> Self {
        Self::Join(error.into())
    }
}

/// Runs until [`Running::stop`].
pub(crate) async fn run(context: Arc<Context>) -> Result<(), EngineError> {
    // A node that may not join touches nothing of the others'.
    node::join(&context).await?;
    reconcile(&context).await.map_err(EngineError::Reconcile)?;
    let children = match children::start(&context).await {
        Ok(children) => children,
        Err(error) => {
            node::leave(&context).await;
            return Err(error);
        }
    };
    context.started.send_replace(true);
    let schedules = skep_stdx::spawn("schedule", schedule::run(Arc::clone(&context)));
    let works = context.has_role(NodeRole::Worker);
    let for_steps = Arc::new(context.for_steps());
    let mut queue = context.db.listen(skep_queue::TOPIC);
    let mut freed = context.running.freed();
    let mut stop = context.running.stopping();
    let (mut hindrance, mut unsure, mut all_taken) = (None, false, false);
    while !*stop.borrow_and_update() {
        if works {
            match claim_and_begin(&context, &for_steps, &mut unsure).await {
                Ok(all) => {
                    all_taken = all;
                    tell(&mut hindrance, None);
                }
                Err(found) => {
                    all_taken = false;
                    tell(&mut hindrance, Some(found));
                }
            }
        }
        tokio::select! {
            _ = queue.changed() => {}
            _ = freed.changed(), if !all_taken => {}
            _ = stop.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(POLL_MS)) => {}
        }
    }
    drain(&context).await;
    drop(children);
    // It hears the stop itself; a pre-check that does not end in time is taken up by the next start.
    if tokio::time::timeout(Duration::from_millis(DRAIN_MS), schedules)
        .await
        .is_err()
    {
        tracing::error!("a pre-check did not end in time");
    }
    node::leave(&context).await;
    Ok(())
}

/// Puts in order what an earlier engine of this home left behind.
async fn reconcile(context: &Arc<Context>) -> Result<(), DirectorError> {
    heartbeat::take_back(context, true).await?;
    crate::reference::end_marked_trees(context).await?;
    clear_attempts(context).await
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

/// Takes what there are slots for; the answer is whether nobody was left in the line, or what
/// hinders it. `unsure` says whether an earlier claim may have taken something that nobody works on,
/// which nobody else could until it lapsed.
async fn claim_and_begin(
    context: &Context,
    for_steps: &Arc<Context>,
    unsure: &mut bool,
) -> Result<bool, String> {
    // What this engine cannot finish it does not begin.
    if let Some(shortage) = room::shortage(&context.home) {
        return Err(shortage.to_string());
    }
    if *unsure {
        let given_back = heartbeat::give_back_idle(context).await;
        given_back.map_err(|error| describe(&error))?;
        *unsure = false;
    }
    let slots = context.engine.slots - context.running.count();
    if slots <= 0 {
        return Ok(false);
    }
    let claims = claim(context, slots).await.map_err(|error| {
        *unsure = matches!(error, DbError::CommitUnknown { .. });
        describe(&error)
    })?;
    claims.into_iter().for_each(|claim| begin(for_steps, claim));
    Ok(context.claims.left_nothing())
}

/// Says what hinders the engine when it begins, changes or ends, and not every time it looks.
fn tell(told: &mut Option<String>, found: Option<String>) {
    let what = |hindrance: &Option<String>| {
        // Free space changes all the time; what is said of it up to the colon does not.
        let text = hindrance.as_deref()?;
        Some(
            text.split_once(':')
                .map_or(text, |(what, _)| what)
                .to_owned(),
        )
    };
    if what(told) == what(&found) {
        return;
    }
    match &found {
        Some(reason) => tracing::error!(reason, "no work is claimed until this passes"),
        None => tracing::warn!("work is claimed again"),
    }
    *told = found;
}

async fn claim(context: &Context, slots: i64) -> Result<Vec<Claim>, DbError> {
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
            if record::is_draining(tx, &request.node).await? {
                return Ok(Vec::new());
            }
            skep_queue::claim(tx, &request).await
        })
        .await
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
        give_up(context, claim, failure, signal).await;
    }
}

async fn steps(
    context: &Context,
    claim: &Claim,
    signal: &watch::Receiver<Signal>,
) -> Result<(), StepFailure> {
    match claim.job.kind {
        JobKind::Agent => agent_steps(context, claim, signal).await,
        JobKind::Call => call::run(context, claim, signal.clone()).await,
        JobKind::Shell => shell::run(context, claim, signal.clone()).await,
        JobKind::Pipeline => crate::plan::step(context, claim).await,
    }
}

/// The steps of an agent: a worker's attempt, the engine's verification, the landing.
async fn agent_steps(
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

async fn give_up(
    context: &Context,
    claim: &Claim,
    failure: StepFailure,
    heard: watch::Receiver<Signal>,
) {
    let signal = *heard.borrow();
    let reason = describe(&failure.error);
    if let Some(refusal) = failure.error.queue_refusal() {
        record_refused(context, claim, refusal).await;
    }
    if signal != Signal::Go {
        tracing::info!(job = %claim.job.id, reason, ?signal, "a step was left");
        return;
    }
    let shortage = room::shortage(&context.home).map(|shortage| shortage.to_string());
    if shortage.is_some() || is_the_stores(&failure.error) {
        tracing::error!(job = %claim.job.id, reason, shortage, "a step is done again");
        leave_again(context, claim, shortage.unwrap_or(reason), heard).await;
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

/// Whether a step failed by its store or the disk below, and not by its own fault.
fn is_the_stores(error: &DirectorError) -> bool {
    error.may_pass() || room::is_why(error)
}

/// Gives back a job whose step had no room on the disk or no store: its attempt counts for nothing.
/// Waits until even that can be written. Where there is no open attempt, or the step's last change
/// was made after all, the claim lapses by itself.
async fn leave_again(
    context: &Context,
    claim: &Claim,
    reason: String,
    mut signal: watch::Receiver<Signal>,
) {
    let Some(attempt) = claim.attempt.clone() else {
        return;
    };
    let lease = claim.lease();
    let write = async move |tx: &mut Tx<'_>| {
        record::put_reason(tx, &lease.job, &reason).await?;
        attempt::end_lost(tx, &lease, &attempt).await?;
        advance(tx, &lease, JobState::Queued, false, None).await
    };
    loop {
        match context.db.write("leave", write.clone()).await {
            Ok(()) => return,
            Err(error) if is_the_stores(&error) => {}
            Err(error) => {
                let (job, error) = (&claim.job.id, describe(&error));
                tracing::warn!(%job, error, "the claim is left to lapse");
                return;
            }
        }
        // Told anything, there is nothing left to give back here; the next start sees to it.
        tokio::select! {
            _ = signal.changed() => return,
            () = tokio::time::sleep(Duration::from_millis(POLL_MS)) => {}
        }
    }
}

/// Ends a job under its lease: the last state, its reason, and the report that is now due. A job
/// that is to fail, and has failed this way too often, is quarantined instead.
pub(crate) async fn finish(
    tx: &mut Tx<'_>,
    lease: &Lease,
    to: JobState,
    failure: Option<FailureClass>,
    reason: Option<&str>,
) -> Result<(), DirectorError> {
    let to = match (to, failure) {
        (JobState::Failed, class) => {
            dead::last_state(tx, &lease.job, class.unwrap_or(FailureClass::Unknown)).await?
        }
        (to, _) => to,
    };
    advance(tx, lease, to, false, failure).await?;
    if to == JobState::Done {
        record::clear_dead(tx, &lease.job).await?;
    } else {
        let class = failure.unwrap_or(FailureClass::Unknown);
        dead::write(tx, &lease.job, class, to).await?;
    }
    match reason {
        Some(reason) => record::put_reason(tx, &lease.job, reason).await?,
        None => record::clear_reason(tx, &lease.job).await?,
    }
    skep_gateway::revoke_of_job(tx, &lease.job).await?;
    delivery::report_due(tx, &lease.job).await?;
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
