//! The other processes of this crate's tests, in one binary.
//!
//! As `__fence` it is the launcher. `run` and `hold` are an engine: they read a [`Request`] from
//! standard input, and stand in for the real one where a test needs another user or a death.
//! `escape` is a hostile worker: it tries one way out and says what the kernel answered. `measure`
//! prints how long a start takes.

mod engine;
mod escape;
mod raw;

use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = skep_sandbox::launcher_main(std::env::args_os()) {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match act(&words) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("{{\"failure\":{:?}}}", error.to_string()));
            ExitCode::from(99)
        }
    }
}

fn act(words: &[&str]) -> Result<ExitCode, Box<dyn Error>> {
    match words {
        ["run"] => engine::run(),
        ["hold"] => engine::hold(),
        ["measure", level, times] => engine::measure(level, times.parse()?),
        ["stacked", count, rest @ ..] => raw::stacked(count.parse()?, rest),
        ["escape", way, rest @ ..] => Ok(escape::try_out(way, rest)),
        _ => Err("run | hold | measure LEVEL TIMES | stacked N COMMAND… | escape WAY …".into()),
    }
}

/// One line on standard output.
#[expect(clippy::print_stdout, reason = "the tests read this program's output")]
fn say(line: &str) {
    println!("{line}");
}
