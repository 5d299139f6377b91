//! One transaction, on either engine.

use crate::database::Engine;
use crate::error::FAILED_STATEMENT;
use crate::given::Given;
use crate::locals::LEFT_BEHIND;
use crate::rows::{List, Rows};
use crate::value::{Row, Value};
use crate::{DbError, Locals, postgres, sqlite};
use skep_stdx::SharedClock;

/// A transaction under way. It ends with its closure: `Ok` commits, `Err` leaves no trace. `Ok`
/// after a statement that failed is an error too: what was asked for did not all happen.
pub struct Tx<'c> {
    pub(crate) connection: Connection<'c>,
    pub(crate) clock: Option<&'c SharedClock>,
    pub(crate) now_ms: Option<i64>,
    pub(crate) wakes: Vec<&'static str>,
    pub(crate) locals: Locals,
    /// Whether somebody takes up at the commit what the locals hold.
    pub(crate) takes_locals: bool,
    /// Whether a statement was refused. PostgreSQL has given the transaction up by then, so on
    /// neither engine can a closure go on as if nothing had happened.
    pub(crate) failed: bool,
    pub(crate) statements: u64,
}

pub(crate) enum Connection<'c> {
    Sqlite(&'c sqlite::Session),
    Postgres(postgres::Session<'c>),
}

impl<'c> Tx<'c> {
    pub(crate) fn new(connection: Connection<'c>, clock: Option<&'c SharedClock>) -> Self {
        Self {
            connection,
            clock,
            now_ms: None,
            wakes: Vec::new(),
            locals: Locals::default(),
            takes_locals: false,
            failed: false,
            statements: 0,
        }
    }

    /// Why an operation that ended well must not be committed, if there is a reason.
    pub(crate) fn objection(&self) -> Option<&'static str> {
        if self.failed {
            Some(FAILED_STATEMENT)
        } else if !self.takes_locals && !self.locals.is_empty() {
            Some(LEFT_BEHIND)
        } else {
            None
        }
    }

    /// Which engine runs this transaction; for the few statements that cannot be one text.
    pub fn engine(&self) -> Engine {
        match self.connection {
            Connection::Sqlite(_) => Engine::Sqlite,
            Connection::Postgres(_) => Engine::Postgres,
        }
    }

    /// How many statements were run so far; what is done for many rows at once is held to it.
    pub const fn statements(&self) -> u64 {
        self.statements
    }

    /// The store's time, in milliseconds since the Unix epoch; the same for the whole transaction.
    pub async fn now_ms(&mut self) -> Result<i64, DbError> {
        if let Some(now) = self.now_ms {
            return Ok(now);
        }
        let now = match (&self.clock, &self.connection) {
            (Some(clock), _) => clock.now_ms(),
            (None, Connection::Sqlite(_)) => skep_stdx::Clock::now_ms(&skep_stdx::SystemClock),
            (None, Connection::Postgres(_)) => {
                self.query_one(postgres::NOW, &[]).await?.get("now")?
            }
        };
        self.now_ms = Some(now);
        Ok(now)
    }

    /// Runs a statement; the answer is the number of rows it changed.
    pub async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        self.run(sql, Given::Values(params)).await
    }

    /// Runs a statement over `rows`; the answer is how many rows it changed in all. Many rows take
    /// several statements, one after the other.
    pub async fn execute_rows(&mut self, sql: &str, rows: &Rows) -> Result<u64, DbError> {
        self.run(sql, Given::Rows(rows)).await
    }

    /// Runs a statement over a `list`, whose values follow `params`; the answer is how many rows it
    /// changed in all. Many values take several statements, one after the other.
    pub async fn execute_list(
        &mut self,
        sql: &str,
        params: &[Value],
        list: &List,
    ) -> Result<u64, DbError> {
        self.run(sql, Given::List(params, list)).await
    }

    /// As [`Tx::execute`], when nobody asks how many rows it changed. PostgreSQL gets it together
    /// with the next statement that is waited for, or with the COMMIT, in one round trip; what it
    /// says against it is that statement's error, or the commit's. SQLite runs it at once.
    pub async fn execute_later(&mut self, sql: &str, params: &[Value]) -> Result<(), DbError> {
        self.run_later(sql, Given::Values(params)).await
    }

    /// [`Tx::execute_rows`] in the manner of [`Tx::execute_later`].
    pub async fn execute_rows_later(&mut self, sql: &str, rows: &Rows) -> Result<(), DbError> {
        self.run_later(sql, Given::Rows(rows)).await
    }

    /// [`Tx::execute_list`] in the manner of [`Tx::execute_later`].
    pub async fn execute_list_later(
        &mut self,
        sql: &str,
        params: &[Value],
        list: &List,
    ) -> Result<(), DbError> {
        self.run_later(sql, Given::List(params, list)).await
    }

    /// Runs a query; the answer is all of its rows, so every query carries a LIMIT of its own
    /// or reads what is bounded.
    pub async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        self.ask(sql, Given::Values(params)).await
    }

    /// Runs a query of at most one row.
    pub async fn query_opt(&mut self, sql: &str, params: &[Value]) -> Result<Option<Row>, DbError> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Runs a query of exactly one row.
    pub async fn query_one(&mut self, sql: &str, params: &[Value]) -> Result<Row, DbError> {
        self.query_opt(sql, params)
            .await?
            .ok_or_else(|| DbError::Column {
                column: sql.chars().take(40).collect(),
                found: "no row",
            })
    }

    /// As [`Tx::execute_rows`], for a statement that answers rows.
    pub async fn query_rows(&mut self, sql: &str, rows: &Rows) -> Result<Vec<Row>, DbError> {
        self.ask(sql, Given::Rows(rows)).await
    }

    /// As [`Tx::execute_list`], for a statement that answers rows.
    pub async fn query_list(
        &mut self,
        sql: &str,
        params: &[Value],
        list: &List,
    ) -> Result<Vec<Row>, DbError> {
        self.ask(sql, Given::List(params, list)).await
    }

    async fn run(&mut self, sql: &str, given: Given<'_>) -> Result<u64, DbError> {
        self.count(given);
        let answer = match &self.connection {
            Connection::Sqlite(session) => session.execute_given(sql, given),
            Connection::Postgres(session) => session.execute(sql, given).await,
        };
        self.failed |= answer.is_err();
        answer
    }

    async fn run_later(&mut self, sql: &str, given: Given<'_>) -> Result<(), DbError> {
        self.count(given);
        let answer = match &self.connection {
            Connection::Sqlite(session) => session.execute_given(sql, given).map(|_| ()),
            Connection::Postgres(session) => session.execute_later(sql, given).await,
        };
        self.failed |= answer.is_err();
        answer
    }

    async fn ask(&mut self, sql: &str, given: Given<'_>) -> Result<Vec<Row>, DbError> {
        self.count(given);
        let answer = match &self.connection {
            Connection::Sqlite(session) => session.query_given(sql, given),
            Connection::Postgres(session) => session.query(sql, given).await,
        };
        self.failed |= answer.is_err();
        answer
    }

    fn count(&mut self, given: Given<'_>) {
        self.statements += match self.connection {
            Connection::Sqlite(_) => given.sqlite_pieces(),
            Connection::Postgres(_) => given.postgres_pieces(),
        } as u64;
    }

    /// Runs several statements without parameters, as a migration does.
    pub async fn batch(&mut self, sql: &str) -> Result<(), DbError> {
        let answer = match &self.connection {
            Connection::Sqlite(session) => session.batch(sql),
            Connection::Postgres(session) => session.batch(sql).await,
        };
        self.failed |= answer.is_err();
        answer
    }

    /// The value of type `T` that this run of the operation leaves for
    /// [`BeforeCommit`](crate::BeforeCommit); empty at first, gone when the operation fails.
    pub fn local<T: Default + Send + 'static>(&mut self) -> &mut T {
        self.locals.get()
    }

    /// Wakes whoever listens to `topic`, after the commit and only then.
    pub fn wake(&mut self, topic: &'static str) {
        if !self.wakes.contains(&topic) {
            self.wakes.push(topic);
        }
    }
}
