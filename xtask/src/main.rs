//! `cargo xtask`: the checks, the tests and the measurements of this repository.
//!
//! One table of commands; each is a function from options to a report. The report is a table for
//! people or, with `--json`, one document for scripts. Exit codes are the product's own: 0 all
//! rows are well, 1 one is not, 2 the command line was wrong or a needed part is missing.

mod bench;
mod machine;
mod options;
mod process;
mod report;
mod stopwatch;
mod test;
mod tidy;

use anyhow::Result;
use options::{Options, Usage};
use report::Report;
use std::process::ExitCode;

/// One entry of the command line.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&Options) -> Result<Report>,
}

/// Every command, in the order of a working day.
const COMMANDS: &[Command] = &[
    Command {
        name: "tidy",
        about: "the house rules, in seconds and without compiling the product",
        run: tidy::run,
    },
    Command {
        name: "test",
        about: "everything a change has to pass, with its own PostgreSQL",
        run: test::run,
    },
    Command {
        name: "bench",
        about: "one measurement by name, written to docs/benchmarks/NAME.md",
        run: bench::run,
    },
];

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(usage) => return fail(false, &usage.into()),
    };
    let outcome = match options.command.as_str() {
        "help" => {
            report::print_text(&help());
            return ExitCode::SUCCESS;
        }
        name => match COMMANDS.iter().find(|command| command.name == name) {
            Some(command) => (command.run)(&options),
            None => Err(Usage::unknown("command", name, COMMANDS.iter().map(|c| c.name)).into()),
        },
    };
    match outcome {
        Ok(report) => {
            report.print(options.json);
            ExitCode::from(u8::from(!report.ok))
        }
        Err(error) => fail(options.json, &error),
    }
}

fn fail(json: bool, error: &anyhow::Error) -> ExitCode {
    report::print_error(json, error);
    ExitCode::from(2)
}

fn help() -> String {
    let mut text = String::from(
        "cargo xtask COMMAND [--quick] [--json]\n\n  --quick  what fits in a minute once built\n  \
         --json   one JSON document on stdout\n\n",
    );
    for command in COMMANDS {
        text.push_str(&format!("  {:<8} {}\n", command.name, command.about));
    }
    for bench in bench::BENCHES {
        text.push_str(&format!("  bench {:<8} {}\n", bench.name, bench.about));
    }
    text
}
