//! The printer: data on stdout, everything else on stderr, and the only place that writes either.
//!
//! Invariants: with `--json` stdout holds JSON and nothing else; no text of a worker or of a
//! repository reaches a terminal with its control characters; no known secret is printed; colour
//! repeats what a word already says.

use crate::cli::Global;
use crate::failure::Failure;
use serde::Serialize;
use skep_api::{ErrorBody, ErrorDocument};
use skep_stdx::Redactor;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, PoisonError, RwLock};
use unicode_width::UnicodeWidthChar as _;

/// The widest line of a table, in columns.
pub(crate) const COLUMNS_MAX: usize = 100;
/// Terminals narrower than this get tables of this width all the same, in columns.
const COLUMNS_MIN: usize = 60;

/// Says one sentence on stderr, whatever was asked about quiet and colour: it is about the program
/// itself, and the log may be what is broken.
pub(crate) fn alert(said: &str) {
    // Nobody is left to be told if stderr is gone.
    let _ = writeln!(io::stderr().lock(), "alarm: {said}");
}

/// KnownSecrets that were read so far; shared by the printer and the log.
pub(crate) type KnownSecrets = Arc<RwLock<Redactor>>;

/// What a piece of text is about; shown as colour where colour is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing special.
    Plain,
    /// As it should be.
    Good,
    /// Somebody should look.
    Attention,
    /// Wrong.
    Bad,
    /// Less important than what stands around it.
    Quiet,
    /// More important than what stands around it.
    Strong,
}

impl Tone {
    /// The "select graphic rendition" parameter of ECMA-48.
    const fn parameter(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Attention => Some("33"),
            Self::Bad => Some("31"),
            Self::Quiet => Some("2"),
            Self::Strong => Some("1"),
        }
    }
}

/// How to print.
#[derive(Clone)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    colour_out: bool,
    colour_err: bool,
    secrets: KnownSecrets,
}

impl Printer {
    /// The printer that the global options ask for.
    pub(crate) fn new(global: &Global, secrets: KnownSecrets) -> Self {
        let wanted = !global.no_color
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            json: global.json,
            quiet: global.quiet,
            colour_out: wanted && !global.json && io::stdout().is_terminal(),
            colour_err: wanted && io::stderr().is_terminal(),
            secrets,
        }
    }

    /// Whether stdout is to hold JSON.
    pub(crate) const fn json(&self) -> bool {
        self.json
    }

    /// Whether progress can be one line that changes.
    pub(crate) fn live(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Whether notes and progress are wanted.
    pub(crate) const fn talks(&self) -> bool {
        !self.quiet
    }

    /// Prints one JSON document as one line.
    pub(crate) fn document(&self, document: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(document).map_err(io::Error::from)?;
        self.line(&line)
    }

    /// Prints a line of data.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        self.raw(&format!("{line}\n"))
    }

    /// Prints data as it is. Worker text goes through [`Printer::foreign`] instead.
    pub(crate) fn raw(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(self.redacted(text).as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// Prints text of a worker or a repository: byte for byte into a file or a pipe, and without
    /// control characters on a terminal.
    pub(crate) fn foreign(&self, text: &str) -> Result<(), Failure> {
        if io::stdout().is_terminal() {
            self.raw(&without_controls(text))
        } else {
            self.raw(text)
        }
    }

    /// Says something to a person who watches.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.stderr(&format!("{text}\n"));
        }
    }

    /// Prints help that nobody asked for: to stderr, because it is no data, and always.
    pub(crate) fn help(&self, text: &str) {
        self.stderr(text);
    }

    /// Says what a person should know before they go on.
    pub(crate) fn warning(&self, text: &str) {
        let label = self.painted_err("warning:", Tone::Attention);
        self.note(&format!("{label} {text}"));
    }

    /// Replaces the live line by `text`, which is cut to the terminal's width.
    pub(crate) fn live_line(&self, text: &str) {
        let width = terminal_columns().unwrap_or(COLUMNS_MAX).saturating_sub(1);
        self.stderr(&format!("\r\x1b[K{}", cut(text, width)));
    }

    /// Removes the live line.
    pub(crate) fn clear_live_line(&self) {
        self.stderr("\r\x1b[K");
    }

    /// Prints a failure where the user looks for it.
    pub(crate) fn failure(&self, failure: &Failure) {
        let Failure::Shown(body) = failure else {
            return;
        };
        if self.json {
            let error = body.clone();
            // Nobody is left to be told when even this cannot be written.
            let _ = self.document(&ErrorDocument { error });
            return;
        }
        self.stderr(&self.failure_text(body));
    }

    fn failure_text(&self, body: &ErrorBody) -> String {
        let error = self.painted_err("error:", Tone::Bad);
        let hint = self.painted_err("hint:", Tone::Strong);
        let mut text = format!(
            "{error} {} [{}]\n",
            without_controls(&body.message),
            body.code
        );
        if let Some(what_next) = &body.hint {
            text.push_str(&format!("{hint} {}\n", without_controls(what_next)));
        }
        text
    }

    /// `text` in its tone, for stdout.
    pub(crate) fn painted(&self, text: &str, tone: Tone) -> String {
        paint(text, tone, self.colour_out)
    }

    /// `text` in its tone, for stderr.
    pub(crate) fn painted_err(&self, text: &str, tone: Tone) -> String {
        paint(text, tone, self.colour_err)
    }

    fn stderr(&self, text: &str) {
        // There is no third place to report that stderr is closed.
        let _ = io::stderr()
            .lock()
            .write_all(self.redacted(text).as_bytes());
    }

    fn redacted(&self, text: &str) -> String {
        self.secrets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .redact(text)
    }
}

