//! Ending a job on a person's word.

use crate::attempt::open_attempt;
use crate::change::{Change, apply, lock};
use crate::error::CancelError;
use crate::event::{JobCancelled, record};
use crate::read;
use crate::row::Job;
use skep_db::Tx;
use skep_types::{AttemptId, AttemptState, JobId, JobState, NodeId};

/// A job that was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    /// The job as it is now.
    pub job: Job,
    /// The state it was in.
    pub from: JobState,
    /// The node that worked on it: it finds the job gone at its next heartbeat and ends the work.
    pub node: Option<NodeId>,
    /// The attempt that was under way.
    pub attempt: Option<AttemptId>,
}

/// Ends a live job. From this commit on its worker can neither spend, nor land, nor report.
pub async fn cancel(tx: &mut Tx<'_>, job: &JobId) -> Result<Cancelled, CancelError> {
    let Some(found) = lock(tx, job).await? else {
        return Err(match read::job(tx, job).await? {
            Some(ended) => CancelError::Ended { state: ended.state },
            None => CancelError::NotFound,
        });
    };
    let from = found.state;
    let node = found.held.as_ref().map(|held| held.node.clone());
    let attempt = open_attempt(&found);
    let change = Change {
        to: JobState::Cancelled,
        failure: None,
        run_at_ms: Some(found.run_at_ms),
        losses: found.losses,
        release: Some(AttemptState::Cancelled),
    };
    let job = apply(tx, found, change).await?;
    let event = JobCancelled {
        from,
        node: node.clone(),
    };
    record(tx, &job.id, &event).await?;
    Ok(Cancelled {
        job,
        from,
        node,
        attempt,
    })
}
