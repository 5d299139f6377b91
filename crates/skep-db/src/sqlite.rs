//! SQLite: one writer thread with group commit, a few read-only connections.
//!
//! The writer takes what waits, runs each operation in a savepoint, commits once and answers
//! after the commit. A failed operation undoes itself only; a failed commit fails all of its
//! operations. The file is never opened by ordinary file calls while it is live.

use crate::database::Topics;
use crate::error::FAILED_STATEMENT;
use crate::limits::{
    COMMIT_OPERATIONS_MAX, SQLITE_BUSY_MS, SQLITE_READERS, WAITING_OPERATIONS_MAX,
};
use crate::options::BeforeCommit;
use crate::tx::Connection as TxConnection;
use crate::value::{Row, Value};
use crate::{DbError, Tx};
use rusqlite::{Connection, OpenFlags};
use skep_stdx::SharedClock;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::oneshot;

#[derive(Clone)]
pub(crate) struct Sqlite {
    writer: mpsc::SyncSender<Box<dyn Operation>>,
    readers: mpsc::SyncSender<Box<dyn Operation>>,
}

impl Sqlite {
    pub(crate) async fn open(
        path: &Path,
        clock: Option<SharedClock>,
        before_commit: Option<BeforeCommit>,
        topics: Topics,
    ) -> Result<Self, DbError> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let writer = open_writer(&path)?;
            let readers: Vec<Connection> = (0..SQLITE_READERS)
                .map(|_| open_reader(&path))
                .collect::<Result<_, _>>()?;
            Ok::<_, DbError>((writer, readers))
        });
        let (writer, readers) = opened.await.map_err(unavailable)??;

        let (write_sender, write_queue) = mpsc::sync_channel(WAITING_OPERATIONS_MAX);
        let writer_clock = clock.clone();
        thread("skep-db-writer", move || {
            Writer {
                connection: writer,
                clock: writer_clock,
                before_commit,
                topics,
            }
            .run(&write_queue);
        })?;
        let (read_sender, read_queue) = mpsc::sync_channel(WAITING_OPERATIONS_MAX);
        let read_queue = Arc::new(Mutex::new(read_queue));
        for connection in readers {
            let (queue, clock) = (Arc::clone(&read_queue), clock.clone());
            thread("skep-db-reader", move || {
                run_reader(&connection, clock.as_ref(), &queue);
            })?;
        }
        Ok(Self {
            writer: write_sender,
            readers: read_sender,
        })
    }

    pub(crate) async fn write<T, E, F>(&self, name: &'static str, closure: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        submit(&self.writer, name, closure).await
    }

    pub(crate) async fn read<T, E, F>(&self, name: &'static str, closure: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        submit(&self.readers, name, closure).await
    }
}

pub(crate) fn execute(
    connection: &Connection,
    sql: &str,
    params: &[Value],
) -> Result<u64, DbError> {
    let mut statement = connection
        .prepare_cached(sql)
        .map_err(|e| DbError::statement(sql, e))?;
    let changed = statement
        .execute(rusqlite::params_from_iter(params))
        .map_err(|e| statement_error(sql, e))?;
    Ok(changed as u64)
}

pub(crate) fn batch(connection: &Connection, sql: &str) -> Result<(), DbError> {
    connection
        .execute_batch(sql)
        .map_err(|e| DbError::statement(sql, e))
}

pub(crate) fn query(
    connection: &Connection,
    sql: &str,
    params: &[Value],
) -> Result<Vec<Row>, DbError> {
    let mut statement = connection
        .prepare_cached(sql)
        .map_err(|e| DbError::statement(sql, e))?;
    let columns: Arc<[String]> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement
        .query(rusqlite::params_from_iter(params))
        .map_err(|e| statement_error(sql, e))?;
    let mut answer = Vec::new();
    while let Some(row) = rows.next().map_err(|e| statement_error(sql, e))? {
        let values = (0..columns.len())
            .map(|i| {
                row.get::<_, Value>(i)
                    .map_err(|e| DbError::statement(sql, e))
            })
            .collect::<Result<_, _>>()?;
        answer.push(Row {
            columns: Arc::clone(&columns),
            values,
        });
    }
    Ok(answer)
}

