//! What stands behind the `--` of `skep schedule add`: the arguments of `skep run`, `skep call` or
//! `skep shell`, read as those commands read them.

use crate::cli::schedule::ScheduleAdd;
use crate::cli::{Call, Run, ShellCommand};
use crate::commands::order::Order;
use crate::commands::{call, run, shell};
use crate::failure::Failure;
use crate::output::one_line;
use clap::{Args, Parser};

/// The arguments of another command, without its name.
#[derive(Debug, Parser)]
#[command(name = "skep schedule add NAME ... --", no_binary_name = true)]
struct Behind<T: Args> {
    #[command(flatten)]
    arguments: T,
}

/// What each run of the schedule is.
pub(super) fn order(add: &ScheduleAdd) -> Result<Order, Failure> {
    let words = add.run.as_slice();
    Ok(if add.call {
        let call: Call = behind("call", words)?;
        attached(call.detach)?;
        Order::Call(Box::new(call::request(&call)?))
    } else if add.shell {
        let shell: ShellCommand = behind("shell", &command(words))?;
        attached(shell.detach)?;
        Order::Shell(Box::new(shell::request(&shell)?))
    } else {
        let run: Run = behind("run", words)?;
        attached(run.detach)?;
        Order::Agent(Box::new(run::request(&run)?))
    })
}

/// A command alone needs no `--` of its own; no program has a name with a dash in front.
fn command(words: &[String]) -> Vec<String> {
    let has_options = words.first().is_some_and(|first| first.starts_with('-'));
    let dashes = (!has_options).then(|| "--".to_owned());
    dashes.into_iter().chain(words.iter().cloned()).collect()
}

fn behind<T: Args>(command: &str, words: &[String]) -> Result<T, Failure> {
    let read = Behind::<T>::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let first = one_line(text.split("\n\n").next().unwrap_or_default());
        let message = first.strip_prefix("error: ").unwrap_or(&first);
        Failure::usage(
            "usage",
            format!("after the `--`: {message}"),
            format!(
                "what follows `--` is what `skep {command}` takes, without global options; see \
                 `skep {command} --help`"
            ),
        )
    })?;
    Ok(read.arguments)
}

fn attached(is_detached: bool) -> Result<(), Failure> {
    if !is_detached {
        return Ok(());
    }
    Err(Failure::usage(
        "usage",
        "after the `--`: a run of a schedule is always detached",
        "leave --detach out",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_needs_one_pair_of_dashes() {
        for (words, expected) in [
            (&["df", "-h", "/"][..], &["--", "df", "-h", "/"][..]),
            (
                &["git", "log", "--", "src"],
                &["--", "git", "log", "--", "src"],
            ),
            (&["--repo", ".", "--", "ls"], &["--repo", ".", "--", "ls"]),
            (&["--", "ls"], &["--", "ls"]),
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(command(&words), expected);
        }
    }
}
