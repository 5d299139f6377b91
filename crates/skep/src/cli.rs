//! The command line as a tree: every command, option and help text, and nothing that acts.
//!
//! Help, man pages, completions and `docs/reference/cli.md` are all printed from this tree.

mod data;
mod dead;
mod kind;
mod ledger;
pub(crate) mod schedule;
mod topic;

pub(crate) use data::{Data, DataExport, DataImport, DataQuery};
pub(crate) use dead::{Dead, DeadDrain, DeadList, Grouping};
pub(crate) use kind::{Call, ShellCommand};
pub(crate) use ledger::{Ledger, LedgerExport, LedgerTail, LedgerVerify, RekeyReason};
pub(crate) use topic::{Alarm, AlarmList, Topic, TopicDead, TopicDrain, TopicProduce, TopicTail};

use clap::{Args, Parser, Subcommand, ValueEnum};
use skep_types::{Gate, JobKind, JobState, NodeRole, Role, Tier};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Queue, run, check and land the work of coding agents. It takes nobody's word for it.
///
/// One instruction becomes a job: a worker does it inside a fence, the engine checks every claim
/// against evidence the worker cannot write, and only what passes lands on your branch.
#[derive(Debug, Parser)]
#[command(
    name = "skep",
    version,
    max_term_width = 100,
    infer_subcommands = false,
    disable_help_subcommand = true,
    after_help = "Start with `skep demo`, then `skep doctor`, then `skep run \"INSTRUCTION\" --repo DIR`.\n\
        Exit codes: 0 done, 1 not successful, 2 usage, 3 policy, 4 not found, 5 unreachable."
)]
pub(crate) struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The folder that holds everything [default: the platform's data folder]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SKEP_HOME",
        hide_env = true
    )]
    pub(crate) home: Option<PathBuf>,
    /// The configuration [default: skep.toml in the home, then in the current folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print one JSON document, or JSON lines for a stream; errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress and no notes
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Print without colour, as with the environment variable NO_COLOR
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

/// The commands, in the order of the help.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See the whole path at work, without a key
    Demo(Demo),
    /// Run the server: engine, gateway and API
    Up(Up),
    /// Run one job to its end
    Run(Box<Run>),
    /// Ask a model one question
    Call(Box<Call>),
    /// Run one command inside a fence
    Shell(Box<ShellCommand>),
    /// Look at jobs, cancel them, try them again
    #[command(subcommand)]
    Job(Job),
    /// See how the queues stand, pause and resume them
    #[command(subcommand)]
    Queue(Queue),
    /// See the nodes of the store, drain them and let them work again
    #[command(subcommand)]
    Node(Node),
    /// Have jobs begin by themselves, again and again
    #[command(subcommand)]
    Schedule(schedule::Schedule),
    /// Run several jobs in order, from a file; look at them as a tree
    #[command(subcommand)]
    Plan(Plan),
    /// Look at jobs that ended without success, replay or dismiss them
    #[command(subcommand)]
    Dead(Dead),
    /// Read, verify and export the record of everything that happened
    #[command(subcommand)]
    Ledger(Ledger),
    /// Move everything to another database or home, and ask it questions in SQL
    #[command(subcommand)]
    Data(Data),
    /// Look at topics, produce messages, decide about dead letters
    #[command(subcommand)]
    Topic(Topic),
    /// Look at what needs a person
    #[command(subcommand)]
    Alarm(Alarm),
    /// Check the installation; every finding comes with its remedy
    Doctor,
    /// Print the completions of a shell
    Completions(Completions),
    /// Write the generated reference
    #[command(name = "__docs", hide = true)]
    Docs(Docs),
}

