//! The documents of dead letters: jobs that ended without success.

use crate::describe::describe;
use crate::document::{EventView, JobSubmitted, JobView};
use serde::{Deserialize, Serialize};
use skep_types::{FailureClass, JobId, JobKind, JobState};

/// One line of `skep dead list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The job's id, which is the letter's as well.
    pub job: JobId,
    /// The job's number, for people.
    pub number: i64,
    /// What kind of job.
    pub kind: JobKind,
    /// `failed`, or `quarantined` for one that fails the same way again and again.
    pub state: JobState,
    /// Why it failed, in exactly one word.
    pub class: FailureClass,
    /// The first line of the instruction, cut to 120 characters.
    pub title: String,
    /// One sentence on why it failed.
    pub reason: Option<String>,
    /// How often the job has ended without success.
    pub deaths: i64,
    /// How many of these were the last ones and of this class.
    pub in_a_row: i64,
    /// How often it was started again.
    pub replays: i64,
    /// When it last died.
    pub died_at: i64,
}

/// What `skep dead show` prints: a dead letter and its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadView {
    /// The letter.
    pub letter: DeadLetter,
    /// The job with everything known about it.
    pub job: JobView,
    /// The last events about it, oldest first.
    pub events: Vec<EventView>,
}

/// What `skep dead list --by class` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadClasses {
    /// Open dead letters.
    pub letters: i64,
    /// Those whose failure is not understood.
    pub unknown: i64,
    /// The same in percent, rounded down.
    pub unknown_percent: i64,
    /// How many there are of each class, the most frequent first.
    pub classes: Vec<ClassCount>,
}

/// How many dead letters there are of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// The class.
    pub class: FailureClass,
    /// How many.
    pub letters: i64,
}

/// What `skep dead drain` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainRequest {
    /// The most jobs to start again.
    pub limit: Option<i64>,
    /// Only jobs that failed as this.
    pub class: Option<FailureClass>,
}

/// What `skep dead drain` prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// The jobs that were started again, in the order in which they were first asked for.
    pub replayed: Vec<JobSubmitted>,
    /// The numbers of those that were not: quarantined, replayed too often, or in the way of a live
    /// job.
    pub passed_over: Vec<i64>,
}

describe! { DeadLetter, "A job that ended without success.",
    always {
        job: JobId, number: i64, kind: JobKind, state: JobState, class: FailureClass,
        title: String, reason: Option<String>, deaths: i64, in_a_row: i64, replays: i64,
        died_at: i64,
    }
}

describe! { DeadView, "A dead letter and its evidence.",
    always { letter: DeadLetter, job: JobView, events: Vec<EventView> }
}

describe! { DeadClasses, "How many dead letters there are of each failure class.",
    always { letters: i64, unknown: i64, unknown_percent: i64, classes: Vec<ClassCount> }
}

describe! { ClassCount, "How many dead letters there are of one class.",
    always { class: FailureClass, letters: i64 }
}

describe! { DrainRequest, "Which dead letters to replay.",
    always {}
    sometimes { limit: Option<i64>, class: Option<FailureClass> }
}

describe! { Drained, "What a drain started again, in order, and what it passed over.",
    always { replayed: Vec<JobSubmitted>, passed_over: Vec<i64> }
}
