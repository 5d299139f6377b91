//! What a command found: rows that are well or not, as a table or as one JSON document.
//!
//! Owns the only writing to stdout. A row that misses its target stays in the report.

use crate::options::Usage;
use serde::Serialize;
use std::io::Write as _;

/// The document of one command.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Whether every row is well.
    pub(crate) ok: bool,
    /// What was checked or measured, in order.
    pub(crate) rows: Vec<Row>,
}

/// One thing that was checked or measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// What it is.
    pub(crate) name: String,
    /// What was found; `None` where there is nothing to count.
    pub(crate) value: Option<f64>,
    /// The unit of value, target and peer.
    pub(crate) unit: &'static str,
    /// The value must not be above this, or not below it where more is better.
    pub(crate) target: Option<f64>,
    /// Whether more is better.
    #[serde(skip)]
    pub(crate) at_least: bool,
    /// What another product needs for the same.
    pub(crate) peer: Option<f64>,
    /// Value divided by peer.
    pub(crate) ratio: Option<f64>,
    /// Whether it is well.
    pub(crate) ok: bool,
    /// One line for people.
    pub(crate) note: String,
    /// What else was measured, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) figures: Option<serde_json::Value>,
}

impl Report {
    /// A report of these rows.
    pub(crate) fn of(rows: Vec<Row>) -> Self {
        Self {
            ok: rows.iter().all(|row| row.ok),
            rows,
        }
    }

    /// Prints the report on stdout.
    pub(crate) fn print(&self, json: bool) {
        if json {
            print_json(self);
        } else {
            print_text(&table(&self.rows));
        }
    }
}

impl Row {
    /// A measured value with an upper bound.
    pub(crate) fn at_most(name: &str, value: f64, unit: &'static str, target: Option<f64>) -> Self {
        Self {
            name: name.to_owned(),
            value: Some(value),
            unit,
            target,
            at_least: false,
            peer: None,
            ratio: None,
            ok: target.is_none_or(|target| value <= target),
            note: String::new(),
            figures: None,
        }
    }

    /// A measured value with a lower bound.
    pub(crate) fn at_least(
        name: &str,
        value: f64,
        unit: &'static str,
        target: Option<f64>,
    ) -> Self {
        Self {
            at_least: true,
            ok: target.is_none_or(|target| value >= target),
            ..Self::at_most(name, value, unit, target)
        }
    }

    /// A step that passed or did not, with the seconds that it took.
    pub(crate) fn step(name: &str, seconds: f64, outcome: Result<String, String>) -> Self {
        let ok = outcome.is_ok();
        Self {
            ok,
            note: outcome.unwrap_or_else(|why| why),
            ..Self::at_most(name, seconds, "s", None)
        }
    }

    /// The same row with a line for people.
    pub(crate) fn noted(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }
}

/// The rows as text columns.
pub(crate) fn table(rows: &[Row]) -> String {
    let cells: Vec<[String; 5]> = rows
        .iter()
        .map(|row| {
            let number = |value: Option<f64>| match value {
                Some(value) => format!("{} {}", number(value), row.unit),
                None => String::new(),
            };
            [
                (if row.ok { "ok" } else { "MISS" }).to_owned(),
                row.name.clone(),
                number(row.value),
                row.target.map_or(String::new(), |t| {
                    format!(
                        "{} {}",
                        if row.at_least { ">=" } else { "<=" },
                        number(Some(t))
                    )
                }),
                row.note.clone(),
            ]
        })
        .collect();
    let width = |column: usize| {
        let lengths = cells.iter().map(|cell| cell[column].chars().count());
        lengths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..4).map(width).collect();
    let mut text = String::new();
    for cell in &cells {
        let line = format!(
            "{:<w0$}  {:<w1$}  {:>w2$}  {:<w3$}  {}",
            cell[0],
            cell[1],
            cell[2],
            cell[3],
            cell[4],
            w0 = widths[0],
            w1 = widths[1],
            w2 = widths[2],
            w3 = widths[3],
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A number with as many decimals as people read.
pub(crate) fn number(value: f64) -> String {
    if value.fract() == 0.0 || value >= 1_000.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Prints text on stdout.
pub(crate) fn print_text(text: &str) {
    // A reader that has closed the pipe wants no more; there is nobody to tell.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Tells people, on stderr, what is being done.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints an error, with its causes and its hint.
pub(crate) fn print_error(json: bool, error: &anyhow::Error) {
    let usage = error.downcast_ref::<Usage>();
    let message = format!("{error:#}");
    if json {
        print_json(&serde_json::json!({"error": {
            "code": if usage.is_some() { "usage" } else { "xtask_failed" },
            "message": message,
            "hint": usage.map(Usage::hint),
        }}));
        return;
    }
    say(&format!("error: {message}"));
    if let Some(usage) = usage {
        say(&format!("hint: {}", usage.hint()));
    }
}

fn print_json(document: &impl Serialize) {
    match serde_json::to_string(document) {
        Ok(text) => print_text(&format!("{text}\n")),
        Err(error) => say(&format!("error: failed to write JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_over_its_target_stays_and_fails_the_report() {
        let report = Report::of(vec![
            Row::at_most("small", 1.0, "MB", Some(2.0)),
            Row::at_most("large", 61.25, "MB", Some(60.0)).noted("too much"),
            Row::at_most("free", 9.0, "MB", None),
        ]);
        assert!(!report.ok);
        assert_eq!(
            table(&report.rows),
            "ok    small     1 MB  <= 2 MB\n\
             MISS  large  61.2 MB  <= 60 MB  too much\n\
             ok    free      9 MB\n"
        );
    }

    #[test]
    fn the_document_has_every_key() {
        let row = serde_json::to_value(Row::step("tidy", 0.5, Err("3 findings".into()))).unwrap();
        let keys: Vec<&str> = row
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            keys,
            [
                "name", "value", "unit", "target", "peer", "ratio", "ok", "note"
            ]
        );
        assert_eq!(row["ok"], false);
    }
}