/// `skep demo`
#[derive(Debug, Args)]
#[command(
    long_about = "Make a small git repository with failing tests and run real jobs on it through \
    the whole path: queue, fence, agent, gateway, contract, verification, review, landing, ledger.\n\n\
    The model is a recorded one, so no key is needed; the edits, the tests and the merges are real."
)]
pub(crate) struct Demo {
    /// A new or empty folder for the repository [default: one among temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// `skep up`
#[derive(Debug, Args)]
#[command(
    long_about = "Run the server: engine, gateway and API, until it is stopped.\n\n\
    It serves this machine only. The local token is printed once, on the start that makes it, and \
    lies in the file `token` in the home. One home has one server."
)]
pub(crate) struct Up {
    /// The loopback address to listen on [default: 127.0.0.1:7575]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// What this node of the store does; may be repeated [default: everything]
    #[arg(long, value_name = "ROLE", value_parser = words::<NodeRole>(NodeRole::WORDS))]
    pub(crate) role: Vec<NodeRole>,
}

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

/// How a job takes its turn.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TurnArguments {
    /// The queue it stands in [default: default]
    #[arg(long, value_name = "NAME", help_heading = "Turn")]
    pub(crate) queue: Option<String>,
    /// The greater number goes first; a point is worth a minute of waiting [default: 0]
    #[arg(
        long,
        value_name = "NUMBER",
        allow_negative_numbers = true,
        help_heading = "Turn"
    )]
    pub(crate) priority: Option<i64>,
    /// Do not start before this much time has passed, as in 90s, 10m, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = duration_seconds, help_heading = "Turn")]
    pub(crate) delay: Option<i64>,
    /// Of all jobs that name this key, at most COUNT run at a time
    #[arg(long, value_name = "KEY=COUNT", help_heading = "Turn")]
    pub(crate) limit_key: Option<String>,
    /// As long as a job with this name has not ended, return that one
    #[arg(long, value_name = "NAME", help_heading = "Turn")]
    pub(crate) singleton: Option<String>,
    /// Requests of this name become one job once none has come for TIME
    #[arg(
        long,
        value_name = "NAME=TIME",
        conflicts_with = "singleton",
        help_heading = "Turn"
    )]
    pub(crate) debounce: Option<String>,
    /// How long the start is put off at most [default: ten times the quiet time]
    #[arg(long, value_name = "TIME", value_parser = duration_seconds, requires = "debounce", help_heading = "Turn")]
    pub(crate) debounce_max: Option<i64>,
}

/// Reads `90s`, `10m`, `2h`, `1d`, or a bare number of seconds.
pub(crate) fn duration_seconds(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no length of time: write 90s, 10m, 2h or 1d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let count: i64 = digits.parse().map_err(|_| wrong())?;
    if count < 0 {
        return Err(wrong());
    }
    count.checked_mul(seconds).ok_or_else(wrong)
}

/// `skep node`
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// List the engines of the store, the newest start first
    List,
    /// Let a node finish what it runs and take no more work
    Drain(NodeReference),
    /// Let a drained node work again
    Resume(NodeReference),
}

/// A command about one node.
#[derive(Debug, Args)]
pub(crate) struct NodeReference {
    /// The node's id, its host's name, or `here`
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
}

/// `skep completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// The shells that completions exist for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash
    Bash,
    /// Elvish
    Elvish,
    /// Friendly interactive shell
    Fish,
    /// Microsoft PowerShell
    Powershell,
    /// Z shell
    Zsh,
}

/// `skep __docs`
#[derive(Debug, Args)]
pub(crate) struct Docs {
    /// Change nothing; fail when a file is not what would be written
    #[arg(long)]
    pub(crate) check: bool,
    /// The repository's root
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) root: PathBuf,
}

/// A value that is one of a type's words: listed in the help, completed by the shell.
fn words<T>(known: &'static [&'static str]) -> impl clap::builder::TypedValueParser<Value = T>
where
    T: std::str::FromStr + Clone + Send + Sync + 'static,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(known).try_map(|word| word.parse::<T>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    fn check_width(command: &mut clap::Command) {
        for help in [command.render_help(), command.render_long_help()] {
            for line in help.to_string().lines() {
                assert!(
                    line.chars().count() <= 100,
                    "{}: {line}",
                    command.get_name()
                );
            }
        }
        for subcommand in command.get_subcommands_mut() {
            check_width(subcommand);
        }
    }

    #[test]
    fn every_help_fits_100_columns() {
        check_width(&mut Cli::command());
    }

    #[test]
    fn every_command_and_option_says_what_it_does() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{name} {}",
                    argument.get_id()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
