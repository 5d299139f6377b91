//! PostgreSQL: a pool of connections driven by one thread with a runtime of its own.
//!
//! The thread exists so that a transaction's closure need not be `Send` while it is suspended:
//! the same closure text serves SQLite, where it runs on the writer thread. A transaction is run
//! again after a serialization failure, a deadlock, or a connection that broke before its commit
//! was asked for; only what broke after that is the caller's to know.

mod address;
mod later;
mod session;
mod statement;
mod transact;
mod value;

pub(crate) use session::{NOW, Session};

use crate::database::Topics;
use crate::limits::{
    POSTGRES_CONNECT_MS, POSTGRES_CONNECTIONS_MAX, POSTGRES_PROBE_MS, POSTGRES_SILENCE_MS,
    WAITING_OPERATIONS_MAX,
};
use crate::options::BeforeCommit;
use crate::sql::Rewriter;
use crate::{DbError, Tx};
use address::{Address, Statements};
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use skep_stdx::{Secret, SharedClock};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::NoTls;
use transact::transact;

type Job = Box<dyn FnOnce(Rc<Shared>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

#[derive(Clone)]
pub(crate) struct Postgres {
    jobs: mpsc::Sender<Job>,
}

/// A kept statement is planned while its table is nearly empty, when reading all of it looks cheapest,
/// and the plan stays when a thousand dead rows have gathered. Every statement here has an index.
const PLANS_BY_INDEX: &str = "SET enable_seqscan = off";

/// What all transactions of this process have in common.
struct Shared {
    pool: Pool,
    clock: Option<SharedClock>,
    before_commit: Option<BeforeCommit>,
    statements: Statements,
    topics: Topics,
    rewriter: Rewriter,
}

impl Postgres {
    pub(crate) async fn open(
        address: &Secret,
        clock: Option<SharedClock>,
        before_commit: Option<BeforeCommit>,
        topics: Topics,
    ) -> Result<Self, DbError> {
        let Address {
            mut config,
            statements,
        } = Address::parse(address)?;
        config.application_name("skep");
        watch_connection(&mut config);
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
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async move {
                    let set = client.batch_execute(PLANS_BY_INDEX).await;
                    set.map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(unavailable)?;
        let shared = Shared {
            pool,
            clock,
            before_commit,
            statements,
            topics,
            rewriter: Rewriter::default(),
        };
        let (jobs, queue) = mpsc::channel(WAITING_OPERATIONS_MAX);
        let (ready, started) = oneshot::channel();
        std::thread::Builder::new()
            .name("skep-db-postgres".to_owned())
            .spawn(move || drive(shared, queue, ready))
            .map_err(unavailable)?;
        started.await.unwrap_or(Err(DbError::Closed))?;
        Ok(Self { jobs })
    }

    pub(crate) async fn run<T, E, F>(
        &self,
        name: &'static str,
        read_only: bool,
        patience: Duration,
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
                let ended = transact(&shared, name, read_only, patience, &closure).await;
                drop(reply.send(ended));
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

/// A server that is out of reach is found out about, whether it is being asked or is answering.
fn watch_connection(config: &mut tokio_postgres::Config) {
    let probe = Duration::from_millis(POSTGRES_PROBE_MS);
    config
        .connect_timeout(Duration::from_millis(POSTGRES_CONNECT_MS))
        .tcp_user_timeout(Duration::from_millis(POSTGRES_SILENCE_MS))
        .keepalives(true)
        .keepalives_idle(probe)
        .keepalives_interval(probe / 2);
}

fn drive(
    shared: Shared,
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
        let first = shared.pool.get().await.map(|_| ()).map_err(unavailable);
        let reached = first.is_ok();
        drop(ready.send(first));
        if !reached {
            return;
        }
        let shared = Rc::new(shared);
        while let Some(job) = queue.recv().await {
            tokio::task::spawn_local(job(Rc::clone(&shared)));
        }
    });
}

/// What the driver is told to connect to `address`.
pub(crate) fn config(address: &Secret) -> Result<tokio_postgres::Config, DbError> {
    Ok(Address::parse(address)?.config)
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> DbError {
    DbError::Unavailable(Box::new(error))
}
