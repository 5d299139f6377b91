//! `cargo xtask bench NAME`: measurements by name.
//!
//! Each one writes a page below `docs/benchmarks/` with the command, the machine and every row,
//! missed targets included. A quick run measures less and writes nothing.

mod engine;
mod house;
mod server;

use crate::options::{Options, Usage};
use crate::report::Report;
use anyhow::Result;

/// One measurement.
pub(crate) struct Bench {
    /// The word after `bench`.
    pub(crate) name: &'static str,
    /// One line of help.
    pub(crate) about: &'static str,
    run: fn(&Options) -> Result<Report>,
}

/// Every measurement.
pub(crate) const BENCHES: &[Bench] = &[
    Bench {
        name: "house",
        about: "build, test, size, idle memory and start of the product itself",
        run: house::run,
    },
    Bench {
        name: "engine",
        about: "the queue beside its peers; --only PART, --minutes N, --full, --accept",
        run: engine::run,
    },
];

/// The command: finds the measurement by its name.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let known = || BENCHES.iter().map(|bench| bench.name);
    let Some(name) = options.words.first() else {
        return Err(Usage::missing("measurement", known()).into());
    };
    match BENCHES.iter().find(|bench| bench.name == name) {
        Some(bench) => (bench.run)(options),
        None => Err(Usage::unknown("measurement", name, known()).into()),
    }
}
