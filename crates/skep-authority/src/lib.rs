//! Which fence is current for a job: the one fact that queue, gateway and lander must agree on.
//!
//! Owns the table `authority`: a row for each job that somebody holds, and no other. Invariant: a
//! job's fence only grows, so one that was given out is either current or stale for ever. (The
//! queue keeps the last number with the job.) Whoever asks with [`demand`] holds the row until its
//! own commit, so the answer is still true then.
//!
//! A transaction that also locks the job's row locks that first and the authority second.
//! Knows nothing of why a fence was raised.

mod demand;
mod raise;

pub use demand::{AuthorityError, demand};
pub use raise::{grant, withdraw};

use skep_db::{SchemaPart, Step, Table};

/// The table of this crate.
pub const SCHEMA: SchemaPart = SchemaPart {
    owner: "skep-authority",
    tables: &[Table {
        name: "authority",
        tier: "convenience",
    }],
    steps: &[Step {
        version: 1,
        intent: "create-authority",
        sqlite: include_str!("../schema/0001-create-authority.sqlite.sql"),
        postgres: include_str!("../schema/0001-create-authority.postgres.sql"),
    }],
};
