//! What tables there are and what they are made of, as the engine itself says.
//!
//! What a fresh store holds, which table refers to which, and which tables both engines have is
//! read off a store in memory that the steps make anew.

use super::error::ArchiveError;
use crate::migrate::apply_sqlite;
use crate::sqlite::Session;
use crate::{DbError, Engine, Row, SchemaPart, Tx, Value, params};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a column holds, in the words that both engines share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// INTEGER, BIGINT.
    Integer,
    /// REAL, DOUBLE PRECISION.
    Real,
    /// TEXT.
    Text,
    /// BLOB, BYTEA.
    Bytes,
}

impl ColumnKind {
    fn of(engine_word: &str) -> Option<Self> {
        Some(match engine_word.to_ascii_lowercase().as_str() {
            "integer" | "bigint" | "int" => Self::Integer,
            "real" | "double precision" => Self::Real,
            "text" => Self::Text,
            "blob" | "bytea" => Self::Bytes,
            _ => return None,
        })
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
}

/// One table as an engine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableShape {
    /// Its name.
    pub name: String,
    /// Its columns, by name.
    pub columns: Vec<Column>,
    /// The columns of its primary key, in the key's order.
    pub key: Vec<String>,
    /// The column that counts by itself, if one does.
    pub counter: Option<String>,
}

impl TableShape {
    /// The shape of `name` on the transaction's engine; `None` if there is no such table.
    pub async fn read(tx: &mut Tx<'_>, name: &str) -> Result<Option<Self>, ArchiveError> {
        let sql = match tx.engine() {
            Engine::Sqlite => COLUMNS_SQLITE,
            Engine::Postgres => COLUMNS_POSTGRES,
        };
        let rows = tx.query(sql, params![name]).await?;
        Self::from_rows(name, &rows)
    }

    fn from_rows(name: &str, rows: &[Row]) -> Result<Option<Self>, ArchiveError> {
        if rows.is_empty() {
            return Ok(None);
        }
        let (mut columns, mut key, mut counter) = (Vec::new(), Vec::new(), None);
        for row in rows {
            let column: String = row.get("name")?;
            let word: String = row.get("kind")?;
            let Some(kind) = ColumnKind::of(&word) else {
                return Err(ArchiveError::ColumnKind {
                    table: name.to_owned(),
                    column,
                    kind: word,
                });
            };
            let place: i64 = row.get("key_place")?;
            if place > 0 {
                key.push((place, column.clone()));
            }
            if row.get::<i64>("counts")? != 0 && (kind, place) == (ColumnKind::Integer, 1) {
                counter = Some(column.clone());
            }
            columns.push(Column { name: column, kind });
        }
        if key.is_empty() {
            return Err(ArchiveError::NoKey {
                table: name.to_owned(),
            });
        }
        key.sort();
        // The engines may have them in another order after a step that adds one.
        columns.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(Self {
            name: name.to_owned(),
            columns,
            key: key.into_iter().map(|(_, column)| column).collect(),
            counter,
        }))
    }

    /// The columns as a statement lists them.
    pub(super) fn column_list(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|c| quoted(&c.name)).collect();
        names.join(", ")
    }

    /// The key's columns, each with `after` behind it.
    pub(super) fn key_list(&self, after: &str) -> String {
        let names: Vec<String> = self
            .key
            .iter()
            .map(|name| format!("{}{after}", quoted(name)))
            .collect();
        names.join(", ")
    }

    /// The key's values in a row of this table.
    pub(super) fn key_values(&self, row: &[Value]) -> Vec<Value> {
        self.key
            .iter()
            .filter_map(|name| {
                let place = self
                    .columns
                    .iter()
                    .position(|column| column.name == *name)?;
                row.get(place).cloned()
            })
            .collect()
    }
}

/// Names come from the engine or were compared with its own; quoting keeps them words.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What the steps make, read off a store in memory.
#[derive(Debug)]
pub struct Catalogue {
    /// Every declared table, those that others refer to first.
    order: Vec<String>,
    /// Every table that SQLite has.
    shapes: BTreeMap<String, TableShape>,
    /// The rows that a fresh store holds, by table, in the order of their keys.
    seeds: BTreeMap<String, Vec<Vec<Value>>>,
    /// The views, with their columns.
    views: Vec<(String, Vec<String>)>,
}

