//! What routes take in the path, the query and the headers.

use super::{Parameter, Place};
use crate::describe::Document;

const fn parameter(name: &'static str, place: Place, about: &'static str) -> Parameter {
    let shape = Document::of::<String>();
    Parameter {
        name,
        place,
        shape,
        about,
    }
}

const fn number(name: &'static str, place: Place, about: &'static str) -> Parameter {
    let shape = Document::of::<i64>();
    Parameter {
        name,
        place,
        shape,
        about,
    }
}

pub(super) const TOPIC: Parameter = parameter("topic", Place::Path, "The topic's name.");
pub(super) const READER_GROUP: Parameter = parameter("group", Place::Path, "The group's name.");
pub(super) const GROUP: Parameter = parameter(
    "group",
    Place::Query,
    "The group; may be left out where a topic has one.",
);
pub(super) const MESSAGE: Parameter = parameter(
    "message",
    Place::Path,
    "Topic, partition and offset, as in `reports%2F0%2F17`.",
);
pub(super) const PARTITION: Parameter =
    number("partition", Place::Query, "The partition; 0 when absent.");
pub(super) const AFTER_OFFSET: Parameter = number(
    "after",
    Place::Query,
    "Only messages after this offset; the newest when absent.",
);
pub(super) const ALL: Parameter = number("all", Place::Query, "1 for alarms that are over too.");
pub(super) const ALARM: Parameter = number("number", Place::Path, "The alarm's number.");
pub(super) const JOB: Parameter = parameter("id", Place::Path, "The job's id or number.");
pub(super) const QUEUE: Parameter = parameter(
    "queue",
    Place::Path,
    "The queue's name; `*` for every queue.",
);
pub(super) const NODE: Parameter = parameter(
    "node",
    Place::Path,
    "The node's id, its host's name, or `here` for the one that answers.",
);
pub(super) const SCHEDULE: Parameter = parameter("name", Place::Path, "The schedule's name or id.");
pub(super) const PLAN: Parameter = parameter("id", Place::Path, "The plan's id or number.");
pub(super) const ATTEMPT: Parameter = parameter(
    "attempt",
    Place::Query,
    "The attempt's id; the newest one when absent.",
);
pub(super) const STATE: Parameter = parameter(
    "state",
    Place::Query,
    "Job states, separated by commas; all when absent.",
);
pub(super) const CLASS: Parameter =
    parameter("class", Place::Query, "Only jobs that failed as this.");
pub(super) const PROJECT: Parameter =
    parameter("project", Place::Query, "Only jobs of this project.");
pub(super) const CURSOR: Parameter =
    parameter("cursor", Place::Query, "`next_cursor` of the page before.");
pub(super) const LIMIT: Parameter = number("limit", Place::Query, "The most items to answer.");
pub(super) const AFTER: Parameter = number(
    "after",
    Place::Query,
    "Only events after this sequence number.",
);
pub(super) const SUBJECT: Parameter = parameter(
    "subject",
    Place::Query,
    "Only events of this subject, as of one job by its id.",
);
pub(super) const NEWEST: Parameter = parameter(
    "newest",
    Place::Query,
    "`true`: the newest `limit` events instead of those after `after`.",
);
pub(super) const ANCHOR: Parameter = parameter(
    "anchor",
    Place::Query,
    "Heads that were noted down, as `SEQ:HASH` separated by commas; each has to be in the chain.",
);
pub(super) const LAST_EVENT_ID: Parameter = number(
    "Last-Event-ID",
    Place::Header,
    "Resumes a stream; goes before `after`.",
);
