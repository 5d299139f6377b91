//! Taking back what dead engines held.

use crate::attempt::open_attempt;
use crate::change::{Change, apply};
use crate::event::{LeaseLost, record};
use crate::limits::{LOSSES_MAX, RECONCILE_JOBS_MAX};
use crate::row::{Job, live_job_columns};
use skep_db::{DbError, Tx, params};
use skep_types::{AttemptId, AttemptState, FailureClass, JobId, JobState, NodeId};

/// What a reconciliation took back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    /// The lost leases, at most [`RECONCILE_JOBS_MAX`]; if there are as many, call again.
    pub lost: Vec<LostLease>,
}

/// A lease whose holder is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostLease {
    /// The job.
    pub job: JobId,
    /// The node that held it.
    pub node: NodeId,
    /// The attempt that was under way; its processes and its repository may still be there.
    pub attempt: Option<AttemptId>,
    /// The state the job was in.
    pub from: JobState,
    /// The state it is in now.
    pub to: JobState,
}

/// Takes back every lease that has run out by the store's clock, and every lease of `restarted`,
/// a node that begins anew and so holds nothing of what it held before.
///
/// An attempt under way is lost and does not count. A running job is queued again; one that was
/// being verified or landed keeps its state for the next claim. A job over which
/// [`LOSSES_MAX`] engines were lost is quarantined.
pub async fn reconcile(tx: &mut Tx<'_>, restarted: Option<&NodeId>) -> Result<Reconciled, DbError> {
    let now = tx.now_ms().await?;
    // Without a restarted node the second comparison is with NULL, which holds for no row.
    let sql = concat!(
        "SELECT ",
        live_job_columns!(),
        " FROM job WHERE lease_node IS NOT NULL
        AND (lease_until_ms <= ?1 OR lease_node = CAST(?2 AS TEXT))
        ORDER BY number LIMIT ?3 /*skip locked*/"
    );
    let node = restarted.map(NodeId::as_str);
    let rows = tx
        .query(sql, params![now, node, RECONCILE_JOBS_MAX])
        .await?;
    let mut lost = Vec::with_capacity(rows.len());
    for row in &rows {
        let job = Job::from_row(row)?;
        let Some(held) = job.held.clone() else {
            continue;
        };
        lost.push(take_back(tx, job, held.node).await?);
    }
    Ok(Reconciled { lost })
}

/// Takes back what `node` holds and does not work on: jobs of a claim whose answer it did not get.
/// `at_work` are the jobs that it works on. Nothing may be claimed for the node at the same time.
pub async fn give_back_idle(
    tx: &mut Tx<'_>,
    node: &NodeId,
    at_work: &[JobId],
) -> Result<Reconciled, DbError> {
    let sql = concat!(
        "SELECT ",
        live_job_columns!(),
        " FROM job WHERE lease_node = ?1 ORDER BY number /*skip locked*/"
    );
    let mut lost = Vec::new();
    for row in tx.query(sql, params![node.as_str()]).await? {
        let job = Job::from_row(&row)?;
        if !at_work.contains(&job.id) {
            lost.push(take_back(tx, job, node.clone()).await?);
        }
    }
    Ok(Reconciled { lost })
}

async fn take_back(tx: &mut Tx<'_>, job: Job, node: NodeId) -> Result<LostLease, DbError> {
    let from = job.state;
    let losses = job.losses + 1;
    let to = if losses >= LOSSES_MAX {
        JobState::Quarantined
    } else if from == JobState::Running {
        JobState::Queued
    } else {
        from
    };
    let attempt = open_attempt(&job);
    let change = Change {
        to,
        failure: Some(FailureClass::LeaseLost),
        run_at_ms: None,
        losses,
        release: Some(AttemptState::Lost),
    };
    let job = apply(tx, job, change).await?;
    let event = LeaseLost {
        node: node.clone(),
        attempt: attempt.clone(),
        from,
        to,
        losses,
    };
    record(tx, &job.id, &event).await?;
    Ok(LostLease {
        job: job.id,
        node,
        attempt,
        from,
        to,
    })
}
