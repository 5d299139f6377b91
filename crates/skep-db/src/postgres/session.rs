//! Statements of one transaction, and what the server has made of it.

use super::Shared;
use super::address::Statements;
use super::later::{self, Later, Refused};
use super::statement::Prepared;
use crate::DbError;
use crate::given::Given;
use crate::sql::Known;
use crate::value::Row;
use deadpool_postgres::ClientWrapper;
use std::cell::RefCell;
use std::sync::Arc;
use tokio_postgres::error::{Severity, SqlState};

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
    /// What goes out ahead of the next statement that is waited for.
    pub(super) later: &'c RefCell<Vec<Later>>,
}

/// Why a transaction must be run again.
pub(super) enum Broken {
    /// It was in the way of another.
    Conflict,
    /// Its connection is gone. What the driver said.
    Connection(String),
}

impl Session<'_> {
    pub(crate) async fn execute(&self, sql: &str, given: Given<'_>) -> Result<u64, DbError> {
        let known = self.known(sql, given);
        let mut changed = 0;
        for piece in given.for_postgres() {
            let statement = self.prepare(Arc::clone(&known)).await?;
            let sent = statement.execute(self.client, &piece);
            changed += self.behind_later(&known.text, sent).await?;
        }
        Ok(changed)
    }

    /// Leaves the statement to the next one that is waited for.
    pub(crate) async fn execute_later(&self, sql: &str, given: Given<'_>) -> Result<(), DbError> {
        if given.postgres_pieces() != 1 {
            return self.execute(sql, given).await.map(|_| ());
        }
        let statement = self.prepare(self.known(sql, given)).await?;
        let given = given.kept();
        self.later.borrow_mut().push(Later { statement, given });
        Ok(())
    }

    pub(crate) async fn query(&self, sql: &str, given: Given<'_>) -> Result<Vec<Row>, DbError> {
        let known = self.known(sql, given);
        let mut answers = Vec::new();
        for piece in given.for_postgres() {
            let statement = self.prepare(Arc::clone(&known)).await?;
            let sent = statement.query(self.client, &piece);
            let rows = self.behind_later(&known.text, sent).await?;
            answers.append(&mut statement.read(&rows)?);
        }
        Ok(answers)
    }

    pub(crate) async fn batch(&self, sql: &str) -> Result<(), DbError> {
        self.behind_later(sql, self.client.batch_execute(sql)).await
    }

    /// Sends `last` behind everything that was left for later, and waits for all of it.
    async fn behind_later<T>(
        &self,
        sql: &str,
        last: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DbError> {
        let later = self.later.take();
        let (text, error) = match later::send(self.client, &later, last).await {
            Ok(answer) => return Ok(answer),
            Err(Refused::Last(error)) => (sql, error),
            Err(Refused::Ahead { place, error, .. }) => {
                (later[place].statement.known.text.as_str(), error)
            }
        };
        Err(self.refused(text, error))
    }

    fn known(&self, sql: &str, given: Given<'_>) -> Arc<Known> {
        match given {
            Given::Values(_) => self.shared.rewriter.postgres(sql),
            Given::Rows(rows) => self.shared.rewriter.postgres_rows(sql, rows),
            Given::List(values, list) => {
                let before = values.len();
                self.shared.rewriter.postgres_list(sql, before, list)
            }
        }
    }

    async fn prepare(&self, known: Arc<Known>) -> Result<Prepared, DbError> {
        let named = match self.shared.statements {
            Statements::Unnamed => None,
            Statements::Kept => {
                let prepared = self.client.prepare_cached(&known.text).await;
                let prepared = prepared.map_err(|error| self.refused(&known.text, error));
                Some(prepared?)
            }
        };
        Ok(Prepared { known, named })
    }

    fn refused(&self, sql: &str, error: tokio_postgres::Error) -> DbError {
        let (error, broken) = refusal(sql, error);
        if broken.is_some() {
            *self.broken.borrow_mut() = broken;
        }
        error
    }
}

/// What a refused statement is to its caller, and whether the transaction must be run again.
pub(super) fn refusal(sql: &str, error: tokio_postgres::Error) -> (DbError, Option<Broken>) {
    let broken = if is_conflict(&error) {
        Some(Broken::Conflict)
    } else {
        is_lost(&error).then(|| Broken::Connection(error.to_string()))
    };
    if let Some(said) = error.as_db_error()
        && said.code().code().starts_with("23")
    {
        let constraint = said.constraint().unwrap_or(said.message()).to_owned();
        return (DbError::Constraint { constraint }, broken);
    }
    (DbError::statement(sql, error), broken)
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
