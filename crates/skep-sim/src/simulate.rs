//! The deterministic simulator: seeded histories of the real queue, authority and ledger on a real
//! store, with a clock and faults of its own.
//!
//! A history is a few dozen steps of three nodes and their clients, drawn from one seed: jobs are
//! asked for, alone or several at once (some twice under one key, some as singletons or debounced),
//! claimed, started, ended, alone or several at once, moved, woken, cancelled, tried again; leases
//! are renewed, taken back and given back. In half of the histories all jobs stand in one lane, in
//! the others they are of two queues and projects, some of a backend or a key about which jobs may
//! disagree, and an operator sets limits and rates. Queues are paused and resumed. Between them
//! requests are lost, delayed and delivered twice, long after their lease went; their processes die
//! before the commit and after it, before the answer; transactions are run again; nodes die, start
//! again, or stand still past their lease and go on with an old fence; the clock jumps, by an hour
//! too, forwards and backwards. No node ever hears a wake-up. Then faults end, and what is up works
//! honestly.
//!
//! Invariants, after every few steps and at the end, each a [`Rule`]:
//! - a job that was acknowledged is there, live or ended, and in one table only;
//! - what was refused or died before its commit left no job;
//! - a job is completed at most once, one idempotency key is one request, and so is one singleton as
//!   long as it lives, and one debounce as long as it has not started;
//! - only one node holds a job, its fence grows with every claim, and a write with any other fence
//!   than the one that is held is refused;
//! - nothing of a paused queue is given out, and a queue is paused until it is resumed;
//! - nothing is given out beyond a limit, though one that was lowered stops nothing that runs, and
//!   nothing faster than a rate allows;
//! - a fence is current exactly as long as its lease is held, and so is an attempt open;
//! - the events of a job follow from one another along the state machine and give its row;
//! - the ledger verifies;
//! - a lease that nobody renews is free after one lease, whatever the clock did;
//! - when faults end, every live job ends;
//! - every answer and every row is what a [model](self::model) in memory says; a claim leaves a slot
//!   free only if no job may go.
//!
//! On SQLite a transaction is alone, so every interleaving there is one of whole transactions, as
//! here. On PostgreSQL the same histories run, one transaction after the other; what happens when
//! two overlap is the suite's to test.

mod check;
mod dice;
mod message;
mod model;
mod mutation;
mod pace;
mod plan;
mod queue;
mod quiet;
mod request;
mod room;
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
