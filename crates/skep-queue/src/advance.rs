//! Moving a claimed job on, with the fence of its claim.

use crate::change::{Change, apply, lock};
use crate::error::AdvanceError;
use crate::event::{JobAdvanced, record};
use crate::lease::{Lease, current};
use crate::row::Job;
use skep_db::Tx;
use skep_types::{AttemptState, FailureClass, JobState};

/// How a job moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Advance {
    /// Whether the slot goes on with it. Only `running`, `verifying` and `landing` occupy a slot;
    /// on the way to any other state the lease goes, and with it the fence.
    pub keep_lease: bool,
    /// Why it failed or waits; replaces what was there.
    pub failure: Option<FailureClass>,
    /// Not claimed before this time, in milliseconds since 1970; `None` for at once.
    pub run_at_ms: Option<i64>,
}

/// Takes the job to `to`; the answer is the job as it is then, for an ended one from its history.
///
/// A job that would be tried again although its attempts are used up ends `failed` instead. A
/// refusal changes nothing and is to be recorded with
/// [`record_refusal`](crate::record_refusal) in a transaction of its own.
pub async fn advance(
    tx: &mut Tx<'_>,
    lease: &Lease,
    to: JobState,
    advance: Advance,
) -> Result<Job, AdvanceError> {
    let job = lock(tx, &lease.job).await?;
    let (job, _) = current(job, lease).map_err(|current| AdvanceError::Stale { current })?;
    let from = job.state;
    let mut to = from.to(to).map_err(AdvanceError::Illegal)?;
    if gives_up(&job, to, advance.failure) {
        to = JobState::Failed;
    }
    let lease_kept = advance.keep_lease && occupies_slot(to);
    let change = Change {
        to,
        failure: advance.failure,
        run_at_ms: advance.run_at_ms,
        losses: job.losses,
        release: (!lease_kept).then_some(if to == JobState::Cancelled {
            AttemptState::Cancelled
        } else {
            AttemptState::Failed
        }),
    };
    let job = apply(tx, job, change).await?;
    let event = JobAdvanced {
        from,
        to,
        failure: change.failure,
        run_at_ms: job.run_at_ms,
        fence: Some(lease.fence),
        lease_kept,
    };
    record(tx, &job.id, &event).await?;
    Ok(job)
}

const fn occupies_slot(state: JobState) -> bool {
    matches!(
        state,
        JobState::Running | JobState::Verifying | JobState::Landing
    )
}

/// Whether the job is poison: it would be tried again after a failure of its worker's own, and
/// all its attempts are used. What others caused (a limit, an outage, a lost engine) never makes
/// a job give up.
fn gives_up(job: &Job, to: JobState, failure: Option<FailureClass>) -> bool {
    let again = matches!(to, JobState::Backoff | JobState::Queued);
    let own_failure = failure.is_some_and(|class| {
        !matches!(
            class,
            FailureClass::RateLimit
                | FailureClass::ProviderOutage
                | FailureClass::BudgetExceeded
                | FailureClass::LeaseLost
        )
    });
    again && own_failure && job.attempts_used >= job.attempts_max
}
