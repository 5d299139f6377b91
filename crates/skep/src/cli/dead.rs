//! The options of `skep dead`.

use super::{JobReference, PageArguments, words};
use clap::{Args, Subcommand, ValueEnum};
use skep_types::FailureClass;

/// `skep dead`
#[derive(Debug, Subcommand)]
pub(crate) enum Dead {
    /// List jobs that ended without success and that nobody has dismissed, newest first
    List(DeadList),
    /// Show a dead job with its evidence: attempts, what they left, the last events
    Show(JobReference),
    /// Start a dead job again; one that fails the same way again and again is refused
    Replay(JobReference),
    /// Start dead jobs again in the order in which they were asked for
    Drain(DeadDrain),
    /// Say that nobody needs to look at a dead job any more; it stays as it is
    Dismiss(JobReference),
}

/// `skep dead list`
#[derive(Debug, Args)]
pub(crate) struct DeadList {
    /// Only jobs that failed as this
    #[arg(long, value_name = "CLASS", value_parser = words::<FailureClass>(FailureClass::WORDS), hide_possible_values = true)]
    pub(crate) class: Option<FailureClass>,
    /// Count the jobs of each class instead, and the share whose failure is not understood
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["class", "limit", "cursor"])]
    pub(crate) by: Option<Grouping>,
    /// Lists take a part at a time.
    #[command(flatten)]
    pub(crate) page: PageArguments,
}

/// What dead jobs can be counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Grouping {
    /// Why they failed
    Class,
}

/// `skep dead drain`
#[derive(Debug, Args)]
pub(crate) struct DeadDrain {
    /// The most jobs to start again [default: 10]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i64).range(1..=500))]
    pub(crate) limit: Option<i64>,
    /// Only jobs that failed as this
    #[arg(long, value_name = "CLASS", value_parser = words::<FailureClass>(FailureClass::WORDS), hide_possible_values = true)]
    pub(crate) class: Option<FailureClass>,
}
