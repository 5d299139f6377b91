//! `skep schedule`: the part of the tree about work that is asked for again and again.

use super::{PageArguments, words};
use clap::{Args, Subcommand};
use skep_types::{CatchUp, Overlap};

/// `skep schedule`
#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// Make a schedule of a job
    Add(Box<ScheduleAdd>),
    /// List schedules with their next and their last run
    List,
    /// Show everything known about a schedule
    Show(ScheduleName),
    /// Print the next times of a schedule, or of a cron line
    Next(ScheduleNext),
    /// Stop a schedule from firing; what is under way goes on
    Pause(SchedulePause),
    /// Let a schedule fire again, from now on
    Resume(ScheduleName),
    /// Begin a run now, whether the schedule is paused or not
    Run(ScheduleName),
    /// Take a schedule away; its jobs go on and its history stays
    Remove(ScheduleName),
    /// List what became of a schedule's times, newest first
    History(ScheduleHistory),
}

/// When a schedule fires.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "When")]
pub(crate) struct TimingArguments {
    /// Minute, hour, day of month, month, day of week, as in "0 7 * * 1-5"; or @daily and the like
    #[arg(long, value_name = "LINE", conflicts_with = "every")]
    pub(crate) cron: Option<String>,
    /// An interval of whole minutes that counts from now, as in 15m, 1h30m or 2d
    #[arg(long, value_name = "LENGTH")]
    pub(crate) every: Option<String>,
    /// The time zone of the cron line, as in Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(crate) tz: Option<String>,
}

/// `skep schedule add`
#[derive(Debug, Args)]
#[command(
    long_about = "Make a schedule of a job. What follows `--` is what `skep run` takes, with --call \
    what `skep call` takes, with --shell a command; each run is a job of its own.\n\n\
    A local time that a change of the clock skips is run when the gap ends, and one that comes twice \
    is run the first time. `skep schedule next` shows both beforehand.",
    after_help = "Example: skep schedule add nightly --cron \"0 2 * * *\" --tz Europe/Berlin \\\n\
        \x20   -- \"Update the changelog\" --repo . --check \"cargo test\"\n\
        Example: skep schedule add disk --every 15m --shell -- df -h /"
)]
pub(crate) struct ScheduleAdd {
    /// What to call it: letters, digits, `-`, `_` and `.`
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// When it fires.
    #[command(flatten)]
    pub(crate) timing: TimingArguments,
    /// How much later than its time a run may begin; the same delay on every machine
    #[arg(long, value_name = "LENGTH", value_parser = seconds, help_heading = "When")]
    pub(crate) jitter: Option<i64>,

    /// What to do when a run is under way [default: skip]
    #[arg(long, value_name = "POLICY", value_parser = words::<Overlap>(Overlap::WORDS), help_heading = "Rules")]
    pub(crate) overlap: Option<Overlap>,
    /// With `--overlap allow`: runs side by side [default: 2]
    #[arg(long, value_name = "COUNT", help_heading = "Rules")]
    pub(crate) overlap_max: Option<i64>,
    /// What to do about times that passed while nothing ran [default: last]
    #[arg(long, value_name = "POLICY", value_parser = words::<CatchUp>(CatchUp::WORDS), help_heading = "Rules")]
    pub(crate) catch_up: Option<CatchUp>,
    /// With `--catch-up all`: how many of them are run [default: 10]
    #[arg(long, value_name = "COUNT", help_heading = "Rules")]
    pub(crate) catch_up_max: Option<i64>,
    /// With `--catch-up all`: how old a time may be [default: 1d]
    #[arg(long, value_name = "LENGTH", value_parser = seconds, help_heading = "Rules")]
    pub(crate) catch_up_window: Option<i64>,
    /// Failures in a row after which it pauses itself; 0 for never [default: 5]
    #[arg(long, value_name = "COUNT", help_heading = "Rules")]
    pub(crate) pause_after: Option<i64>,
    /// On whose authority it runs [default: the user of the engine]
    #[arg(long, value_name = "NAME", help_heading = "Rules")]
    pub(crate) owner: Option<String>,

    /// A shell command line run first, in the fence, on the commit the job would start from: exit
    /// code 0 means go
    #[arg(long, value_name = "COMMAND", help_heading = "Pre-check")]
    pub(crate) precheck: Option<String>,
    /// The exit code of the pre-check that means that there is nothing to do [default: 75]
    #[arg(
        long,
        value_name = "CODE",
        requires = "precheck",
        help_heading = "Pre-check"
    )]
    pub(crate) precheck_nothing: Option<i64>,
    /// The longest the pre-check may take [default: 1m]
    #[arg(long, value_name = "LENGTH", value_parser = seconds, requires = "precheck", help_heading = "Pre-check")]
    pub(crate) precheck_limit: Option<i64>,

    /// Each run is one model call: a question and the options of `skep call` follow `--`
    #[arg(long, conflicts_with = "shell", help_heading = "Kind")]
    pub(crate) call: bool,
    /// Each run is one command: it follows `--`, or the options of `skep shell` and, after a second
    /// `--`, the command
    #[arg(long, help_heading = "Kind")]
    pub(crate) shell: bool,

    /// The instruction and the options of `skep run`, or what --call or --shell say
    #[arg(last = true, required = true, value_name = "RUN ARGUMENTS")]
    pub(crate) run: Vec<String>,
}

/// A command about one schedule.
#[derive(Debug, Args)]
pub(crate) struct ScheduleName {
    /// The schedule's name or id
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// `skep schedule next`
#[derive(Debug, Args)]
#[command(
    long_about = "Print the next times of a schedule, in its time zone and in UTC, and what changes \
    of the clock do to them. With --cron or --every it needs no schedule and no home."
)]
pub(crate) struct ScheduleNext {
    /// The schedule's name or id
    #[arg(
        value_name = "NAME",
        conflicts_with_all = ["cron", "every", "tz"],
        required_unless_present_any = ["cron", "every"]
    )]
    pub(crate) name: Option<String>,
    /// What to look at instead of a schedule.
    #[command(flatten)]
    pub(crate) timing: TimingArguments,
    /// How many times
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(i64).range(1..=500))]
    pub(crate) count: i64,
    /// Count from this instant instead of now, as in 2026-03-28T12:00:00Z; not for a schedule
    #[arg(long, value_name = "TIME", conflicts_with = "name", value_parser = instant)]
    pub(crate) from: Option<i64>,
}

/// `skep schedule pause`
#[derive(Debug, Args)]
pub(crate) struct SchedulePause {
    /// The schedule's name or id
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Why, in a sentence
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// `skep schedule history`
#[derive(Debug, Args)]
pub(crate) struct ScheduleHistory {
    /// The schedule's name or id
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Lists take a part at a time.
    #[command(flatten)]
    pub(crate) page: PageArguments,
}

/// A length of time, in seconds.
fn seconds(text: &str) -> Result<i64, String> {
    skep_queue::schedule::parse_interval(text)
        .map(|ms| ms / 1_000)
        .map_err(|_| "give a length of time as in 30s, 15m or 1h30m".to_owned())
}

/// An instant, in milliseconds since 1970 UTC.
fn instant(text: &str) -> Result<i64, String> {
    text.parse::<jiff::Timestamp>()
        .map(jiff::Timestamp::as_millisecond)
        .map_err(|_| "give an instant with its offset, as in 2026-03-28T12:00:00Z".to_owned())
}
