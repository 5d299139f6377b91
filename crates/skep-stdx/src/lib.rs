//! What the standard library lacks, and nothing that names the product.
//!
//! Time, randomness and task spawning come from here so that tests can hold them still; crash
//! points let a test kill the process between any two steps; secrets print as `[redacted]`.

pub mod backoff;
pub mod clock;
pub mod crash;
pub mod entropy;
pub mod redact;
pub mod secret;
pub mod spawn;

pub use backoff::Backoff;
pub use clock::{Clock, ManualClock, SharedClock, Stopwatch, SystemClock};
pub use entropy::{Entropy, OsEntropy, SeededEntropy, SharedEntropy};
pub use redact::Redactor;
pub use secret::Secret;
pub use spawn::spawn;
