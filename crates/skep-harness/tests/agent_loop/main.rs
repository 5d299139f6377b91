//! The own loop against a scripted model: real HTTP on loopback, a real repository, real commands.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail by panicking, as the test does"
)]

mod attempt;
mod failures;
mod process;
mod scripted;
mod work;