impl Catalogue {
    /// Reads the schema that `parts` make.
    pub fn of(parts: &[SchemaPart]) -> Result<Self, ArchiveError> {
        let connection = rusqlite::Connection::open_in_memory()
            .map_err(|e| DbError::Unavailable(Box::new(e)))?;
        let session = Session::new(connection);
        apply_sqlite(&session, parts)?;
        let declared: Vec<&str> = parts
            .iter()
            .flat_map(|part| part.tables.iter().map(|table| table.name))
            .collect();
        let (mut shapes, mut seeds) = (BTreeMap::new(), BTreeMap::new());
        let mut refers: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for name in &declared {
            let rows = session.query(COLUMNS_SQLITE, params![*name])?;
            let Some(shape) = TableShape::from_rows(name, &rows)? else {
                continue;
            };
            let sql = format!(
                "SELECT {} FROM {} ORDER BY {}",
                shape.column_list(),
                quoted(name),
                shape.key_list("")
            );
            let rows = session.query(&sql, &[])?;
            if !rows.is_empty() {
                seeds.insert(
                    (*name).to_owned(),
                    rows.into_iter().map(|row| row.values).collect(),
                );
            }
            let rows = session.query(REFERENCES_SQLITE, params![*name])?;
            let others: Result<_, DbError> = rows.iter().map(|row| row.get("other")).collect();
            refers.insert(name, others?);
            shapes.insert((*name).to_owned(), shape);
        }
        Ok(Self {
            order: referred_first(&declared, &refers),
            shapes,
            seeds,
            views: views(&session)?,
        })
    }

    /// Every declared table, those that others refer to first.
    pub fn tables(&self) -> &[String] {
        &self.order
    }

    /// What SQLite makes of a table; `None` for one that only PostgreSQL has.
    pub fn shape(&self, table: &str) -> Option<&TableShape> {
        self.shapes.get(table)
    }

    /// The views and their columns.
    pub fn views(&self) -> &[(String, Vec<String>)] {
        &self.views
    }

    /// The rows that a fresh store holds.
    pub(super) fn seeds(&self, table: &str) -> &[Vec<Value>] {
        self.seeds.get(table).map_or(&[], Vec::as_slice)
    }
}

fn views(session: &Session) -> Result<Vec<(String, Vec<String>)>, DbError> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name";
    let mut views = Vec::new();
    for row in session.query(sql, &[])? {
        let name: String = row.get("name")?;
        let sql = "SELECT name FROM pragma_table_info(?1) ORDER BY cid";
        let columns: Result<_, DbError> = session
            .query(sql, params![&name])?
            .iter()
            .map(|row| row.get("name"))
            .collect();
        views.push((name, columns?));
    }
    Ok(views)
}

/// The declared order, changed only where a table refers to a later one.
fn referred_first(declared: &[&str], refers: &BTreeMap<&str, BTreeSet<String>>) -> Vec<String> {
    let mut order: Vec<String> = Vec::with_capacity(declared.len());
    while order.len() < declared.len() {
        let next = declared.iter().find(|name| {
            !order.iter().any(|done| done == *name)
                && refers.get(**name).is_none_or(|others| {
                    others
                        .iter()
                        .all(|other| other == *name || order.contains(other))
                })
        });
        // Tables that refer to each other in a ring keep their declared order.
        let next = next.or_else(|| {
            let mut rest = declared.iter();
            rest.find(|name| !order.iter().any(|done| done == *name))
        });
        match next {
            Some(name) => order.push((*name).to_owned()),
            None => break,
        }
    }
    order
}

const COLUMNS_SQLITE: &str = "SELECT c.name, c.type AS kind, c.pk AS key_place,
        (SELECT s.sql LIKE '%AUTOINCREMENT%' FROM sqlite_schema s
            WHERE s.type = 'table' AND s.name = ?1) AS counts
    FROM pragma_table_info(?1) c
    WHERE EXISTS (SELECT 1 FROM sqlite_schema s WHERE s.type = 'table' AND s.name = ?1)
    ORDER BY c.cid";

const REFERENCES_SQLITE: &str = "SELECT \"table\" AS other FROM pragma_foreign_key_list(?1)";

const COLUMNS_POSTGRES: &str = "SELECT a.attname AS name,
        format_type(a.atttypid, a.atttypmod) AS kind,
        COALESCE(CAST((SELECT k.place FROM pg_index i,
                unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
            WHERE i.indrelid = a.attrelid AND i.indisprimary AND k.attnum = a.attnum)
            AS BIGINT), 0) AS key_place,
        (a.attidentity <> '') AS counts
    FROM pg_attribute a
    WHERE a.attrelid = to_regclass(quote_ident(?1)) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_after_those_it_refers_to() {
        let refers = |pairs: &[(&'static str, &[&str])]| {
            pairs
                .iter()
                .map(|(name, others)| (*name, others.iter().map(|o| (*o).to_owned()).collect()))
                .collect::<BTreeMap<&str, BTreeSet<String>>>()
        };
        let check = |declared: &[&str], pairs: &[(&'static str, &[&str])], expected: &[&str]| {
            assert_eq!(referred_first(declared, &refers(pairs)), expected);
        };
        check(&["a", "b"], &[], &["a", "b"]);
        check(
            &["a", "b", "c"],
            &[("a", &["c"]), ("c", &["b"])],
            &["b", "c", "a"],
        );
        check(&["a", "b"], &[("a", &["a"])], &["a", "b"]);
        check(
            &["a", "b", "c"],
            &[("a", &["b"]), ("b", &["a"])],
            &["c", "a", "b"],
        );
    }
}
