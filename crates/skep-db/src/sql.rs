//! One SQL text for both engines.
//!
//! Statements number their parameters `?1…` and are rewritten once to `$1…` for PostgreSQL,
//! because SQLite numbers `$2, $1` by first appearance and would swap the values silently. Two
//! comments become row locks where rows can be locked: `/*lock*/` and `/*skip locked*/`. Two
//! more are where [`Rows`] and a [`List`] stand: `/*rows*/` and `/*in list*/`.

use crate::limits::STATEMENT_TEXTS_MAX;
use crate::rows::{List, Rows};
use crate::value::{ColumnNames, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Rewritten statements by their original text.
#[derive(Debug, Default)]
pub(crate) struct Rewriter {
    plain: Mutex<HashMap<String, Arc<Known>>>,
    over_rows: Mutex<Counted>,
    over_lists: Mutex<Counted>,
}

/// Statements by how many rows or values they have; 0 where these are in arrays.
type Counted = HashMap<String, HashMap<usize, Arc<Known>>>;

/// A statement in its PostgreSQL form.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) text: String,
    columns: OnceLock<ColumnNames>,
}

impl Known {
    fn new(sql: &str) -> Arc<Self> {
        Arc::new(Self {
            text: rewrite(sql),
            columns: OnceLock::new(),
        })
    }

    /// The names of the answer's columns, shared with earlier answers where they are the same.
    pub(crate) fn columns<'a>(
        &self,
        names: &(impl Iterator<Item = &'a str> + Clone),
    ) -> ColumnNames {
        let owned = || names.clone().map(str::to_owned).collect::<ColumnNames>();
        let known = self.columns.get_or_init(owned);
        if known.iter().eq(names.clone()) {
            ColumnNames::clone(known)
        } else {
            owned()
        }
    }
}

impl Rewriter {
    /// The PostgreSQL form of `sql`.
    pub(crate) fn postgres(&self, sql: &str) -> Arc<Known> {
        let mut kept = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(sql) {
            return Arc::clone(known);
        }
        let known = Known::new(sql);
        if kept.len() < STATEMENT_TEXTS_MAX {
            kept.insert(sql.to_owned(), Arc::clone(&known));
        }
        known
    }

    /// The PostgreSQL form of a statement over `rows`.
    pub(crate) fn postgres_rows(&self, sql: &str, rows: &Rows) -> Arc<Known> {
        let count = rows.few().map_or(0, |(count, _)| count);
        counted(&self.over_rows, sql, count, || rows.postgres_text(sql))
    }

    /// The PostgreSQL form of a statement over `list` behind `before` parameters.
    pub(crate) fn postgres_list(&self, sql: &str, before: usize, list: &List) -> Arc<Known> {
        let count = list.few().map_or(0, <[Value]>::len);
        let text = || list.postgres_text(sql, before);
        counted(&self.over_lists, sql, count, text)
    }
}

fn counted(
    texts: &Mutex<Counted>,
    sql: &str,
    count: usize,
    text: impl FnOnce() -> String,
) -> Arc<Known> {
    let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(sql).and_then(|texts| texts.get(&count)) {
        return Arc::clone(known);
    }
    let known = Known::new(&text());
    if texts.len() < STATEMENT_TEXTS_MAX {
        let kept = texts.entry(sql.to_owned()).or_default();
        kept.insert(count, Arc::clone(&known));
    }
    known
}

fn rewrite(sql: &str) -> String {
    let sql = sql
        .replace("/*lock*/", "FOR UPDATE")
        .replace("/*skip locked*/", "FOR UPDATE SKIP LOCKED");
    let mut out = String::with_capacity(sql.len());
    let mut quoted = false;
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\'' {
            quoted = !quoted;
        }
        let numbered = chars.peek().is_some_and(char::is_ascii_digit);
        out.push(if c == '?' && !quoted && numbered {
            '$'
        } else {
            c
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_dollars_outside_quotes_only() {
        for (sql, expected) in [
            ("SELECT ?2, ?1", "SELECT $2, $1"),
            ("SELECT '?1' || ?1", "SELECT '?1' || $1"),
            ("SELECT x ? y", "SELECT x ? y"),
            (
                "SELECT 1 /*skip locked*/",
                "SELECT 1 FOR UPDATE SKIP LOCKED",
            ),
            ("SELECT 1 /*lock*/", "SELECT 1 FOR UPDATE"),
        ] {
            assert_eq!(Rewriter::default().postgres(sql).text, expected);
        }
    }
}
