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
mod store;
mod table;
mod usage;

use clap::Parser as _;
use cli::{Cli, Command};
use commands::Session;
use failure::{Exit, Failure};
use output::{KnownSecrets, Printer};
use signals::Signals;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// How long the runtime may take to end what blocks when everything else has stopped, in
/// milliseconds.
const RUNTIME_STOP_MS: u64 = 1_000;

fn main() -> ExitCode {
    // Before anything else: these two run inside a fence, where no runtime, no log and no
    // configuration may be made.
    if let Some(exit) = skep_sandbox::launcher_main(std::env::args_os()) {
        return exit;
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments
        .get(1)
        .is_some_and(|command| command == skep_harness::AGENT_COMMAND)
    {
        return skep_harness::agent_main();
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&error, &arguments),
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
    let stops_in_order = matches!(
        command,
        Command::Demo(_) | Command::Up(_) | Command::Run(_) | Command::Call(_) | Command::Shell(_)
    );
    if stops_in_order {
        return dispatch(session, command).await;
    }
    // The other commands leave nothing half done.
    let mut signals = session.signals.clone();
    tokio::select! {
        outcome = dispatch(session, command) => outcome,
        number = signals.asked() => Ok(Exit::Signal(number)),
    }
}

async fn dispatch(session: &Session, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Demo(arguments) => commands::demo::demo(session, arguments).await,
        Command::Up(arguments) => commands::up::up(session, arguments).await,
        Command::Run(arguments) => commands::run::run(session, arguments).await,
        Command::Call(arguments) => commands::call::call(session, arguments).await,
        Command::Shell(arguments) => commands::shell::shell(session, arguments).await,
        Command::Job(arguments) => commands::job::job(session, arguments).await,
        Command::Node(arguments) => commands::node::node(session, arguments).await,
        Command::Queue(arguments) => commands::queue::queue(session, arguments).await,
        Command::Schedule(arguments) => commands::schedule::schedule(session, arguments).await,
        Command::Plan(arguments) => commands::plan::plan(session, arguments).await,
        Command::Dead(arguments) => commands::dead::dead(session, arguments).await,
        Command::Ledger(arguments) => commands::ledger::ledger(session, arguments).await,
        Command::Data(arguments) => commands::data::data(session, arguments).await,
        Command::Topic(arguments) => commands::topic::topic(session, arguments).await,
        Command::Alarm(arguments) => commands::alarm::alarm(session, arguments).await,
        Command::Doctor => commands::doctor::doctor(session).await,
        Command::Completions(arguments) => {
            commands::completions::print(&session.printer, arguments)
        }
        Command::Docs(arguments) => commands::docs::docs(session, arguments),
    }
}
