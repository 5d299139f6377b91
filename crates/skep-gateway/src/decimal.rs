//! Dollars in configuration files, read exactly: what is written is what is counted.
//!
//! Invariant: an amount that has no exact form in millionths is refused, never rounded.

use serde::de::{Deserializer, Error, Visitor};
use std::fmt;

/// The most dollars one number may name; keeps every product within 128 bits and every sum sane.
const USD_MAX: i64 = 1_000_000_000;

/// A non-negative decimal number of dollars, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExactUsd(pub(crate) i64);

impl ExactUsd {
    /// Reads a decimal number such as `3.75`.
    fn parse(text: &str) -> Result<Self, String> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(part) {
            return Err(format!("`{text}` is not an amount of dollars"));
        }
        let part = part.trim_end_matches('0');
        if part.len() > 6 {
            return Err(format!("`{text}` has more than six decimals"));
        }
        let whole: i64 = whole.parse().map_err(|_| too_large(text))?;
        if whole > USD_MAX {
            return Err(too_large(text));
        }
        let micro: i64 = format!("{part:0<6}").parse().map_err(|_| too_large(text))?;
        Ok(Self(whole * 1_000_000 + micro))
    }
}

fn too_large(text: &str) -> String {
    format!("`{text}` is more than {USD_MAX} dollars")
}

impl<'de> serde::Deserialize<'de> for ExactUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Usd)
    }
}

struct Usd;

impl Visitor<'_> for Usd {
    type Value = ExactUsd;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of dollars")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<ExactUsd, E> {
        ExactUsd::parse(&value.to_string()).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<ExactUsd, E> {
        ExactUsd::parse(&value.to_string()).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<ExactUsd, E> {
        // The shortest text that reads back as the same double is the text of the file, for every
        // amount of up to 15 digits.
        ExactUsd::parse(&value.to_string()).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(literal: &str) -> Result<i64, String> {
        #[derive(serde::Deserialize)]
        struct File {
            usd: ExactUsd,
        }
        toml::from_str::<File>(&format!("usd = {literal}"))
            .map(|file| file.usd.0)
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn what_is_written_is_what_is_counted() {
        for (literal, micro) in [
            ("3", 3_000_000),
            ("3.0", 3_000_000),
            ("3.75", 3_750_000),
            ("0.3", 300_000),
            ("0.000001", 1),
            ("1e-6", 1),
            ("0", 0),
            ("0.1", 100_000),
            ("123456.789012", 123_456_789_012),
        ] {
            assert_eq!(read(literal), Ok(micro), "{literal}");
        }
    }

    #[test]
    fn what_cannot_be_held_exactly_is_refused() {
        for literal in [
            "-1",
            "-0.5",
            "0.0000001",
            "nan",
            "inf",
            "1e30",
            "2000000000",
            "\"3\"",
        ] {
            assert!(read(literal).is_err(), "{literal}: {:?}", read(literal));
        }
    }
}
