//! Whether a worker still lives, and what is done about one that does not. Pure: a function of the
//! time, what was seen of the worker, and the limits.
//!
//! Three limits have three classes. A node that dies loses its lease, which the queue sees
//! (`lease_lost`). A worker that shows no sign of life is `stalled`; the clock of that limit stands
//! still while a call is open that ends by a limit of its own. A worker that takes longer than its
//! job may is at its `wall_clock`. What follows is a ladder: asked to end, then killed with all it
//! started, then its job goes back to the queue.

use skep_types::FailureClass;

/// How long may be waited for what, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Without a sign of life.
    pub(crate) progress_ms: i64,
    /// Altogether.
    pub(crate) wall_ms: i64,
    /// After being asked to end.
    pub(crate) grace_ms: i64,
}

/// What was seen of one worker. Times are milliseconds since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Life {
    last_ms: i64,
    open: Vec<OpenCall>,
    asked: Option<(i64, Reason)>,
}

/// A call that has begun and has a limit of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OpenCall {
    name: String,
    until_ms: i64,
}

/// Why a worker is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It showed no sign of life.
    Stalled,
    /// Its time is up.
    WallClock,
}

impl Reason {
    pub(crate) const fn class(self) -> FailureClass {
        match self {
            Self::Stalled => FailureClass::Stalled,
            Self::WallClock => FailureClass::WallClock,
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing before this time.
    Wait { until_ms: i64 },
    /// Ask the worker to end.
    Interrupt(Reason),
    /// Kill it with all it started.
    Kill(Reason),
}

/// Calls that are remembered as open; a worker that claims more is not believed.
const OPEN_CALLS_MAX: usize = 256;

impl Life {
    /// A sign of life.
    pub(crate) fn seen(&mut self, at_ms: i64) {
        self.last_ms = self.last_ms.max(at_ms);
    }

    /// A call has begun; with a limit of its own it suspends the clock of progress.
    pub(crate) fn opened(&mut self, at_ms: i64, name: &str, timeout_ms: Option<i64>) {
        self.seen(at_ms);
        if let Some(timeout_ms) = timeout_ms
            && self.open.len() < OPEN_CALLS_MAX
        {
            self.open.push(OpenCall {
                name: name.to_owned(),
                until_ms: at_ms.saturating_add(timeout_ms),
            });
        }
    }

    /// A call has ended.
    pub(crate) fn closed(&mut self, at_ms: i64, name: &str) {
        self.seen(at_ms);
        if let Some(place) = self.open.iter().position(|call| call.name == name) {
            self.open.swap_remove(place);
        }
    }

    /// The worker was asked to end.
    pub(crate) fn asked(&mut self, at_ms: i64, reason: Reason) {
        self.asked = Some((at_ms, reason));
    }

    /// Why the worker was asked to end, if it was.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.asked.map(|(_, reason)| reason)
    }

    /// How long there was no sign of life, in milliseconds.
    pub(crate) const fn idle_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.last_ms)
    }

    /// How many calls are open.
    pub(crate) const fn open_calls(&self) -> usize {
        self.open.len()
    }

    /// When there will have been no sign of life for too long: counted from the last one, or from
    /// when the last open call must have ended by itself.
    fn stalls_ms(&self, limits: &Limits) -> i64 {
        let open = self.open.iter().map(|call| call.until_ms).max();
        open.unwrap_or(self.last_ms)
            .max(self.last_ms)
            .saturating_add(limits.progress_ms)
    }
}

