//! PostgreSQL: a pool of connections driven by one thread with a runtime of its own.
//!
//! The thread exists so that a transaction's closure need not be `Send` while it is suspended:
//! the same closure text serves SQLite, where it runs on the writer thread. A transaction is run
//! again after a serialization failure, a deadlock, or a connection that broke before its commit.

use crate::database::Topics;
use crate::error::FAILED_STATEMENT;
use crate::limits::{
    POSTGRES_CONNECT_MS, POSTGRES_CONNECTIONS_MAX, TRANSACTION_TRIES_MAX, WAITING_OPERATIONS_MAX,
};
use crate::sql::Rewriter;
use crate::tx::Connection as TxConnection;
use crate::value::{Row, Value};
use crate::{DbError, Tx};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use skep_stdx::{Secret, SharedClock};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, private::BytesMut};
use tokio_postgres::{IsolationLevel, NoTls};

type Job = Box<dyn FnOnce(Rc<Shared>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

#[derive(Clone)]
pub(crate) struct Postgres {
    jobs: mpsc::Sender<Job>,
}

struct Shared {
    pool: Pool,
    clock: Option<SharedClock>,
    topics: Topics,
    rewriter: Rewriter,
}

impl Postgres {
    pub(crate) async fn open(
        address: &Secret,
        clock: Option<SharedClock>,
        topics: Topics,
    ) -> Result<Self, DbError> {
        let mut config: tokio_postgres::Config = address
            .reveal()
            .parse()
            .map_err(|_| DbError::Unavailable(BAD_ADDRESS.into()))?;
        config.application_name("skep");
        config.connect_timeout(Duration::from_millis(POSTGRES_CONNECT_MS));
        config.keepalives(true);
        let manager = Manager::from_config(
            config,
            NoTls,
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let wait = Some(Duration::from_millis(POSTGRES_CONNECT_MS));
        let pool = Pool::builder(manager)
            .max_size(POSTGRES_CONNECTIONS_MAX)
            .wait_timeout(wait)
            .create_timeout(wait)
            .recycle_timeout(wait)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(unavailable)?;
        let (jobs, queue) = mpsc::channel(WAITING_OPERATIONS_MAX);
        let (ready, started) = oneshot::channel();
        std::thread::Builder::new()
            .name("skep-db-postgres".to_owned())
            .spawn(move || drive(pool, clock, topics, queue, ready))
            .map_err(unavailable)?;
        started.await.unwrap_or(Err(DbError::Closed))?;
        Ok(Self { jobs })
    }

    pub(crate) async fn run<T, E, F>(
        &self,
        name: &'static str,
        read_only: bool,
        closure: F,
    ) -> Result<T, E>
    where
        F: AsyncFn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |shared| {
            Box::pin(async move {
                // The caller may have gone away; the commit stands all the same.
                drop(reply.send(transact(&shared, name, read_only, &closure).await));
            })
        });
        self.jobs.send(job).await.map_err(|_| DbError::Closed)?;
        answer.await.unwrap_or_else(|_| {
            Err(DbError::BadClosure {
                operation: name,
                reason: "it panicked",
            }
            .into())
        })
    }
}

const BAD_ADDRESS: &str = "the address is not of the form postgres://user@host/database";

fn drive(
    pool: Pool,
    clock: Option<SharedClock>,
    topics: Topics,
    mut queue: mpsc::Receiver<Job>,
    ready: oneshot::Sender<Result<(), DbError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(unavailable(error)))),
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        // The first connection is made now, so that a wrong address is an error of the start.
        let first = pool.get().await.map(|_| ()).map_err(unavailable);
        let reached = first.is_ok();
        drop(ready.send(first));
        if !reached {
            return;
        }
        let shared = Rc::new(Shared {
            pool,
            clock,
            topics,
            rewriter: Rewriter::default(),
        });
        while let Some(job) = queue.recv().await {
            tokio::task::spawn_local(job(Rc::clone(&shared)));
        }
    });
}

