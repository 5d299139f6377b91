//! What is picked, from lanes written as `queue project backend key key_max: order order …`.

use super::*;
use crate::flow::{FlowLimit, ProjectShare, Rate};

fn lane(text: &str, number: &mut i64) -> Lane {
    let (names, line) = text.split_once(':').expect("a lane has a colon");
    let names: Vec<&str> = names.split_whitespace().collect();
    let optional = |at: usize| {
        names
            .get(at)
            .filter(|n| **n != "-")
            .map(|n| (*n).to_owned())
    };
    let waiting = |order: &str| {
        *number += 1;
        Waiting {
            number: *number,
            order_ms: order.parse().expect("an order is a number"),
        }
    };
    Lane {
        queue: names[0].to_owned(),
        project: names[1].to_owned(),
        backend: optional(2),
        key: optional(3),
        key_max: optional(4).map(|max| max.parse().expect("a limit is a number")),
        line: line.split_whitespace().map(waiting).collect(),
    }
}

/// Picks `limit` of the lanes, whose jobs are numbered through from 1.
fn check(policy: &FlowPolicy, paused: &[&str], lanes: &[&str], limit: i64, expected: &[i64]) {
    let mut number = 0;
    let read: Vec<Lane> = lanes.iter().map(|text| lane(text, &mut number)).collect();
    let paused = paused.iter().map(|name| (*name).to_owned()).collect();
    let mut rates = Rates::default();
    let picked = pick(&read, policy, &paused, Taken::default(), &mut rates, limit);
    assert_eq!(picked, expected, "{lanes:?}");
}

fn running_max(max: i64) -> FlowLimit {
    FlowLimit {
        running_max: Some(max),
        rate: None,
    }
}

#[test]
fn one_lane_goes_in_order() {
    check(&FlowPolicy::default(), &[], &["d p: 5 6 7"], 2, &[1, 2]);
    check(&FlowPolicy::default(), &[], &["d p:"], 2, &[]);
}

#[test]
fn projects_take_turns_however_long_their_lines_are() {
    let lanes = ["d big: 1 2 3 4", "d small: 100 101"];
    check(&FlowPolicy::default(), &[], &lanes, 4, &[1, 5, 2, 6]);
    let mut policy = FlowPolicy::default();
    let share = ProjectShare {
        weight: 3,
        running_max: None,
    };
    policy.projects.insert("big".to_owned(), share);
    check(&policy, &[], &lanes, 5, &[1, 5, 2, 3, 4]);
}

#[test]
fn a_long_wait_outweighs_a_share() {
    let late = format!("d small: {}", 2 * FAIR_SHARE_MS + 10);
    check(
        &FlowPolicy::default(),
        &[],
        &["d big: 1 2 3", &late],
        3,
        &[1, 2, 3],
    );
}

#[test]
fn limits_close_a_lane_and_leave_the_others() {
    let mut policy = FlowPolicy::default();
    policy.backends.insert("claude".to_owned(), running_max(1));
    let lanes = ["d p claude: 1 2", "d p codex: 9 9"];
    check(&policy, &[], &lanes, 4, &[1, 3, 4]);
    let mut policy = FlowPolicy::default();
    policy.queues.insert("slow".to_owned(), running_max(0));
    check(&policy, &[], &["slow p: 1", "d p: 2"], 4, &[2]);
    let policy = FlowPolicy {
        running_max: Some(2),
        ..FlowPolicy::default()
    };
    check(&policy, &[], &["d p: 1 2 3"], 4, &[1, 2]);
    let lanes = ["d p - customer 1: 1 2", "e p - customer 1: 3", "d p: 4"];
    check(&FlowPolicy::default(), &[], &lanes, 4, &[1, 4]);
    let mut policy = FlowPolicy::default();
    let share = ProjectShare {
        weight: 1,
        running_max: Some(1),
    };
    policy.projects.insert("p".to_owned(), share);
    check(&policy, &[], &["d p: 1 2", "d q: 5"], 4, &[1, 3]);
}

#[test]
fn paused_queues_wait() {
    let lanes = ["a p: 1", "b p: 2"];
    check(&FlowPolicy::default(), &["a"], &lanes, 4, &[2]);
    check(&FlowPolicy::default(), &["*"], &lanes, 4, &[]);
}

#[test]
fn a_rate_lets_through_what_it_says() {
    let mut policy = FlowPolicy::default();
    let rate = Some(Rate {
        starts: 2,
        per_ms: 1_000,
    });
    let limit = FlowLimit {
        running_max: None,
        rate,
    };
    policy.queues.insert("d".to_owned(), limit);
    let mut number = 0;
    let lanes = [lane("d p: 1 2 3 4", &mut number)];
    let mut rates = Rates::of(&policy, 10_000);
    let paused = BTreeSet::new();
    let picked = pick(&lanes, &policy, &paused, Taken::default(), &mut rates, 4);
    assert_eq!(picked, [1, 2]);
}
