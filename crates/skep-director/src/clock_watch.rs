//! Notices when the store's clock was put forward, or the machine slept.
//!
//! After such a jump every lease seems to have run out, and the first engine to look would take
//! every job from the others, which live. So it waits until each has had the time to renew what it
//! holds. Its own leases it has renewed by then, see [`heartbeat`](skep_queue::heartbeat); a clock
//! that was put back is the business of [`bound_leases`](skep_queue::bound_leases).

use crate::limits::{CLOCK_GRACE_MS, CLOCK_JUMP_MS};

/// The store's clock beside one that only goes forward.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch {
    /// Both clocks at the last look, in milliseconds.
    last: Option<(i64, i64)>,
    /// Nothing is taken back before this, by the clock that only goes forward.
    wait_until_ms: i64,
}

impl ClockWatch {
    /// Looks at both clocks, in milliseconds; the answer is whether what has run out really has.
    pub(crate) fn may_take_back(&mut self, store_ms: i64, steady_ms: i64) -> bool {
        if let Some((store_before, steady_before)) = self.last.replace((store_ms, steady_ms)) {
            let jump = (store_ms - store_before) - (steady_ms - steady_before);
            if jump > CLOCK_JUMP_MS {
                self.wait_until_ms = steady_ms + CLOCK_GRACE_MS;
                tracing::warn!(
                    jump_ms = jump,
                    "the clock was put forward, or the machine slept"
                );
            }
        }
        steady_ms >= self.wait_until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_jump_forward_the_others_have_time_to_renew() {
        let mut watch = ClockWatch::default();
        let round = 15_000;
        assert!(watch.may_take_back(1_000_000, 0));
        // Slow rounds are no jump: both clocks tell of them.
        assert!(watch.may_take_back(1_090_000, 90_000));
        let hour = 3_600_000;
        assert!(!watch.may_take_back(1_090_000 + hour + round, 90_000 + round));
        assert!(!watch.may_take_back(1_090_000 + hour + 2 * round, 90_000 + 2 * round));
        assert!(watch.may_take_back(1_090_000 + hour + 3 * round, 90_000 + 3 * round));
    }

    #[test]
    fn a_clock_that_is_put_back_or_drifts_hinders_nothing() {
        let mut watch = ClockWatch::default();
        assert!(watch.may_take_back(10_000_000, 0));
        assert!(watch.may_take_back(10_000_000 - 3_600_000, 15_000));
        assert!(watch.may_take_back(10_000_000 - 3_600_000 + 15_000 + CLOCK_JUMP_MS, 30_000));
    }
}
