//! What time makes of a schedule: tables for each policy, and that no slot is lost or doubled.

use super::*;
use jiff::Timestamp;
use proptest::prelude::*;

fn ms(text: &str) -> i64 {
    format!("{text}:00Z")
        .parse::<Timestamp>()
        .unwrap()
        .as_millisecond()
}

fn text(ms: i64) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap();
    at.strftime("%Y-%m-%dT%H:%M").to_string()
}

fn rules(timing: &str, catch_up: CatchUp) -> Rules {
    Rules {
        seed: "sch_1".to_owned(),
        timing: Timing::parse(timing, "UTC").unwrap(),
        anchor_ms: 0,
        jitter_ms: 0,
        catch_up,
        catch_up_max: 3,
        catch_up_window_ms: 4 * 3_600_000,
    }
}

/// Every step from `cursor` at `now`, as words: `fired 07:00`, `caught up 07:00`, `missed 3`.
fn steps(rules: &Rules, cursor: i64, now: i64) -> (Vec<String>, Step) {
    let mut words = Vec::new();
    let mut step = plan(rules, cursor, now);
    let mut rounds = 0;
    while step.fire.is_some() || step.missed.is_some() {
        if let Some(missed) = step.missed {
            words.push(format!("missed {}", missed.count));
        }
        if let Some((slot, cause)) = step.fire {
            let verb = match cause {
                FiringCause::Slot => "fired",
                FiringCause::CatchUp | FiringCause::Manual => "caught up",
            };
            words.push(format!("{verb} {}", &text(slot)[11..]));
        }
        step = plan(rules, step.cursor_ms, now);
        rounds += 1;
        assert!(rounds < 1_000, "the steps do not end");
    }
    (words, step)
}

#[track_caller]
fn check(catch_up: CatchUp, now: &str, expected: &[&str]) {
    let rules = rules("0 * * * *", catch_up);
    let (found, rest) = steps(&rules, ms("2026-01-01T06:30"), ms(now));
    assert_eq!(found, expected, "{catch_up} at {now}");
    assert!(rest.due_ms.unwrap() > ms(now));
}

#[test]
fn catch_up_is_a_table() {
    use CatchUp::{All, Last, None};
    for policy in [None, Last, All] {
        check(policy, "2026-01-01T06:59", &[]);
        check(policy, "2026-01-01T07:00", &["fired 07:00"]);
        check(policy, "2026-01-01T07:05", &["fired 07:00"]);
    }
    check(None, "2026-01-01T07:06", &["missed 1"]);
    check(Last, "2026-01-01T07:06", &["caught up 07:00"]);
    check(All, "2026-01-01T07:06", &["caught up 07:00"]);
    check(None, "2026-01-01T09:02", &["missed 2", "fired 09:00"]);
    check(Last, "2026-01-01T09:02", &["missed 2", "fired 09:00"]);
    check(
        All,
        "2026-01-01T09:02",
        &["caught up 07:00", "caught up 08:00", "fired 09:00"],
    );
    check(None, "2026-01-01T09:30", &["missed 3"]);
    check(Last, "2026-01-01T09:30", &["missed 2", "caught up 09:00"]);
    // Three at the most, the newest ones.
    check(
        All,
        "2026-01-01T11:30",
        &[
            "missed 2",
            "caught up 09:00",
            "caught up 10:00",
            "caught up 11:00",
        ],
    );
    // A month.
    check(None, "2026-02-01T06:30", &["missed 744"]);
    check(Last, "2026-02-01T06:30", &["missed 743", "caught up 06:00"]);
}

#[test]
fn a_slot_outside_the_window_is_missed() {
    let rules = rules("0 7 * * *", CatchUp::All);
    let cursor = ms("2026-01-01T06:30");
    assert_eq!(
        steps(&rules, cursor, ms("2026-01-01T11:00")).0,
        ["caught up 07:00"]
    );
    assert_eq!(
        steps(&rules, cursor, ms("2026-01-01T11:01")).0,
        ["missed 1"]
    );
}

