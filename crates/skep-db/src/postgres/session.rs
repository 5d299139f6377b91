//! Statements of one transaction, and what the server has made of it.

use super::Shared;
use super::address::Statements;
use crate::DbError;
use crate::rows::{Column, List, Rows};
use crate::sql::Known;
use crate::value::{ColumnNames, Row, Value};
use deadpool_postgres::ClientWrapper;
use std::cell::RefCell;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::{ToSql, Type};

/// The server's time in milliseconds.
pub(crate) const NOW: &str =
    "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS now";

/// One PostgreSQL transaction.
pub(crate) struct Session<'c> {
    pub(super) client: &'c ClientWrapper,
    pub(super) shared: &'c Shared,
    /// Set by the first error after which the transaction must be run again, whatever the
    /// closure makes of that error.
    pub(super) broken: &'c RefCell<Option<Broken>>,
}

/// Why a transaction must be run again.
pub(super) enum Broken {
    /// It was in the way of another.
    Conflict,
    /// Its connection is gone. What the driver said.
    Connection(String),
}

impl Session<'_> {
    pub(crate) async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        let known = self.shared.rewriter.postgres(sql);
        self.executed(&known.text, &typed(params)).await
    }

    pub(crate) async fn execute_rows(&self, sql: &str, rows: &Rows) -> Result<u64, DbError> {
        let known = self.shared.rewriter.postgres_rows(sql, rows);
        if let Some((_, values)) = rows.few() {
            return self.executed(&known.text, &typed(values)).await;
        }
        let mut changed = 0;
        for columns in rows.for_postgres() {
            changed += self.executed(&known.text, &arrays(&columns)).await?;
        }
        Ok(changed)
    }

    pub(crate) async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        let known = self.shared.rewriter.postgres(sql);
        self.queried(&known, &typed(params)).await
    }

    pub(crate) async fn query_rows(&self, sql: &str, rows: &Rows) -> Result<Vec<Row>, DbError> {
        let known = self.shared.rewriter.postgres_rows(sql, rows);
        if let Some((_, values)) = rows.few() {
            return self.queried(&known, &typed(values)).await;
        }
        let mut answers = Vec::new();
        for columns in rows.for_postgres() {
            answers.extend(self.queried(&known, &arrays(&columns)).await?);
        }
        Ok(answers)
    }

    pub(crate) async fn execute_list(
        &self,
        sql: &str,
        params: &[Value],
        list: &List,
    ) -> Result<u64, DbError> {
        let known = self.shared.rewriter.postgres_list(sql, params.len(), list);
        if let Some(few) = list.few() {
            let all: Vec<Typed<'_>> = typed(params).into_iter().chain(typed(few)).collect();
            return self.executed(&known.text, &all).await;
        }
        let mut changed = 0;
        for piece in list.for_postgres() {
            changed += self.executed(&known.text, &with(params, &piece)).await?;
        }
        Ok(changed)
    }

    pub(crate) async fn query_list(
        &self,
        sql: &str,
        params: &[Value],
        list: &List,
    ) -> Result<Vec<Row>, DbError> {
        let known = self.shared.rewriter.postgres_list(sql, params.len(), list);
        if let Some(few) = list.few() {
            let all: Vec<Typed<'_>> = typed(params).into_iter().chain(typed(few)).collect();
            return self.queried(&known, &all).await;
        }
        let mut answers = Vec::new();
        for piece in list.for_postgres() {
            answers.extend(self.queried(&known, &with(params, &piece)).await?);
        }
        Ok(answers)
    }

    async fn executed(&self, text: &str, params: &[Typed<'_>]) -> Result<u64, DbError> {
        let done = match self.shared.statements {
            Statements::Kept => {
                let statement = self.prepare(text).await?;
                self.client.execute(&statement, &untyped(params)).await
            }
            Statements::Unnamed => self.client.execute_typed(text, params).await,
        };
        done.map_err(|error| self.statement_error(text, error))
    }

    async fn queried(&self, known: &Known, params: &[Typed<'_>]) -> Result<Vec<Row>, DbError> {
        let text = &known.text;
        let rows = match self.shared.statements {
            Statements::Kept => {
                let statement = self.prepare(text).await?;
                self.client.query(&statement, &untyped(params)).await
            }
            Statements::Unnamed => self.client.query_typed(text, params).await,
        };
        let rows = rows.map_err(|error| self.statement_error(text, error))?;
        let Some(first) = rows.first() else {
            return Ok(Vec::new());
        };
        let columns = known.columns(&first.columns().iter().map(|column| column.name()));
        rows.iter()
            .map(|row| {
                let values = (0..columns.len())
                    .map(|i| {
                        row.try_get::<_, Value>(i)
                            .map_err(|e| DbError::statement(text, e))
                    })
                    .collect::<Result<_, _>>()?;
                Ok(Row {
                    columns: ColumnNames::clone(&columns),
                    values,
                })
            })
            .collect()
    }

    pub(crate) async fn batch(&self, sql: &str) -> Result<(), DbError> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|error| self.statement_error(sql, error))
    }

    async fn prepare(&self, text: &str) -> Result<tokio_postgres::Statement, DbError> {
        self.client
            .prepare_cached(text)
            .await
            .map_err(|error| self.statement_error(text, error))
    }

    fn statement_error(&self, sql: &str, error: tokio_postgres::Error) -> DbError {
        if is_conflict(&error) {
            *self.broken.borrow_mut() = Some(Broken::Conflict);
        } else if is_lost(&error) {
            *self.broken.borrow_mut() = Some(Broken::Connection(error.to_string()));
        }
        if let Some(db_error) = error.as_db_error()
            && db_error.code().code().starts_with("23")
        {
            let constraint = db_error
                .constraint()
                .unwrap_or(db_error.message())
                .to_owned();
            return DbError::Constraint { constraint };
        }
        DbError::statement(sql, error)
    }
}

