//! `skep completions`: printed from the tree that parses.

use crate::cli::{Cli, Completions, Shell};
use crate::failure::{Exit, Failure};
use crate::output::Printer;
use clap::CommandFactory as _;

/// Prints the completions of a shell. They are a program, so `--json` changes nothing.
pub(crate) fn print(printer: &Printer, arguments: &Completions) -> Result<Exit, Failure> {
    let shell = match arguments.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Elvish => clap_complete::Shell::Elvish,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::Powershell => clap_complete::Shell::PowerShell,
        Shell::Zsh => clap_complete::Shell::Zsh,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "skep", &mut script);
    printer.raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
