//! Pre-checks: who runs one, and what its end makes of the firing. A claim has a fence; the end of
//! an older claim changes nothing.

use super::change::{lock, note_failure, record_end, save, save_firing};
use super::event::{PrecheckClaimed, PrecheckEnded, record};
use super::fire::Start;
use super::read::{firing, read_firings};
use skep_db::{DbError, Tx, params};
use skep_types::{FailureClass, FiringState, JobId, NodeId, ScheduleId};

/// How a pre-check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What follows: the job that is queued in the same transaction, or a refusal; `None` if there
    /// is nothing to do.
    pub start: Option<Start>,
    /// What the command ended with; absent if it ran into its limit.
    pub exit_code: Option<i64>,
    /// Where its output lies, relative to the home.
    pub log: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
}

/// Takes the pre-check of a firing for `lease_ms`, if nobody has it or whoever had it took too long.
/// The answer is the claim's fence.
pub async fn claim_check(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    slot_ms: i64,
    node: &NodeId,
    lease_ms: i64,
) -> Result<Option<i64>, DbError> {
    let now = tx.now_ms().await?;
    let Some(mut schedule) = lock(tx, id).await? else {
        return Ok(None);
    };
    let free = firing(tx, id, slot_ms).await?.filter(|found| {
        found.state == FiringState::Checking
            && found.lease_until_ms.is_none_or(|until| until <= now)
    });
    let Some(mut firing) = free else {
        return Ok(None);
    };
    firing.fence += 1;
    firing.node = Some(node.clone());
    firing.lease_until_ms = Some(now.saturating_add(lease_ms));
    save_firing(tx, &mut firing).await?;
    save(tx, &mut schedule).await?;
    let event = PrecheckClaimed {
        slot_ms,
        node: node.clone(),
        fence: firing.fence,
    };
    record(tx, id, &event).await?;
    Ok(Some(firing.fence))
}

/// Ends a pre-check under its claim's fence. `false`: the claim is no longer the current one, or
/// the firing was ended; nothing was changed.
pub async fn checked(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    slot_ms: i64,
    fence: i64,
    checked: &Checked,
) -> Result<bool, DbError> {
    let Some(mut schedule) = lock(tx, id).await? else {
        return Ok(false);
    };
    let held = firing(tx, id, slot_ms)
        .await?
        .filter(|found| found.state == FiringState::Checking && found.fence == fence);
    let Some(mut firing) = held else {
        return Ok(false);
    };
    let now = tx.now_ms().await?;
    firing.precheck_exit_code = checked.exit_code;
    firing.precheck_log.clone_from(&checked.log);
    let mut job: Option<JobId> = None;
    match &checked.start {
        Some(Start::Job(id)) => {
            firing.state = FiringState::Running;
            job = Some(id.clone());
            firing.job.clone_from(&job);
        }
        Some(Start::Refused {
            state,
            failure,
            reason,
        }) => {
            firing.state = *state;
            firing.failure = *failure;
            firing.reason = Some(reason.clone());
        }
        // A check that leads to a check would never end.
        Some(Start::Check) | None => firing.state = FiringState::SkippedPrecheck,
    }
    if firing.state.is_terminal() {
        firing.ended_at_ms = Some(now);
    }
    save_firing(tx, &mut firing).await?;
    let event = PrecheckEnded {
        slot_ms,
        state: firing.state,
        exit_code: checked.exit_code,
        duration_ms: checked.duration_ms,
        job,
    };
    record(tx, id, &event).await?;
    if firing.state == FiringState::Failed {
        firing.failure = firing.failure.or(Some(FailureClass::Unknown));
        note_failure(tx, &mut schedule, None, now).await?;
        record_end(tx, &schedule, &firing).await?;
    }
    save(tx, &mut schedule).await?;
    Ok(true)
}

/// Gives up the pre-checks that an earlier run of `node` held, at its start. The answer is how
/// many.
pub async fn release_checks(tx: &mut Tx<'_>, node: &NodeId) -> Result<usize, DbError> {
    let held = "state = 'checking' AND node = ?1";
    let found = read_firings(tx, held, params![node.as_str()]).await?;
    for firing in &found {
        let sql = "UPDATE schedule_firing SET node = NULL, lease_until_ms = NULL
            WHERE schedule_id = ?1 AND slot_ms = ?2 AND node = ?3";
        let key = params![firing.schedule.as_str(), firing.slot_ms, node.as_str()];
        tx.execute(sql, key).await?;
    }
    Ok(found.len())
}
