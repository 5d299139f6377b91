//! Recording what was refused.

use crate::event::{TransitionRefused, note};
use crate::read;
use serde::{Deserialize, Serialize};
use skep_db::{DbError, Tx};
use skep_types::{Fence, JobId, JobState};

/// Why a change was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// The fence was not the current one.
    Stale,
    /// The state machine has no such transition.
    Illegal,
}

/// Records a refused change of `job` or of an attempt of it.
///
/// Belongs in a transaction of its own: the refused one leaves no trace. `to` is absent for a
/// change of an attempt, `fence` for one without a lease.
pub async fn record_refusal(
    tx: &mut Tx<'_>,
    job: &JobId,
    reason: RefusalReason,
    to: Option<JobState>,
    fence: Option<Fence>,
) -> Result<(), DbError> {
    let state = read::job(tx, job).await?.map(|job| job.state);
    let event = TransitionRefused {
        reason,
        state,
        to,
        fence,
    };
    note(tx, job, &event).await
}
