//! The documents of schedules. Times are milliseconds since 1970 UTC, lengths of time are seconds.

use crate::describe::describe;
use crate::document::DispatchRequest;
use crate::kind::{CallRequest, ShellRequest};
use serde::{Deserialize, Serialize};
use skep_types::{
    CatchUp, FailureClass, FiringCause, FiringState, JobId, JobState, Overlap, ScheduleId,
    ScheduleState, SlotShift,
};

/// What `skep schedule add` asks for: `POST /api/v1/schedules`. Each run is the job of an agent, a
/// model call or a command: exactly one of `job`, `call` and `shell` is given, without an owner and
/// an idempotency key of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleRequest {
    /// What people call it: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// A cron line of five fields, a name such as `@daily`, or an interval such as `every 15m`.
    pub when: String,
    /// The time zone of the cron line, as in `Europe/Berlin`; `UTC` when absent.
    pub zone: Option<String>,
    /// How much later than its time a run may begin; 0 when absent.
    pub jitter_s: Option<i64>,
    /// What to do when a run is under way; `skip` when absent.
    pub overlap: Option<Overlap>,
    /// With `allow`: how many runs go on side by side; 2 when absent.
    pub overlap_max: Option<i64>,
    /// What to do about times that passed; `last` when absent.
    pub catch_up: Option<CatchUp>,
    /// With `all`: how many of them are run; 10 when absent.
    pub catch_up_max: Option<i64>,
    /// With `all`: how old a time may be; a day when absent.
    pub catch_up_window_s: Option<i64>,
    /// After how many failures in a row it pauses itself, 0 for never; 5 when absent.
    pub pause_after: Option<i64>,
    /// What is run before any model is called.
    pub precheck: Option<PrecheckRequest>,
    /// On whose authority; the user who runs the engine when absent.
    pub owner: Option<String>,
    /// What an agent does in each run.
    pub job: Option<DispatchRequest>,
    /// What a model is asked in each run.
    pub call: Option<CallRequest>,
    /// The command of each run.
    pub shell: Option<ShellRequest>,
}

/// A command that says whether there is anything to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrecheckRequest {
    /// A shell command line, run by the engine inside the fence, without network. Exit code 0
    /// means go.
    pub command: String,
    /// The exit code that means that there is nothing to do; 75 when absent.
    pub nothing_to_do: Option<i64>,
    /// The longest it may take; 60 when absent.
    pub seconds_max: Option<i64>,
}

/// Why a schedule is paused: `POST /api/v1/schedules/{name}/pause`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PauseRequest {
    /// One sentence.
    pub reason: Option<String>,
}

/// One line of `skep schedule list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleSummary {
    /// The schedule's id.
    pub id: ScheduleId,
    /// What people call it.
    pub name: String,
    /// Where it stands; `auto_paused` wants attention.
    pub state: ScheduleState,
    /// Why it is paused, where that was said.
    pub state_reason: Option<String>,
    /// On whose authority.
    pub owner: String,
    /// When it fires.
    pub when: String,
    /// In which time zone.
    pub zone: String,
    /// Its next time; absent while it is paused.
    pub next: Option<SlotView>,
    /// Its newest firing.
    pub last: Option<FiringView>,
    /// When a run last succeeded.
    pub last_success_at: Option<i64>,
    /// When a run last failed.
    pub last_failure_at: Option<i64>,
    /// Failures in a row.
    pub failures: i64,
    /// Times that nobody could run since it was added.
    pub missed: i64,
}

/// What `skep schedule show` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleView {
    /// The schedule's id.
    pub id: ScheduleId,
    /// What people call it.
    pub name: String,
    /// Where it stands; `auto_paused` wants attention.
    pub state: ScheduleState,
    /// Why it is paused, where that was said.
    pub state_reason: Option<String>,
    /// On whose authority.
    pub owner: String,
    /// When it fires.
    pub when: String,
    /// In which time zone.
    pub zone: String,
    /// How much later than its time a run may begin.
    pub jitter_s: i64,
    /// What it does when a run is under way.
    pub overlap: Overlap,
    /// With `allow`: how many runs go on side by side.
    pub overlap_max: i64,
    /// What it does about times that passed.
    pub catch_up: CatchUp,
    /// With `all`: how many of them are run.
    pub catch_up_max: i64,
    /// With `all`: how old a time may be.
    pub catch_up_window_s: i64,
    /// After how many failures in a row it pauses itself.
    pub pause_after: i64,
    /// What is run before any model is called.
    pub precheck: Option<PrecheckRequest>,
    /// What an agent does in each run; absent once the schedule is removed.
    pub job: Option<DispatchRequest>,
    /// What a model is asked in each run, likewise.
    pub call: Option<CallRequest>,
    /// The command of each run, likewise.
    pub shell: Option<ShellRequest>,
    /// Its next time; absent while it is paused.
    pub next: Option<SlotView>,
    /// Its newest firing.
    pub last: Option<FiringView>,
    /// Firings that have not ended.
    pub open: Vec<FiringView>,
    /// When a run last succeeded.
    pub last_success_at: Option<i64>,
    /// The job of that run.
    pub last_success_job: Option<JobId>,
    /// When a run last failed.
    pub last_failure_at: Option<i64>,
    /// The job of that run, if it had one.
    pub last_failure_job: Option<JobId>,
    /// Failures in a row.
    pub failures: i64,
    /// Times that nobody could run since it was added.
    pub missed: i64,
    /// When it was added.
    pub created_at: i64,
    /// What whoever changed it should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One time of a schedule that is still to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotView {
    /// The time.
    pub slot_at: i64,
    /// The time with its jitter: when the run begins.
    pub due_at: i64,
    /// When the run begins, in the schedule's time zone, with its offset.
    pub local: String,
    /// The same in UTC.
    pub utc: String,
    /// What a change of the local clock did to the time.
    pub shift: Option<SlotShift>,
    /// The same in words.
    pub note: Option<String>,
}

