//! Exponential backoff with full jitter and a cap.
//!
//! The delay before try `n` is drawn evenly from `[base/2, base] * 2^n`, never above the cap, so
//! that many failures at one instant do not come back at one instant.

use crate::Entropy;

/// How long to wait before the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The delay before the first retry, in milliseconds.
    pub base_ms: i64,
    /// No delay is longer than this, in milliseconds.
    pub cap_ms: i64,
}

impl Backoff {
    /// The delay before retry number `retry` (from 0), in milliseconds.
    pub fn delay_ms(&self, retry: u32, entropy: &dyn Entropy) -> i64 {
        let full = self
            .base_ms
            .saturating_mul(1_i64 << retry.min(30))
            .min(self.cap_ms)
            .max(1);
        let mut bytes = [0; 4];
        entropy.fill(&mut bytes);
        let half = full / 2;
        half + i64::from(u32::from_le_bytes(bytes)) % (full - half + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededEntropy;

    #[test]
    fn delays_double_and_stay_under_the_cap() {
        let backoff = Backoff {
            base_ms: 1_000,
            cap_ms: 60_000,
        };
        let entropy = SeededEntropy::new(1);
        for retry in 0..40 {
            let full = 1_000_i64.saturating_mul(1 << retry.min(30)).min(60_000);
            let delay = backoff.delay_ms(retry, &entropy);
            assert!(
                (full / 2..=full).contains(&delay),
                "retry {retry}: {delay} ms"
            );
        }
    }
}
