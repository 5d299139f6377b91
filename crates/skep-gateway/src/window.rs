//! The windows of budgets: which one a moment lies in, and when the next begins. All in UTC.

use crate::config::Period;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const WEEK_MS: i64 = 7 * DAY_MS;
/// 1970-01-01 was a Thursday: Monday was three days before.
const MONDAY_MS: i64 = -3 * DAY_MS;

/// One window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Its first millisecond; 0 for a window without end.
    pub(crate) start_ms: i64,
    /// The first millisecond of the next one; `None` for a window without end.
    pub(crate) renews_at_ms: Option<i64>,
}

impl Window {
    /// The window of `period` that `now_ms` lies in.
    pub(crate) fn at(period: Period, now_ms: i64) -> Self {
        match period {
            Period::Job => Self {
                start_ms: 0,
                renews_at_ms: None,
            },
            Period::Hour => Self::even(now_ms, HOUR_MS, 0),
            Period::Day => Self::even(now_ms, DAY_MS, 0),
            Period::Week => Self::even(now_ms, WEEK_MS, MONDAY_MS),
            // A clock beyond the calendar's years falls back to days.
            Period::Month => Self::month(now_ms).unwrap_or(Self::even(now_ms, DAY_MS, 0)),
        }
    }

    fn even(now_ms: i64, length_ms: i64, offset_ms: i64) -> Self {
        let start_ms = now_ms - (now_ms - offset_ms).rem_euclid(length_ms);
        Self {
            start_ms,
            renews_at_ms: Some(start_ms + length_ms),
        }
    }

    fn month(now_ms: i64) -> Option<Self> {
        let now = Timestamp::from_millisecond(now_ms).ok()?;
        let date = now.to_zoned(TimeZone::UTC).date();
        Some(Self {
            start_ms: midnight_ms(date.first_of_month())?,
            renews_at_ms: Some(midnight_ms(date.last_of_month().tomorrow().ok()?)?),
        })
    }
}

fn midnight_ms(date: Date) -> Option<i64> {
    let midnight = date.to_zoned(TimeZone::UTC).ok()?;
    Some(midnight.timestamp().as_millisecond())
}

/// `at_ms` in the form `2026-01-31T00:00:00Z`.
pub(crate) fn utc(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn windows_follow_the_calendar() {
        for (period, now, start, next) in [
            (
                Period::Hour,
                "2026-02-28T23:59:59.999Z",
                "2026-02-28T23:00:00Z",
                "2026-03-01T00:00:00Z",
            ),
            (
                Period::Day,
                "2026-02-28T00:00:00Z",
                "2026-02-28T00:00:00Z",
                "2026-03-01T00:00:00Z",
            ),
            (
                Period::Week,
                "2026-01-04T23:59:59Z",
                "2025-12-29T00:00:00Z",
                "2026-01-05T00:00:00Z",
            ),
            (
                Period::Week,
                "2026-01-05T00:00:00Z",
                "2026-01-05T00:00:00Z",
                "2026-01-12T00:00:00Z",
            ),
            (
                Period::Month,
                "2028-02-29T12:00:00Z",
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
            (
                Period::Month,
                "2026-12-31T23:59:59Z",
                "2026-12-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
        ] {
            let expected = Window {
                start_ms: ms(start),
                renews_at_ms: Some(ms(next)),
            };
            assert_eq!(Window::at(period, ms(now)), expected, "{period:?} {now}");
        }
        assert_eq!(
            Window::at(Period::Job, ms("2026-01-01T00:00:00Z")).renews_at_ms,
            None
        );
        assert_eq!(utc(ms("2026-01-31T00:00:00Z")), "2026-01-31T00:00:00Z");
    }
}
