//! Normalisers: named ways to put a constant in the place of what changes from run to run.
//!
//! They are applied in one fixed order, whatever order a script names them in, because some would
//! hide what others look for: a date is also numbers, and a hash may look like an id.

use regex_lite::Regex;
use serde::Deserialize;
use std::sync::LazyLock;

/// One normaliser, in the order of their application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Normaliser {
    /// Dates and times become `<date>`.
    Dates,
    /// Our ids, tool call ids and UUIDs become `<id>`.
    Ids,
    /// Hexadecimal digests of at least seven digits become `<hash>`.
    Hashes,
    /// Durations become `<duration>`.
    Durations,
    /// Absolute paths become `<path>`.
    Paths,
    /// Other numbers become `<number>`.
    Numbers,
    /// Runs of white space become one space; none is left at the ends.
    Whitespace,
}

const DATES: &str =
    r"\b\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?( ?(Z|UTC|[+-]\d{2}:?\d{2}))?)?";
const IDS: &str = r"\b((job|att|call|key|evt|bud|node)_[0-9a-z]{26}|(toolu|msg|req|call)_[0-9A-Za-z_]+|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})\b";
const HASHES: &str = r"\b[0-9a-f]{7,64}\b";
const DURATIONS: &str =
    r"\b\d+(\.\d+)? ?(ns|us|\u{b5}s|ms|s|sec|secs|seconds|m|min|minutes|h|hours)\b";
const PATHS: &str = r#"(^|[\s"'`(=:\[])/[^\s"'`:;,)\]]*"#;
const NUMBERS: &str = r"\d+(\.\d+)?";
const WHITESPACE: &str = r"\s+";

/// The pattern of one normaliser and what replaces a match. The patterns are constants, tried by
/// the tests below; one that did not compile would leave the text as it is.
struct Rule(Option<Regex>, &'static str);

impl Rule {
    fn new(pattern: &str, replacement: &'static str) -> Self {
        Self(Regex::new(pattern).ok(), replacement)
    }
}

static RULES: LazyLock<[Rule; 7]> = LazyLock::new(|| {
    [
        Rule::new(DATES, "<date>"),
        Rule::new(IDS, "<id>"),
        Rule::new(HASHES, "<hash>"),
        Rule::new(DURATIONS, "<duration>"),
        Rule::new(PATHS, "${1}<path>"),
        Rule::new(NUMBERS, "<number>"),
        Rule::new(WHITESPACE, " "),
    ]
});

impl Normaliser {
    /// The word in a script.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Dates => "dates",
            Self::Ids => "ids",
            Self::Hashes => "hashes",
            Self::Durations => "durations",
            Self::Paths => "paths",
            Self::Numbers => "numbers",
            Self::Whitespace => "whitespace",
        }
    }

    fn rule(self) -> &'static Rule {
        &RULES[self as usize]
    }
}

/// `text` after `normalisers`, which are sorted.
pub(crate) fn normalise(text: &str, normalisers: &[Normaliser]) -> String {
    let mut text = text.to_owned();
    for normaliser in normalisers {
        let Rule(pattern, replacement) = normaliser.rule();
        if let Some(pattern) = pattern {
            text = pattern.replace_all(&text, *replacement).into_owned();
        }
        if *normaliser == Normaliser::Whitespace {
            text = text.trim().to_owned();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use Normaliser::{Dates, Durations, Hashes, Ids, Numbers, Paths, Whitespace};

    #[test]
    fn each_replaces_what_it_names_and_nothing_else() {
        for (normaliser, text, expected) in [
            (
                Dates,
                "at 2026-11-20T10:00:00.5Z and 2026-11-20",
                "at <date> and <date>",
            ),
            (Dates, "2026-11-20 10:00:00 +01:00; 12-34", "<date>; 12-34"),
            (
                Ids,
                "job_01hzzzzzzzzzzzzzzzzzzzzzzz ran toolu_01Ab",
                "<id> ran <id>",
            ),
            (
                Ids,
                "123e4567-e89b-12d3-a456-426614174000 jobless",
                "<id> jobless",
            ),
            (
                Hashes,
                "commit 1a2b3c4 of deadbeef, decade",
                "commit <hash> of <hash>, decade",
            ),
            (
                Durations,
                "finished in 0.05s (12 ms), 3 tests",
                "finished in <duration> (<duration>), 3 tests",
            ),
            (
                Paths,
                "error in \"/tmp/x/y.rs\":3 src/lib.rs",
                "error in \"<path>\":3 src/lib.rs",
            ),
            (Paths, "/a/b (/c)", "<path> (<path>)"),
            (
                Numbers,
                "3 passed; 0.5 failed",
                "<number> passed; <number> failed",
            ),
            (Whitespace, "  a\n\n b\t", "a b"),
        ] {
            assert_eq!(normalise(text, &[normaliser]), expected, "{text}");
        }
    }
}
