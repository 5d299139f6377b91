//! One SQL text for both engines.
//!
//! Statements number their parameters `?1…` and are rewritten once to `$1…` for PostgreSQL,
//! because SQLite numbers `$2, $1` by first appearance and would swap the values silently. Two
//! comments become row locks where rows can be locked: `/*lock*/` and `/*skip locked*/`. A third,
//! `/*rows*/`, is where [`Rows`] stand.

use crate::limits::STATEMENT_TEXTS_MAX;
use crate::rows::{Form, Rows};
use crate::value::ColumnNames;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Rewritten statements by their original text.
#[derive(Debug, Default)]
pub(crate) struct Rewriter {
    plain: Texts,
    over_one_row: Texts,
    over_rows: Texts,
}

type Texts = Mutex<HashMap<String, Arc<Known>>>;

/// A statement in its PostgreSQL form.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) text: String,
    columns: OnceLock<ColumnNames>,
}

impl Known {
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
        kept(&self.plain, sql, rewrite)
    }

    /// The PostgreSQL form of a statement over `rows`.
    pub(crate) fn postgres_rows(&self, sql: &str, rows: &Rows) -> Arc<Known> {
        let (texts, form) = match rows.len() {
            1 => (&self.over_one_row, Form::One),
            _ => (&self.over_rows, Form::Many),
        };
        kept(texts, sql, |sql| rewrite(&rows.postgres_text(sql, form)))
    }
}

fn kept(texts: &Texts, sql: &str, rewrite: impl FnOnce(&str) -> String) -> Arc<Known> {
    let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(sql) {
        return Arc::clone(known);
    }
    let known = Arc::new(Known {
        text: rewrite(sql),
        columns: OnceLock::new(),
    });
    if texts.len() < STATEMENT_TEXTS_MAX {
        texts.insert(sql.to_owned(), Arc::clone(&known));
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
