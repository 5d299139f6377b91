//! Flow control: which line a job stands in, where in it, and what holds the line up.
//!
//! Jobs of one queue, project, backend and concurrency key stand in one *lane*; whatever limits
//! one of them limits all. A place in the line is a time: when the job was due, less a head start
//! for its priority. The place never changes while others grow older, so nothing starves.

use crate::error::EnqueueError;
use crate::limits::{AGEING_MS_PER_POINT, FLOW_NAME_BYTES_MAX, NAME_BYTES_MAX, PRIORITY_MAX};
use std::collections::BTreeMap;

/// The queue of a job that names none.
pub const DEFAULT_QUEUE: &str = "default";

/// How a job takes its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The queue it stands in: what is paused and limited under one name.
    pub queue: String,
    /// What works on it, as far as limits are concerned: a harness, a provider.
    pub backend: Option<String>,
    /// Jobs that share a key share a limit of their own.
    pub key: Option<FlowKey>,
    /// As long as a job of the same owner with this name has not ended, another one is that one.
    pub singleton: Option<String>,
    /// Requests that come in quick succession become one job.
    pub debounce: Option<Debounce>,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            queue: DEFAULT_QUEUE.to_owned(),
            backend: None,
            key: None,
            singleton: None,
            debounce: None,
        }
    }
}

/// A limit that jobs bring along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowKey {
    /// What they share, such as a customer or a repository.
    pub name: String,
    /// How many of them run at a time, at least 1. Where jobs disagree, the first in line is heard.
    pub running_max: i64,
}

/// Putting a start off while more requests come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debounce {
    /// What makes two requests of one owner the same.
    pub name: String,
    /// How long none may have come before the job starts, in milliseconds.
    pub quiet_ms: i64,
    /// How long the start is put off at most, in milliseconds from the first request.
    pub wait_max_ms: i64,
}

/// What an operator sets: the same on every node of a store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlowPolicy {
    /// Jobs that run at a time, over all nodes.
    pub running_max: Option<i64>,
    /// Limits by queue.
    pub queues: BTreeMap<String, FlowLimit>,
    /// Limits by backend.
    pub backends: BTreeMap<String, FlowLimit>,
    /// Limits and weights by project.
    pub projects: BTreeMap<String, ProjectShare>,
}

/// What holds for one queue or one backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlowLimit {
    /// Jobs of it that run at a time.
    pub running_max: Option<i64>,
    /// How many may start, and in how long.
    pub rate: Option<Rate>,
}

/// `starts` in any `per_ms` on average, all of them at once at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub starts: i64,
    /// In how many milliseconds, at least 1.
    pub per_ms: i64,
}

/// What holds for one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectShare {
    /// Its part of the slots beside other projects that wait; the others have 1.
    pub weight: i64,
    /// Jobs of it that run at a time.
    pub running_max: Option<i64>,
}

impl Default for ProjectShare {
    fn default() -> Self {
        Self {
            weight: 1,
            running_max: None,
        }
    }
}

impl FlowPolicy {
    /// Whether nothing of it concerns a lane, so that the lane needs no counting.
    pub(crate) fn leaves_alone(&self, queue: &str, project: &str, backend: Option<&str>) -> bool {
        self.running_max.is_none()
            && !self.queues.contains_key(queue)
            && !self.projects.contains_key(project)
            && backend.is_none_or(|backend| !self.backends.contains_key(backend))
    }
}

/// What stands between the parts of a lane.
pub(crate) const LANE_MARK: &str = "\u{1f}";

/// The lane of a job: equal for jobs that every limit treats alike. Not for reading back.
pub(crate) fn lane(flow: &Flow, project: &str) -> String {
    let backend = flow.backend.as_deref().unwrap_or("");
    let key = flow.key.as_ref().map_or("", |key| &key.name);
    // No name holds this character, see `validate`.
    format!(
        "{}{LANE_MARK}{project}{LANE_MARK}{backend}{LANE_MARK}{key}",
        flow.queue
    )
}

/// The place in the line of a job that is due at `run_at_ms`.
pub(crate) fn order_ms(run_at_ms: i64, priority: i64) -> i64 {
    let priority = priority.clamp(-PRIORITY_MAX, PRIORITY_MAX);
    run_at_ms.saturating_sub(priority * AGEING_MS_PER_POINT)
}

/// Checks what a request says about its flow.
pub(crate) fn validate(flow: &Flow) -> Result<(), EnqueueError> {
    let refuse = |field, reason| Err(EnqueueError::Invalid { field, reason });
    if !is_queue_name(&flow.queue) {
        return refuse(
            "queue",
            "must hold 1 to 40 small letters, digits, `-` and `_`",
        );
    }
    let names = [
        ("backend", flow.backend.as_ref()),
        ("flow_key", flow.key.as_ref().map(|key| &key.name)),
        ("singleton", flow.singleton.as_ref()),
        ("debounce", flow.debounce.as_ref().map(|d| &d.name)),
    ];
    for (field, name) in names {
        let Some(name) = name else { continue };
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(['\0', '\u{1f}']) {
            return refuse(field, "must hold 1 to 200 bytes of text");
        }
    }
    if flow.key.as_ref().is_some_and(|key| key.running_max < 1) {
        return refuse("flow_key_max", "must be at least 1");
    }
    if let Some(debounce) = &flow.debounce
        && (debounce.quiet_ms < 1 || debounce.wait_max_ms < debounce.quiet_ms)
    {
        return refuse(
            "debounce",
            "must wait at least 1 ms, and in all at least as long",
        );
    }
    if flow.debounce.is_some() && flow.singleton.is_some() {
        return refuse("debounce", "and singleton exclude each other");
    }
    Ok(())
}

/// Whether `name` can be the name of a queue. It is written to the ledger, so it is no free text.
pub fn is_queue_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= FLOW_NAME_BYTES_MAX
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_of_priority_is_worth_a_minute_of_waiting() {
        let hour = 60 * AGEING_MS_PER_POINT;
        assert!(order_ms(hour, 61) < order_ms(0, 0));
        assert!(order_ms(hour, 59) > order_ms(0, 0));
        assert_eq!(order_ms(hour, 60), order_ms(0, 0));
        assert!(order_ms(i64::MAX, -PRIORITY_MAX) > order_ms(0, 0));
        assert!(order_ms(0, i64::MAX) < order_ms(0, 0));
    }

    #[test]
    fn lanes_differ_where_a_limit_could() {
        let flow = |queue: &str, backend: Option<&str>, key: Option<&str>| Flow {
            queue: queue.to_owned(),
            backend: backend.map(str::to_owned),
            key: key.map(|name| FlowKey {
                name: name.to_owned(),
                running_max: 1,
            }),
            ..Flow::default()
        };
        let lanes = [
            lane(&flow("a", None, None), "p"),
            lane(&flow("b", None, None), "p"),
            lane(&flow("a", None, None), "q"),
            lane(&flow("a", Some("x"), None), "p"),
            lane(&flow("a", None, Some("x")), "p"),
        ];
        for (i, one) in lanes.iter().enumerate() {
            assert!(!lanes[i + 1..].contains(one), "{one:?}");
        }
    }
}
