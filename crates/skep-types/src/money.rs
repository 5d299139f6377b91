//! Money in millionths of a US dollar and the five counters of a model call.
//!
//! Money is an integer: the sum of a thousand calls equals the bill to the last unit.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

/// Millionths of a US dollar.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MicroUsd(pub i64);

impl MicroUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From whole and fractional dollars, rounded to the nearest millionth; `None` if negative,
    /// not finite or too large to hold.
    pub fn from_usd(usd: f64) -> Option<Self> {
        let micro = (usd * 1e6).round();
        // 2^53: beyond it an f64 no longer holds every integer.
        if !(0.0..=9_007_199_254_740_992.0).contains(&micro) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the range was just checked"
        )]
        Some(Self(micro as i64))
    }

    /// The sum, held at the largest amount instead of wrapping.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for MicroUsd {
    /// Dollars with as many decimals as the amount has, at least two: `$0.50`, `$0.000123`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, part) = (
            self.0.unsigned_abs() / 1_000_000,
            self.0.unsigned_abs() % 1_000_000,
        );
        let digits = format!("{part:06}");
        let kept = digits.trim_end_matches('0').len().max(2);
        f.pad(&format!("{sign}${whole}.{}", &digits[..kept]))
    }
}

impl Add for MicroUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for MicroUsd {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for MicroUsd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// What a model call used, normalised across vendors: `input` excludes what was read from or
/// written to a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Uncached input tokens.
    pub input: i64,
    /// Input tokens read from the provider's cache.
    pub cache_read: i64,
    /// Input tokens written to the provider's cache, both lifetimes together.
    pub cache_write: i64,
    /// Of `cache_write`, those with the one-hour lifetime.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_1h: i64,
    /// Output tokens, reasoning included.
    pub output: i64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field by reference"
)]
fn is_zero(count: &i64) -> bool {
    *count == 0
}

impl Add for TokenCounts {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            cache_read: self.cache_read + other.cache_read,
            cache_write: self.cache_write + other.cache_write,
            cache_write_1h: self.cache_write_1h + other.cache_write_1h,
            output: self.output + other.output,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_print_with_at_least_two_decimals() {
        assert_eq!(MicroUsd(500_000).to_string(), "$0.50");
        assert_eq!(MicroUsd(123).to_string(), "$0.000123");
        assert_eq!(MicroUsd(-1_250_000).to_string(), "-$1.25");
    }

    #[test]
    fn dollars_read_exactly_or_not_at_all() {
        assert_eq!(MicroUsd::from_usd(0.1), Some(MicroUsd(100_000)));
        assert_eq!(MicroUsd::from_usd(-0.1), None);
        assert_eq!(MicroUsd::from_usd(f64::NAN), None);
        assert_eq!(MicroUsd::from_usd(1e30), None);
    }
}
