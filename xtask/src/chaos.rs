//! `cargo xtask chaos PART`: what the engine is put through, each part by its name.
//!
//! The short forms run with the tests; these are the long ones, run by hand. A part that fails
//! says which seed did, and how that seed is run again. `--quick` runs every part as short as the
//! suite does. A part that is run in full writes its section of `docs/benchmarks/survival.md`.

mod month;
mod page;
mod postgres;
mod simulator;
mod suite;

use crate::machine::Workspace;
use crate::options::{Options, Usage};
use crate::report::Report;
use anyhow::Result;

/// One part.
pub(crate) struct Part {
    /// The word after `chaos`.
    pub(crate) name: &'static str,
    /// One line of help.
    pub(crate) about: &'static str,
    /// What is asserted.
    rules: &'static str,
    run: fn(&Options) -> Result<Report>,
}

/// Every part.
pub(crate) const PARTS: &[Part] = &[
    Part {
        name: "simulate",
        about: "seeded histories of the queue, 100,000; --histories N, --seed N",
        rules: "Every answer and every row is what a model in memory says, after crashes, delays, duplicate deliveries and jumps of the clock; no job is lost or done twice, no fence falls, the ledger verifies.",
        run: simulator::simulate,
    },
    Part {
        name: "power",
        about: "power cuts and passing errors on a simulated disk; --cuts N, --seed N",
        rules: "What was acknowledged before the cut is there after it, the file opens and is sound, the ledger verifies.",
        run: simulator::power,
    },
    Part {
        name: "disk",
        about: "the real binary on a disk that is full or read-only for a while; --rounds N",
        rules: "While the disk is full or read-only the engine keeps what it has answered and says what is wrong; it goes on by itself afterwards.",
        run: suite::disk,
    },
    Part {
        name: "clock",
        about: "a clock set back and forth under an engine, and daylight saving time",
        rules: "A clock that is set an hour and more back and forth under work loses nothing and makes no attempt look dead; over a change to or from daylight saving time every job is done once, and a schedule fires once in the hour that is left out and not again in the one that comes twice.",
        run: suite::clock,
    },
    Part {
        name: "month",
        about: "a month of 5,079 jobs replayed twice; it reproduces its own statistics",
        rules: "The replay of a month of the published mix reproduces its own statistics, and the ledger to the byte, on both stores.",
        run: month::run,
    },
    Part {
        name: "postgres",
        about: "nine faults and pressures of a PostgreSQL server under the queue and engines; --times N",
        rules: "Every acknowledged job is done once, no completion is accepted twice, workers stop in time; with and without a pooler. The value is the time from the last fault to a job that came after it.",
        run: postgres::run,
    },
    Part {
        name: "thousand",
        about: "an engine killed over a thousand running attempts, on both stores",
        rules: "Every attempt under way at the kill is taken back by the next engine, and none of their processes is left; within 60 s is promised.",
        run: suite::thousand,
    },
    Part {
        name: "nodes",
        about: "machines in network namespaces that die, are cut off, come back; --cuts N",
        rules: "Every job is done once and landed once whatever machine dies, is cut off or comes back with an old fence; no process is left.",
        run: suite::nodes,
    },
    Part {
        name: "kills",
        about: "hundreds of kill -9 at random instants, on both stores",
        rules: "Every job is done once and landed once, every worker's spending is accounted for, no process is left, the ledger verifies; at random instants, and at every named crash point.",
        run: suite::kills,
    },
];

/// The command: finds the part by its name.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let known = || PARTS.iter().map(|part| part.name);
    let Some(name) = options.words.first() else {
        return Err(Usage::missing("part", known()).into());
    };
    match PARTS.iter().find(|part| part.name == name) {
        Some(part) => {
            let report = (part.run)(options)?;
            if !options.quick && options.numbers.is_empty() {
                page::write(&Workspace::find()?, part, &report)?;
            }
            Ok(report)
        }
        None => Err(Usage::unknown("part", name, known()).into()),
    }
}
