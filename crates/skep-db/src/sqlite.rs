//! SQLite: one writer thread with group commit, a few read-only connections.
//!
//! The writer takes what waits, runs all of it in one transaction, commits once and answers after
//! the commit. A failed operation undoes itself only; a failed commit fails all of its operations. The file is never opened by ordinary file calls while it is live.

mod session;

pub(crate) use session::Session;

use crate::database::Topics;
use crate::limits::{
    COMMIT_OPERATIONS_MAX, SQLITE_BUSY_MS, SQLITE_READERS, SQLITE_STATEMENTS_MAX,
    WAITING_OPERATIONS_MAX,
};
use crate::locals::LEFT_BEHIND;
use crate::options::{BeforeCommit, before_commit_refused};
use crate::tx::Connection as TxConnection;
use crate::{DbError, Locals, Tx};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use skep_stdx::SharedClock;
use std::cell::Cell;
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
                session: Session::new(writer),
                clock: writer_clock,
                before_commit,
                topics,
                careful_batches: Cell::new(0),
            }
            .run(&write_queue);
        })?;
        Ok(Self {
            writer: write_sender,
            readers: start_readers(readers, clock.as_ref())?,
        })
    }

    /// A store without a writer; the file has to be there.
    pub(crate) async fn open_read_only(
        path: &Path,
        clock: Option<SharedClock>,
    ) -> Result<Self, DbError> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            check_version()?;
            open_reader(&path)
        });
        let reader = opened.await.map_err(unavailable)??;
        // Nobody takes from this queue: whoever writes to it is told that the store is closed.
        let (writer, _) = mpsc::sync_channel(1);
        Ok(Self {
            writer,
            readers: start_readers(vec![reader], clock.as_ref())?,
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

fn start_readers(
    connections: Vec<Connection>,
    clock: Option<&SharedClock>,
) -> Result<mpsc::SyncSender<Box<dyn Operation>>, DbError> {
    let (sender, queue) = mpsc::sync_channel(WAITING_OPERATIONS_MAX);
    let queue = Arc::new(Mutex::new(queue));
    for connection in connections {
        let (queue, clock) = (Arc::clone(&queue), clock.cloned());
        thread("skep-db-reader", move || {
            run_reader(&Session::new(connection), clock.as_ref(), &queue);
        })?;
    }
    Ok(sender)
}

pub(crate) fn read_value(row: &rusqlite::Row<'_>, place: usize) -> rusqlite::Result<crate::Value> {
    row.get(place)
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
        let outcome = match (outcome, tx.objection()) {
            (Ok(_), Some(reason)) => bad(reason),
            (outcome, _) => outcome,
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
    session: Session,
    clock: Option<SharedClock>,
    before_commit: Option<BeforeCommit>,
    topics: Topics,
    /// How many more batches get a savepoint for each operation.
    careful_batches: Cell<u32>,
}

/// After an operation that had to be undone, this many batches get savepoints at once: whoever
/// fails often must not have everything run twice.
const CAREFUL_BATCHES: u32 = 16;

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
        if let Err(error) = self.session.batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(
                error = describe(&error),
                "the write-ahead log was left for the next start"
            );
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
                self.session.roll_back();
                let (reason, fault) = (describe(&error), error.storage_fault());
                for operation in batch {
                    let operation_name = operation.name();
                    operation.answer(Some(DbError::NotCommitted {
                        operation: operation_name,
                        reason: reason.clone(),
                        fault,
                    }));
                }
                return;
            }
        };
        self.topics.wake(&wakes);
    }

    fn run_batch(&self, batch: &mut [Box<dyn Operation>]) -> Result<Vec<&'static str>, DbError> {
        let session = &self.session;
        let (mut wakes, mut left) = self.run_operations(batch)?;
        if let Some(before_commit) = &self.before_commit
            && !left.is_empty()
        {
            let mut tx = self.tx();
            let ran = poll_once(before_commit(&mut tx, &mut left));
            ran.unwrap_or_else(|| Err(before_commit_refused("it awaited something else")))?;
            if !left.iter().all(Locals::is_empty) {
                return Err(before_commit_refused(LEFT_BEHIND));
            }
            wakes.append(&mut tx.wakes);
        }
        session.statement("COMMIT")?;
        wakes.sort_unstable();
        wakes.dedup();
        Ok(wakes)
    }

    /// Runs all operations in one transaction. A savepoint for each makes SQLite copy every page
    /// that it changes, so at first there are none; when one fails that has changed something, all
    /// are run again, each in a savepoint, and so are the next few batches.
    fn run_operations(&self, batch: &mut [Box<dyn Operation>]) -> Result<Ran, DbError> {
        let careful = self.careful_batches.get();
        self.careful_batches.set(careful.saturating_sub(1));
        if careful == 0 {
            self.session.statement("BEGIN IMMEDIATE")?;
            if let Some(ran) = self.run_plainly(batch) {
                return Ok(ran);
            }
            self.session.roll_back();
            self.careful_batches.set(CAREFUL_BATCHES);
        }
        self.session.statement("BEGIN IMMEDIATE")?;
        self.run_in_savepoints(batch)
    }

    /// `None` when an operation has failed and left changes.
    fn run_plainly(&self, batch: &mut [Box<dyn Operation>]) -> Option<Ran> {
        let mut ran = Ran::default();
        for operation in batch {
            self.session.forget_writes();
            let mut tx = self.tx();
            if operation.run(&mut tx) {
                take_over(&mut ran, tx);
            } else if self.session.has_written() || !self.session.in_transaction() {
                return None;
            }
        }
        Some(ran)
    }

    fn run_in_savepoints(&self, batch: &mut [Box<dyn Operation>]) -> Result<Ran, DbError> {
        let mut ran = Ran::default();
        for operation in batch {
            self.session.statement("SAVEPOINT operation")?;
            let mut tx = self.tx();
            if operation.run(&mut tx) {
                take_over(&mut ran, tx);
            } else {
                self.session.statement("ROLLBACK TO operation")?;
            }
            self.session.statement("RELEASE operation")?;
        }
        Ok(ran)
    }

    fn tx(&self) -> Tx<'_> {
        let mut tx = Tx::new(TxConnection::Sqlite(&self.session), self.clock.as_ref());
        tx.takes_locals = self.before_commit.is_some();
        tx
    }
}

