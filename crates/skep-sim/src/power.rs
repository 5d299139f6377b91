//! Power cuts and errors of the disk, on a simulated disk below SQLite.
//!
//! The disk keeps what was written and not synced apart, for database, log and journal alike, and
//! loses any part of it when the power goes, down to single sectors, or fills them with nonsense.
//! Invariant: what was answered holds afterwards, and what was not is there wholly or not at all.
//! A disk that lies about its syncs must break it, or this proves nothing.

mod disk;
mod run;
#[cfg(test)]
mod tests;
mod vfs;

pub use disk::{Fault, Sync};
pub use run::{Outcome, cut, fail};
