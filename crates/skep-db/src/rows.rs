//! Many rows as the parameter of one statement.
//!
//! A statement says `/*rows*/` where the rows stand, which is where a query could:
//! `WITH r (name, sum) AS (/*rows*/) INSERT INTO account (name, sum) SELECT name, sum FROM r`.
//! PostgreSQL gets one array for each column, so that neither the text nor the number of parameters
//! grows with the rows; SQLite gets `VALUES`, in a few sizes, so that its statements stay prepared.
//! One row is `VALUES` on both: of an array PostgreSQL expects ten, and would plan the statement
//! anew each time because it could do better for one.

use crate::value::Value;
use std::fmt::Write as _;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// BIGINT / INTEGER.
    Int,
    /// TEXT.
    Text,
    /// BYTEA / BLOB.
    Bytes,
}

/// Rows of a fixed number of columns, of which any value may be NULL.
#[derive(Debug, Clone)]
pub struct Rows {
    kinds: &'static [Kind],
    values: Vec<Value>,
}

/// How PostgreSQL gets rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As the values of one.
    One,
    /// As arrays.
    Many,
}

/// Where the rows stand in a statement.
pub(crate) const MARK: &str = "/*rows*/";
/// The most rows that SQLite gets in one statement: with 30 columns far below the 32,766 parameters
/// that it takes.
const SQLITE_MAX: usize = 256;
/// The numbers of rows of which SQLite has a statement of its own, beside every one up to
/// [`SQLITE_EXACT`], the greatest first.
const SQLITE_SIZES: [usize; 3] = [SQLITE_MAX, 64, 16];
const SQLITE_EXACT: usize = 8;
/// The most rows that PostgreSQL gets in one statement: bounds what one message holds.
const POSTGRES_MAX: usize = 1_024;

impl Rows {
    /// Rows with a column for each of `kinds`.
    pub fn new<const COLUMNS: usize>(
        kinds: &'static [Kind; COLUMNS],
        rows: impl IntoIterator<Item = [Value; COLUMNS]>,
    ) -> Self {
        Self {
            kinds,
            values: rows.into_iter().flatten().collect(),
        }
    }

    /// How many rows.
    pub const fn len(&self) -> usize {
        self.values.len() / self.kinds.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The rows in pieces for SQLite: the values of each with how many rows they are.
    pub(crate) fn for_sqlite(&self) -> impl Iterator<Item = (usize, &[Value])> {
        let mut rest = self.values.as_slice();
        std::iter::from_fn(move || {
            let left = rest.len() / self.kinds.len();
            let count = match left {
                0 => return None,
                1..=SQLITE_EXACT => left,
                left => SQLITE_SIZES
                    .into_iter()
                    .find(|size| *size <= left)
                    .unwrap_or(SQLITE_EXACT),
            };
            let (piece, after) = rest.split_at(count * self.kinds.len());
            rest = after;
            Some((count, piece))
        })
    }

    /// The values of the row, if there is exactly one.
    pub(crate) fn one(&self) -> Option<&[Value]> {
        (self.len() == 1).then_some(&self.values)
    }

    /// How many pieces [`Rows::for_postgres`] are.
    pub(crate) const fn postgres_pieces(&self) -> usize {
        self.len().div_ceil(POSTGRES_MAX)
    }

    /// The rows in pieces for PostgreSQL, each by its columns.
    pub(crate) fn for_postgres(&self) -> impl Iterator<Item = Vec<Column<'_>>> {
        let pieces = self.values.chunks(POSTGRES_MAX * self.kinds.len());
        pieces.map(|piece| {
            let column = |(place, kind): (usize, &Kind)| {
                let values = piece.iter().skip(place).step_by(self.kinds.len());
                Column {
                    kind: *kind,
                    values: values.collect(),
                }
            };
            self.kinds.iter().enumerate().map(column).collect()
        })
    }

