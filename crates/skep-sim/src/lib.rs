//! What the engine is put through: simulated histories, power cuts, faults of the disk.
//!
//! Each is a module that the suite runs in short and the program `skep-sim` at length; every
//! random choice comes from a seed, which is printed when it fails and replays the failure.

pub mod simulate;
