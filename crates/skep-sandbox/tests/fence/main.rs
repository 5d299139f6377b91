//! Fences and attempt repositories against the real kernel and the real git: every way out is
//! tried and must be refused with nothing changed outside, and the work that a fence is for must
//! still be possible in it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set its stage has failed"
)]

mod files;
mod import;
mod kernel;
mod levels;
mod lifetime;
mod network;
mod stage;
mod work;
