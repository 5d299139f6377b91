//! When a schedule fires: real zones around real changes of their clocks.

use super::*;
use jiff::Timestamp;
use proptest::prelude::*;
use skep_types::SlotShift::{Gap, Twice};

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

/// The slots after `from`, as instants with what the clock did to them.
#[track_caller]
fn check(timing: &str, zone: &str, from: &str, expected: &[(&str, Option<SlotShift>)]) {
    let timing = Timing::parse(timing, zone).unwrap();
    let mut after = ms(from);
    let found: Vec<_> = expected
        .iter()
        .map(|_| {
            let slot = timing.next(0, after).unwrap();
            after = slot.at_ms;
            let at = Timestamp::from_millisecond(slot.at_ms).unwrap();
            (at.to_string(), slot.shift)
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(at, shift)| ((*at).to_owned(), *shift))
        .collect();
    assert_eq!(found, expected, "{} in {zone}", timing.text());
}

#[test]
fn berlin() {
    check(
        "30 2 * * *",
        "Europe/Berlin",
        "2026-03-28T00:00:00Z",
        &[
            ("2026-03-28T01:30:00Z", None),
            ("2026-03-29T01:00:00Z", Some(Gap)),
            ("2026-03-30T00:30:00Z", None),
        ],
    );
    check(
        "30 2 * * *",
        "Europe/Berlin",
        "2026-10-24T12:00:00Z",
        &[
            ("2026-10-25T00:30:00Z", Some(Twice)),
            ("2026-10-26T01:30:00Z", None),
        ],
    );
    // Four slots of the gap and the one at its end are one.
    check(
        "*/15 * * * *",
        "Europe/Berlin",
        "2026-03-29T00:40:00Z",
        &[
            ("2026-03-29T00:45:00Z", None),
            ("2026-03-29T01:00:00Z", Some(Gap)),
            ("2026-03-29T01:15:00Z", None),
        ],
    );
    // The second pass of the hour has no slots of its own.
    check(
        "*/30 * * * *",
        "Europe/Berlin",
        "2026-10-24T23:45:00Z",
        &[
            ("2026-10-25T00:00:00Z", Some(Twice)),
            ("2026-10-25T00:30:00Z", Some(Twice)),
            ("2026-10-25T02:00:00Z", None),
        ],
    );
    // Asked in the middle of the second pass.
    check(
        "45 2 * * *",
        "Europe/Berlin",
        "2026-10-25T01:10:00Z",
        &[("2026-10-26T01:45:00Z", None)],
    );
}

#[test]
fn new_york_on_weekdays_does_not_notice_a_change_on_a_sunday() {
    check(
        "30 2 * * 1-5",
        "America/New_York",
        "2026-03-06T00:00:00Z",
        &[
            ("2026-03-06T07:30:00Z", None),
            ("2026-03-09T06:30:00Z", None),
        ],
    );
    check(
        "30 1 * * *",
        "America/New_York",
        "2026-11-01T00:00:00Z",
        &[
            ("2026-11-01T05:30:00Z", Some(Twice)),
            ("2026-11-02T06:30:00Z", None),
        ],
    );
}

#[test]
fn lord_howe_changes_by_half_an_hour() {
    check(
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03T00:00:00Z",
        &[
            ("2026-10-03T15:30:00Z", Some(Gap)),
            ("2026-10-04T15:15:00Z", None),
        ],
    );
    check(
        "*/15 1-2 * * *",
        "Australia/Lord_Howe",
        "2026-04-04T14:10:00Z",
        &[
            ("2026-04-04T14:15:00Z", None),
            ("2026-04-04T14:30:00Z", Some(Twice)),
            ("2026-04-04T14:45:00Z", Some(Twice)),
            ("2026-04-04T15:30:00Z", None),
        ],
    );
}

#[test]
fn apia_had_a_day_that_did_not_exist() {
    check(
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-29T00:00:00Z",
        &[
            ("2011-12-29T22:00:00Z", None),
            ("2011-12-30T10:00:00Z", Some(Gap)),
            ("2011-12-30T22:00:00Z", None),
        ],
    );
    // Twenty-four slots of the lost day are one, and midnight after it is the same instant.
    check(
        "0 * * * *",
        "Pacific/Apia",
        "2011-12-30T08:30:00Z",
        &[
            ("2011-12-30T09:00:00Z", None),
            ("2011-12-30T10:00:00Z", Some(Gap)),
            ("2011-12-30T11:00:00Z", None),
        ],
    );
}

#[test]
fn casablanca_changes_around_a_month_of_the_moon() {
    check(
        "30 2 * * *",
        "Africa/Casablanca",
        "2026-02-14T12:00:00Z",
        &[
            ("2026-02-15T01:30:00Z", Some(Twice)),
            ("2026-02-16T02:30:00Z", None),
        ],
    );
    check(
        "30 2 * * *",
        "Africa/Casablanca",
        "2026-03-21T12:00:00Z",
        &[
            ("2026-03-22T02:00:00Z", Some(Gap)),
            ("2026-03-23T01:30:00Z", None),
        ],
    );
}

#[test]
fn an_interval_counts_from_its_anchor_and_knows_no_clock_changes() {
    let timing = Timing::parse("every 1h30m", "Europe/Berlin").unwrap();
    assert_eq!(timing.text(), "every 1h30m");
    let anchor = ms("2026-03-28T22:10:00Z");
    for (after, expected) in [
        ("2026-03-28T22:10:00Z", "2026-03-28T23:40:00Z"),
        ("2026-03-28T23:39:59Z", "2026-03-28T23:40:00Z"),
        ("2026-03-29T00:40:00Z", "2026-03-29T01:10:00Z"),
        ("2026-03-28T22:09:59Z", "2026-03-28T22:10:00Z"),
    ] {
        let slot = timing.next(anchor, ms(after)).unwrap();
        assert_eq!(
            (slot.at_ms, slot.shift),
            (ms(expected), None),
            "after {after}"
        );
    }
}

#[test]
fn seconds_are_refused() {
    for text in [
        "every 30s",
        "every 90s",
        "every 0m",
        "every 53w",
        "every",
        "every -5m",
    ] {
        assert!(Timing::parse(text, "UTC").is_err(), "{text}");
    }
}

#[test]
fn the_calendar_ends_without_a_panic() {
    for text in ["0 0 1 1 *", "every 52w"] {
        let timing = Timing::parse(text, "Europe/Berlin").unwrap();
        for after in [i64::MAX, i64::MAX - 1, 253_402_207_200_000] {
            let next = timing.next(0, after);
            assert!(next.is_none_or(|slot| slot.at_ms > after), "{text} {after}");
        }
    }
}

const ZONES: &[&str] = &[
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/Santiago",
    "Asia/Kathmandu",
    "Pacific/Apia",
];

/// What the search finds, found by looking at every local minute of two days around `after`.
fn by_looking(line: &str, zone: &str, after_ms: i64) -> Option<i64> {
    let cron = CronLine::parse(line).unwrap();
    let zone = Zone::parse(zone).unwrap();
    let start = zone.local(after_ms - 48 * 3_600_000).unwrap();
    let start = start.date().at(0, 0, 0, 0);
    let minute = jiff::Span::new().minutes(1);
    std::iter::successors(Some(start), |local| local.checked_add(minute).ok())
        .take(6 * 24 * 60)
        .filter(|local| {
            let before = local.checked_sub(jiff::Span::new().seconds(1)).unwrap();
            cron.next_after(before) == Some(*local)
        })
        .filter_map(|local| zone.instant(local))
        .map(|(at_ms, _)| at_ms)
        .filter(|at_ms| *at_ms > after_ms)
        .min()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Around changes of the clock and elsewhere, no slot is passed over and none comes twice.
    #[test]
    fn the_search_finds_what_looking_at_every_minute_finds(
        zone in prop::sample::select(ZONES),
        near in prop::sample::select(&[
            "2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-03-08T07:00:00Z",
            "2026-11-01T06:00:00Z", "2026-10-03T15:30:00Z", "2026-04-04T15:00:00Z",
            "2026-02-15T02:00:00Z", "2026-03-22T02:00:00Z", "2011-12-30T10:00:00Z",
            "2026-09-06T04:00:00Z",
        ][..]),
        minute in 0..60_u8, step in 1..40_u8, hour in 0..24_u8, every_hour: bool,
        minutes_off in -1_500..1_500_i64,
    ) {
        let hours = if every_hour { "*".to_owned() } else { hour.to_string() };
        let line = format!("{minute}-59/{step} {hours} * * *");
        let after = ms(near) + minutes_off * 60_000;
        let found = Timing::parse(&line, zone).unwrap().next(0, after).map(|slot| slot.at_ms);
        prop_assert_eq!(found, by_looking(&line, zone, after), "{} {}", line, zone);
    }

    /// A daily slot comes once for every day that the calendar of the zone has.
    #[test]
    fn a_daily_slot_comes_once_a_day(
        zone in prop::sample::select(&ZONES[..7]), hour in 0..24_u8, minute in 0..60_u8,
    ) {
        let timing = Timing::parse(&format!("{minute} {hour} * * *"), zone).unwrap();
        let mut at = ms("2026-01-01T12:00:00Z");
        let mut days = std::collections::BTreeSet::new();
        for _ in 0..365 {
            let slot = timing.next(0, at).unwrap();
            prop_assert!(slot.at_ms - at <= 26 * 3_600_000);
            prop_assert!(days.insert(slot.local.unwrap().date()));
            at = slot.at_ms;
        }
        let (first, last) = (*days.first().unwrap(), *days.last().unwrap());
        prop_assert_eq!((last - first).get_days(), 364);
    }
}
