//! `cargo xtask chaos PART`: what the engine is put through, each part by its name.
//!
//! The short forms run with the tests; these are the long ones, run by hand. A part that fails
//! says which seed did, and how that seed is run again. `--quick` runs every part as short as the
//! suite does.

mod disk;
mod month;
mod postgres;
mod simulator;
mod suite;

use crate::options::{Options, Usage};
use crate::report::Report;
use anyhow::Result;

/// One part.
pub(crate) struct Part {
    /// The word after `chaos`.
    pub(crate) name: &'static str,
    /// One line of help.
    pub(crate) about: &'static str,
    run: fn(&Options) -> Result<Report>,
}

/// Every part.
pub(crate) const PARTS: &[Part] = &[
    Part {
        name: "simulate",
        about: "seeded histories of the queue, 100,000; --histories N, --seed N",
        run: simulator::simulate,
    },
    Part {
        name: "power",
        about: "power cuts and passing errors on a simulated disk; --cuts N, --seed N",
        run: simulator::power,
    },
    Part {
        name: "disk",
        about: "the real binary on a disk that is full or read-only for a while; --rounds N",
        run: disk::run,
    },
    Part {
        name: "month",
        about: "a month of 5,079 jobs replayed twice; it reproduces its own statistics",
        run: month::run,
    },
    Part {
        name: "postgres",
        about: "nine faults and pressures of a PostgreSQL server under the queue and engines; --times N",
        run: postgres::run,
    },
    Part {
        name: "thousand",
        about: "an engine killed over a thousand running attempts, on both stores",
        run: suite::thousand,
    },
    Part {
        name: "nodes",
        about: "machines in network namespaces that die, are cut off, come back; --cuts N",
        run: suite::nodes,
    },
    Part {
        name: "kills",
        about: "hundreds of kill -9 at random instants, on both stores",
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
        Some(part) => (part.run)(options),
        None => Err(Usage::unknown("part", name, known()).into()),
    }
}
