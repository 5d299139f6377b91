//! The options of `skep job`, and what other commands about jobs and lists share with it.

use super::words;
use clap::{Args, Subcommand};
use skep_types::JobState;

/// `skep job`
#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// List jobs, newest first, ended ones included
    List(JobList),
    /// Show everything known about a job
    Show(JobReference),
    /// Print what came of a job and nothing else: answer, output or contract
    Result(JobReference),
    /// Show what a worker wrote
    Log(JobLog),
    /// Show what a job changed, as a patch
    Diff(JobReference),
    /// End a job and the worker that is at it; of a plan, all of it
    Cancel(JobCancel),
    /// Start an ended job again
    Retry(JobRetry),
}

/// `skep job list`
#[derive(Debug, Args)]
pub(crate) struct JobList {
    /// Only jobs in this state; may be repeated
    #[arg(long, value_name = "STATE", value_parser = words::<JobState>(JobState::WORDS), hide_possible_values = true)]
    pub(crate) state: Vec<JobState>,
    /// Only jobs of this project
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// Lists take a part at a time.
    #[command(flatten)]
    pub(crate) page: PageArguments,
}

/// Which part of a list.
#[derive(Debug, Clone, Args)]
pub(crate) struct PageArguments {
    /// The most items to print
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i64).range(1..=500))]
    pub(crate) limit: Option<i64>,
    /// Where the page before ended: its `next_cursor`
    #[arg(long, value_name = "CURSOR")]
    pub(crate) cursor: Option<String>,
}

/// A command about one job.
#[derive(Debug, Args)]
pub(crate) struct JobReference {
    /// The job's number or id
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
}

/// `skep job log`
#[derive(Debug, Args)]
pub(crate) struct JobLog {
    /// The job's number or id
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// The attempt's id [default: the newest]
    #[arg(long, value_name = "ID")]
    pub(crate) attempt: Option<String>,
}

/// `skep job cancel`
#[derive(Debug, Args)]
pub(crate) struct JobCancel {
    /// The job's number or id
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// End its parts and whatever waits for it as well
    #[arg(long)]
    pub(crate) tree: bool,
}

/// `skep job retry`
#[derive(Debug, Args)]
pub(crate) struct JobRetry {
    /// The job's number or id
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// A new limit for the job, in US dollars
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) budget_usd: Option<f64>,
}
