//! The options of `skep queue`.

use clap::{Args, Subcommand};

/// `skep queue`
#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// List the queues: what waits, what runs, what is paused
    List,
    /// Let nothing more of a queue start; what runs goes on
    Pause(QueueReference),
    /// Let a paused queue go on
    Resume(QueueReference),
}

/// A command about one queue or all of them.
#[derive(Debug, Args)]
pub(crate) struct QueueReference {
    /// The queue's name
    #[arg(value_name = "QUEUE", required_unless_present = "all")]
    pub(crate) queue: Option<String>,
    /// Every queue
    #[arg(long, conflicts_with = "queue")]
    pub(crate) all: bool,
}