fn paint(text: &str, tone: Tone, colour: bool) -> String {
    match tone.parameter() {
        Some(parameter) if colour => format!("\x1b[{parameter}m{text}\x1b[0m"),
        _ => text.to_owned(),
    }
}

/// `1 row`, `2 rows`.
pub(crate) fn quantity(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A size as people read it: `512 B`, `3.4 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut unit = "B";
    let (mut whole, mut tenths) = (bytes, 0);
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if whole < 1_024 {
            break;
        }
        tenths = whole % 1_024 * 10 / 1_024;
        whole /= 1_024;
        unit = larger;
    }
    if unit == "B" {
        return format!("{whole} B");
    }
    format!("{whole}.{tenths} {unit}")
}

/// The width of tables on this output.
pub(crate) fn table_columns() -> usize {
    terminal_columns().map_or(COLUMNS_MAX, |columns| {
        columns.clamp(COLUMNS_MIN, COLUMNS_MAX)
    })
}

fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}

/// `text` with every control character but line ends and tabs made visible, and without the marks
/// that turn the direction of writing: neither can move the cursor or disguise a line.
pub(crate) fn without_controls(text: &str) -> String {
    text.chars()
        .filter(|c| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// `text` on one line.
pub(crate) fn one_line(text: &str) -> String {
    without_controls(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The columns that `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// `text` cut to `columns`, with an ellipsis in the last one if something is missing.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    format!("{}…", fitting(text, columns.saturating_sub(1)))
}

/// As much of the beginning of `text` as fits into `columns`.
fn fitting(text: &str, columns: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > columns
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// `text` broken between words into lines of at most `columns`; a longer word is cut apart.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest = word;
        loop {
            let last = lines.len() - 1;
            let room = columns.saturating_sub(width(&lines[last]) + 1);
            if lines[last].is_empty() && width(rest) <= columns {
                rest.clone_into(&mut lines[last]);
                break;
            }
            if !lines[last].is_empty() && width(rest) <= room {
                lines[last].push(' ');
                lines[last].push_str(rest);
                break;
            }
            if !lines[last].is_empty() {
                lines.push(String::new());
                continue;
            }
            // A column narrower than two still takes any one character.
            let head = fitting(rest, columns.max(2));
            rest = &rest[head.len()..];
            head.clone_into(&mut lines[last]);
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_foreign_text_moves_the_cursor() {
        let text = "a\x1b[2Jb\rc\u{202e}d\u{9b}e\nf\tg";
        assert_eq!(
            without_controls(text),
            "a\u{fffd}[2Jb\u{fffd}cd\u{fffd}e\nf\tg"
        );
        assert_eq!(one_line(" a\r\n b\t c "), "a b c");
    }

    #[test]
    fn sizes_are_read_by_people() {
        assert_eq!(
            [bytes(0), bytes(1_023), bytes(1_536), bytes(5 << 20)],
            ["0 B", "1023 B", "1.5 KiB", "5.0 MiB"]
        );
        assert_eq!(
            [quantity(1, "row"), quantity(0, "row")],
            ["1 row", "0 rows"]
        );
    }

    #[test]
    fn cut_text_is_never_wider_than_its_column() {
        assert_eq!(cut("short", 10), "short");
        assert_eq!(cut("exactly ten", 10), "exactly t…");
        // Each of these characters takes two columns.
        assert_eq!(cut("日本語日本語", 7), "日本語…");
        assert_eq!(width(&cut("日本語日本語", 6)), 5);
        assert_eq!(cut("anything", 0), "…");
    }

    #[test]
    fn wrapped_text_keeps_every_word() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrapped("", 4), [""]);
        let long = "x".repeat(250);
        let lines = wrapped(&format!("start {long} end"), 100);
        assert!(lines.iter().all(|line| width(line) <= 100), "{lines:?}");
        assert_eq!(lines.concat().matches('x').count(), 250);
    }
}