/// An operation with its answer channel, its types erased.
trait Operation: Send {
    fn name(&self) -> &'static str;
    /// Runs the closure to its end. `false`: it failed and its changes must go.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Answers the caller: with the closure's own result, or with why it was not committed.
    fn answer(self: Box<Self>, not_committed: Option<DbError>);
}

struct Submitted<T, E, F> {
    name: &'static str,
    closure: F,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Operation for Submitted<T, E, F>
where
    F: AsyncFn(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<DbError> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let bad = |reason| {
            Err(E::from(DbError::BadClosure {
                operation: self.name,
                reason,
            }))
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| poll_once((self.closure)(tx)))).map_or_else(
            |_| bad("it panicked"),
            |polled| polled.unwrap_or_else(|| bad("it awaited something else")),
        );
        let outcome = match outcome {
            Ok(_) if tx.failed => bad(FAILED_STATEMENT),
            outcome => outcome,
        };
        let committed = outcome.is_ok();
        self.outcome = Some(outcome);
        committed
    }

    fn answer(self: Box<Self>, not_committed: Option<DbError>) {
        let outcome = match (not_committed, self.outcome) {
            (Some(error), Some(Ok(_)) | None) => Err(E::from(error)),
            (_, Some(outcome)) => outcome,
            (None, None) => Err(E::from(DbError::Closed)),
        };
        // The caller may have gone away; the commit stands all the same.
        drop(self.reply.send(outcome));
    }
}

/// On this engine every step of a transaction is ready at once, so one poll finishes it.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

async fn submit<T, E, F>(
    queue: &mpsc::SyncSender<Box<dyn Operation>>,
    name: &'static str,
    closure: F,
) -> Result<T, E>
where
    F: AsyncFn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<DbError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let mut operation: Box<dyn Operation> = Box::new(Submitted {
        name,
        closure,
        outcome: None,
        reply,
    });
    loop {
        match queue.try_send(operation) {
            Ok(()) => break,
            Err(mpsc::TrySendError::Disconnected(_)) => return Err(DbError::Closed.into()),
            Err(mpsc::TrySendError::Full(back)) => {
                // The line is full: let others run until the writer has taken a batch.
                operation = back;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    answer.await.unwrap_or_else(|_| Err(DbError::Closed.into()))
}

struct Writer {
    connection: Connection,
    clock: Option<SharedClock>,
    before_commit: Option<BeforeCommit>,
    topics: Topics,
}

impl Writer {
    fn run(self, queue: &mpsc::Receiver<Box<dyn Operation>>) {
        while let Ok(first) = queue.recv() {
            let mut batch = vec![first];
            while batch.len() < COMMIT_OPERATIONS_MAX {
                match queue.try_recv() {
                    Ok(operation) => batch.push(operation),
                    Err(_) => break,
                }
            }
            self.commit(batch);
        }
        // Fold the write-ahead log back into the file, so that a copy of the file is complete.
        if let Err(error) = self
            .connection
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        {
            tracing::warn!(%error, "the write-ahead log was left for the next start");
        }
    }

    fn commit(&self, mut batch: Vec<Box<dyn Operation>>) {
        let result = self.run_batch(&mut batch);
        let wakes = match result {
            Ok(wakes) => {
                for operation in batch {
                    operation.answer(None);
                }
                wakes
            }
            Err(error) => {
                if !self.connection.is_autocommit() {
                    drop(self.connection.execute_batch("ROLLBACK"));
                }
                let reason = describe(&error);
                for operation in batch {
                    let operation_name = operation.name();
                    operation.answer(Some(DbError::NotCommitted {
                        operation: operation_name,
                        reason: reason.clone(),
                    }));
                }
                return;
            }
        };
        self.topics.wake(&wakes);
    }

    fn run_batch(&self, batch: &mut [Box<dyn Operation>]) -> Result<Vec<&'static str>, DbError> {
        let connection = &self.connection;
        statement(connection, "BEGIN IMMEDIATE")?;
        let mut wakes: Vec<&'static str> = Vec::new();
        let mut succeeded = false;
        for operation in batch {
            statement(connection, "SAVEPOINT operation")?;
            let mut tx = self.tx();
            if operation.run(&mut tx) {
                succeeded = true;
                wakes.extend(tx.wakes);
            } else {
                statement(connection, "ROLLBACK TO operation")?;
            }
            statement(connection, "RELEASE operation")?;
        }
        if succeeded && let Some(before_commit) = &self.before_commit {
            let mut tx = self.tx();
            poll_once(before_commit(&mut tx)).unwrap_or(Err(DbError::BadClosure {
                operation: "before_commit",
                reason: "it awaited something else",
            }))?;
        }
        statement(connection, "COMMIT")?;
        wakes.sort_unstable();
        wakes.dedup();
        Ok(wakes)
    }

    fn tx(&self) -> Tx<'_> {
        Tx {
            connection: TxConnection::Sqlite(&self.connection),
            clock: self.clock.as_ref(),
            now_ms: None,
            wakes: Vec::new(),
            failed: false,
        }
    }
}

