//! `cargo xtask`: the checks, the tests and the measurements of this repository.
//!
//! One table of commands; each is a function from options to a report. The report is a table for
//! people or, with `--json`, one document for scripts. Exit codes are the product's own: 0 all
//! rows are well, 1 one is not, 2 the command line was wrong or a needed part is missing.

mod bench;
mod chaos;
mod machine;
mod options;
mod process;
mod real;
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
    /// How many words it takes after its name.
    words: usize,
    run: fn(&Options) -> Result<Report>,
}

/// Every command, in the order of a working day.
const COMMANDS: &[Command] = &[
    Command {
        name: "tidy",
        about: "the house rules; --quick leaves out what needs the product built",
        words: 0,
        run: tidy::run,
    },
    Command {
        name: "test",
        about: "everything a change has to pass, with its own PostgreSQL",
        words: 0,
        run: test::run,
    },
    Command {
        name: "real",
        about: "the main job on a real crate and a real Python package; --quick: the crate",
        words: 0,
        run: real::run,
    },
    Command {
        name: "chaos",
        about: "what the engine survives, by name; seeds are printed and can be given again",
        words: 1,
        run: chaos::run,
    },
    Command {
        name: "bench",
        about: "one measurement by name, written to docs/benchmarks/NAME.md",
        words: 1,
        run: bench::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    match Options::parse(arguments.into_iter())
        .map_err(Into::into)
        .and_then(|o| run(&o))
    {
        Ok(ok) => ExitCode::from(u8::from(!ok)),
        Err(error) => {
            report::print_error(json, &error);
            ExitCode::from(2)
        }
    }
}

/// Runs what was asked for and says whether all is well.
fn run(options: &Options) -> Result<bool> {
    if options.command == "help" {
        report::print_text(&help());
        return Ok(true);
    }
    let known = COMMANDS.iter().map(|command| command.name);
    let command = COMMANDS
        .iter()
        .find(|command| command.name == options.command)
        .ok_or_else(|| Usage::unknown("command", &options.command, known))?;
    if let Some(word) = options.words.get(command.words) {
        return Err(Usage::surplus(command.name, word).into());
    }
    let report = (command.run)(options)?;
    report.print(options.json);
    Ok(report.ok)
}

fn help() -> String {
    let mut text = String::from(
        "cargo xtask COMMAND [--quick] [--json]\n\n  --quick  what fits in a minute once built\n  \
         --json   one JSON document on stdout\n\n",
    );
    for command in COMMANDS {
        text.push_str(&format!("  {:<12} {}\n", command.name, command.about));
    }
    for chaos in chaos::CHAOS {
        let name = format!("chaos {}", chaos.name);
        text.push_str(&format!("  {name:<12} {}\n", chaos.about));
    }
    for bench in bench::BENCHES {
        let name = format!("bench {}", bench.name);
        text.push_str(&format!("  {name:<12} {}\n", bench.about));
    }
    text
}