/// What the operations of a batch want done at its commit: wake-ups, and what they left.
type Ran = (Vec<&'static str>, Vec<Locals>);

fn take_over((wakes, left): &mut Ran, mut tx: Tx<'_>) {
    wakes.append(&mut tx.wakes);
    if !tx.locals.is_empty() {
        left.push(tx.locals);
    }
}

fn run_reader(
    session: &Session,
    clock: Option<&SharedClock>,
    queue: &Mutex<mpsc::Receiver<Box<dyn Operation>>>,
) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut operation) = next else { return };
        let begun = session.statement("BEGIN");
        let failed = begun.err().or_else(|| {
            operation.run(&mut Tx::new(TxConnection::Sqlite(session), clock));
            session.statement("COMMIT").err()
        });
        session.roll_back();
        operation.answer(failed);
    }
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
        // What a savepoint keeps of changed pages stays in memory.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        keep_plans(&connection)?;
        // A read-only file opens; only a write tells.
        connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK")
    };
    set_up().map_err(unavailable)?;
    Ok(connection)
}

pub(crate) fn open_reader(path: &Path) -> Result<Connection, DbError> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | COMMON_FLAGS)
            .map_err(unavailable)?;
    connection
        .busy_timeout(Duration::from_millis(SQLITE_BUSY_MS))
        .and_then(|()| connection.pragma_update(None, "trusted_schema", "OFF"))
        .and_then(|()| keep_plans(&connection))
        .map_err(unavailable)?;
    Ok(connection)
}

/// Statements stay prepared, with the plan that does not depend on their parameters' values: by
/// default a build with STAT4 prepares one anew whenever a value is bound that an index is asked for.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(SQLITE_STATEMENTS_MAX);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
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
