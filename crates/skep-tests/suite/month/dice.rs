//! Numbers drawn from a seed.

use skep_stdx::{Entropy as _, SeededEntropy};

/// Draws numbers; the same ones for the same seed.
pub(super) struct Dice(SeededEntropy);

impl Dice {
    pub(super) fn of(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// From `low` to below `high`.
    pub(super) fn between(&self, low: i64, high: i64) -> i64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        let drawn = i64::from_le_bytes(bytes) & i64::MAX;
        low + drawn % (high - low).max(1)
    }

    /// Whether something that happens `per_mille` times in a thousand happens.
    pub(super) fn happens(&self, per_mille: i64) -> bool {
        self.between(0, 1_000) < per_mille
    }

    /// A length of work from `low` to `high`: short ones are as frequent as each doubling of them.
    pub(super) fn length(&self, low: i64, high: i64) -> i64 {
        let mut doublings = 0;
        while low << (doublings + 1) < high {
            doublings += 1;
        }
        let base = low << self.between(0, doublings + 1);
        self.between(base, (base * 2).min(high))
    }

    /// One of these.
    pub(super) fn one_of<T: Copy>(&self, items: &[T]) -> T {
        let last = i64::try_from(items.len()).unwrap_or(i64::MAX);
        items[usize::try_from(self.between(0, last)).unwrap_or(0)]
    }

    /// The place of one of these, by weight.
    pub(super) fn weighted(&self, weights: &[i64]) -> usize {
        let mut rest = self.between(0, weights.iter().sum());
        for (place, weight) in weights.iter().enumerate() {
            if rest < *weight {
                return place;
            }
            rest -= weight;
        }
        0
    }

    /// Any order of these.
    pub(super) fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let end = i64::try_from(last).unwrap_or(0) + 1;
            items.swap(last, usize::try_from(self.between(0, end)).unwrap_or(0));
        }
    }
}
