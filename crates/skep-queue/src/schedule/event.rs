//! What schedules write to the ledger, each under the schedule's id. Ids, numbers and words of the
//! vocabulary only: names and reasons stay in the rows.

use crate::event::event;
use serde::{Deserialize, Serialize};
use skep_db::{DbError, Tx};
use skep_ledger::Payload;
use skep_types::{
    CatchUp, FailureClass, FiringCause, FiringState, JobId, NodeId, Overlap, ScheduleId,
    ScheduleState,
};

event! {
    /// A schedule was added.
    ScheduleAdded, "schedule_added" {
        /// When it is first due.
        due_ms: Option<i64>,
        /// How much later than its slot a firing may be due.
        jitter_ms: i64,
        /// What it does when a run is under way.
        overlap: Overlap,
        /// What it does about slots that passed.
        catch_up: CatchUp,
        /// After how many failures in a row it pauses itself.
        failures_max: i64,
    }
}

event! {
    /// A schedule stopped firing.
    SchedulePaused, "schedule_paused" {
        /// By a person or by itself.
        state: ScheduleState,
        /// Failures in a row.
        failures: i64,
    }
}

event! {
    /// A schedule fires again.
    ScheduleResumed, "schedule_resumed" {
        /// When it is next due.
        due_ms: Option<i64>,
    }
}

event! {
    /// A schedule is gone.
    ScheduleRemoved, "schedule_removed" {
        /// The state before.
        from: ScheduleState,
    }
}

event! {
    /// A slot was taken: a run began, waits, or was passed over.
    ScheduleFired, "schedule_fired" {
        /// The slot.
        slot_ms: i64,
        /// Why.
        cause: FiringCause,
        /// What became of it at once.
        state: FiringState,
        /// Its job.
        job: Option<JobId>,
    }
}

event! {
    /// Slots passed that nobody could fire.
    ScheduleMissed, "schedule_missed" {
        /// The first.
        first_slot_ms: i64,
        /// The last.
        last_slot_ms: i64,
        /// How many.
        count: i64,
    }
}

event! {
    /// The clock stood before what the schedule had accounted for; the schedule follows it.
    ScheduleClockSetBack, "schedule_clock_set_back" {
        /// Up to where slots were accounted for.
        cursor_ms: i64,
        /// The time now.
        now_ms: i64,
    }
}

event! {
    /// A node runs a pre-check.
    PrecheckClaimed, "schedule_precheck_claimed" {
        /// The slot.
        slot_ms: i64,
        /// The node.
        node: NodeId,
        /// The claim's fence.
        fence: i64,
    }
}

event! {
    /// A pre-check ended.
    PrecheckEnded, "schedule_precheck_ended" {
        /// The slot.
        slot_ms: i64,
        /// What became of the firing.
        state: FiringState,
        /// What the command ended with; absent if it ran into its limit.
        exit_code: Option<i64>,
        /// How long it took.
        duration_ms: i64,
        /// The job that was begun.
        job: Option<JobId>,
    }
}

event! {
    /// A run ended.
    FiringEnded, "schedule_firing_ended" {
        /// The slot.
        slot_ms: i64,
        /// How.
        state: FiringState,
        /// Its job.
        job: Option<JobId>,
        /// Why it failed.
        failure: Option<FailureClass>,
        /// Failures in a row, this one included.
        failures: i64,
    }
}

/// Appends an event about `schedule` and wakes whoever follows schedules.
pub(super) async fn record<P: Payload>(
    tx: &mut Tx<'_>,
    schedule: &ScheduleId,
    payload: &P,
) -> Result<(), DbError> {
    skep_ledger::append(tx, schedule.as_str(), payload).await?;
    tx.wake(super::TOPIC);
    Ok(())
}
