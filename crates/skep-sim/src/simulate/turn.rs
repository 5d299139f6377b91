//! How jobs take their turn: the queues, projects, backends and keys of a history.

use super::dice::Dice;
use skep_queue::flow::{DEFAULT_QUEUE, FlowKey};
use skep_queue::{EVERY_QUEUE, Flow, Job, NewJob};
use std::fmt;

/// What can be paused: two queues, and all of them.
pub(crate) const PAUSABLE: &[&str] = &[DEFAULT_QUEUE, NIGHT, EVERY_QUEUE];

const NIGHT: &str = "night";
const HIVE: &str = "hive";
const MEADOW: &str = "meadow";
const BACKEND: &str = "mill";

/// Where a job is asked to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    queue: &'static str,
    project: &'static str,
    backend: Option<&'static str>,
    key: Option<(&'static str, i64)>,
}

impl Place {
    /// The place of every job where there is one lane.
    pub(crate) const ONLY: Self = Self {
        queue: DEFAULT_QUEUE,
        project: HIVE,
        backend: None,
        key: None,
    };

    /// One of several lanes.
    pub(crate) fn drawn(dice: &mut Dice) -> Self {
        Self {
            queue: dice.of(&[DEFAULT_QUEUE, DEFAULT_QUEUE, NIGHT]),
            project: dice.of(&[HIVE, HIVE, MEADOW]),
            backend: dice.of(&[None, None, Some(BACKEND)]),
            key: None,
        }
    }

    pub(crate) fn project(self) -> String {
        self.project.to_owned()
    }

    pub(crate) fn flow(self) -> Flow {
        Flow {
            queue: self.queue.to_owned(),
            backend: self.backend.map(str::to_owned),
            key: self.key.map(|(name, running_max)| FlowKey {
                name: name.to_owned(),
                running_max,
            }),
            ..Flow::default()
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ONLY {
            return Ok(());
        }
        write!(f, ", {} of {}", self.queue, self.project)?;
        if let Some(backend) = self.backend {
            write!(f, " on {backend}")?;
        }
        self.key
            .map_or(Ok(()), |(key, max)| write!(f, " by {key}, {max} at a time"))
    }
}

/// What limits and pauses know of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) queue: String,
    project: String,
    backend: Option<String>,
    key: Option<FlowKey>,
}

impl From<&NewJob> for Turn {
    fn from(new: &NewJob) -> Self {
        Self {
            queue: new.flow.queue.clone(),
            project: new.project.clone(),
            backend: new.flow.backend.clone(),
            key: new.flow.key.clone(),
        }
    }
}

impl From<&Job> for Turn {
    fn from(job: &Job) -> Self {
        Self {
            queue: job.flow.queue.clone(),
            project: job.project.clone(),
            backend: job.flow.backend.clone(),
            key: job.flow.key.clone(),
        }
    }
}
