//! Moving on a job that nobody holds.

use crate::change::{Change, apply, lock};
use crate::error::WakeError;
use crate::event::{JobAdvanced, record};
use skep_db::Tx;
use skep_types::{AttemptState, IllegalTransition, JobId, JobState};

/// Takes a job that waits in `from`, without a lease, to `to`.
///
/// `false`: it no longer waits there, and nothing was changed. Only a claim makes a job run: one
/// that ran without a lease would never be found again.
pub async fn wake_job(
    tx: &mut Tx<'_>,
    job: &JobId,
    from: JobState,
    to: JobState,
) -> Result<bool, WakeError> {
    let legal = from.to(to).map_err(WakeError::Illegal)?;
    if legal == JobState::Running {
        return Err(WakeError::Illegal(IllegalTransition { from, to }));
    }
    let found = lock(tx, job).await?;
    let Some(found) = found.filter(|job| job.state == from && job.held.is_none()) else {
        return Ok(false);
    };
    let now = tx.now_ms().await?;
    let change = Change {
        to,
        failure: None,
        run_at_ms: None,
        losses: found.losses,
        release: Some(AttemptState::Failed),
    };
    apply(tx, found, change).await?;
    let event = JobAdvanced {
        from,
        to,
        failure: None,
        run_at_ms: now,
        fence: None,
        lease_kept: false,
    };
    record(tx, job, &event).await?;
    Ok(true)
}
