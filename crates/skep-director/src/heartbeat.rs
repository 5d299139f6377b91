//! Keeping what this node works on, and taking back what others lost.
//!
//! Two loops: one renews this node's leases and nothing else, so that nothing holds it up; the
//! other does what can wait. Neither trusts a store that does not answer: a connection that is cut
//! can be silent for many minutes.

use crate::clock_watch::ClockWatch;
use crate::context::Context;
use crate::error::{DirectorError, describe};
use crate::limits::{HEARTBEAT_MS, LEASE_MS, POLL_MS};
use crate::running::Signal;
use crate::{dead, delivery, node};
use skep_db::{DbError, Tx};
use skep_queue::LostLease;
use skep_stdx::Stopwatch;
use skep_types::{FailureClass, JobId, NodeId};
use std::sync::Arc;
use std::time::Duration;

/// Renews this node's leases until the task is ended.
///
/// What runs here is ended when no lease could be renewed for as long as one lasts. Others have it
/// by then and are safe from this node by the fence; it could only burn time.
pub(crate) async fn run(context: Arc<Context>) {
    let period = Duration::from_millis(HEARTBEAT_MS);
    let mut renewed_last = Stopwatch::start();
    let mut pause = period;
    let mut ended = false;
    loop {
        tokio::time::sleep(pause).await;
        // After a failure it is tried again soon: whoever was cut off is to know as soon as it can
        // what is no longer its own.
        pause = Duration::from_millis(POLL_MS);
        match tokio::time::timeout(period, renew(&context)).await {
            Ok(Ok(lost)) => {
                renewed_last = Stopwatch::start();
                pause = period;
                ended = false;
                for job in &lost {
                    context.running.tell(job, Signal::LeaseLost);
                }
            }
            Ok(Err(error)) => {
                tracing::error!(error = describe(&error), "claims were not renewed");
            }
            Err(_) => tracing::error!("claims were not renewed: the store does not answer"),
        }
        let lease = Duration::from_millis(LEASE_MS.unsigned_abs());
        if renewed_last.elapsed() > lease && context.running.count() > 0 {
            if !ended {
                tracing::error!(
                    "the store was out of reach for a whole lease: what runs here is ended"
                );
            }
            ended = true;
            context.running.tell_all(Signal::LeaseLost);
        }
    }
}

/// Renews the leases of what runs here; the answer is what is no longer ours.
async fn renew(context: &Context) -> Result<Vec<JobId>, DbError> {
    let (node, jobs) = (context.node.clone(), context.running.jobs());
    context
        .db
        .write("heartbeat", async move |tx: &mut Tx<'_>| {
            let held = skep_queue::heartbeat(tx, &node, &jobs, LEASE_MS).await?;
            Ok(jobs
                .iter()
                .filter(|job| !held.contains(job))
                .cloned()
                .collect())
        })
        .await
}

/// Notes that this node lives, and goes on with what dead nodes left, until the task is ended.
pub(crate) async fn upkeep(context: Arc<Context>) {
    let (up, mut clocks) = (Stopwatch::start(), ClockWatch::default());
    loop {
        tokio::time::sleep(Duration::from_millis(HEARTBEAT_MS)).await;
        if let Err(error) = node::seen(&context).await {
            tracing::error!(error = describe(&error), "this node's life was not noted");
        }
        if let Err(error) = crate::reference::end_marked_trees(&context).await {
            tracing::error!(error = describe(&error), "a cancelled tree was not ended");
        }
        // Another node of this store may have died in the meantime.
        let taken = match store_ms(&context).await {
            Ok(now_ms) if clocks.may_take_back(now_ms, up.elapsed_ms()) => {
                take_back(&context, false).await
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = taken {
            tracing::error!(
                error = describe(&error),
                "lapsed claims were not taken back"
            );
        }
    }
}

async fn store_ms(context: &Context) -> Result<i64, DbError> {
    let read = async |tx: &mut Tx<'_>| tx.now_ms().await;
    context.db.read("clock", read).await
}

/// Takes back leases that ran out, and at the start of a node those of its earlier run.
pub(crate) async fn take_back(context: &Context, restarted: bool) -> Result<(), DirectorError> {
    loop {
        let node = restarted.then(|| context.node.clone());
        let lost = context
            .db
            .write("reconcile", async move |tx: &mut Tx<'_>| {
                skep_queue::bound_leases(tx, LEASE_MS).await?;
                reconcile_once(tx, node.as_ref()).await
            })
            .await?;
        if lost == 0 {
            return Ok(());
        }
    }
}

/// Takes back what this node holds and does not work on, with what follows for jobs that end by
/// it. Only where nothing is claimed at the same time.
pub(crate) async fn give_back_idle(context: &Context) -> Result<(), DirectorError> {
    let (node, at_work) = (context.node.clone(), context.running.jobs());
    let give_back = async move |tx: &mut Tx<'_>| {
        let lost = skep_queue::give_back_idle(tx, &node, &at_work).await?.lost;
        conclude(tx, &lost).await
    };
    context.db.write("give back", give_back).await
}

/// Takes back some of the leases that ran out and of those of `restarted`, with what follows for
/// jobs that end by it; the answer is how many.
pub(crate) async fn reconcile_once(
    tx: &mut Tx<'_>,
    restarted: Option<&NodeId>,
) -> Result<usize, DirectorError> {
    let lost = skep_queue::reconcile(tx, restarted).await?.lost;
    conclude(tx, &lost).await?;
    Ok(lost.len())
}

/// What follows for the jobs of lost leases that end by it.
async fn conclude(tx: &mut Tx<'_>, lost: &[LostLease]) -> Result<(), DirectorError> {
    for job in lost.iter().filter(|lost| lost.to.is_terminal()) {
        dead::write(tx, &job.job, FailureClass::LeaseLost, job.to).await?;
        delivery::report_due(tx, &job.job).await?;
        crate::review::abandoned(tx, &job.job).await?;
    }
    Ok(())
}
