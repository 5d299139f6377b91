//! Time zones: which instant a local time is, and what happens when the local clock is changed.
//!
//! The rule, for every zone and every change: a local time that does not exist is the instant at
//! which the gap ends; a local time that comes twice is the first of the two. So local times in
//! their order are instants in their order, which the search for the next slot relies on.
//!
//! The zones come with the program. Two nodes of one store agree on them, and a machine without a
//! database of zones has them too; a new release brings new rules of governments.

use super::error::TimingError;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use skep_types::SlotShift;
use std::sync::LazyLock;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// How alike a name must be to be suggested for another, from 0 to 1.
const LIKENESS_MIN: f64 = 0.7;

/// A time zone of the IANA database.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

impl Zone {
    /// The zone called `name`, as in `Europe/Berlin`; upper and lower case are alike.
    pub fn parse(name: &str) -> Result<Self, TimingError> {
        let rules = ZONES.get(name).map_err(|_| TimingError::Zone {
            found: name.to_owned(),
            nearest: nearest(name),
        })?;
        let name = rules.iana_name().unwrap_or("UTC").to_owned();
        Ok(Self { name, rules })
    }

    /// Its name as the database spells it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The local time at `ms`.
    pub(super) fn local(&self, ms: i64) -> Option<DateTime> {
        let at = Timestamp::from_millisecond(ms).ok()?;
        Some(self.rules.to_datetime(at))
    }

    /// The instant at which the local time `local` comes, by the rule of this module.
    pub(super) fn instant(&self, local: DateTime) -> Option<(i64, Option<SlotShift>)> {
        let (offset, shift) = match self.rules.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset, None),
            AmbiguousOffset::Fold { before, .. } => (before, Some(SlotShift::Twice)),
            AmbiguousOffset::Gap { before, after } => {
                // Read by the old offset it is after the change, by the new one before it.
                let late = before.to_timestamp(local).ok()?.as_second();
                let early = after.to_timestamp(local).ok()?.as_second();
                let ends = self.first_second_with(after.seconds(), early, late)?;
                return Some((ends * 1_000, Some(SlotShift::Gap)));
            }
        };
        let at = offset.to_timestamp(local).ok()?;
        Some((at.as_millisecond(), shift))
    }

    /// `ms` as local time with its offset, as in `2026-03-29 03:00 +02:00`.
    pub fn local_text(&self, ms: i64) -> String {
        let Ok(at) = Timestamp::from_millisecond(ms) else {
            return String::new();
        };
        let shown = at.to_zoned(self.rules.clone());
        shown.strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
    }

    /// The first second after `early`, up to `late`, whose offset is `offset_s`.
    fn first_second_with(&self, offset_s: i32, mut early: i64, mut late: i64) -> Option<i64> {
        while late - early > 1 {
            let middle = early + (late - early) / 2;
            let at = Timestamp::from_second(middle).ok()?;
            if self.rules.to_offset(at).seconds() == offset_s {
                late = middle;
            } else {
                early = middle;
            }
        }
        Some(late)
    }
}

/// The name of the database that is most like `name`.
fn nearest(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    ZONES
        .available()
        .map(|known| {
            let known = known.as_str();
            let lower = known.to_ascii_lowercase();
            let city = lower.rsplit('/').next().unwrap_or_default();
            let likeness =
                strsim::jaro_winkler(&name, &lower).max(strsim::jaro_winkler(&name, city));
            (likeness, known.to_owned())
        })
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(zone: &str, local: &str, utc: &str, shift: Option<SlotShift>) {
        let zone = Zone::parse(zone).unwrap();
        let (ms, found) = zone.instant(local.parse().unwrap()).unwrap();
        let shown = Timestamp::from_millisecond(ms).unwrap().to_string();
        assert_eq!(
            (shown.as_str(), found),
            (utc, shift),
            "{} {local}",
            zone.name()
        );
    }

    #[test]
    fn a_time_that_does_not_exist_is_the_end_of_its_gap() {
        let gap = Some(SlotShift::Gap);
        check(
            "Europe/Berlin",
            "2026-03-29T01:59",
            "2026-03-29T00:59:00Z",
            None,
        );
        check(
            "Europe/Berlin",
            "2026-03-29T02:00",
            "2026-03-29T01:00:00Z",
            gap,
        );
        check(
            "Europe/Berlin",
            "2026-03-29T02:30",
            "2026-03-29T01:00:00Z",
            gap,
        );
        check(
            "Europe/Berlin",
            "2026-03-29T02:59",
            "2026-03-29T01:00:00Z",
            gap,
        );
        check(
            "Europe/Berlin",
            "2026-03-29T03:00",
            "2026-03-29T01:00:00Z",
            None,
        );
        check(
            "America/New_York",
            "2026-03-08T02:30",
            "2026-03-08T07:00:00Z",
            gap,
        );
        // Half an hour.
        check(
            "Australia/Lord_Howe",
            "2026-10-04T02:15",
            "2026-10-03T15:30:00Z",
            gap,
        );
        // A whole day.
        check(
            "Pacific/Apia",
            "2011-12-30T12:00",
            "2011-12-30T10:00:00Z",
            gap,
        );
        check(
            "Pacific/Apia",
            "2011-12-31T00:00",
            "2011-12-30T10:00:00Z",
            None,
        );
        // Ramadan: the clock goes forward again when it ends.
        check(
            "Africa/Casablanca",
            "2026-03-22T02:30",
            "2026-03-22T02:00:00Z",
            gap,
        );
    }

    #[test]
    fn a_time_that_comes_twice_is_the_first() {
        let twice = Some(SlotShift::Twice);
        check(
            "Europe/Berlin",
            "2026-10-25T02:30",
            "2026-10-25T00:30:00Z",
            twice,
        );
        check(
            "Europe/Berlin",
            "2026-10-25T03:00",
            "2026-10-25T02:00:00Z",
            None,
        );
        check(
            "America/New_York",
            "2026-11-01T01:30",
            "2026-11-01T05:30:00Z",
            twice,
        );
        check(
            "Australia/Lord_Howe",
            "2026-04-05T01:45",
            "2026-04-04T14:45:00Z",
            twice,
        );
        check(
            "Africa/Casablanca",
            "2026-02-15T02:30",
            "2026-02-15T01:30:00Z",
            twice,
        );
        check("UTC", "2026-03-29T02:30", "2026-03-29T02:30:00Z", None);
    }

    #[test]
    fn a_name_is_found_in_any_case_and_a_wrong_one_gets_a_suggestion() {
        assert_eq!(
            Zone::parse("europe/berlin").unwrap().name(),
            "Europe/Berlin"
        );
        assert_eq!(Zone::parse("UTC").unwrap().name(), "UTC");
        for (wrong, right) in [
            ("Europe/Berlim", "Europe/Berlin"),
            ("new_york", "America/New_York"),
        ] {
            let Err(TimingError::Zone { nearest, .. }) = Zone::parse(wrong) else {
                panic!("{wrong} is no zone");
            };
            assert_eq!(nearest.as_deref(), Some(right));
        }
    }
}
