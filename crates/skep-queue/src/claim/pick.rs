//! Choosing among lanes: pure, so that it can be tested without a store.

use crate::flow::FlowPolicy;
use crate::limits::FAIR_SHARE_MS;
use crate::rate::Rates;
use std::collections::{BTreeSet, HashMap};

/// The head of one lane's line.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) queue: String,
    pub(super) project: String,
    pub(super) backend: Option<String>,
    pub(super) key: Option<String>,
    pub(super) key_max: Option<i64>,
    /// In order.
    pub(super) line: Vec<Waiting>,
}

/// A job in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) number: i64,
    pub(super) order_ms: i64,
}

/// What runs, counted in every way that a limit can ask for.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken {
    all: i64,
    queues: HashMap<String, i64>,
    projects: HashMap<String, i64>,
    backends: HashMap<String, i64>,
    keys: HashMap<String, i64>,
}

impl Taken {
    /// Counts `jobs` more of a lane, named by its queue, project, backend and key.
    pub(super) fn add(
        &mut self,
        (queue, project, backend, key): (&str, &str, Option<&str>, Option<&str>),
        jobs: i64,
    ) {
        let more = |counts: &mut HashMap<String, i64>, name: &str| {
            *counts.entry(name.to_owned()).or_default() += jobs;
        };
        self.all += jobs;
        more(&mut self.queues, queue);
        more(&mut self.projects, project);
        if let Some(backend) = backend {
            more(&mut self.backends, backend);
        }
        if let Some(key) = key {
            more(&mut self.keys, key);
        }
    }
}

fn count(counts: &HashMap<String, i64>, name: &str) -> i64 {
    counts.get(name).copied().unwrap_or(0)
}

/// The numbers of up to `limit` jobs, the first one first.
pub(super) fn pick(
    lanes: &[Lane],
    policy: &FlowPolicy,
    paused: &BTreeSet<String>,
    mut taken: Taken,
    rates: &mut Rates,
    limit: i64,
) -> Vec<i64> {
    let mut next: Vec<usize> = vec![0; lanes.len()];
    let mut picked = Vec::new();
    while i64::try_from(picked.len()).is_ok_and(|len| len < limit) {
        let first = (0..lanes.len())
            .filter_map(|i| {
                let waiting = lanes[i].line.get(next[i])?;
                may_start(&lanes[i], policy, paused, &taken, rates).then_some(())?;
                Some((rank(&lanes[i], waiting, policy, &taken), i))
            })
            .min();
        let Some(((_, number), i)) = first else { break };
        let lane = &lanes[i];
        rates.start(&lane.queue, lane.backend.as_deref());
        let name = (
            &*lane.queue,
            &*lane.project,
            lane.backend.as_deref(),
            lane.key.as_deref(),
        );
        taken.add(name, 1);
        next[i] += 1;
        picked.push(number);
    }
    picked
}

/// The smallest goes first: the place in the line, put back by what the project already has.
fn rank(lane: &Lane, waiting: &Waiting, policy: &FlowPolicy, taken: &Taken) -> (i64, i64) {
    let weight = policy.projects.get(&lane.project).map_or(1, |p| p.weight);
    let share = count(&taken.projects, &lane.project).saturating_mul(FAIR_SHARE_MS);
    let order = waiting.order_ms.saturating_add(share / weight.max(1));
    (order, waiting.number)
}

fn may_start(
    lane: &Lane,
    policy: &FlowPolicy,
    paused: &BTreeSet<String>,
    taken: &Taken,
    rates: &Rates,
) -> bool {
    let below = |running: i64, max: Option<i64>| max.is_none_or(|max| running < max);
    let queue = policy.queues.get(&lane.queue);
    let backend = lane.backend.as_deref();
    let backend_max = backend
        .and_then(|backend| policy.backends.get(backend))
        .and_then(|limit| limit.running_max);
    let project = policy.projects.get(&lane.project);
    !paused.contains(&lane.queue)
        && !paused.contains(crate::pause::EVERY_QUEUE)
        && below(taken.all, policy.running_max)
        && below(
            count(&taken.queues, &lane.queue),
            queue.and_then(|limit| limit.running_max),
        )
        && below(
            backend.map_or(0, |backend| count(&taken.backends, backend)),
            backend_max,
        )
        && below(
            count(&taken.projects, &lane.project),
            project.and_then(|project| project.running_max),
        )
        && below(
            lane.key.as_ref().map_or(0, |key| count(&taken.keys, key)),
            lane.key_max,
        )
        && rates.allows(&lane.queue, backend)
}

#[cfg(test)]
mod tests;
