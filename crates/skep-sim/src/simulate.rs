//! The deterministic simulator: seeded histories of the real queue, authority and ledger on a real
//! store, with a clock and faults of its own.
//!
//! A history is a few dozen steps of three nodes and their clients, drawn from one seed: jobs are
//! asked for (some twice under one key), claimed, started, ended, moved, woken, cancelled, tried
//! again; leases are renewed and taken back. Between them requests are lost, delayed and delivered
//! twice, long after their lease went; their processes die before the commit and after it, before
//! the answer; transactions are run again; nodes die, start again, or stand still past their lease
//! and go on with an old fence; the clock jumps, by an hour too, forwards and backwards. No node
//! ever hears a wake-up. Then faults end, and what is up works honestly.
//!
//! Invariants, after every few steps and at the end, each a [`Rule`]:
//! - a job that was acknowledged is there, live or ended, and in one table only;
//! - a job is completed at most once, and one idempotency key is one job;
//! - only one node holds a job, its fence grows with every claim, and a write with any other fence
//!   than the one that is held is refused;
//! - a fence is current exactly as long as its lease is held, and so is an attempt open;
//! - the events of a job follow from one another along the state machine and give its row;
//! - the ledger verifies;
//! - a lease that nobody renews is free after one lease, whatever the clock did;
//! - when faults end, every live job ends;
//! - every answer and every row is what a [model](self::model) in memory says.
//!
//! On SQLite a transaction is alone, so every interleaving there is one of whole transactions, as
//! here. On PostgreSQL the same histories run, one transaction after the other; what happens when
//! two overlap is the suite's to test.

mod check;
mod dice;
mod message;
mod model;
mod mutation;
mod plan;
mod queue;
mod quiet;
mod request;
mod rule;
mod run;
mod step;
mod story;
#[cfg(test)]
mod tests;
mod turn;
mod world;

pub(crate) use dice::Dice;
pub use mutation::Mutation;
pub use rule::{Rule, Violation};
pub use run::{Failure, Options, Outcome, replay, simulate};
pub use story::{Story, Telling};
