//! The options of jobs of the kinds `call` and `shell`.

use super::{TurnArguments, duration_seconds, words};
use clap::Args;
use skep_types::Tier;
use std::path::PathBuf;

/// `skep call`
#[derive(Debug, Args)]
#[command(long_about = "Ask a model one question and print its answer.\n\n\
    The call is a job like any other: queued, paid for before it is made, retried when the provider \
    has troubles, and on the ledger. Its answer can be read again with `skep job result`.")]
pub(crate) struct Call {
    /// The question
    #[arg(value_name = "PROMPT", required_unless_present = "prompt_file")]
    pub(crate) prompt: Option<String>,
    /// Read the question from a file; `-` is the standard input
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "prompt")]
    pub(crate) prompt_file: Option<PathBuf>,
    /// What was said before: a JSON array of {"role", "text"}, oldest first
    #[arg(long, value_name = "FILE")]
    pub(crate) messages: Option<PathBuf>,
    /// The instructions that stand before the question
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// The model [default: the worker's, or the only one that is configured]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// The configured worker whose model answers
    #[arg(long, value_name = "NAME")]
    pub(crate) worker: Option<String>,
    /// A JSON Schema that the answer must fit
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,
    /// How freely the model chooses its words, from 0 to 1
    #[arg(long, value_name = "NUMBER")]
    pub(crate) temperature: Option<f64>,

    /// The longest answer, in tokens [default: 4096]
    #[arg(long, value_name = "COUNT", help_heading = "Limits")]
    pub(crate) max_output_tokens: Option<i64>,
    /// The longest the call may take, as in 90s [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = duration_seconds, help_heading = "Limits")]
    pub(crate) timeout: Option<i64>,
    /// The tier of the data [default: sensitive]
    #[arg(long, value_name = "TIER", value_parser = words::<Tier>(Tier::WORDS), help_heading = "Limits")]
    pub(crate) tier: Option<Tier>,
    /// The most this job may spend, in US dollars
    #[arg(long, value_name = "AMOUNT", help_heading = "Limits")]
    pub(crate) budget_usd: Option<f64>,

    /// Who is asked on whose behalf, and once.
    #[command(flatten)]
    pub(crate) record: RecordArguments,
    /// When its turn comes.
    #[command(flatten)]
    pub(crate) turn: TurnArguments,

    /// Submit and return; without a server the job waits for the next `skep up`
    #[arg(long)]
    pub(crate) detach: bool,
}

/// `skep shell`
#[derive(Debug, Args)]
#[command(
    long_about = "Run one command inside a fence and print its output.\n\n\
    The command has no network and no model. It sees an empty folder of its own or, with --repo, a \
    copy of a commit; whatever it writes is thrown away. Its exit code is the result: 0 means done."
)]
pub(crate) struct ShellCommand {
    /// The program and its arguments; no shell reads them
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub(crate) command: Vec<String>,
    /// The git repository to lay out for it
    #[arg(long, value_name = "DIR")]
    pub(crate) repo: Option<PathBuf>,
    /// The commit, branch or tag to lay out [default: the repository's HEAD]
    #[arg(long, value_name = "COMMIT", requires = "repo")]
    pub(crate) base: Option<String>,

    /// A glob of the copy it may write to; may be repeated [default: nothing]
    #[arg(long, value_name = "GLOB", requires = "repo", help_heading = "Limits")]
    pub(crate) scope: Vec<String>,
    /// The longest the command may take, as in 90s, 10m [default: the engine's limit]
    #[arg(long, value_name = "TIME", value_parser = duration_seconds, help_heading = "Limits")]
    pub(crate) timeout: Option<i64>,
    /// The most it may write to its output, in bytes [default: 16 MiB]
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    pub(crate) output_bytes_max: Option<i64>,
    /// The tier of the data [default: sensitive]
    #[arg(long, value_name = "TIER", value_parser = words::<Tier>(Tier::WORDS), help_heading = "Limits")]
    pub(crate) tier: Option<Tier>,

    /// On whose behalf, and once.
    #[command(flatten)]
    pub(crate) record: RecordArguments,
    /// When its turn comes.
    #[command(flatten)]
    pub(crate) turn: TurnArguments,

    /// Submit and return; without a server the job waits for the next `skep up`
    #[arg(long)]
    pub(crate) detach: bool,
}

/// Whom a job belongs to.
#[derive(Debug, Clone, Args)]
pub(crate) struct RecordArguments {
    /// The account the job belongs to
    #[arg(long, value_name = "NAME", help_heading = "Record")]
    pub(crate) project: Option<String>,
    /// On whose authority [default: the user of the engine]
    #[arg(long, value_name = "NAME", help_heading = "Record")]
    pub(crate) owner: Option<String>,
    /// Submitting the same key again returns the earlier job
    #[arg(long, value_name = "KEY", help_heading = "Record")]
    pub(crate) idempotency_key: Option<String>,
}
