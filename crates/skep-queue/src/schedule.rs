//! Schedules: work that is asked for again and again, at times that a person can foretell.
//!
//! Owns `schedule` and `schedule_firing`. The core is pure and takes the time as a parameter:
//! [`Timing`] says when, [`plan`] says what the passage of time makes of it. The rest writes what
//! the core found, in the caller's transaction.
//!
//! Invariants:
//! - one row of `schedule_firing` stands for one slot of a schedule, and a slot is fired once;
//! - every change of a schedule or of a firing of it raises the schedule's version, and a change
//!   that was decided on another version does nothing;
//! - a slot that has passed is fired, waits, was passed over, or is recorded as missed.
//!
//! What a run does is the caller's; this module knows its job by id only. See decision record 025.

mod change;
mod check;
mod cron;
mod error;
pub mod event;
mod fire;
mod interval;
mod jitter;
mod plan;
mod read;
mod row;
mod settle;
mod timing;
mod zone;

pub use change::{NewSchedule, add, halt, pause, remove, resume};
pub use check::{Checked, checked, claim_check, release_checks};
pub use error::{ScheduleError, TimingError};
pub use fire::{Begun, Start, begin_waiting, fire_now, fire_planned, follow_clock, set_due};
pub use interval::{interval_text, parse_interval};
pub use plan::{Admission, Due, Missed, Rules, Step, admit, next_due, plan, preview};
pub use read::{
    Standing, active_schedules, due_schedules, firing, firing_of_job, firings, next_due_ms,
    open_firings, open_firings_of, schedule, schedule_by_name, schedules, schedules_ahead,
    standing,
};
pub use row::{Firing, Schedule};
pub use settle::{JobEnd, Settled, job_ended};
pub use timing::{Slot, Timing};
pub use zone::Zone;

/// The topic that is woken after every change of a schedule.
pub const TOPIC: &str = "schedule";
