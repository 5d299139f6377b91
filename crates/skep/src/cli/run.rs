//! The options of `skep run`.

use super::{TurnArguments, duration_seconds, words};
use clap::Args;
use skep_types::{Gate, JobKind, Role, Tier};
use std::path::PathBuf;

/// `skep run`
#[derive(Debug, Args)]
#[command(
    long_about = "Run one job to its end, with progress on stderr and the account on stdout.\n\n\
    With a server on this home the job is submitted there; otherwise this process runs it, and \
    ends when no job is left. Exit code 0 means that the gate passed and the result landed."
)]
pub(crate) struct Run {
    /// The task, in words
    #[arg(
        value_name = "INSTRUCTION",
        required_unless_present = "instruction_file"
    )]
    pub(crate) instruction: Option<String>,
    /// Read the task from a file; `-` is the standard input
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "instruction")]
    pub(crate) instruction_file: Option<PathBuf>,
    /// The git repository to work in
    #[arg(long, value_name = "DIR")]
    pub(crate) repo: Option<PathBuf>,
    /// The commit, branch or tag to start from [default: the target's tip]
    #[arg(long, value_name = "COMMIT")]
    pub(crate) base: Option<String>,
    /// The branch to land on [default: the current branch]
    #[arg(long, value_name = "BRANCH")]
    pub(crate) target_branch: Option<String>,

    /// What kind of job
    #[arg(long, value_name = "KIND", value_parser = words::<JobKind>(JobKind::WORDS))]
    pub(crate) kind: Option<JobKind>,
    /// The configured worker
    #[arg(long, value_name = "NAME", help_heading = "Worker")]
    pub(crate) worker: Option<String>,
    /// Another harness than the worker's
    #[arg(long, value_name = "HARNESS", help_heading = "Worker")]
    pub(crate) harness: Option<String>,
    /// Another model than the worker's
    #[arg(long, value_name = "MODEL", help_heading = "Worker")]
    pub(crate) model: Option<String>,

    /// A glob the worker may write to; may be repeated [default: everything]
    #[arg(long, value_name = "GLOB", help_heading = "Limits")]
    pub(crate) scope: Vec<String>,
    /// What the worker may do [default: the worker's own role]
    #[arg(long, value_name = "ROLE", value_parser = words::<Role>(Role::WORDS), help_heading = "Limits")]
    pub(crate) role: Option<Role>,
    /// The tier of the task's data [default: sensitive]
    #[arg(long, value_name = "TIER", value_parser = words::<Tier>(Tier::WORDS), help_heading = "Limits")]
    pub(crate) tier: Option<Tier>,
    /// The most this job may spend, in US dollars
    #[arg(long, value_name = "AMOUNT", help_heading = "Limits")]
    pub(crate) budget_usd: Option<f64>,
    /// The longest one attempt may take, as in 90s, 10m [default: the engine's limit]
    #[arg(long, value_name = "TIME", value_parser = duration_seconds, help_heading = "Limits")]
    pub(crate) timeout: Option<i64>,

    /// A shell command line that must exit 0, run by the engine; may be repeated
    #[arg(long, value_name = "COMMAND", help_heading = "Checks")]
    pub(crate) check: Vec<String>,
    /// How deep the result is checked [default: G1, or G2 where a reviewer is configured]
    #[arg(long, value_name = "GATE", value_parser = words::<Gate>(Gate::WORDS), help_heading = "Checks")]
    pub(crate) gate: Option<Gate>,
    /// The worker that reviews, with gate G2 and above
    #[arg(long, value_name = "NAME", help_heading = "Checks")]
    pub(crate) reviewer: Option<String>,
    /// Why a result without a test run is acceptable
    #[arg(long, value_name = "REASON", help_heading = "Checks")]
    pub(crate) waive_tests: Option<String>,
    /// A finding that is acceptable, and why; may be repeated
    #[arg(long, value_name = "FINDING=REASON", help_heading = "Checks")]
    pub(crate) waive: Vec<String>,

    /// The account the cost is charged to [default: the repository's folder name]
    #[arg(long, value_name = "NAME", help_heading = "Record")]
    pub(crate) project: Option<String>,
    /// On whose authority [default: the user of the engine]
    #[arg(long, value_name = "NAME", help_heading = "Record")]
    pub(crate) owner: Option<String>,
    /// Submitting the same key again returns the earlier job
    #[arg(long, value_name = "KEY", help_heading = "Record")]
    pub(crate) idempotency_key: Option<String>,

    /// How it takes its turn.
    #[command(flatten)]
    pub(crate) turn: TurnArguments,

    /// Submit and return; without a server the job waits for the next `skep up`
    #[arg(long)]
    pub(crate) detach: bool,
}