#[test]
fn overlap_is_a_table() {
    use Admission as A;
    use Overlap::{Allow, CancelRunning, QueueOne, Skip};
    for (policy, limit, active, waiting, expected) in [
        (Skip, 1, 0, 0, A::Start),
        (Skip, 1, 1, 0, A::Skip),
        (QueueOne, 1, 0, 0, A::Start),
        (QueueOne, 1, 1, 0, A::Wait),
        (QueueOne, 1, 1, 1, A::Skip),
        // The one that waits goes first.
        (QueueOne, 1, 0, 1, A::Skip),
        (Allow, 2, 1, 0, A::Start),
        (Allow, 2, 2, 0, A::Skip),
        (CancelRunning, 1, 0, 0, A::Start),
        (CancelRunning, 1, 1, 0, A::Replace),
    ] {
        assert_eq!(
            admit(policy, limit, active, waiting),
            expected,
            "{policy} {active} {waiting}"
        );
    }
}

#[test]
fn jitter_moves_what_is_due_and_not_the_slot() {
    let mut rules = rules("0 * * * *", CatchUp::Last);
    rules.jitter_ms = 600_000;
    let shown = preview(&rules, ms("2026-01-01T06:30"), 20);
    assert!(shown.iter().any(|due| due.due_ms != due.slot.at_ms));
    for due in shown {
        let before = plan(&rules, due.slot.at_ms - 1, due.due_ms - 1);
        assert_eq!((before.fire, before.due_ms), (None, Some(due.due_ms)));
        let at = plan(&rules, due.slot.at_ms - 1, due.due_ms);
        assert_eq!(at.fire, Some((due.slot.at_ms, FiringCause::Slot)));
    }
}

#[test]
fn a_very_long_downtime_is_taken_in_parts() {
    let rules = rules("* * * * *", CatchUp::Last);
    let (words, _) = steps(&rules, ms("2026-01-01T00:00"), ms("2026-04-01T00:00"));
    // 90 days of minutes; the newest is fired, and every other one is counted once.
    assert_eq!(words.last().unwrap(), "fired 00:00");
    let missed: i64 = words
        .iter()
        .filter_map(|word| word.strip_prefix("missed "))
        .map(|count| count.parse::<i64>().unwrap())
        .sum();
    assert_eq!(missed, 90 * 24 * 60 - 1);
    assert!(words.len() > 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// However the clock is looked at, every slot is accounted for once, in order, and never
    /// before it is due.
    #[test]
    fn every_slot_is_accounted_for_once(
        every_minutes in 1..200_i64,
        catch_up in prop::sample::select(CatchUp::ALL),
        jitter_s in 0..900_i64,
        looks in prop::collection::vec(0..40_000_i64, 1..12),
    ) {
        let mut rules = rules(&format!("every {every_minutes}m"), catch_up);
        rules.jitter_ms = jitter_s * 1_000;
        let start = ms("2026-01-01T00:00");
        let (mut cursor, mut now, mut accounted) = (start, start, 0);
        let mut fired = Vec::new();
        for seconds in looks {
            now += seconds * 1_000;
            loop {
                let step = plan(&rules, cursor, now);
                prop_assert!(step.cursor_ms >= cursor);
                accounted += step.missed.map_or(0, |missed| missed.count);
                if let Some((slot, _)) = step.fire {
                    prop_assert!(slot <= now && fired.last().is_none_or(|last| *last < slot));
                    fired.push(slot);
                    accounted += 1;
                }
                if step.fire.is_none() && step.missed.is_none() {
                    prop_assert!(step.due_ms.is_none_or(|due| due > now));
                    break;
                }
                cursor = step.cursor_ms;
            }
        }
        let passed = preview(&rules, start, 10_000)
            .into_iter()
            .take_while(|due| due.due_ms <= now)
            .count();
        prop_assert_eq!(accounted, i64::try_from(passed).unwrap());
    }
}
