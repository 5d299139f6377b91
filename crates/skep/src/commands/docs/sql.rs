//! `docs/reference/sql.md`: every table, view and column, from the schema itself.

use super::columns::about;
use crate::failure::Failure;
use crate::store::SCHEMA;
use skep_db::{Catalogue, Column, ColumnKind};
use std::fmt::Write as _;
use std::path::Path;

/// Where each table has its line.
const MAP: &str = "ARCHITECTURE.md";
/// What both engines' schemas look like as they are committed.
const POSTGRES: &str = "schema/postgres.sql";

const HEAD: &str = "\
# Tables and views

Everything that Skep knows lies in these tables, on SQLite and on PostgreSQL alike. They are for
reading: `skep data query \"SELECT ...\"` asks on a read-only connection, and `--json` prints a line
for each row. Views and the columns listed here keep their names within a major version; what is
written into the tables by anybody but Skep breaks its promises.
[Ask the database](../howto/ask-the-database.md) has examples.

Integers are 64-bit; truth values are 0 and 1; times are milliseconds since 1970, UTC; money is in
millionths of a US dollar. `integer` is INTEGER on SQLite and BIGINT on PostgreSQL, `bytes` is BLOB
and BYTEA, `real` is REAL and DOUBLE PRECISION. A column is marked `key` if it is part of the
primary key. The tier says how private the rows are at most.
";

/// The page; `root` is the repository's.
pub(super) fn reference(root: &Path) -> Result<String, Failure> {
    let read = |path: &str| {
        std::fs::read_to_string(root.join(path)).map_err(|error| {
            Failure::usage(
                "root_not_found",
                format!("{path} cannot be read: {error}"),
                "call it in Skep's repository, or name it with `--root`",
            )
        })
    };
    let (map, postgres) = (read(MAP)?, read(POSTGRES)?);
    let catalogue = Catalogue::of(&SCHEMA).map_err(|error| {
        let message = format!("failed to {}", crate::failure::with_causes(&error));
        Failure::usage(error.code(), message, error.hint())
    })?;
    let mut text = HEAD.to_owned();
    for (view, columns) in catalogue.views() {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n## `{view}` (view)\n\n| Column | Holds |\n|---|---|\n"
        );
        for column in columns {
            let line = about(view.trim_end_matches("_all"), column);
            let _ = writeln!(text, "| `{column}` | {line} |");
        }
    }
    register(&mut text, &map);
    for part in &SCHEMA {
        for table in part.tables {
            let (name, tier) = (table.name, table.tier);
            let _ = write!(text, "\n## `{name}`\n\n");
            let _ = writeln!(
                text,
                "{}. Owner `{}`, tier {tier}.\n",
                holds(&map, name),
                part.owner
            );
            match catalogue.shape(name) {
                Some(shape) => {
                    let is_key = |column: &Column| shape.key.contains(&column.name);
                    rows(
                        &mut text,
                        name,
                        shape.columns.iter().map(|c| (c.clone(), is_key(c))),
                    );
                }
                None => {
                    text.push_str("Only on PostgreSQL.\n\n");
                    rows(&mut text, name, of_postgres(&postgres, name).into_iter());
                }
            }
        }
    }
    Ok(text)
}

/// The register of steps is there before any part is.
fn register(text: &mut String, map: &str) {
    use ColumnKind::{Integer, Text};
    let name = "schema_step";
    // Writing to a String cannot fail.
    let _ = write!(text, "\n## `{name}`\n\n");
    let _ = writeln!(
        text,
        "{}. Owner `skep-db`, tier convenience.\n",
        holds(map, name)
    );
    let columns = [
        ("applied_at", Integer, false),
        ("checksum", Text, false),
        ("intent", Text, false),
        ("owner", Text, true),
        ("version", Integer, true),
    ];
    let columns = columns.map(|(name, kind, is_key)| {
        let name = name.to_owned();
        (Column { name, kind }, is_key)
    });
    rows(text, name, columns.into_iter());
}

fn rows(text: &mut String, table: &str, columns: impl Iterator<Item = (Column, bool)>) {
    text.push_str("| Column | Type | Holds |\n|---|---|---|\n");
    for (column, is_key) in columns {
        let kind = match column.kind {
            ColumnKind::Integer => "integer",
            ColumnKind::Real => "real",
            ColumnKind::Text => "text",
            ColumnKind::Bytes => "bytes",
        };
        let key = if is_key { ", key" } else { "" };
        let line = about(table, &column.name);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{}` | {kind}{key} | {line} |", column.name);
    }
}

/// What the map says a table holds.
fn holds(map: &str, table: &str) -> String {
    let head = format!("| `{table}` |");
    let row = map.lines().find_map(|line| line.strip_prefix(&head));
    let holds = row.and_then(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    let holds = holds.unwrap_or_default();
    let mut letters = holds.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// The columns of a table in the committed schema of PostgreSQL, by name.
fn of_postgres(schema: &str, table: &str) -> Vec<(Column, bool)> {
    let begins = |line: &str| {
        let name = line.strip_prefix("CREATE TABLE").map(str::trim_start);
        name.and_then(|name| name.strip_suffix(" (")) == Some(table)
    };
    let lines = schema.lines().skip_while(|line| !begins(line)).skip(1);
    let body: Vec<&str> = lines.take_while(|line| !line.starts_with(')')).collect();
    let key = body
        .iter()
        .find_map(|line| line.split_once("PRIMARY KEY ("));
    let key = key.map_or("", |(_, columns)| columns);
    let mut columns: Vec<(Column, bool)> = body
        .iter()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?.to_owned();
            let kind = match words.next()?.trim_end_matches(',') {
                "bigint" => ColumnKind::Integer,
                "double" => ColumnKind::Real,
                "text" => ColumnKind::Text,
                "bytea" => ColumnKind::Bytes,
                _ => return None,
            };
            let is_key = key.split([',', ')', ' ']).any(|part| part == name);
            Some((Column { name, kind }, is_key))
        })
        .collect();
    columns.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_postgres_is_read_from_its_schema() {
        let schema = "CREATE TABLE waiting (\n    event_id bigint NOT NULL,\n    what text,\n    \
            CONSTRAINT waiting_pkey PRIMARY KEY (event_id)\n);\n";
        let columns = of_postgres(schema, "waiting");
        let shown: Vec<_> = columns
            .iter()
            .map(|(c, key)| (c.name.as_str(), c.kind, *key))
            .collect();
        assert_eq!(
            shown,
            [
                ("event_id", ColumnKind::Integer, true),
                ("what", ColumnKind::Text, false)
            ]
        );
        assert!(of_postgres(schema, "other").is_empty());
    }

    #[test]
    fn the_map_says_what_a_table_holds() {
        let map = "| `job` | `skep-queue` | sensitive | jobs that have not ended |\n";
        assert_eq!(holds(map, "job"), "Jobs that have not ended");
        assert_eq!(holds(map, "jobs"), "");
    }
}
