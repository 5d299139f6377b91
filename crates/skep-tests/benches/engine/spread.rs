//! Percentiles of measured times.

use serde_json::{Value, json};
use std::time::Duration;

/// Times of one kind, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn push(&mut self, time: Duration) {
        self.push_ms(time.as_secs_f64() * 1e3);
    }

    pub(crate) fn push_ms(&mut self, ms: f64) {
        self.0.push(ms);
    }

    /// The time that this share of all times does not exceed.
    pub(crate) fn at(&mut self, share: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let last = self.0.len().saturating_sub(1);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into at most some millions of times"
        )]
        let index = (last as f64 * share).round() as usize;
        self.0.get(index).copied().unwrap_or(f64::NAN)
    }

    /// The document of a spread, in milliseconds.
    pub(crate) fn document(mut self) -> Value {
        json!({
            "count": self.0.len(), "p50": self.at(0.5), "p90": self.at(0.9),
            "p99": self.at(0.99), "max": self.at(1.0),
        })
    }
}

/// A count as a number that can be divided.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below 2^52"
)]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}
