//! Schedules: where one stands, what it does when two runs meet or a time has passed, and what
//! became of each of its runs.

use crate::text_enum::text_enum;

text_enum! {
    /// Where a schedule stands.
    ScheduleState, "schedule state" {
        /// It fires.
        Active => "active",
        /// A person stopped it.
        Paused => "paused",
        /// It stopped itself after too many failures in a row.
        AutoPaused => "auto_paused",
        /// It is gone; what it did stays on record.
        Removed => "removed",
    }
}

text_enum! {
    /// What a schedule does when its time comes while an earlier run is under way.
    Overlap, "overlap policy" {
        /// This time is passed over.
        Skip => "skip",
        /// One run waits for the end of the earlier one; more are passed over.
        QueueOne => "queue_one",
        /// Up to a number of runs go on side by side.
        Allow => "allow",
        /// The earlier run is cancelled.
        CancelRunning => "cancel_running",
    }
}

text_enum! {
    /// What a schedule does about times that passed while nobody could fire it.
    CatchUp, "catch-up policy" {
        /// Nothing: they are missed.
        None => "none",
        /// The newest of them is fired, late; the others are missed.
        Last => "last",
        /// The newest ones within a window are fired, oldest first, up to a number.
        All => "all",
    }
}

text_enum! {
    /// Why a run was begun.
    FiringCause, "firing cause" {
        /// Its time came.
        Slot => "slot",
        /// Its time had passed.
        CatchUp => "catch_up",
        /// A person asked for it.
        Manual => "manual",
    }
}

text_enum! {
    /// What became of one time of a schedule.
    FiringState, "firing state" {
        /// It waits for the end of an earlier run.
        Waiting => "waiting",
        /// Its pre-check is due or under way.
        Checking => "checking",
        /// Its job is under way.
        Running => "running",
        /// Its job is done.
        Succeeded => "succeeded",
        /// Its job, its pre-check or its start failed.
        Failed => "failed",
        /// It was ended on somebody's word.
        Cancelled => "cancelled",
        /// An earlier run was still under way.
        SkippedOverlap => "skipped_overlap",
        /// Its pre-check found nothing to do.
        SkippedPrecheck => "skipped_precheck",
        /// Nobody could fire it, and the catch-up policy lets it go.
        Missed => "missed",
    }
}

impl FiringState {
    /// Whether it has come to its end.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Waiting | Self::Checking | Self::Running)
    }
}

text_enum! {
    /// What a change of the local clock does to a time of a schedule.
    SlotShift, "slot shift" {
        /// The local time does not exist that day: it fires when the gap ends.
        Gap => "gap",
        /// The local time comes twice that day: it fires the first time.
        Twice => "twice",
    }
}