/// The next times of a schedule or of a cron line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewView {
    /// When it fires.
    pub when: String,
    /// In which time zone.
    pub zone: String,
    /// Its next times, the nearest first.
    pub slots: Vec<SlotView>,
}

/// What became of one time of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiringView {
    /// The time; for missed ones the last of them.
    pub slot_at: i64,
    /// Why it was begun.
    pub cause: FiringCause,
    /// Where it stands.
    pub state: FiringState,
    /// Its job.
    pub job: Option<JobId>,
    /// The job's number, for people.
    pub job_number: Option<i64>,
    /// Where the job stands.
    pub job_state: Option<JobState>,
    /// When it was begun.
    pub begun_at: i64,
    /// When it ended.
    pub ended_at: Option<i64>,
    /// Why it failed.
    pub failure_class: Option<FailureClass>,
    /// The same in words.
    pub reason: Option<String>,
    /// What the pre-check ended with.
    pub precheck_exit_code: Option<i64>,
    /// Where the pre-check's output lies, below the home; untrusted text.
    pub precheck_log: Option<String>,
    /// The first of the missed times.
    pub missed_from: Option<i64>,
    /// How many times were missed.
    pub missed_count: i64,
}

describe! { ScheduleRequest, "What is to be done again and again, and when; exactly one of `job`, `call` and `shell`.",
    always { name: String, when: String }
    sometimes {
        job: Option<DispatchRequest>, call: Option<CallRequest>, shell: Option<ShellRequest>,
        zone: Option<String>, jitter_s: Option<i64>, overlap: Option<Overlap>,
        overlap_max: Option<i64>, catch_up: Option<CatchUp>, catch_up_max: Option<i64>,
        catch_up_window_s: Option<i64>, pause_after: Option<i64>,
        precheck: Option<PrecheckRequest>, owner: Option<String>,
    }
}

describe! { PrecheckRequest, "A command that says whether there is anything to do.",
    always { command: String }
    sometimes { nothing_to_do: Option<i64>, seconds_max: Option<i64> }
}

describe! { PauseRequest, "Why a schedule is paused.",
    always {}
    sometimes { reason: Option<String> }
}

describe! { ScheduleSummary, "One line of a list of schedules.",
    always {
        id: ScheduleId, name: String, state: ScheduleState, state_reason: Option<String>,
        owner: String, when: String, zone: String, next: Option<SlotView>,
        last: Option<FiringView>, last_success_at: Option<i64>, last_failure_at: Option<i64>,
        failures: i64, missed: i64,
    }
}

describe! { ScheduleView, "One schedule with everything known about it.",
    always {
        id: ScheduleId, name: String, state: ScheduleState, state_reason: Option<String>,
        owner: String, when: String, zone: String, jitter_s: i64, overlap: Overlap,
        overlap_max: i64, catch_up: CatchUp, catch_up_max: i64, catch_up_window_s: i64,
        pause_after: i64, precheck: Option<PrecheckRequest>, job: Option<DispatchRequest>,
        call: Option<CallRequest>, shell: Option<ShellRequest>, next: Option<SlotView>, last: Option<FiringView>, open: Vec<FiringView>,
        last_success_at: Option<i64>, last_success_job: Option<JobId>,
        last_failure_at: Option<i64>, last_failure_job: Option<JobId>, failures: i64, missed: i64,
        created_at: i64,
    }
    sometimes { warnings: Vec<String> }
}

describe! { SlotView, "One time of a schedule that is still to come.",
    always {
        slot_at: i64, due_at: i64, local: String, utc: String, shift: Option<SlotShift>,
        note: Option<String>,
    }
}

describe! { PreviewView, "The next times of a schedule.",
    always { when: String, zone: String, slots: Vec<SlotView> }
}

describe! { FiringView, "What became of one time of a schedule.",
    always {
        slot_at: i64, cause: FiringCause, state: FiringState, job: Option<JobId>,
        job_number: Option<i64>, job_state: Option<JobState>, begun_at: i64,
        ended_at: Option<i64>, failure_class: Option<FailureClass>, reason: Option<String>,
        precheck_exit_code: Option<i64>, precheck_log: Option<String>, missed_from: Option<i64>,
        missed_count: i64,
    }
}
