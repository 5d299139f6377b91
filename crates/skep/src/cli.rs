//! The command line as a tree: every command, option and help text, and nothing that acts.
//!
//! Help, man pages, completions and `docs/reference/cli.md` are all printed from this tree.

mod data;
mod dead;
mod job;
mod kind;
mod ledger;
mod plan;
mod queue;
mod run;
pub(crate) mod schedule;
mod topic;
mod turn;

pub(crate) use data::{Data, DataExport, DataImport, DataQuery};
pub(crate) use dead::{Dead, DeadDrain, DeadList, Grouping};
pub(crate) use job::{Job, JobList, JobReference, JobRetry, PageArguments};
pub(crate) use kind::{Call, ShellCommand};
pub(crate) use ledger::{Ledger, LedgerExport, LedgerTail, LedgerVerify, RekeyReason};
pub(crate) use plan::{Plan, PlanRun};
pub(crate) use queue::{Queue, QueueReference};
pub(crate) use run::Run;
pub(crate) use topic::{Alarm, AlarmList, Topic, TopicDead, TopicDrain, TopicProduce, TopicTail};
pub(crate) use turn::TurnArguments;

use clap::{Args, Parser, Subcommand, ValueEnum};
use skep_types::NodeRole;
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