/// What to do at `now_ms`.
pub(crate) fn decide(now_ms: i64, life: &Life, limits: &Limits) -> Step {
    if let Some((at_ms, reason)) = life.asked {
        let until_ms = at_ms.saturating_add(limits.grace_ms);
        return if now_ms >= until_ms {
            Step::Kill(reason)
        } else {
            Step::Wait { until_ms }
        };
    }
    if now_ms >= limits.wall_ms {
        return Step::Interrupt(Reason::WallClock);
    }
    let stalls_ms = life.stalls_ms(limits);
    if now_ms >= stalls_ms {
        return Step::Interrupt(Reason::Stalled);
    }
    Step::Wait {
        until_ms: stalls_ms.min(limits.wall_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        progress_ms: 100,
        wall_ms: 1_000,
        grace_ms: 10,
    };

    #[derive(Clone, Copy)]
    enum Sign {
        Seen(i64),
        Opened(i64, &'static str, Option<i64>),
        Closed(i64, &'static str),
        Asked(i64, Reason),
    }

    fn check(signs: &[Sign], now_ms: i64, expected: Step) {
        let mut life = Life::default();
        for sign in signs {
            match *sign {
                Sign::Seen(at) => life.seen(at),
                Sign::Opened(at, name, timeout) => life.opened(at, name, timeout),
                Sign::Closed(at, name) => life.closed(at, name),
                Sign::Asked(at, reason) => life.asked(at, reason),
            }
        }
        assert_eq!(
            decide(now_ms, &life, &LIMITS),
            expected,
            "at {now_ms}: {life:?}"
        );
    }

    const fn wait(until_ms: i64) -> Step {
        Step::Wait { until_ms }
    }

    const STALLED: Step = Step::Interrupt(Reason::Stalled);
    const TOO_LONG: Step = Step::Interrupt(Reason::WallClock);

    #[test]
    fn silence_is_a_stall_and_every_sign_puts_it_off() {
        check(&[], 0, wait(100));
        check(&[], 99, wait(100));
        check(&[], 100, STALLED);
        check(&[Sign::Seen(60)], 100, wait(160));
        check(&[Sign::Seen(60)], 160, STALLED);
        // Signs may come out of order; the latest counts.
        check(&[Sign::Seen(60), Sign::Seen(20)], 150, wait(160));
    }

    #[test]
    fn an_open_call_with_a_limit_suspends_the_clock() {
        use Sign::{Closed, Opened, Seen};
        check(&[Opened(10, "run", Some(500))], 509, wait(610));
        check(&[Opened(10, "run", Some(500))], 610, STALLED);
        check(
            &[Opened(10, "run", Some(500)), Closed(50, "run")],
            149,
            wait(150),
        );
        check(
            &[Opened(10, "run", Some(500)), Closed(50, "run")],
            150,
            STALLED,
        );
        // One without a limit of its own suspends nothing, and another's end ends nothing.
        check(&[Opened(10, "read", None)], 110, STALLED);
        check(
            &[Opened(10, "run", Some(500)), Closed(20, "read")],
            300,
            wait(610),
        );
        // Two of one name are two.
        let two = [
            Opened(10, "run", Some(100)),
            Opened(10, "run", Some(300)),
            Closed(20, "run"),
        ];
        check(&two, 400, wait(410));
        // What was seen after a call's limit counts from then.
        check(&[Opened(0, "run", Some(50)), Seen(200)], 299, wait(300));
    }

    #[test]
    fn the_wall_clock_does_not_stand_still() {
        check(&[Sign::Seen(950)], 999, wait(1_000));
        check(&[Sign::Seen(999)], 1_000, TOO_LONG);
        check(&[Sign::Opened(900, "run", Some(5_000))], 1_000, TOO_LONG);
        // Both at once: the job's own time is the reason.
        check(&[], 1_000, TOO_LONG);
    }

    #[test]
    fn whoever_was_asked_to_end_has_a_while_and_no_more() {
        for reason in [Reason::Stalled, Reason::WallClock] {
            let asked = Sign::Asked(100, reason);
            check(&[asked], 100, wait(110));
            check(&[asked], 109, wait(110));
            check(&[asked], 110, Step::Kill(reason));
            // A word now does not take it back.
            check(&[asked, Sign::Seen(109)], 110, Step::Kill(reason));
        }
    }

    #[test]
    fn a_worker_that_opens_calls_without_end_is_not_believed() {
        let mut life = Life::default();
        for _ in 0..10_000 {
            life.opened(0, "run", Some(1));
        }
        assert_eq!(life.open_calls(), OPEN_CALLS_MAX);
        assert_eq!(life.idle_ms(70), 70);
    }
}
