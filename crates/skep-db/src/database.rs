//! The handle that the rest of the program holds.

use crate::limits::POSTGRES_RECONNECT_MS;
use crate::options::{DbOptions, Location};
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;
use crate::{DbError, SchemaError, SchemaPart, Tx, migrate};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_millis(POSTGRES_RECONNECT_MS);

/// Which engine a store is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// One file in the home.
    Sqlite,
    /// A server.
    Postgres,
}

/// The store. Cheap to clone; the last clone to go closes it.
#[derive(Clone)]
pub struct Db {
    store: Store,
    topics: Topics,
    read_only: bool,
    /// How long a call looks for a connection that works.
    patience: Duration,
}

#[derive(Clone)]
enum Store {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Db {
    /// Opens the store and brings its schema up to date.
    ///
    /// Fails without changing anything when the store is newer than this program or when an
    /// applied step no longer has the text it had.
    pub async fn open(options: DbOptions) -> Result<Self, SchemaError> {
        let schema = options.schema.clone();
        let db = Self::connect(options).await?;
        migrate::migrate(&db, &schema).await?;
        Ok(db)
    }

    /// Opens a store that is there, to read it beside whoever works on it. Every write is refused,
    /// by the connection itself and before it; the schema stays as it is.
    pub async fn open_read_only(
        location: Location,
        schema: &[SchemaPart],
    ) -> Result<Self, SchemaError> {
        let topics = Topics::default();
        let store = match location {
            Location::Sqlite(path) => Store::Sqlite(Sqlite::open_read_only(&path, None).await?),
            Location::Postgres(address) => {
                Store::Postgres(Postgres::open(&address, None, None, topics.clone()).await?)
            }
        };
        let db = Self {
            store,
            topics,
            read_only: true,
            patience: PATIENCE,
        };
        migrate::check(&db, schema).await?;
        Ok(db)
    }

    /// Opens the store and leaves its schema as it is.
    pub(crate) async fn connect(options: DbOptions) -> Result<Self, DbError> {
        let topics = Topics::default();
        let store = match options.location {
            Location::Sqlite(path) => Store::Sqlite(
                Sqlite::open(&path, options.clock, options.before_commit, topics.clone()).await?,
            ),
            Location::Postgres(address) => Store::Postgres(
                Postgres::open(
                    &address,
                    options.clock,
                    options.before_commit,
                    topics.clone(),
                )
                .await?,
            ),
        };
        Ok(Self {
            store,
            topics,
            read_only: false,
            patience: PATIENCE,
        })
    }

    /// The same store for who would rather wait, up to `patience`, than fail when it is out of
    /// reach. Ordinary callers wait for [`POSTGRES_RECONNECT_MS`], because somebody waits for them.
    #[must_use]
    pub fn patient(&self, patience: Duration) -> Self {
        Self {
            patience,
            ..self.clone()
        }
    }

    /// Which engine this is.
    pub fn engine(&self) -> Engine {
        match self.store {
            Store::Sqlite(_) => Engine::Sqlite,
            Store::Postgres(_) => Engine::Postgres,
        }
    }

    /// Runs `operation` as one durable transaction and answers after its commit.
    ///
    /// The closure may run more than once and awaits nothing but its transaction.
    pub async fn write<T, E, F>(&self, name: &'static str, operation: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        if self.read_only {
            return Err(DbError::ReadOnly { operation: name }.into());
        }
        match &self.store {
            Store::Sqlite(sqlite) => sqlite.write(name, operation).await,
            Store::Postgres(postgres) => postgres.run(name, false, self.patience, operation).await,
        }
    }

    /// Runs `operation` on a consistent snapshot; it cannot change anything.
    pub async fn read<T, E, F>(&self, name: &'static str, operation: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        match &self.store {
            Store::Sqlite(sqlite) => sqlite.read(name, operation).await,
            Store::Postgres(postgres) => postgres.run(name, true, self.patience, operation).await,
        }
    }

    /// Listens to `topic`: the receiver changes after every commit that woke it in this process.
    /// A hint, not a promise; a listener also looks by itself from time to time.
    pub fn listen(&self, topic: &'static str) -> watch::Receiver<u64> {
        self.topics.sender(topic).subscribe()
    }

    /// Wakes `topic` outside a transaction, as a timer does.
    pub fn wake(&self, topic: &'static str) {
        self.topics.wake(&[topic]);
    }
}

/// The wake-ups of this process.
#[derive(Clone, Default)]
pub(crate) struct Topics(Arc<Mutex<HashMap<&'static str, watch::Sender<u64>>>>);

impl Topics {
    fn sender(&self, topic: &'static str) -> watch::Sender<u64> {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        topics
            .entry(topic)
            .or_insert_with(|| watch::channel(0).0)
            .clone()
    }

    pub(crate) fn wake(&self, topics: &[&'static str]) {
        for topic in topics {
            self.sender(topic).send_modify(|count| *count += 1);
        }
    }
}
