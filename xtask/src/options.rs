//! The command line of `cargo xtask`: a command, its words, two flags that all commands share, and
//! numbers by name.

use std::collections::BTreeMap;
use std::fmt;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The command's name; `help` when there is none.
    pub(crate) command: String,
    /// What follows the command, as the name of a measurement.
    pub(crate) words: Vec<String>,
    /// Only what fits in a minute once everything is built.
    pub(crate) quick: bool,
    /// One JSON document on stdout instead of a table.
    pub(crate) json: bool,
    /// What was given as `--NAME NUMBER`, by name.
    pub(crate) numbers: BTreeMap<String, String>,
    /// What only `bench engine` understands.
    pub(crate) engine: EngineOptions,
}

/// The flags of `bench engine`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct EngineOptions {
    /// The one part to measure.
    pub(crate) only: Option<String>,
    /// How long the sustained run lasts.
    pub(crate) minutes: Option<u32>,
    /// Whether growth goes to its last size, which takes hours.
    pub(crate) full: bool,
    /// Whether the bytes that are measured become the accepted ones.
    pub(crate) accept: bool,
}

/// The flags that are followed by a number.
const NUMBERS: &[&str] = &["--cuts", "--histories", "--rounds", "--seed", "--times"];

/// A command line that makes no sense; nothing was done.
#[derive(Debug)]
pub(crate) struct Usage {
    message: String,
    hint: String,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Usage> {
        let (mut words, mut quick, mut json) = (Vec::new(), false, false);
        let mut numbers = BTreeMap::new();
        let mut engine = EngineOptions::default();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let next = arguments.next();
                next.ok_or_else(|| Usage::valueless(&argument))
            };
            match argument.as_str() {
                "--quick" => quick = true,
                "--json" => json = true,
                "--full" => engine.full = true,
                "--accept" => engine.accept = true,
                "--only" => engine.only = Some(value()?),
                "--minutes" => {
                    let minutes = value()?.parse();
                    engine.minutes = Some(minutes.map_err(|_| Usage::valueless(&argument))?);
                }
                "--help" | "-h" => words.insert(0, "help".to_owned()),
                flag if NUMBERS.contains(&flag) => {
                    numbers.insert(flag.trim_start_matches('-').to_owned(), value()?);
                }
                flag if flag.starts_with('-') => {
                    let known = ["--quick", "--json"].into_iter();
                    let known = known.chain(NUMBERS.iter().copied());
                    return Err(Usage::unknown("flag", flag, known));
                }
                _ => words.push(argument),
            }
        }
        let command = if words.is_empty() {
            "help".to_owned()
        } else {
            words.remove(0)
        };
        Ok(Self {
            command,
            words,
            quick,
            json,
            numbers,
            engine,
        })
    }

    /// The number that was given as `--NAME`.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Usage> {
        let Some(text) = self.numbers.get(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| Usage {
            message: format!("`--{name} {text}` is not a number"),
            hint: format!("as in `--{name} 1000`"),
        })
    }
}

impl Usage {
    /// A `noun` that is none of the `known` ones.
    pub(crate) fn unknown<'a>(
        noun: &str,
        word: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> Self {
        Self {
            message: format!("unknown {noun} `{word}`"),
            hint: format!("there is: {}", known.collect::<Vec<_>>().join(", ")),
        }
    }

    /// A `noun` that has to be named and is not.
    pub(crate) fn missing<'a>(noun: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self {
            message: format!("no {noun} is named"),
            ..Self::unknown(noun, "", known)
        }
    }

    /// A flag without the value that it wants.
    fn valueless(flag: &str) -> Self {
        Self {
            message: format!("`{flag}` wants a value"),
            hint: "see `cargo xtask help`".to_owned(),
        }
    }

    /// A word that the command has no use for.
    pub(crate) fn surplus(command: &str, word: &str) -> Self {
        Self {
            message: format!("`{command}` has no use for `{word}`"),
            hint: "see `cargo xtask help`".to_owned(),
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Usage {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Usage> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_stand_anywhere() {
        let options = parse("--json bench house --quick").unwrap();
        assert_eq!(options.command, "bench");
        assert_eq!(options.words, ["house"]);
        assert!(options.quick && options.json);
        assert_eq!(parse("").unwrap().command, "help");
        assert_eq!(parse("test --help").unwrap().command, "help");
    }

    #[test]
    fn a_number_follows_its_name() {
        let options = parse("chaos simulate --seed 7").unwrap();
        assert_eq!(options.number("seed").unwrap(), Some(7));
        assert_eq!(options.number("histories").unwrap(), None);
        let usage = parse("chaos simulate --seed x").unwrap().number("seed");
        let message = usage.unwrap_err().to_string();
        assert_eq!(message, "`--seed x` is not a number");
    }

    #[test]
    fn flags_of_the_engine_take_values() {
        let engine = parse("bench engine --only pickup --minutes 2 --accept")
            .unwrap()
            .engine;
        assert_eq!(engine.only.as_deref(), Some("pickup"));
        assert_eq!(
            (engine.minutes, engine.accept, engine.full),
            (Some(2), true, false)
        );
        for line in ["bench engine --only", "bench engine --minutes soon"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn an_unknown_flag_names_the_known_ones() {
        let usage = parse("tidy --fast").unwrap_err();
        assert_eq!(usage.to_string(), "unknown flag `--fast`");
        assert_eq!(
            usage.hint(),
            "there is: --quick, --json, --cuts, --histories, --rounds, --seed, --times"
        );
    }
}
