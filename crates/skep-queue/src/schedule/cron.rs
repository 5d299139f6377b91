//! Cron lines of five fields, and the error that names the field.
//!
//! The search for the next match is croner's, run on local times that know no zone: what a change
//! of the local clock does to a match is [`Zone`](super::Zone)'s to say, in one rule.

use super::error::TimingError;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{DateTime, date};

/// A cron line: minute, hour, day of month, month, day of week, or one of the `@` names.
#[derive(Debug, Clone)]
pub(super) struct CronLine {
    text: String,
    cron: Cron,
}

/// One field: its name, what it takes, and the words it knows besides numbers.
struct Field {
    name: &'static str,
    takes: &'static str,
    words: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        takes: "0-59",
        words: &[],
    },
    Field {
        name: "hour",
        takes: "0-23",
        words: &[],
    },
    Field {
        name: "day of month",
        takes: "1-31, `L` for the last day, `15W` for the weekday nearest to the 15th",
        words: &["L", "W", "LW"],
    },
    Field {
        name: "month",
        takes: "1-12 or JAN-DEC",
        words: &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
    },
    Field {
        name: "day of week",
        takes: "0-7 or SUN-SAT (0 and 7 are Sunday), `5#2` for the second Friday, `5L` for the last",
        words: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "L"],
    },
];

/// The names that stand for whole lines.
const NAMES: &[(&str, &str)] = &[
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

impl CronLine {
    pub(super) fn parse(text: &str) -> Result<Self, TimingError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let line = match words.as_slice() {
            [name] if name.starts_with('@') => named(name)?.to_owned(),
            fields => {
                for (field, found) in FIELDS.iter().zip(fields) {
                    check_field(field, found)?;
                }
                if fields.len() != FIELDS.len() {
                    return Err(TimingError::Fields {
                        count: fields.len(),
                    });
                }
                fields.join(" ")
            }
        };
        let cron = parser()
            .parse(&line)
            .map_err(|_| TimingError::Fields { count: words.len() })?;
        let parsed = Self {
            text: words.join(" "),
            cron,
        };
        // The Gregorian calendar repeats every 400 years, and the search covers more than that.
        if parsed.next_after(date(2000, 1, 1).at(0, 0, 0, 0)).is_none() {
            return Err(TimingError::Never { found: parsed.text });
        }
        Ok(parsed)
    }

    /// The line as it was written, with single spaces.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The first match after `local`, which itself does not count.
    pub(super) fn next_after(&self, local: DateTime) -> Option<DateTime> {
        self.cron.find_next_occurrence(&local, false).ok()
    }
}

impl PartialEq for CronLine {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

fn parser() -> CronParser {
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
}

fn named(name: &str) -> Result<&'static str, TimingError> {
    let known = NAMES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    known
        .map(|(_, line)| *line)
        .ok_or_else(|| TimingError::Name {
            found: name.to_owned(),
        })
}

/// Whether `found` is a value of `field`, taken by itself: so the error can say which field it is.
fn check_field(field: &Field, found: &str) -> Result<(), TimingError> {
    let refused = || TimingError::Field {
        field: field.name,
        found: found.to_owned(),
        takes: field.takes,
    };
    // The parser would take `JAN` for a minute, and more signs than belong to cron.
    let upper = found.to_ascii_uppercase();
    let words_known = upper
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .all(|word| field.words.contains(&word));
    let signs_known = upper
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "*,-/#?".contains(c));
    if !(words_known && signs_known) {
        return Err(refused());
    }
    let place = FIELDS.iter().position(|other| other.name == field.name);
    let line: Vec<&str> = (0..FIELDS.len())
        .map(|at| if Some(at) == place { found } else { "*" })
        .collect();
    parser()
        .parse(&line.join(" "))
        .map(drop)
        .map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, from: DateTime, expected: &[&str]) {
        let cron = CronLine::parse(line).unwrap();
        let mut at = from;
        for expected in expected {
            at = cron.next_after(at).unwrap();
            assert_eq!(at.to_string(), format!("{expected}:00"), "{line}");
        }
    }

    #[test]
    fn lines_match_what_cron_says() {
        let from = date(2026, 1, 1).at(0, 0, 0, 0);
        check(
            "0 7 * * 1-5",
            from,
            &["2026-01-01T07:00", "2026-01-02T07:00", "2026-01-05T07:00"],
        );
        check(
            "*/20 * * * *",
            from,
            &["2026-01-01T00:20", "2026-01-01T00:40", "2026-01-01T01:00"],
        );
        check(
            "0 0 29 2 *",
            from,
            &["2028-02-29T00:00", "2032-02-29T00:00"],
        );
        check("0 0 L * *", from, &["2026-01-31T00:00", "2026-02-28T00:00"]);
        check(
            "30 8 * * FRI#2",
            from,
            &["2026-01-09T08:30", "2026-02-13T08:30"],
        );
        // Both day fields: either of them, as Vixie's cron has it.
        check(
            "0 0 13 * 5",
            from,
            &["2026-01-02T00:00", "2026-01-09T00:00", "2026-01-13T00:00"],
        );
        check("@daily", from, &["2026-01-02T00:00"]);
        check("@Weekly", from, &["2026-01-04T00:00"]);
        check("0 0 * * 7", from, &["2026-01-04T00:00"]);
    }

    #[test]
    fn an_error_names_the_field_and_what_it_takes() {
        for (line, expected) in [
            ("99 * * * *", "minute"),
            ("JAN * * * *", "minute"),
            ("0 25 * * *", "hour"),
            ("0 0 32 * *", "day of month"),
            ("0 0 1 13 *", "month"),
            ("0 0 1 MON *", "month"),
            ("0 0 * * 8", "day of week"),
            ("0 0 * * +1", "day of week"),
            ("*/0 * * * *", "minute"),
            ("5-1 * * * *", "minute"),
        ] {
            let error = CronLine::parse(line).unwrap_err();
            assert!(
                matches!(&error, TimingError::Field { field, .. } if *field == expected),
                "{line}: {error}"
            );
        }
    }

    #[test]
    fn a_line_of_another_length_a_foreign_name_and_a_day_that_never_comes_are_refused() {
        for line in ["", "* * * *", "* * * * * *", "0 0 7 * * 1-5"] {
            assert!(
                matches!(CronLine::parse(line), Err(TimingError::Fields { .. })),
                "{line}"
            );
        }
        assert!(matches!(
            CronLine::parse("@reboot"),
            Err(TimingError::Name { .. })
        ));
        assert!(matches!(
            CronLine::parse("0 0 30 2 *"),
            Err(TimingError::Never { .. })
        ));
    }
}
