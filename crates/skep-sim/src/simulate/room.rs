//! What runs, counted in every way that a limit can ask for: the same for the model and for the
//! bystander.

use skep_queue::flow::{FlowKey, FlowLimit};
use skep_queue::{FlowPolicy, Job, NewJob};
use std::collections::BTreeMap;

/// What limits and pauses know of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) queue: String,
    pub(crate) project: String,
    pub(crate) backend: Option<String>,
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

/// A queue, a project, a backend and a key.
pub(crate) type Lane = (String, String, Option<String>, Option<String>);

/// Jobs that somebody holds.
#[derive(Debug, Default)]
pub(crate) struct Running {
    counts: BTreeMap<(Kind, String), i64>,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    All,
    Queue,
    Project,
    Backend,
    Key,
}

impl Running {
    pub(crate) fn of<'t>(turns: impl Iterator<Item = &'t Turn>) -> Self {
        let mut running = Self::default();
        for turn in turns {
            for (kind, name, _) in turn.counted(&FlowPolicy::default()) {
                *running.counts.entry((kind, name.to_owned())).or_default() += 1;
            }
        }
        running
    }

    /// Whether one more that takes its turn like this may run under `policy`, if `key_max` of its
    /// key may.
    pub(crate) fn has_room(&self, turn: &Turn, policy: &FlowPolicy, key_max: Option<i64>) -> bool {
        turn.counted(policy).into_iter().all(|(kind, name, max)| {
            let max = if kind == Kind::Key { key_max } else { max };
            let count = self.counts.get(&(kind, name.to_owned()));
            max.is_none_or(|max| count.copied().unwrap_or(0) < max)
        })
    }
}

impl Turn {
    /// What the jobs of one lane share.
    pub(crate) fn lane(&self) -> Lane {
        let key = self.key.as_ref().map(|key| key.name.clone());
        let (queue, project) = (self.queue.clone(), self.project.clone());
        (queue, project, self.backend.clone(), key)
    }

    /// The name of its key, and how many it lets run of it.
    pub(crate) fn key(&self) -> Option<(&str, i64)> {
        let key = self.key.as_ref()?;
        Some((&key.name, key.running_max))
    }

    /// Whether no limit concerns the job.
    pub(crate) fn is_free(&self, policy: &FlowPolicy) -> bool {
        let on_limited = |backend| policy.backends.contains_key(backend);
        policy.running_max.is_none()
            && !policy.queues.contains_key(&self.queue)
            && !policy.projects.contains_key(&self.project)
            && !self.backend.as_ref().is_some_and(on_limited)
            && self.key.is_none()
    }

    /// What counts the job, and how many of it may run at a time.
    fn counted<'t>(&'t self, policy: &FlowPolicy) -> Vec<(Kind, &'t str, Option<i64>)> {
        let of = |limits: &BTreeMap<String, FlowLimit>, name: &str| {
            limits.get(name).and_then(|limit| limit.running_max)
        };
        let share = policy.projects.get(&self.project);
        let mut counted = vec![
            (Kind::All, "", policy.running_max),
            (Kind::Queue, &*self.queue, of(&policy.queues, &self.queue)),
            (
                Kind::Project,
                &*self.project,
                share.and_then(|share| share.running_max),
            ),
        ];
        if let Some(backend) = &self.backend {
            counted.push((Kind::Backend, backend, of(&policy.backends, backend)));
        }
        if let Some(key) = &self.key {
            counted.push((Kind::Key, &key.name, None));
        }
        counted
    }
}
