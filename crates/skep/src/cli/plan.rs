//! The options of `skep plan`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `skep plan`
#[derive(Debug, Subcommand)]
pub(crate) enum Plan {
    /// Run a plan to its end
    Run(PlanRun),
    /// Check a plan and show what it would be; queue nothing
    Check(PlanFile),
    /// Show a plan and where its nodes stand
    Show(PlanReference),
}

/// `skep plan run`
#[derive(Debug, Args)]
#[command(
    long_about = "Run several jobs in order to their end, with progress on stderr and the tree on \
    stdout.\n\n\
    All nodes are queued at once, or none. Nodes that do not wait for one another run side by side; \
    a node starts when what it comes after has ended as it asks, and from where that left the \
    target branch. Exit code 0 means that every node is done."
)]
pub(crate) struct PlanRun {
    /// The plan: a TOML or JSON file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Submitting the same key again returns the earlier plan
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Submit and return; without a server the plan waits for the next `skep up`
    #[arg(long)]
    pub(crate) detach: bool,
}

/// `skep plan check`
#[derive(Debug, Args)]
pub(crate) struct PlanFile {
    /// The plan: a TOML or JSON file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `skep plan show`
#[derive(Debug, Args)]
pub(crate) struct PlanReference {
    /// The plan's number or id
    #[arg(value_name = "PLAN")]
    pub(crate) plan: String,
}