/// A parameter with the type that stands for it where the statement does not say.
type Typed<'p> = (&'p (dyn ToSql + Sync), Type);

fn untyped<'p>(params: &[Typed<'p>]) -> Vec<&'p (dyn ToSql + Sync)> {
    params.iter().map(|(value, _)| *value).collect()
}

fn typed(params: &[Value]) -> Vec<Typed<'_>> {
    params
        .iter()
        .map(|value| (value as &(dyn ToSql + Sync), value.postgres_type()))
        .collect()
}

fn with<'p>(params: &'p [Value], list: &'p Column<'_>) -> Vec<Typed<'p>> {
    let mut all = typed(params);
    all.push((list, list.kind.postgres_array()));
    all
}

fn arrays<'p>(columns: &'p [Column<'_>]) -> Vec<Typed<'p>> {
    columns
        .iter()
        .map(|column| (column as &(dyn ToSql + Sync), column.kind.postgres_array()))
        .collect()
}

/// Whether the transaction was in the way of another; nothing of it remains.
pub(super) fn is_conflict(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED
    })
}

/// Whether the connection is gone: closed, broken, or ended by the server, which says FATAL.
pub(super) fn is_lost(error: &tokio_postgres::Error) -> bool {
    if let Some(said) = error.as_db_error() {
        return match said.parsed_severity() {
            Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
            // A pooler sends only the word that a server may translate, and does not.
            None => ["FATAL", "PANIC"].contains(&said.severity()),
        };
    }
    let source = std::error::Error::source(error);
    error.is_closed() || source.is_some_and(|source| source.is::<std::io::Error>())
}

/// Whether a connection that could not be made may be had a moment later: the server is starting,
/// stopping, out of connections, or not there, or a pooler says so for it.
pub(super) fn may_come_back(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        None => true,
        Some(code) => {
            [
                SqlState::CANNOT_CONNECT_NOW,
                SqlState::ADMIN_SHUTDOWN,
                SqlState::CRASH_SHUTDOWN,
                SqlState::TOO_MANY_CONNECTIONS,
            ]
            .contains(code)
                || code.code().starts_with(CONNECTION_EXCEPTION)
        }
    }
}

/// The class of everything that goes wrong with a connection; a pooler says no more than this.
const CONNECTION_EXCEPTION: &str = "08";
