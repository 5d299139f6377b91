//! Taking turns: what a request may ask of the queue, and how the queues stand.

use crate::describe::describe;
use serde::{Deserialize, Serialize};

/// How a job takes its turn; part of [`DispatchRequest`](crate::DispatchRequest).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowRequest {
    /// The queue it stands in; `default` when absent.
    pub queue: Option<String>,
    /// The greater number goes first: a point is worth a minute of waiting. 0 when absent.
    pub priority: Option<i64>,
    /// Not started before this time; at once when absent.
    pub start_at: Option<i64>,
    /// Jobs that name the same key share its limit.
    pub key: Option<FlowKeyRequest>,
    /// While a job of this owner with this name has not ended, asking for another returns that one.
    pub singleton: Option<String>,
    /// Requests that come in quick succession become one job.
    pub debounce: Option<DebounceRequest>,
}

/// A limit that jobs bring along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowKeyRequest {
    /// What they share, such as a customer or a repository.
    pub name: String,
    /// How many of them run at a time.
    pub running_max: i64,
}

/// Putting a start off while more requests come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebounceRequest {
    /// What makes two requests of one owner the same.
    pub name: String,
    /// How long none may have come before the job starts.
    pub quiet_seconds: i64,
    /// How long the start is put off at most, from the first request.
    pub wait_seconds_max: i64,
}

/// One line of `skep queue list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// Its name.
    pub queue: String,
    /// Whether nothing of it starts.
    pub paused: bool,
    /// Jobs that wait for a slot.
    pub ready: i64,
    /// Jobs whose time has not come.
    pub later: i64,
    /// Jobs that somebody works on.
    pub running: i64,
    /// Jobs that wait for something else: a person, a budget, other jobs.
    pub waiting: i64,
}

describe! { FlowRequest, "How a job takes its turn.",
    always {}
    sometimes {
        queue: Option<String>, priority: Option<i64>, start_at: Option<i64>,
        key: Option<FlowKeyRequest>, singleton: Option<String>, debounce: Option<DebounceRequest>,
    }
}
describe! { FlowKeyRequest, "A limit that jobs bring along.",
    always { name: String, running_max: i64 }
}
describe! { DebounceRequest, "Putting a start off while more requests come.",
    always { name: String, quiet_seconds: i64, wait_seconds_max: i64 }
}
describe! { QueueView, "How one queue stands.",
    always { queue: String, paused: bool, ready: i64, later: i64, running: i64, waiting: i64 }
}