async fn transact<T, E, F>(
    shared: &Shared,
    name: &'static str,
    read_only: bool,
    closure: &F,
) -> Result<T, E>
where
    F: AsyncFn(&mut Tx<'_>) -> Result<T, E>,
    E: From<DbError>,
{
    let mut last = None;
    for again in 0..TRANSACTION_TRIES_MAX {
        if again > 0 {
            // Whoever was in the way gets a moment to finish: 1 ms, 2 ms, 4 ms…
            tokio::time::sleep(Duration::from_millis(1 << again)).await;
        }
        let mut client = shared.pool.get().await.map_err(unavailable)?;
        let transaction = match begin(&mut client, read_only).await {
            Ok(transaction) => transaction,
            Err(error) => {
                last = Some(error);
                continue;
            }
        };
        match attempt(shared, name, closure, transaction).await {
            Attempt::Ended(outcome) => return outcome,
            Attempt::Again => {}
        }
    }
    Err(match last {
        Some(error) => unavailable(error),
        None => DbError::Conflict {
            operation: name,
            tries: TRANSACTION_TRIES_MAX,
        },
    }
    .into())
}

/// A reader sees one snapshot for its whole closure; writers lock what they decide about.
async fn begin(
    client: &mut deadpool_postgres::Client,
    read_only: bool,
) -> Result<deadpool_postgres::Transaction<'_>, tokio_postgres::Error> {
    let level = if read_only {
        IsolationLevel::RepeatableRead
    } else {
        IsolationLevel::ReadCommitted
    };
    client
        .build_transaction()
        .read_only(read_only)
        .isolation_level(level)
        .start()
        .await
}

/// How one run of a closure ended.
enum Attempt<T, E> {
    Ended(Result<T, E>),
    /// The engine asks for another run.
    Again,
}

async fn attempt<T, E, F>(
    shared: &Shared,
    name: &'static str,
    closure: &F,
    transaction: deadpool_postgres::Transaction<'_>,
) -> Attempt<T, E>
where
    F: AsyncFn(&mut Tx<'_>) -> Result<T, E>,
    E: From<DbError>,
{
    let again = std::cell::Cell::new(false);
    let mut tx = Tx {
        connection: TxConnection::Postgres(PgTx {
            transaction: &transaction,
            rewriter: &shared.rewriter,
            again: &again,
        }),
        clock: shared.clock.as_ref(),
        now_ms: None,
        wakes: Vec::new(),
        failed: false,
    };
    let outcome = closure(&mut tx).await;
    let (wakes, failed) = (std::mem::take(&mut tx.wakes), tx.failed);
    drop(tx);
    // The engine's own word decides about another run, whatever the closure made of it.
    if again.get() {
        drop(transaction.rollback().await);
        return Attempt::Again;
    }
    let value = match outcome {
        Ok(value) if !failed => value,
        Ok(_) => {
            drop(transaction.rollback().await);
            let error = DbError::BadClosure {
                operation: name,
                reason: FAILED_STATEMENT,
            };
            return Attempt::Ended(Err(error.into()));
        }
        Err(error) => {
            drop(transaction.rollback().await);
            return Attempt::Ended(Err(error));
        }
    };
    match transaction.commit().await {
        Ok(()) => {
            shared.topics.wake(&wakes);
            Attempt::Ended(Ok(value))
        }
        Err(error) if is_conflict(&error) => Attempt::Again,
        Err(error) if error.as_db_error().is_some() => {
            let reason = error.to_string();
            Attempt::Ended(Err(DbError::NotCommitted {
                operation: name,
                reason,
            }
            .into()))
        }
        Err(error) => {
            let source = Box::new(error);
            Attempt::Ended(Err(DbError::CommitUnknown {
                operation: name,
                source,
            }
            .into()))
        }
    }
}

/// One PostgreSQL transaction, and whether the engine has said that it must be run again.
pub(crate) struct PgTx<'c> {
    transaction: &'c deadpool_postgres::Transaction<'c>,
    rewriter: &'c Rewriter,
    again: &'c std::cell::Cell<bool>,
}

