//! What one statement is given: values, [`Rows`], or values and a [`List`].

use crate::rows::{Column, List, Rows};
use crate::value::Value;

/// What stands for the parameters of a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Given<'g> {
    Values(&'g [Value]),
    Rows(&'g Rows),
    /// The list's values follow the others.
    List(&'g [Value], &'g List),
}

/// The same, kept until the statement is sent.
#[derive(Debug)]
pub(crate) enum Kept {
    Values(Vec<Value>),
    Rows(Rows),
    List(Vec<Value>, List),
}

/// What one statement on PostgreSQL gets: the parts follow each other as its parameters.
#[derive(Debug, Default)]
pub(crate) struct Piece<'g> {
    pub(crate) values: &'g [Value],
    pub(crate) few: &'g [Value],
    pub(crate) arrays: Vec<Column<'g>>,
}

impl<'g> Given<'g> {
    /// How many statements it takes on this engine.
    pub(crate) fn sqlite_pieces(self) -> usize {
        match self {
            Self::Values(_) => 1,
            Self::Rows(rows) => rows.for_sqlite().count(),
            Self::List(_, list) => list.for_sqlite().count(),
        }
    }

    /// How many statements it takes on this engine.
    pub(crate) const fn postgres_pieces(self) -> usize {
        match self {
            Self::Values(_) => 1,
            Self::Rows(rows) => rows.postgres_pieces(),
            Self::List(_, list) => list.postgres_pieces(),
        }
    }

    /// What each of these statements gets on PostgreSQL.
    pub(crate) fn for_postgres(self) -> Vec<Piece<'g>> {
        let arrays = |arrays| Piece {
            arrays,
            ..Piece::default()
        };
        match self {
            Self::Values(values) => vec![Piece {
                values,
                ..Piece::default()
            }],
            Self::Rows(rows) => match rows.few() {
                Some((_, few)) => vec![Piece {
                    few,
                    ..Piece::default()
                }],
                None => rows.for_postgres().map(arrays).collect(),
            },
            Self::List(values, list) => match list.few() {
                Some(few) => vec![Piece {
                    values,
                    few,
                    ..Piece::default()
                }],
                None => list
                    .for_postgres()
                    .map(|column| Piece {
                        values,
                        ..arrays(vec![column])
                    })
                    .collect(),
            },
        }
    }

    /// A copy that outlives the caller's.
    pub(crate) fn kept(self) -> Kept {
        match self {
            Self::Values(values) => Kept::Values(values.to_vec()),
            Self::Rows(rows) => Kept::Rows(rows.clone()),
            Self::List(values, list) => Kept::List(values.to_vec(), list.clone()),
        }
    }
}

impl Kept {
    pub(crate) fn given(&self) -> Given<'_> {
        match self {
            Self::Values(values) => Given::Values(values),
            Self::Rows(rows) => Given::Rows(rows),
            Self::List(values, list) => Given::List(values, list),
        }
    }
}
