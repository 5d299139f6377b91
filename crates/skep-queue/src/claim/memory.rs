//! Where a node's claims look first, on PostgreSQL under a long-lived snapshot.
//!
//! While somebody keeps an old snapshot open, the entries of claimed jobs cannot be removed from
//! the line's index, and every claim would walk over all of them again. So when such a walk has
//! taken long, the claims of this node begin for a while where the last one ended, less some slack
//! for jobs that were committed out of order. What came in further ahead, as by its priority, is
//! found by the next walk from the beginning, which comes after ten times as long as one takes.
//! Until then a claim may give less than there is, but never nothing of something.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A walk that takes longer is remembered: a few pages take far less.
const SLOW_WALK: Duration = Duration::from_millis(4);
/// How much shorter than the time between them walks from the beginning are.
const WALKS_APART: u32 = 10;
/// Jobs are looked for from this long before the last one that was claimed, in milliseconds.
const SLACK_MS: i64 = 500;

/// What the claims of one node remember between them.
#[derive(Debug, Default)]
pub struct ClaimMemory {
    mark: Mutex<Option<Mark>>,
    walk_time: Option<Duration>,
    left_nothing: AtomicBool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    lane: String,
    order_ms: i64,
    /// When the next walk from the beginning is due, by the store's clock.
    until_ms: i64,
}

impl ClaimMemory {
    /// One for which every walk takes `time`, whatever it took: a simulated history must not
    /// depend on how busy the machine is.
    pub fn simulated(time: Duration) -> Self {
        Self {
            walk_time: Some(time),
            ..Self::default()
        }
    }

    /// Whether the last claim left nobody in the line: neither the number of slots nor a limit held
    /// a job back. Then a slot that is freed is no reason to claim again before a job comes in.
    pub fn left_nothing(&self) -> bool {
        self.left_nothing.load(Ordering::Relaxed)
    }

    pub(super) fn leaves_nothing(&self, nothing: bool) {
        self.left_nothing.store(nothing, Ordering::Relaxed);
    }

    /// The lane and the place in its line from which on to look; `None` for the beginning.
    pub(super) fn begin(&self, now_ms: i64) -> Option<(String, i64)> {
        let mark = self.mark();
        let mark = mark.as_ref().filter(|mark| now_ms < mark.until_ms)?;
        Some((mark.lane.clone(), mark.order_ms))
    }

    /// A walk from the beginning took `time` and ended at `order_ms` of `lane`.
    pub(super) fn walked(&self, lane: &str, order_ms: i64, now_ms: i64, time: Duration) {
        let time = self.walk_time.unwrap_or(time);
        let apart_ms = i64::try_from((time * WALKS_APART).as_millis()).unwrap_or(i64::MAX);
        let mark = (time >= SLOW_WALK).then(|| Mark {
            lane: lane.to_owned(),
            order_ms: order_ms.saturating_sub(SLACK_MS),
            until_ms: now_ms.saturating_add(apart_ms),
        });
        *self.mark() = mark;
    }

    /// A look from the mark found jobs up to `order_ms`, or none and the mark is of no use.
    pub(super) fn looked(&self, order_ms: Option<i64>) {
        let mut mark = self.mark();
        match (order_ms, mark.as_mut()) {
            (Some(order_ms), Some(mark)) => {
                mark.order_ms = mark.order_ms.max(order_ms.saturating_sub(SLACK_MS));
            }
            _ => *mark = None,
        }
    }

    fn mark(&self) -> MutexGuard<'_, Option<Mark>> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn only_a_slow_walk_is_remembered_and_not_for_long() {
        let memory = ClaimMemory::default();
        memory.walked("lane", 5_000, 100, 3 * MS);
        assert_eq!(memory.begin(100), None);
        memory.walked("lane", 5_000, 100, 20 * MS);
        assert_eq!(memory.begin(299), Some(("lane".to_owned(), 4_500)));
        assert_eq!(memory.begin(300), None, "ten times 20 ms later");
    }

    #[test]
    fn the_mark_moves_on_and_goes_when_nothing_is_behind_it() {
        let memory = ClaimMemory::default();
        memory.walked("lane", 5_000, 100, 50 * MS);
        memory.looked(Some(7_000));
        assert_eq!(memory.begin(200), Some(("lane".to_owned(), 6_500)));
        memory.looked(Some(6_600));
        assert_eq!(memory.begin(200), Some(("lane".to_owned(), 6_500)));
        memory.looked(None);
        assert_eq!(memory.begin(200), None);
    }
}
