//! Tables for people: columns of plain text, never wider than the output.
//!
//! Invariant: a line is as wide as the output at most; the one flexible column gives way.

use crate::output::{Printer, Tone, cut, one_line, width, without_controls};

/// No column that is shown gets narrower than this when others have to fit too, in columns.
const NARROWEST: usize = 6;
/// The space between two columns.
const GAP: &str = "  ";

/// How a column is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
    /// Words that may be cut when the line is too long. One column of a table at most.
    Flexible,
}

/// A cell: what it says, and in which tone.
#[derive(Debug, Clone)]
pub(crate) struct Cell(String, Tone);

impl Cell {
    /// A cell in a tone.
    pub(crate) fn toned(text: &str, tone: Tone) -> Self {
        Self(one_line(text), tone)
    }

    /// A cell that was laid out: its spaces are kept.
    pub(crate) fn drawn(text: &str) -> Self {
        Self(without_controls(text), Tone::Plain)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self(one_line(&text), Tone::Plain)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self(one_line(text), Tone::Plain)
    }
}

/// A table that is being filled.
#[derive(Debug)]
pub(crate) struct Table<'n> {
    columns: Vec<(&'n str, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl<'n> Table<'n> {
    /// An empty table of these columns.
    pub(crate) fn new(columns: &[(&'n str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; a missing cell is empty.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table's lines, `columns` wide at most.
    pub(crate) fn lines(&self, printer: &Printer, columns: usize) -> Vec<String> {
        self.set(printer, &self.widths(columns))
    }

    /// The table's lines, `columns` wide at most, whatever the columns are: the widest gives way
    /// first, and the last that have no room left at all are not shown. The second answer is how
    /// many those are.
    pub(crate) fn fitted(&self, printer: &Printer, columns: usize) -> (Vec<String>, usize) {
        let natural = self.natural_widths();
        let mut widths: Vec<usize> = natural.iter().map(|width| *width.min(&columns)).collect();
        loop {
            let shown = widths.iter().filter(|width| **width > 0).count();
            let gaps = GAP.len() * shown.saturating_sub(1);
            let over = (widths.iter().sum::<usize>() + gaps).saturating_sub(columns);
            let widest = widths.iter().copied().max().unwrap_or(0);
            if over == 0 || widest == 0 {
                return (self.set(printer, &widths), widths.len() - shown);
            }
            if widest <= NARROWEST {
                if let Some(last) = widths.iter_mut().rfind(|width| **width > 0) {
                    *last = 0;
                }
                continue;
            }
            if let Some(width) = widths.iter_mut().find(|width| **width == widest) {
                *width -= 1;
            }
        }
    }

    fn set(&self, printer: &Printer, widths: &[usize]) -> Vec<String> {
        let headings: Vec<Cell> = self
            .columns
            .iter()
            .map(|(name, _)| Cell::toned(name, Tone::Quiet))
            .collect();
        std::iter::once(&headings)
            .chain(&self.rows)
            .map(|row| self.line(printer, row, widths))
            .collect()
    }

    fn natural_widths(&self) -> Vec<usize> {
        self.columns
            .iter()
            .enumerate()
            .map(|(place, (name, _))| {
                let cells = self.rows.iter().filter_map(|row| row.get(place));
                cells
                    .map(|cell| width(&cell.0))
                    .chain([width(name)])
                    .max()
                    .unwrap_or(0)
            })
            .collect()
    }

    fn widths(&self, columns: usize) -> Vec<usize> {
        let mut widths = self.natural_widths();
        let gaps = GAP.len() * self.columns.len().saturating_sub(1);
        let whole = widths.iter().sum::<usize>() + gaps;
        let flexible = self
            .columns
            .iter()
            .position(|(_, align)| *align == Align::Flexible);
        if let Some(place) = flexible {
            widths[place] = widths[place]
                .saturating_sub(whole.saturating_sub(columns))
                .max(1);
        }
        widths
    }

    fn line(&self, printer: &Printer, row: &[Cell], widths: &[usize]) -> String {
        let cells = self.columns.iter().zip(widths).enumerate();
        let cells: Vec<String> = cells
            .filter(|(_, (_, columns))| **columns > 0)
            .map(|(place, ((_, align), columns))| {
                let (text, tone) = row.get(place).map_or((String::new(), Tone::Plain), |cell| {
                    (cut(&cell.0, *columns), cell.1)
                });
                let padding = " ".repeat(columns.saturating_sub(width(&text)));
                let text = printer.painted(&text, tone);
                match align {
                    Align::Right => format!("{padding}{text}"),
                    Align::Left | Align::Flexible => format!("{text}{padding}"),
                }
            })
            .collect();
        cells.join(GAP).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::COLUMNS_MAX;

    fn printer() -> Printer {
        use clap::Parser as _;
        let cli = crate::cli::Cli::parse_from(["skep", "--no-color", "doctor"]);
        Printer::new(&cli.global, crate::output::KnownSecrets::default())
    }

    #[test]
    fn the_flexible_column_gives_way_and_the_others_do_not() {
        let mut table = Table::new(&[
            ("JOB", Align::Right),
            ("STATE", Align::Left),
            ("TASK", Align::Flexible),
            ("COST", Align::Right),
        ]);
        table.row(vec![
            "7".into(),
            "waiting_children".into(),
            "word ".repeat(80).into(),
            "$0.123456".into(),
        ]);
        table.row(vec![
            "1234567".into(),
            "done".into(),
            "日本語".repeat(60).into(),
            "$1.00".into(),
        ]);
        let lines = table.lines(&printer(), COLUMNS_MAX);
        for line in &lines {
            assert!(
                width(line) <= COLUMNS_MAX,
                "{} columns: {line}",
                width(line)
            );
        }
        assert!(lines[1].contains("waiting_children") && lines[1].ends_with("$0.123456"));
        assert!(lines[2].starts_with("1234567  done"), "{}", lines[2]);
    }

    #[test]
    fn any_table_can_be_made_to_fit() {
        let names: Vec<String> = (0..30).map(|i| format!("column_{i}")).collect();
        for count in [1, 2, 5, 12, 30] {
            let columns: Vec<_> = names[..count]
                .iter()
                .map(|n| (n.as_str(), Align::Left))
                .collect();
            let mut table = Table::new(&columns);
            table.row(
                (0..count)
                    .map(|i| "word ".repeat(i * 7 + 1).into())
                    .collect(),
            );
            let (lines, hidden) = table.fitted(&printer(), COLUMNS_MAX);
            assert_eq!(hidden > 0, count == 30, "{count}");
            for line in lines {
                assert!(width(&line) <= COLUMNS_MAX, "{count}: {line}");
                assert!(
                    width(&line) >= COLUMNS_MAX / 2 || count < 5,
                    "{count}: {line}"
                );
            }
        }
        let mut table = Table::new(&[("N", Align::Right), ("WORDS", Align::Left)]);
        table.row(vec!["1".into(), "long ".repeat(50).into()]);
        let (lines, hidden) = table.fitted(&printer(), 20);
        assert_eq!(hidden, 0);
        assert_eq!(lines, ["N  WORDS", "1  long long long l…"]);
    }

    #[test]
    fn a_short_table_is_as_narrow_as_its_words_and_one_line_a_row() {
        let mut table = Table::new(&[("NAME", Align::Left), ("FOUND", Align::Flexible)]);
        table.row(vec!["git".into(), "two\nlines\x1b[31m".into()]);
        assert_eq!(
            table.lines(&printer(), COLUMNS_MAX),
            ["NAME  FOUND", "git   two lines\u{fffd}[31m"]
        );
    }
}
