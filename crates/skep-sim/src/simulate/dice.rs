//! Draws from one seed. The same seed draws the same, on every machine.

use skep_stdx::{Entropy as _, SeededEntropy};

/// A sequence of draws.
#[derive(Debug)]
pub(crate) struct Dice(SeededEntropy);

impl Dice {
    /// The sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(mixed(seed)))
    }

    /// A number from 0 up to, without, `bound`; 0 for a bound of 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        let drawn = usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(0);
        drawn % bound.max(1)
    }

    /// As [`Dice::below`], for numbers that may be negative elsewhere.
    pub(crate) fn number(&mut self, bound: usize) -> i64 {
        i64::try_from(self.below(bound)).unwrap_or(0)
    }

    /// True once in `bound` draws.
    pub(crate) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    /// One of `choices`, which are not empty.
    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// One of `choices`, unless there are none.
    pub(crate) fn any<'c, T>(&mut self, choices: &'c [T]) -> Option<&'c T> {
        let place = self.below(choices.len());
        choices.get(place)
    }
}

/// Neighbouring seeds spread over the whole range, so that their sequences do not overlap.
pub(crate) const fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x6a09_e667_f3bc_c909);
    z = (z ^ (z >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    z = (z ^ (z >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    z ^ (z >> 33)
}