impl PgTx<'_> {
    pub(crate) async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        let text = self.rewriter.postgres(sql);
        let statement = self.prepare(&text).await?;
        let params: Vec<&(dyn ToSql + Sync)> = params
            .iter()
            .map(|value| value as &(dyn ToSql + Sync))
            .collect();
        self.transaction
            .execute(&statement, &params)
            .await
            .map_err(|e| self.statement_error(&text, e))
    }

    pub(crate) async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        let text = self.rewriter.postgres(sql);
        let statement = self.prepare(&text).await?;
        let params: Vec<&(dyn ToSql + Sync)> = params
            .iter()
            .map(|value| value as &(dyn ToSql + Sync))
            .collect();
        let rows = self
            .transaction
            .query(&statement, &params)
            .await
            .map_err(|e| self.statement_error(&text, e))?;
        let columns: Arc<[String]> = statement
            .columns()
            .iter()
            .map(|column| column.name().to_owned())
            .collect();
        rows.iter()
            .map(|row| {
                let values = (0..columns.len())
                    .map(|i| {
                        row.try_get::<_, Value>(i)
                            .map_err(|e| DbError::statement(&text, e))
                    })
                    .collect::<Result<_, _>>()?;
                Ok(Row {
                    columns: Arc::clone(&columns),
                    values,
                })
            })
            .collect()
    }

    pub(crate) async fn batch(&self, sql: &str) -> Result<(), DbError> {
        self.transaction
            .batch_execute(sql)
            .await
            .map_err(|e| self.statement_error(sql, e))
    }

    async fn prepare(&self, text: &str) -> Result<tokio_postgres::Statement, DbError> {
        self.transaction
            .prepare_cached(text)
            .await
            .map_err(|e| self.statement_error(text, e))
    }

    fn statement_error(&self, sql: &str, error: tokio_postgres::Error) -> DbError {
        if is_conflict(&error) || error.is_closed() {
            self.again.set(true);
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

fn is_conflict(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED
    })
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> DbError {
    DbError::Unavailable(Box::new(error))
}

type BoxError = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(int) if *ty == Type::INT8 => int.to_sql(ty, out),
            Self::Int(int) if *ty == Type::INT4 => i32::try_from(*int)?.to_sql(ty, out),
            Self::Real(real) if *ty == Type::FLOAT8 => real.to_sql(ty, out),
            Self::Text(text) if *ty == Type::TEXT || *ty == Type::VARCHAR => text.to_sql(ty, out),
            Self::Bytes(bytes) if *ty == Type::BYTEA => bytes.as_slice().to_sql(ty, out),
            Self::Int(_) | Self::Real(_) | Self::Text(_) | Self::Bytes(_) => {
                Err(format!("a parameter of type {ty} was given {self:?}").into())
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

impl<'a> tokio_postgres::types::FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(match *ty {
            Type::INT8 => Self::Int(i64::from_sql(ty, raw)?),
            Type::INT4 => Self::Int(i32::from_sql(ty, raw)?.into()),
            Type::BOOL => Self::Int(bool::from_sql(ty, raw)?.into()),
            Type::FLOAT8 => Self::Real(f64::from_sql(ty, raw)?),
            Type::BYTEA => Self::Bytes(Vec::from_sql(ty, raw)?),
            _ => Self::Text(String::from_sql(ty, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, BoxError> {
        Ok(Self::Null)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(
            *ty,
            Type::INT8
                | Type::INT4
                | Type::BOOL
                | Type::FLOAT8
                | Type::BYTEA
                | Type::TEXT
                | Type::VARCHAR
                | Type::NAME
        )
    }
}
