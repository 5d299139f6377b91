//! `[limits]`: how many jobs run, and how fast they start, by queue, backend and project.

use super::keys::{Section, key};
use serde::Deserialize;
use skep_queue::FlowPolicy;
use skep_queue::flow::{FlowLimit, ProjectShare, Rate, is_queue_name};
use std::collections::BTreeMap;

/// The keys of `[limits]`.
pub(super) const SECTION: Section = Section {
    heading: "limits",
    path: "limits",
    about: "How many jobs run over all nodes of a store. Every node has the same limits.",
    keys: &[key(
        "limits.running_max",
        "integer",
        Some("no limit but the slots"),
        "20",
        "Jobs that run at the same time.",
    )],
};

/// The keys of `[limits.queue.NAME]`.
pub(super) const QUEUE_SECTION: Section = Section {
    heading: "limits.queue.nightly",
    path: "limits.queue.NAME",
    about: "Limits of one queue (`skep run --queue NAME`).",
    keys: &[
        key(
            "limits.queue.NAME.running_max",
            "integer",
            Some("no limit"),
            "2",
            "Jobs of it that run at the same time.",
        ),
        key(
            "limits.queue.NAME.starts",
            "integer",
            Some("no limit"),
            "10",
            "How many may start in `per_seconds`, on average; as many at once at most.",
        ),
        key(
            "limits.queue.NAME.per_seconds",
            "integer",
            Some("1"),
            "60",
            "See `starts`.",
        ),
    ],
};

/// The keys of `[limits.backend.NAME]`.
pub(super) const BACKEND_SECTION: Section = Section {
    heading: "limits.backend.exec",
    path: "limits.backend.NAME",
    about: "Limits of one harness.",
    keys: &[
        key(
            "limits.backend.NAME.running_max",
            "integer",
            Some("no limit"),
            "3",
            "Jobs that run with it at the same time.",
        ),
        key(
            "limits.backend.NAME.starts",
            "integer",
            Some("no limit"),
            "30",
            "How many may start in `per_seconds`, on average; as many at once at most.",
        ),
        key(
            "limits.backend.NAME.per_seconds",
            "integer",
            Some("1"),
            "60",
            "See `starts`.",
        ),
    ],
};

/// The keys of `[limits.project.NAME]`.
pub(super) const PROJECT_SECTION: Section = Section {
    heading: "limits.project.hive",
    path: "limits.project.NAME",
    about: "The part of one project. Projects that wait share the slots by weight.",
    keys: &[
        key(
            "limits.project.NAME.weight",
            "integer",
            Some("1"),
            "2",
            "Its part beside the others'.",
        ),
        key(
            "limits.project.NAME.running_max",
            "integer",
            Some("no limit"),
            "4",
            "Jobs of it that run at the same time.",
        ),
    ],
};

/// `[limits]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsTable {
    running_max: Option<i64>,
    queue: BTreeMap<String, LimitTable>,
    backend: BTreeMap<String, LimitTable>,
    project: BTreeMap<String, ProjectTable>,
}

/// `[limits.queue.NAME]` and `[limits.backend.NAME]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitTable {
    running_max: Option<i64>,
    starts: Option<i64>,
    per_seconds: Option<i64>,
}

/// `[limits.project.NAME]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProjectTable {
    weight: Option<i64>,
    running_max: Option<i64>,
}

impl LimitsTable {
    /// What the queue takes, or which table is wrong and how.
    pub(crate) fn policy(&self) -> Result<FlowPolicy, String> {
        if let Some(name) = self.queue.keys().find(|name| !is_queue_name(name)) {
            return Err(format!(
                "`{name}` of [limits.queue] is no queue's name: 1 to 40 small letters, digits, \
                 `-` and `_`"
            ));
        }
        let projects = self.project.iter().map(|(name, table)| {
            let share = ProjectShare {
                weight: above_zero(&format!("limits.project.{name}.weight"), table.weight)?
                    .unwrap_or(1),
                running_max: not_negative(
                    &format!("limits.project.{name}.running_max"),
                    table.running_max,
                )?,
            };
            Ok((name.clone(), share))
        });
        Ok(FlowPolicy {
            running_max: not_negative("limits.running_max", self.running_max)?,
            queues: limits("queue", &self.queue)?,
            backends: limits("backend", &self.backend)?,
            projects: projects.collect::<Result<_, String>>()?,
        })
    }
}

fn limits(
    of: &str,
    tables: &BTreeMap<String, LimitTable>,
) -> Result<BTreeMap<String, FlowLimit>, String> {
    let limit = |(name, table): (&String, &LimitTable)| {
        let key = |key: &str| format!("limits.{of}.{name}.{key}");
        let starts = above_zero(&key("starts"), table.starts)?;
        let seconds = above_zero(&key("per_seconds"), table.per_seconds)?;
        if starts.is_none() && seconds.is_some() {
            return Err(format!("`{}` needs `starts` beside it", key("per_seconds")));
        }
        let rate = starts.map(|starts| Rate {
            starts,
            per_ms: seconds.unwrap_or(1).saturating_mul(1_000),
        });
        let limit = FlowLimit {
            running_max: not_negative(&key("running_max"), table.running_max)?,
            rate,
        };
        Ok((name.clone(), limit))
    };
    tables.iter().map(limit).collect()
}

fn above_zero(key: &str, value: Option<i64>) -> Result<Option<i64>, String> {
    match value {
        Some(value) if value < 1 => Err(format!("`{key}` is above zero")),
        value => Ok(value),
    }
}

fn not_negative(key: &str, value: Option<i64>) -> Result<Option<i64>, String> {
    match value {
        Some(value) if value < 0 => Err(format!("`{key}` is not negative")),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Result<FlowPolicy, String> {
        toml::from_str::<LimitsTable>(text)
            .map_err(|error| error.message().to_owned())?
            .policy()
    }

    #[test]
    fn a_table_becomes_a_policy() {
        let text = "
            running_max = 20
            queue.nightly = { running_max = 2, starts = 10, per_seconds = 60 }
            backend.skep.running_max = 0
            project.hive.weight = 3";
        let policy = policy(text).expect("a policy");
        let nightly = FlowLimit {
            running_max: Some(2),
            rate: Some(Rate {
                starts: 10,
                per_ms: 60_000,
            }),
        };
        assert_eq!(policy.running_max, Some(20));
        assert_eq!(policy.queues["nightly"], nightly);
        assert_eq!(policy.backends["skep"].running_max, Some(0));
        assert_eq!(policy.projects["hive"].weight, 3);
        assert_eq!(LimitsTable::default().policy(), Ok(FlowPolicy::default()));
    }

    #[test]
    fn a_limit_that_makes_no_sense_is_named() {
        for (text, expected) in [
            ("running_max = -1", "`limits.running_max` is not negative"),
            ("queue.Slow.starts = 1", "`Slow` of [limits.queue]"),
            (
                "queue.a.starts = 0",
                "`limits.queue.a.starts` is above zero",
            ),
            (
                "backend.a.per_seconds = 5",
                "`limits.backend.a.per_seconds` needs `starts`",
            ),
            (
                "project.a.weight = 0",
                "`limits.project.a.weight` is above zero",
            ),
        ] {
            let error = policy(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }
}