    /// `sql` with `count` rows, for SQLite.
    pub(crate) fn sqlite_text(&self, sql: &str, count: usize) -> String {
        let mut values = String::with_capacity(count * self.kinds.len() * 6);
        let mut number = 0;
        for row in 0..count {
            values.push_str(if row == 0 { "VALUES (" } else { ", (" });
            for column in 0..self.kinds.len() {
                number += 1;
                let comma = if column == 0 { "" } else { ", " };
                // Writing to a String cannot fail.
                let _ = write!(values, "{comma}?{number}");
            }
            values.push(')');
        }
        sql.replacen(MARK, &values, 1)
    }

    /// `sql` with one row or with any number of them, for PostgreSQL.
    pub(crate) fn postgres_text(&self, sql: &str, form: Form) -> String {
        let (before, array, after) = match form {
            Form::One => ("VALUES (", "", ")"),
            Form::Many => ("SELECT * FROM unnest(", "[]", ")"),
        };
        let columns: Vec<String> = (1..)
            .zip(self.kinds)
            .map(|(number, kind)| format!("CAST(?{number} AS {}{array})", kind.postgres_name()))
            .collect();
        let rows = format!("{before}{}{after}", columns.join(", "));
        sql.replacen(MARK, &rows, 1)
    }
}

impl Kind {
    const fn postgres_name(self) -> &'static str {
        match self {
            Self::Int => "BIGINT",
            Self::Text => "TEXT",
            Self::Bytes => "BYTEA",
        }
    }
}

/// One column of some rows.
#[derive(Debug)]
pub(crate) struct Column<'v> {
    pub(crate) kind: Kind,
    pub(crate) values: Vec<&'v Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: &[Kind; 2] = &[Kind::Text, Kind::Int];

    fn made(count: i64) -> Rows {
        Rows::new(KINDS, (0..count).map(|n| [Value::Null, n.into()]))
    }

    #[test]
    fn each_engine_has_its_own_text() {
        let sql = "WITH r (a, b) AS (/*rows*/) INSERT INTO t (a, b) SELECT a, b FROM r";
        assert_eq!(
            made(2).sqlite_text(sql, 2),
            "WITH r (a, b) AS (VALUES (?1, ?2), (?3, ?4)) INSERT INTO t (a, b) SELECT a, b FROM r"
        );
        assert_eq!(
            made(2).postgres_text(sql, Form::Many),
            "WITH r (a, b) AS (SELECT * FROM unnest(CAST(?1 AS TEXT[]), CAST(?2 AS BIGINT[]))) \
             INSERT INTO t (a, b) SELECT a, b FROM r"
        );
        assert_eq!(
            made(1).postgres_text(sql, Form::One),
            "WITH r (a, b) AS (VALUES (CAST(?1 AS TEXT), CAST(?2 AS BIGINT))) \
             INSERT INTO t (a, b) SELECT a, b FROM r"
        );
    }

    #[test]
    fn pieces_are_of_few_sizes_and_lose_nothing() {
        for (count, expected) in [
            (0, vec![]),
            (7, vec![7]),
            (9, vec![8, 1]),
            (85, vec![64, 16, 5]),
            (600, vec![256, 256, 64, 16, 8]),
        ] {
            let rows = made(count);
            let sizes: Vec<usize> = rows.for_sqlite().map(|(count, _)| count).collect();
            assert_eq!(sizes, expected);
            let kept: Vec<Value> = rows.for_sqlite().flat_map(|(_, v)| v.to_vec()).collect();
            assert_eq!(kept, rows.values);
        }
        let rows = made(1_500);
        let columns: Vec<_> = rows.for_postgres().collect();
        let lengths: Vec<usize> = columns.iter().map(|piece| piece[1].values.len()).collect();
        assert_eq!(lengths, [1_024, 476]);
        assert_eq!(columns[1][1].values[0], &Value::Int(1_024));
    }
}
