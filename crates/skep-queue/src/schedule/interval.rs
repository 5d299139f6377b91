//! Lengths of time as people write them: `15m`, `1h30m`, `2d`.

use super::error::TimingError;

const SECOND_MS: i64 = 1_000;

/// The units, the largest first. A day is 24 hours and a week seven of them: whoever means days of
/// the calendar writes a cron line.
const UNITS: &[(char, i64)] = &[
    ('w', 7 * 24 * 3_600 * SECOND_MS),
    ('d', 24 * 3_600 * SECOND_MS),
    ('h', 3_600 * SECOND_MS),
    ('m', 60 * SECOND_MS),
    ('s', SECOND_MS),
];

/// Reads a length of time, in milliseconds.
pub fn parse_interval(text: &str) -> Result<i64, TimingError> {
    let refused = || TimingError::Interval {
        found: text.to_owned(),
    };
    let mut total: i64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refused());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count: i64 = rest[..digits].parse().map_err(|_| refused())?;
        let unit = rest[digits..].chars().next().ok_or_else(refused)?;
        let (_, unit_ms) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(refused)?;
        total = count
            .checked_mul(*unit_ms)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(refused)?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    Ok(total)
}

/// Writes a length of time so that [`parse_interval`] reads it back; parts of a second are left
/// out.
pub fn interval_text(ms: i64) -> String {
    let mut rest = ms.max(0);
    let mut text = String::new();
    for (unit, unit_ms) in UNITS {
        let count = rest / unit_ms;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            rest -= count * unit_ms;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_written_alike() {
        for (text, ms, written) in [
            ("15m", 900_000, "15m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90m", 5_400_000, "1h30m"),
            ("24h", 86_400_000, "1d"),
            (" 2w ", 1_209_600_000, "2w"),
            ("0s", 0, "0s"),
        ] {
            assert_eq!(parse_interval(text), Ok(ms), "{text}");
            assert_eq!(interval_text(ms), written, "{text}");
        }
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for text in [
            "",
            "15",
            "m",
            "15 m",
            "-5m",
            "1y",
            "5m!",
            "99999999999999999w",
            "1.5h",
        ] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }
}
