//! How a job takes its turn, whatever its kind.

use super::duration_seconds;
use clap::Args;

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
