//! Wall time of steps. The only place in xtask that reads the clock or waits for time to pass:
//! the product's own seams would bring an asynchronous runtime into a tool that must build in
//! seconds.

use std::time::{Duration, Instant};

/// Measures from its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(
        clippy::disallowed_methods,
        reason = "a stopwatch measures and decides nothing"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Waits between two looks at another program, which has no channel to wait on.
#[expect(
    clippy::disallowed_methods,
    reason = "a foreign process can only be polled"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
