//! When a schedule fires: a cron line in a time zone, or a fixed interval.

use super::cron::CronLine;
use super::error::TimingError;
use super::interval::{interval_text, parse_interval};
use super::zone::Zone;
use crate::limits::{INTERVAL_MS_MAX, INTERVAL_MS_MIN};
use jiff::civil::DateTime;
use skep_types::SlotShift;

/// When a schedule fires.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    when: When,
    zone: Zone,
}

#[derive(Debug, Clone, PartialEq)]
enum When {
    Cron(Box<CronLine>),
    Every { ms: i64 },
}

/// One time of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The instant, in milliseconds since 1970 UTC; always a whole second.
    pub at_ms: i64,
    /// What a change of the local clock did to it.
    pub shift: Option<SlotShift>,
    /// The local time that the cron line names.
    pub local: Option<DateTime>,
}

impl Timing {
    /// Reads a cron line, one of the `@` names, or `every 15m`, in the zone called `zone`.
    pub fn parse(text: &str, zone: &str) -> Result<Self, TimingError> {
        let zone = Zone::parse(zone)?;
        let text = text.trim();
        let interval = text
            .split_once(char::is_whitespace)
            .filter(|(word, _)| word.eq_ignore_ascii_case("every"));
        let when = match interval {
            Some((_, length)) => {
                let ms = parse_interval(length)?;
                let is_whole = ms % INTERVAL_MS_MIN == 0;
                if !(INTERVAL_MS_MIN..=INTERVAL_MS_MAX).contains(&ms) || !is_whole {
                    return Err(TimingError::Interval {
                        found: length.trim().to_owned(),
                    });
                }
                When::Every { ms }
            }
            None => When::Cron(Box::new(CronLine::parse(text)?)),
        };
        Ok(Self { when, zone })
    }

    /// The time zone, in which an interval is only shown.
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The timing so that [`Timing::parse`] reads it back.
    pub fn text(&self) -> String {
        match &self.when {
            When::Cron(line) => line.as_str().to_owned(),
            When::Every { ms } => format!("every {}", interval_text(*ms)),
        }
    }

    /// The first slot after `after_ms`, which itself does not count. An interval counts from
    /// `anchor_ms`. `None` once the calendar ends.
    pub fn next(&self, anchor_ms: i64, after_ms: i64) -> Option<Slot> {
        match &self.when {
            When::Every { ms } => {
                let passed = after_ms.checked_sub(anchor_ms)?.div_euclid(*ms);
                let at_ms = passed
                    .checked_add(1)?
                    .checked_mul(*ms)?
                    .checked_add(anchor_ms)?;
                Some(Slot {
                    at_ms,
                    shift: None,
                    local: None,
                })
            }
            When::Cron(line) => next_match(line, &self.zone, after_ms),
        }
    }
}

/// Local times in their order are instants in their order, so no match up to the local time of
/// `after_ms` comes after it. What is found may still lie before it, while the clock shows an hour
/// for the second time.
fn next_match(line: &CronLine, zone: &Zone, after_ms: i64) -> Option<Slot> {
    let mut local = zone.local(after_ms)?;
    loop {
        local = line.next_after(local)?;
        let (at_ms, shift) = zone.instant(local)?;
        if at_ms > after_ms {
            return Some(Slot {
                at_ms,
                shift,
                local: Some(local),
            });
        }
    }
}

#[cfg(test)]
mod tests;
