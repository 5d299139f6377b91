//! `skep`: the command line, the configuration and the wiring of all other parts.
//!
//! Owns the home's lock and the configuration file. Has no business rule of its own: every
//! command asks one use case of the director and prints its answer.

mod account;
mod cli;
mod commands;
mod config;
mod demo;
mod engine;
mod failure;
mod home_lock;
mod logs;
mod output;
mod progress;
mod reach;
mod signals;
mod table;

use clap::Parser as _;
use clap::error::ErrorKind;
use cli::{Cli, Command, Global};
use commands::Session;
use failure::{Exit, Failure};
use output::{KnownSecrets, Printer};
use signals::Signals;
use std::process::ExitCode;
use std::time::Duration;

/// How long the runtime may take to end what blocks when everything else has stopped, in
/// milliseconds.
const RUNTIME_STOP_MS: u64 = 1_000;
/// The exit code of a command line that cannot be read.
const USAGE: u8 = 2;
/// The hint for a command line that cannot be read and has no better one.
const HELP_HINT: &str =
    "`skep --help` lists the commands, `skep COMMAND --help` the options of one";

fn main() -> ExitCode {
    // Before anything else: these two run inside a fence, where no runtime, no log and no
    // configuration may be made.
    if let Some(exit) = skep_sandbox::launcher_main(std::env::args_os()) {
        return exit;
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == skep_harness::AGENT_COMMAND)
    {
        return skep_harness::agent_main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unreadable(&error),
    };
    let secrets = KnownSecrets::default();
    let printer = Printer::new(&cli.global, secrets.clone());
    logs::start(secrets.clone(), !cli.global.no_color);
    let code = match run(cli, &printer, secrets) {
        Ok(exit) => exit.code(),
        Err(failure) => {
            printer.failure(&failure);
            failure.code()
        }
    };
    ExitCode::from(code)
}

fn run(cli: Cli, printer: &Printer, secrets: KnownSecrets) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        Failure::unreachable(
            "runtime_unavailable",
            format!("threads cannot be started: {error}"),
            "raise the limits of processes and open files (`ulimit -u`, `ulimit -n`)",
        )
    })?;
    let outcome = runtime.block_on(async {
        let session = Session {
            global: cli.global,
            printer: printer.clone(),
            secrets,
            signals: Signals::install()?,
        };
        command(&session, &cli.command).await
    });
    runtime.shutdown_timeout(Duration::from_millis(RUNTIME_STOP_MS));
    outcome
}

async fn command(session: &Session, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Demo(arguments) => commands::demo::demo(session, arguments).await,
        Command::Up(arguments) => commands::up::up(session, arguments).await,
        Command::Run(arguments) => commands::run::run(session, arguments).await,
        Command::Job(arguments) => commands::job::job(session, arguments).await,
        Command::Ledger(arguments) => commands::ledger::ledger(session, arguments).await,
        Command::Doctor => commands::doctor::doctor(session).await,
        Command::Completions(arguments) => {
            commands::completions::print(&session.printer, arguments)
        }
        Command::Docs(arguments) => commands::docs::docs(session, arguments),
    }
}

/// A command line that cannot be read, or one that asks for help.
fn unreadable(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        // Whoever closed the pipe has read enough.
        drop(error.print());
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // The help itself says best what is missing, and goes to stderr.
        drop(error.print());
        return ExitCode::from(USAGE);
    }
    let asked = |option: &str| {
        std::env::args_os()
            .skip(1)
            .any(|argument| argument == option)
    };
    let global = Global {
        home: None,
        config: None,
        json: asked("--json"),
        quiet: false,
        no_color: asked("--no-color"),
    };
    let failure = usage(error);
    Printer::new(&global, KnownSecrets::default()).failure(&failure);
    ExitCode::from(failure.code())
}

/// The parser's message in the form of every other error.
fn usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n").map(output::one_line);
    let message = paragraphs.next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let tip = paragraphs.find_map(|text| text.strip_prefix("tip: ").map(str::to_owned));
    Failure::usage(
        "usage",
        message,
        tip.unwrap_or_else(|| HELP_HINT.to_owned()),
    )
}
