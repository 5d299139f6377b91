//! Engines that die: real processes of the real binary, killed at every crash point and at random
//! instants. The next one finishes the work: nothing is lost, nothing is done twice, no process
//! is left behind.

mod point;
mod random;
pub(crate) mod site;
