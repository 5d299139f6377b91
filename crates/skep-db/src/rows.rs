//! Many rows, or many values to compare with, as the parameter of one statement.
//!
//! A statement says `/*rows*/` where the rows stand, which is where a query could:
//! `WITH r (name, sum) AS (/*rows*/) INSERT INTO account (name, sum) SELECT name, sum FROM r`.
//! SQLite gets `VALUES` in a few sizes, so that its statements stay prepared. PostgreSQL gets one
//! array for each column, so that neither the text nor the number of parameters grows with the rows;
//! but a few rows are `VALUES` there too: of an array it expects ten, and it would plan the statement
//! anew each time because it could do better for fewer.
//!
//! A statement says `/*in list*/` after what is to be among some values: `WHERE name /*in list*/`.

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

/// Values that something is to be among; none is NULL.
#[derive(Debug, Clone)]
pub struct List {
    kind: Kind,
    values: Vec<Value>,
}

/// Where the rows stand in a statement, and where a list does.
const MARK: &str = "/*rows*/";
const LIST_MARK: &str = "/*in list*/";
/// The most rows that SQLite gets in one statement: with 30 columns far below the 32,766 parameters
/// that it takes.
const SQLITE_MAX: usize = 256;
/// The numbers of rows of which SQLite has a statement of its own, beside every one up to
/// [`EXACT`], the greatest first.
const SQLITE_SIZES: [usize; 3] = [SQLITE_MAX, 64, 16];
/// Up to here every number of rows has a statement of its own. Fewer than the ten that PostgreSQL
/// expects of an array.
const EXACT: usize = 8;
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
            let count = sqlite_size(rest.len() / self.kinds.len())?;
            let (piece, after) = rest.split_at(count * self.kinds.len());
            rest = after;
            Some((count, piece))
        })
    }

    /// The values and the number of the rows, if they are few.
    pub(crate) fn few(&self) -> Option<(usize, &[Value])> {
        let count = self.len();
        (1..=EXACT)
            .contains(&count)
            .then_some((count, &self.values))
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

    /// `sql` with a few rows, or any number of them in arrays, for PostgreSQL.
    pub(crate) fn postgres_text(&self, sql: &str) -> String {
        let array = |(number, kind): (usize, &Kind)| {
            format!("CAST(?{number} AS {}[])", kind.postgres_name())
        };
        let rows = match self.few() {
            Some((count, _)) => self.postgres_values(count),
            None => {
                let arrays: Vec<String> = (1..).zip(self.kinds).map(array).collect();
                format!("SELECT * FROM unnest({})", arrays.join(", "))
            }
        };
        sql.replacen(MARK, &rows, 1)
    }

    fn postgres_values(&self, count: usize) -> String {
        let mut values = "VALUES (".to_owned();
        for (place, kind) in self
            .kinds
            .iter()
            .cycle()
            .take(count * self.kinds.len())
            .enumerate()
        {
            values.push_str(match (place, place % self.kinds.len()) {
                (0, _) => "",
                (_, 0) => "), (",
                _ => ", ",
            });
            // Writing to a String cannot fail.
            let _ = write!(values, "CAST(?{} AS {})", place + 1, kind.postgres_name());
        }
        values.push(')');
        values
    }
}

impl List {
    /// Integers.
    pub fn of_ints(ints: impl IntoIterator<Item = i64>) -> Self {
        Self {
            kind: Kind::Int,
            values: ints.into_iter().map(Value::Int).collect(),
        }
    }

    /// Texts.
    pub fn of_texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        Self {
            kind: Kind::Text,
            values: texts.into_iter().map(Value::from).collect(),
        }
    }

    /// The values, if they are few.
    pub(crate) fn few(&self) -> Option<&[Value]> {
        (1..=EXACT)
            .contains(&self.values.len())
            .then_some(&self.values)
    }

    /// The values in pieces for SQLite, in the sizes of rows.
    pub(crate) fn for_sqlite(&self) -> impl Iterator<Item = &[Value]> {
        let mut rest = self.values.as_slice();
        std::iter::from_fn(move || {
            let (piece, after) = rest.split_at(sqlite_size(rest.len())?);
            rest = after;
            Some(piece)
        })
    }

    /// The values in pieces for PostgreSQL.
    pub(crate) fn for_postgres(&self) -> impl Iterator<Item = Column<'_>> {
        self.values.chunks(POSTGRES_MAX).map(|piece| Column {
            kind: self.kind,
            values: piece.iter().collect(),
        })
    }

    /// How many pieces [`List::for_postgres`] are.
    pub(crate) const fn postgres_pieces(&self) -> usize {
        self.values.len().div_ceil(POSTGRES_MAX)
    }

    /// `sql` with `count` values behind `before` parameters.
    pub(crate) fn values_text(sql: &str, before: usize, count: usize) -> String {
        let mut list = String::with_capacity(count * 6 + 4);
        for number in before + 1..=before + count {
            let opening = if number == before + 1 { "IN (" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(list, "{opening}?{number}");
        }
        list.push(')');
        sql.replacen(LIST_MARK, &list, 1)
    }

    /// `sql` with a few values, or any number of them in an array, behind `before` parameters, for
    /// PostgreSQL.
    pub(crate) fn postgres_text(&self, sql: &str, before: usize) -> String {
        if let Some(few) = self.few() {
            return Self::values_text(sql, before, few.len());
        }
        let (number, name) = (before + 1, self.kind.postgres_name());
        sql.replacen(LIST_MARK, &format!("= ANY(CAST(?{number} AS {name}[]))"), 1)
    }
}

/// How many of `left` rows SQLite gets next.
fn sqlite_size(left: usize) -> Option<usize> {
    match left {
        0 => None,
        1..=EXACT => Some(left),
        left => SQLITE_SIZES
            .into_iter()
            .find(|size| *size <= left)
            .or(Some(EXACT)),
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
            made(9).postgres_text(sql),
            "WITH r (a, b) AS (SELECT * FROM unnest(CAST(?1 AS TEXT[]), CAST(?2 AS BIGINT[]))) \
             INSERT INTO t (a, b) SELECT a, b FROM r"
        );
        assert_eq!(
            made(2).postgres_text("/*rows*/"),
            "VALUES (CAST(?1 AS TEXT), CAST(?2 AS BIGINT)), (CAST(?3 AS TEXT), CAST(?4 AS BIGINT))"
        );
    }

    #[test]
    fn a_list_stands_behind_the_other_parameters() {
        let sql = "UPDATE t SET a = ?1 WHERE b /*in list*/ AND c = ?2";
        assert_eq!(
            List::values_text(sql, 2, 3),
            "UPDATE t SET a = ?1 WHERE b IN (?3, ?4, ?5) AND c = ?2"
        );
        let list = List::of_texts(["x", "y"]);
        assert_eq!(
            list.postgres_text(sql, 2),
            "UPDATE t SET a = ?1 WHERE b IN (?3, ?4) AND c = ?2"
        );
        let list = List::of_texts(["x"; 9]);
        assert_eq!(
            list.postgres_text(sql, 2),
            "UPDATE t SET a = ?1 WHERE b = ANY(CAST(?3 AS TEXT[])) AND c = ?2"
        );
        let list = List::of_ints(0..1_040);
        let sizes: Vec<usize> = list.for_sqlite().map(<[Value]>::len).collect();
        assert_eq!(sizes, [256, 256, 256, 256, 16]);
        assert_eq!(list.for_postgres().count(), list.postgres_pieces());
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
