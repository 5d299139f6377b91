//! How jobs take their turn: the queues, projects, backends and keys of a history, and the limits
//! that an operator can set.

use super::dice::Dice;
use skep_queue::flow::{DEFAULT_QUEUE, FlowKey};
use skep_queue::flow::{FlowLimit, ProjectShare, Rate};
use skep_queue::{EVERY_QUEUE, Flow, FlowPolicy};
use std::collections::BTreeMap;
use std::fmt;

/// What can be paused: two queues, and all of them.
pub(crate) const PAUSABLE: &[&str] = &[DEFAULT_QUEUE, NIGHT, EVERY_QUEUE];

const NIGHT: &str = "night";
const HIVE: &str = "hive";
const MEADOW: &str = "meadow";
const MILL: &str = "mill";
/// Each key with how many of its jobs run at a time. The jobs of the last one disagree about it.
const KEYS: &[(&str, i64)] = &[("one", 1), ("two", 2), ("any", 1), ("any", 2), ("any", 3)];

/// Where a job is asked to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    at_night: bool,
    on_meadow: bool,
    at_mill: bool,
    /// One of [`KEYS`].
    key: Option<u8>,
}

impl Place {
    /// The place of every job where there is one lane.
    pub(crate) const ONLY: Self = Self {
        at_night: false,
        on_meadow: false,
        at_mill: false,
        key: None,
    };

    /// One of several lanes.
    pub(crate) fn drawn(dice: &mut Dice) -> Self {
        Self {
            at_night: dice.one_in(3),
            on_meadow: dice.one_in(3),
            at_mill: dice.one_in(3),
            key: dice.one_in(3).then(|| dice.of(&[0, 1, 2, 3, 4])),
        }
    }

    const fn queue(self) -> &'static str {
        if self.at_night { NIGHT } else { DEFAULT_QUEUE }
    }

    pub(crate) const fn project(self) -> &'static str {
        if self.on_meadow { MEADOW } else { HIVE }
    }

    fn key(self) -> Option<FlowKey> {
        let (name, running_max) = KEYS.get(usize::from(self.key?))?;
        Some(FlowKey {
            name: (*name).to_owned(),
            running_max: *running_max,
        })
    }

    pub(crate) fn flow(self) -> Flow {
        Flow {
            queue: self.queue().to_owned(),
            backend: self.at_mill.then(|| MILL.to_owned()),
            key: self.key(),
            ..Flow::default()
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ONLY {
            return Ok(());
        }
        write!(f, ", {} of {}", self.queue(), self.project())?;
        if self.at_mill {
            write!(f, " on {MILL}")?;
        }
        match self.key() {
            Some(key) => write!(f, " by {}, {} at a time", key.name, key.running_max),
            None => Ok(()),
        }
    }
}

/// The sets of limits, in words; the first one limits nothing.
pub(crate) const POLICIES: &[&str] = &[
    "nothing is limited",
    "2 run at a time",
    "1 of default at a time",
    "2 of hive and 1 of meadow at a time",
    "3 run at a time, 1 on mill",
    "1 runs at a time",
    "3 of default start in 20 s",
    "2 of night and 2 on mill start in 10 s",
    "2 run at a time, 2 of default start in 7 s, 3 on mill in 1 s",
];

/// How many of [`POLICIES`], from the first one on, limit no rate.
pub(crate) const POLICIES_WITHOUT_RATE: usize = 6;

/// A set of limits, by its place in [`POLICIES`].
pub(crate) fn policy(set: usize) -> FlowPolicy {
    let limit = |name: &str, running_max| {
        let running_max = Some(running_max);
        let limit = FlowLimit {
            running_max,
            rate: None,
        };
        BTreeMap::from([(name.to_owned(), limit)])
    };
    let pace = |name: &str, starts, per_ms| {
        let limit = FlowLimit {
            running_max: None,
            rate: Some(Rate { starts, per_ms }),
        };
        BTreeMap::from([(name.to_owned(), limit)])
    };
    let share = |weight, running_max| ProjectShare {
        weight,
        running_max,
    };
    let mut policy = FlowPolicy::default();
    match set {
        1 => policy.running_max = Some(2),
        2 => policy.queues = limit(DEFAULT_QUEUE, 1),
        3 => {
            let shares = [(HIVE, share(3, Some(2))), (MEADOW, share(1, Some(1)))];
            policy.projects = shares.map(|(name, share)| (name.to_owned(), share)).into();
        }
        4 => {
            policy.running_max = Some(3);
            policy.backends = limit(MILL, 1);
        }
        5 => policy.running_max = Some(1),
        6 => policy.queues = pace(DEFAULT_QUEUE, 3, 20_000),
        7 => {
            policy.queues = pace(NIGHT, 2, 10_000);
            policy.backends = pace(MILL, 2, 10_000);
        }
        8 => {
            policy.running_max = Some(2);
            policy.queues = pace(DEFAULT_QUEUE, 2, 7_000);
            policy.backends = pace(MILL, 3, 1_000);
        }
        _ => {}
    }
    policy
}