fn run_reader(
    connection: &Connection,
    clock: Option<&SharedClock>,
    queue: &Mutex<mpsc::Receiver<Box<dyn Operation>>>,
) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut operation) = next else { return };
        let begun = statement(connection, "BEGIN");
        let failed = begun.err().or_else(|| {
            let mut tx = Tx {
                connection: TxConnection::Sqlite(connection),
                clock,
                now_ms: None,
                wakes: Vec::new(),
                failed: false,
            };
            operation.run(&mut tx);
            statement(connection, "COMMIT").err()
        });
        if !connection.is_autocommit() {
            drop(connection.execute_batch("ROLLBACK"));
        }
        operation.answer(failed);
    }
}

fn statement(connection: &Connection, sql: &str) -> Result<(), DbError> {
    execute(connection, sql, &[]).map(|_| ())
}

fn open_writer(path: &Path) -> Result<Connection, DbError> {
    check_version()?;
    create_private(path)?;
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | COMMON_FLAGS)
            .map_err(unavailable)?;
    let set_up = || -> rusqlite::Result<()> {
        connection.busy_timeout(Duration::from_millis(SQLITE_BUSY_MS))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        connection.pragma_update(None, "trusted_schema", "OFF")?;
        connection.set_prepared_statement_cache_capacity(256);
        // A read-only file opens; only a write tells.
        connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK")
    };
    set_up().map_err(unavailable)?;
    Ok(connection)
}

fn open_reader(path: &Path) -> Result<Connection, DbError> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | COMMON_FLAGS)
            .map_err(unavailable)?;
    connection
        .busy_timeout(Duration::from_millis(SQLITE_BUSY_MS))
        .and_then(|()| connection.pragma_update(None, "trusted_schema", "OFF"))
        .map_err(unavailable)?;
    connection.set_prepared_statement_cache_capacity(256);
    Ok(connection)
}

const COMMON_FLAGS: OpenFlags =
    OpenFlags::SQLITE_OPEN_NO_MUTEX.union(OpenFlags::SQLITE_OPEN_EXRESCODE);

/// SQLite before 3.51.3 can lose the write-ahead log at a reset, and 3.52.0 was withdrawn.
fn check_version() -> Result<(), DbError> {
    let version = rusqlite::version_number();
    if version < 3_051_003 || version == 3_052_000 {
        let found = rusqlite::version();
        return Err(DbError::Unavailable(
            format!("SQLite {found} has a known corruption bug; 3.51.3 or later is needed").into(),
        ));
    }
    Ok(())
}

fn create_private(path: &Path) -> Result<(), DbError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    match std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(unavailable(error)),
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), DbError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(unavailable)?;
    Ok(())
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> DbError {
    DbError::Unavailable(Box::new(error))
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

/// The error and its causes in one line: a failed commit is told to every one of its callers,
/// and the cause cannot be shared between them.
fn describe(error: &DbError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
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
