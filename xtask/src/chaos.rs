//! `cargo xtask chaos NAME`: what the engine survives, each by name.

mod month;

use crate::options::{Options, Usage};
use crate::report::Report;
use anyhow::Result;

/// One trial.
pub(crate) struct Chaos {
    /// The word after `chaos`.
    pub(crate) name: &'static str,
    /// One line of help.
    pub(crate) about: &'static str,
    run: fn(&Options) -> Result<Report>,
}

/// Every trial.
pub(crate) const CHAOS: &[Chaos] = &[Chaos {
    name: "month",
    about: "a month of 5,079 jobs replayed twice; it reproduces its own statistics",
    run: month::run,
}];

/// The command: finds the trial by its name.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let known = || CHAOS.iter().map(|chaos| chaos.name);
    let Some(name) = options.words.first() else {
        return Err(Usage::missing("trial", known()).into());
    };
    match CHAOS.iter().find(|chaos| chaos.name == name) {
        Some(chaos) => (chaos.run)(options),
        None => Err(Usage::unknown("trial", name, known()).into()),
    }
}
