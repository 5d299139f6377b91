//! Running one closure as one transaction, again where the engine asks for it.
//!
//! Invariant: before COMMIT is sent nothing that happens to a connection reaches the caller,
//! unless no other can be had in time. After it, the caller learns what is known: committed, not
//! committed, or unknown.

use super::address::Statements;
use super::later::{self, Later, Refused};
use super::session::{Broken, is_conflict, is_lost, may_come_back, refusal};
use super::{NOW, Session, Shared, unavailable};
use crate::limits::{POSTGRES_IDLE_TRANSACTION_MS, TRANSACTION_TRIES_MAX};
use crate::locals::{LEFT_BEHIND, Locals};
use crate::options::before_commit_refused;
use crate::tx::Connection as TxConnection;
use crate::{DbError, Tx};
use deadpool_postgres::{ClientWrapper, HookError, Object, PoolError};
use skep_stdx::Stopwatch;
use std::cell::RefCell;
use std::ops::Deref;
use std::time::Duration;
use tokio_postgres::SimpleQueryMessage;

pub(super) async fn transact<T, E, F>(
    shared: &Shared,
    name: &'static str,
    read_only: bool,
    patience: Duration,
    closure: &F,
) -> Result<T, E>
where
    F: AsyncFn(&mut Tx<'_>) -> Result<T, E>,
    E: From<DbError>,
{
    let watch = Stopwatch::start();
    let (mut conflicts, mut losses) = (0, 0);
    loop {
        let pause_ms = match attempt(shared, name, read_only, closure).await {
            Attempt::Ended(outcome) => return outcome,
            Attempt::Broken(Broken::Conflict) => {
                conflicts += 1;
                if conflicts == TRANSACTION_TRIES_MAX {
                    let (operation, tries) = (name, conflicts);
                    return Err(DbError::Conflict { operation, tries }.into());
                }
                // Whoever was in the way gets a moment to finish: 2 ms, 4 ms, 8 ms…
                1 << conflicts
            }
            Attempt::Broken(Broken::Connection(said)) => {
                if watch.elapsed() >= patience {
                    return Err(DbError::Unavailable(said.into()).into());
                }
                losses = (losses + 1).min(8);
                1 << losses
            }
        };
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

/// How one run of a closure ended.
enum Attempt<T, E> {
    Ended(Result<T, E>),
    /// It has to be run again.
    Broken(Broken),
}

/// A connection on loan from the pool. One that is not given back in good order is closed, which
/// ends whatever transaction is open on it.
struct Loan(Option<Object>);

impl Loan {
    fn give_back(mut self) {
        drop(self.0.take());
    }

    /// Ends the transaction without a trace.
    async fn roll_back(self) {
        if self.batch_execute("ROLLBACK").await.is_ok() {
            self.give_back();
        }
    }
}

impl Deref for Loan {
    type Target = ClientWrapper;
    fn deref(&self) -> &ClientWrapper {
        match &self.0 {
            Some(object) => object,
            None => unreachable!("a loan that was given back cannot be named"),
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

async fn attempt<T, E, F>(
    shared: &Shared,
    name: &'static str,
    read_only: bool,
    closure: &F,
) -> Attempt<T, E>
where
    F: AsyncFn(&mut Tx<'_>) -> Result<T, E>,
    E: From<DbError>,
{
    let loan =
        match shared.pool.get().await {
            Ok(object) => Loan(Some(object)),
            Err(
                PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)),
            ) if may_come_back(&error) => return lost(&error),
            // Nobody answers, or every connection is with somebody who waits for an answer.
            Err(error @ PoolError::Timeout(_)) => {
                return Attempt::Broken(Broken::Connection(error.to_string()));
            }
            Err(error) => return Attempt::Ended(Err(unavailable(error).into())),
        };
    let now_ms = match begin(shared, &loan, read_only).await {
        Ok(now_ms) => now_ms,
        Err(error) if is_lost(&error) => return lost(&error),
        Err(error) => return Attempt::Ended(Err(unavailable(error).into())),
    };
    let (broken, later) = (RefCell::new(None), RefCell::default());
    let session = Session {
        client: &loan,
        shared,
        broken: &broken,
        later: &later,
    };
    let mut tx = Tx::new(TxConnection::Postgres(session), shared.clock.as_ref());
    tx.now_ms = now_ms;
    tx.takes_locals = shared.before_commit.is_some() && !read_only;
    let outcome = run(shared, name, closure, &mut tx).await;
    let wakes = std::mem::take(&mut tx.wakes);
    drop(tx);
    match (outcome, broken.into_inner()) {
        // The engine's own word decides about another run, whatever the closure made of it.
        (_, Some(broken)) => {
            loan.roll_back().await;
            Attempt::Broken(broken)
        }
        (Err(error), None) => {
            loan.roll_back().await;
            Attempt::Ended(Err(error))
        }
        (Ok(value), None) => {
            let ended = commit(loan, &later.into_inner(), name, read_only, value).await;
            if matches!(ended, Attempt::Ended(Ok(_))) {
                shared.topics.wake(&wakes);
            }
            ended
        }
    }
}

fn lost<T, E>(error: &tokio_postgres::Error) -> Attempt<T, E> {
    Attempt::Broken(Broken::Connection(error.to_string()))
}

/// Runs the closure and what belongs to its commit.
async fn run<T, E, F>(
    shared: &Shared,
    name: &'static str,
    closure: &F,
    tx: &mut Tx<'_>,
) -> Result<T, E>
where
    F: AsyncFn(&mut Tx<'_>) -> Result<T, E>,
    E: From<DbError>,
{
    let value = closure(tx).await?;
    if let Some(reason) = tx.objection() {
        let operation = name;
        return Err(DbError::BadClosure { operation, reason }.into());
    }
    let mut left = std::mem::take(&mut tx.locals);
    if let Some(before_commit) = &shared.before_commit
        && !left.is_empty()
    {
        before_commit(tx, std::slice::from_mut(&mut left)).await?;
        if !Locals::is_empty(&left) {
            return Err(before_commit_refused(LEFT_BEHIND).into());
        }
    }
    Ok(value)
}

/// A reader sees one snapshot for its whole closure; writers lock what they decide about. A write
/// brings the server's time along, which most of them need, unless another clock is set.
///
/// Whoever is not heard of for longer than a write may be idle loses its locks, and its connection; that
/// is said in each transaction, because behind a pooler the next one may have another session.
async fn begin(
    shared: &Shared,
    client: &ClientWrapper,
    read_only: bool,
) -> Result<Option<i64>, tokio_postgres::Error> {
    if read_only {
        client.batch_execute(BEGIN_READ).await?;
        return Ok(None);
    }
    if matches!(shared.statements, Statements::Unnamed) || shared.clock.is_some() {
        let begin = format!("{BEGIN_WRITE}; {}", first_query());
        let answers = client.simple_query(&begin).await?;
        let now = answers.iter().find_map(|answer| {
            let SimpleQueryMessage::Row(row) = answer else {
                return None;
            };
            row.get(0)?.parse().ok()
        });
        return Ok(now.filter(|_| shared.clock.is_none()));
    }
    // Prepared, because its few functions take the server longer to understand than to run.
    let first = client.prepare_cached(&first_query()).await?;
    let (begun, row) = tokio::join!(
        biased;
        client.batch_execute(BEGIN_WRITE),
        client.query_one(&first, &[]),
    );
    begun?;
    row?.try_get(0).map(Some)
}

const BEGIN_READ: &str = "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
const BEGIN_WRITE: &str = "START TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE";

/// Asks for the time, and sets how long the transaction may be idle.
fn first_query() -> String {
    let idle_ms = POSTGRES_IDLE_TRANSACTION_MS;
    format!("{NOW}, set_config('idle_in_transaction_session_timeout', '{idle_ms}', true)")
}

async fn commit<T, E: From<DbError>>(
    loan: Loan,
    later: &[Later],
    operation: &'static str,
    read_only: bool,
    value: T,
) -> Attempt<T, E> {
    let sent = later::send(&loan, later, loan.batch_execute("COMMIT")).await;
    let error = match sent {
        Ok(()) => {
            loan.give_back();
            return Attempt::Ended(Ok(value));
        }
        Err(Refused::Ahead { place, error, last }) => {
            let sql = &later[place].statement.known.text;
            return not_committed(loan, operation, refusal(sql, error), last).await;
        }
        Err(Refused::Last(error)) => error,
    };
    if is_lost(&error) {
        if read_only {
            return Attempt::Ended(Ok(value));
        }
        // The server may end a connection after the commit and before its answer.
        let source = Box::new(error);
        let unknown = DbError::CommitUnknown { operation, source };
        return Attempt::Ended(Err(unknown.into()));
    }
    // The server has answered with an error: the transaction is over and nothing remains.
    loan.give_back();
    if is_conflict(&error) {
        return Attempt::Broken(Broken::Conflict);
    }
    let reason = error.to_string();
    let fault = DbError::Unavailable(Box::new(error)).storage_fault();
    let refused = DbError::NotCommitted {
        operation,
        reason,
        fault,
    };
    Attempt::Ended(Err(refused.into()))
}

/// A statement ahead of the COMMIT was refused, or its connection is gone.
async fn not_committed<T, E: From<DbError>>(
    loan: Loan,
    operation: &'static str,
    (error, broken): (DbError, Option<Broken>),
    commit: Option<Result<(), tokio_postgres::Error>>,
) -> Attempt<T, E> {
    if let (Some(Broken::Connection(_)), Some(_)) = (&broken, &commit) {
        // The COMMIT was on its way to the server as well.
        let source = Box::new(error);
        let unknown = DbError::CommitUnknown { operation, source };
        return Attempt::Ended(Err(unknown.into()));
    }
    match commit {
        None => loan.roll_back().await,
        // Of a transaction that was given up it is the end.
        Some(Ok(())) => loan.give_back(),
        Some(Err(_)) => drop(loan),
    }
    match broken {
        Some(broken) => Attempt::Broken(broken),
        None => Attempt::Ended(Err(error.into())),
    }
}
