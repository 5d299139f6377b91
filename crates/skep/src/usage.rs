//! A command line that cannot be read: help where help says it best, otherwise an error in the
//! form of every other error.

use crate::cli::{Cli, Global};
use crate::failure::Failure;
use crate::output::{KnownSecrets, Printer, one_line};
use clap::CommandFactory as _;
use clap::error::ErrorKind;
use std::ffi::OsString;
use std::process::ExitCode;

/// The hint for a command line that has no better one.
const HINT: &str = "`skep --help` lists the commands, `skep COMMAND --help` the options of one";

/// Prints what the parser says to `arguments`; the exit code.
pub(crate) fn answer(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        // Whoever closed the pipe has read enough.
        drop(error.print());
        return ExitCode::SUCCESS;
    }
    let asked = |option: &str| arguments.iter().any(|argument| argument == option);
    let printer = Printer::new(
        &Global {
            home: None,
            config: None,
            json: asked("--json"),
            quiet: false,
            no_color: asked("--no-color"),
        },
        KnownSecrets::default(),
    );
    let failure = failure(error);
    let is_incomplete = matches!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
    );
    if is_incomplete && !printer.json() {
        printer.help(&help(arguments));
    } else {
        printer.failure(&failure);
    }
    ExitCode::from(failure.code())
}

/// The help of the command that `arguments` begin to name.
fn help(arguments: &[OsString]) -> String {
    let mut command = Cli::command();
    command.build();
    for name in arguments.iter().skip(1) {
        if let Some(subcommand) = command.find_subcommand(name) {
            command = subcommand.clone();
        }
    }
    command.render_help().to_string()
}

/// The parser's message in the form of every other error.
fn failure(error: &clap::Error) -> Failure {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
    ) {
        return Failure::usage("command_missing", "the command is not complete", HINT);
    }
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n").map(one_line);
    let message = paragraphs.next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let tip = paragraphs.find_map(|text| text.strip_prefix("tip: ").map(str::to_owned));
    Failure::usage("usage", message, tip.unwrap_or_else(|| HINT.to_owned()))
}
