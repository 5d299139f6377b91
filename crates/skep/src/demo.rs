//! The demonstration: real jobs on a real repository through the whole path, with a recorded model.
//!
//! Nothing here is pretended but the model's words. The scene makes the repository, the
//! configuration and the jobs; the outcome says what was caught, from the job documents alone.

mod outcome;
mod scene;

pub(crate) use outcome::Outcome;
pub(crate) use scene::{Cast, Scene};
