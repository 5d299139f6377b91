//! Engines that die: real processes of the real binary, killed at every crash point and at random
//! instants. The next one finishes the work: nothing is lost, nothing is done twice, no process
//! is left behind.

mod clock;
mod disk;
mod fake_clock;
mod long;
mod plan;
mod point;
mod postgres;
mod random;
mod schedule;
pub(crate) mod site;
