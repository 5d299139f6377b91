//! One SQLite connection, its prepared statements and the names of their columns.

use crate::given::Given;
use crate::rows::List;
use crate::value::{ColumnNames, Row, Value};
use crate::{DbError, limits::STATEMENT_TEXTS_MAX};
use rusqlite::Connection;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

/// A connection that belongs to one thread.
pub(crate) struct Session {
    connection: Connection,
    columns: RefCell<HashMap<String, ColumnNames>>,
    /// Statements over rows and lists, by how many these are.
    sized: RefCell<HashMap<String, HashMap<usize, Arc<str>>>>,
    has_written: Cell<bool>,
}

impl Session {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            columns: RefCell::default(),
            sized: RefCell::default(),
            has_written: Cell::new(false),
        }
    }

    /// The text of a statement over `count` rows or values; `make` writes it the first time.
    fn sized(&self, sql: &str, count: usize, make: impl FnOnce() -> String) -> Arc<str> {
        let mut texts = self.sized.borrow_mut();
        if let Some(text) = texts.get(sql).and_then(|texts| texts.get(&count)) {
            return Arc::clone(text);
        }
        let text: Arc<str> = make().into();
        if texts.len() < STATEMENT_TEXTS_MAX {
            let kept = texts.entry(sql.to_owned()).or_default();
            kept.insert(count, Arc::clone(&text));
        }
        text
    }

    fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        let mut statement = self
            .connection
            .prepare_cached(sql)
            .map_err(|e| DbError::statement(sql, e))?;
        self.note(&statement);
        let changed = statement
            .execute(rusqlite::params_from_iter(params))
            .map_err(|e| statement_error(sql, e))?;
        Ok(changed as u64)
    }

    pub(crate) fn execute_given(&self, sql: &str, given: Given<'_>) -> Result<u64, DbError> {
        let mut changed = 0;
        self.each(sql, given, |text, values| {
            changed += self.execute(text, values)?;
            Ok(())
        })?;
        Ok(changed)
    }

    pub(crate) fn query_given(&self, sql: &str, given: Given<'_>) -> Result<Vec<Row>, DbError> {
        let mut answers = Vec::new();
        self.each(sql, given, |text, values| {
            answers.append(&mut self.query(text, values)?);
            Ok(())
        })?;
        Ok(answers)
    }

    /// Calls `run` with the text and the values of every statement that `given` takes.
    fn each(
        &self,
        sql: &str,
        given: Given<'_>,
        mut run: impl FnMut(&str, &[Value]) -> Result<(), DbError>,
    ) -> Result<(), DbError> {
        match given {
            Given::Values(values) => run(sql, values),
            Given::Rows(rows) => rows.for_sqlite().try_for_each(|(count, values)| {
                let text = self.sized(sql, count, || rows.sqlite_text(sql, count));
                run(&text, values)
            }),
            Given::List(params, list) => list.for_sqlite().try_for_each(|values| {
                let text = self.list_text(sql, params, values);
                run(&text, &[params, values].concat())
            }),
        }
    }

    fn list_text(&self, sql: &str, params: &[Value], values: &[Value]) -> Arc<str> {
        let count = values.len();
        self.sized(sql, count, || List::values_text(sql, params.len(), count))
    }

    pub(crate) fn batch(&self, sql: &str) -> Result<(), DbError> {
        self.has_written.set(true);
        self.connection
            .execute_batch(sql)
            .map_err(|e| DbError::statement(sql, e))
    }

    pub(crate) fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        let mut statement = self
            .connection
            .prepare_cached(sql)
            .map_err(|e| DbError::statement(sql, e))?;
        self.note(&statement);
        let columns = self.column_names(sql, &statement);
        let mut rows = statement
            .query(rusqlite::params_from_iter(params))
            .map_err(|e| statement_error(sql, e))?;
        let mut answer = Vec::new();
        while let Some(row) = rows.next().map_err(|e| statement_error(sql, e))? {
            let values = (0..columns.len())
                .map(|i| super::read_value(row, i).map_err(|e| DbError::statement(sql, e)))
                .collect::<Result<_, _>>()?;
            answer.push(Row {
                columns: ColumnNames::clone(&columns),
                values,
            });
        }
        Ok(answer)
    }

    /// Runs a statement without parameters.
    pub(crate) fn statement(&self, sql: &str) -> Result<(), DbError> {
        self.execute(sql, &[]).map(|_| ())
    }

    /// Begins to watch for statements that write.
    pub(crate) fn forget_writes(&self) {
        self.has_written.set(false);
    }

    /// Whether a statement that writes was run since [`Session::forget_writes`].
    pub(crate) fn has_written(&self) -> bool {
        self.has_written.get()
    }

    /// Whether the transaction is still open; the engine itself ends it after some failures.
    pub(crate) fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    fn note(&self, statement: &rusqlite::Statement<'_>) {
        if !statement.readonly() {
            self.has_written.set(true);
        }
    }

    /// Ends a transaction that is still open, without a trace.
    pub(crate) fn roll_back(&self) {
        if !self.connection.is_autocommit() {
            drop(self.connection.execute_batch("ROLLBACK"));
        }
    }

    /// The names of a statement's columns, made once for its text.
    fn column_names(&self, sql: &str, statement: &rusqlite::Statement<'_>) -> ColumnNames {
        let mut known = self.columns.borrow_mut();
        if let Some(names) = known.get(sql)
            && (!asks_for_all(sql) || names.iter().eq(statement.column_names()))
        {
            return ColumnNames::clone(names);
        }
        let names: ColumnNames = statement.column_names().map(str::to_owned).collect();
        if known.len() < STATEMENT_TEXTS_MAX {
            known.insert(sql.to_owned(), ColumnNames::clone(&names));
        }
        names
    }
}

/// Whether a changed schema gives the same text other columns.
fn asks_for_all(sql: &str) -> bool {
    sql.contains("SELECT *") || sql.contains(".*")
}

fn statement_error(sql: &str, error: rusqlite::Error) -> DbError {
    if let rusqlite::Error::SqliteFailure(code, message) = &error
        && code.code == rusqlite::ErrorCode::ConstraintViolation
    {
        let text = message.as_deref().unwrap_or("a constraint");
        let constraint = text
            .rsplit_once(": ")
            .map_or(text, |(_, name)| name)
            .to_owned();
        return DbError::Constraint { constraint };
    }
    DbError::statement(sql, error)
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef};
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(int) => ValueRef::Integer(*int),
            Self::Real(real) => ValueRef::Real(*real),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl rusqlite::types::FromSql for Value {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        use rusqlite::types::ValueRef;
        Ok(match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(int) => Self::Int(int),
            ValueRef::Real(real) => Self::Real(real),
            ValueRef::Text(_) => Self::Text(value.as_str()?.to_owned()),
            ValueRef::Blob(bytes) => Self::Bytes(bytes.to_vec()),
        })
    }
}
