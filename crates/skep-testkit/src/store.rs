//! A fresh SQLite file or a fresh PostgreSQL database for every test.
//!
//! PostgreSQL is the private cluster that `cargo xtask test` starts; its address is in
//! `SKEP_TEST_POSTGRES`. Without it the PostgreSQL half fails rather than being passed over.

use crate::PrivateServer;
use skep_db::{BeforeCommit, Db, DbOptions, Location, SchemaPart};
use skep_stdx::{Entropy as _, ManualClock, OsEntropy, Secret};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The variable that holds the address of the test cluster's maintenance database.
const POSTGRES_VARIABLE: &str = "SKEP_TEST_POSTGRES";

/// When every store begins, 2026-01-01T00:00:00Z: any fixed time will do.
const BEGIN_MS: i64 = 1_767_225_600_000;

/// Which engine a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A file in a temporary folder.
    Sqlite,
    /// A database of its own in the test cluster.
    Postgres,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// A store made for one test.
pub struct TestStore {
    /// Which engine.
    pub backend: Backend,
    /// The store's clock; it moves only when the test moves it.
    pub clock: ManualClock,
    location: Location,
    folder: tempfile::TempDir,
}

impl TestStore {
    /// A store without a schema.
    pub async fn new(backend: Backend) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let location = match backend {
            Backend::Sqlite => Location::Sqlite(folder.path().join("skep.db")),
            Backend::Postgres => {
                let cluster = std::env::var(POSTGRES_VARIABLE).map_err(|_| {
                    anyhow::anyhow!(
                        "{POSTGRES_VARIABLE} is not set: run the tests with `cargo xtask test`"
                    )
                })?;
                Location::Postgres(Secret::new(create_database(cluster).await?))
            }
        };
        Ok(Self {
            backend,
            clock: ManualClock::at(BEGIN_MS),
            location,
            folder,
        })
    }

    /// A store without a schema on a server that the test may stop.
    pub async fn on_server(server: &PrivateServer) -> anyhow::Result<Self> {
        Self::at(create_database(server.address()).await?)
    }

    /// A store in a PostgreSQL database that is there already.
    pub fn at(address: String) -> anyhow::Result<Self> {
        Ok(Self {
            backend: Backend::Postgres,
            clock: ManualClock::at(BEGIN_MS),
            location: Location::Postgres(Secret::new(address)),
            folder: tempfile::tempdir()?,
        })
    }

    /// A SQLite store in a folder of its own below `folder`, as for one that is in memory.
    pub fn sqlite_in(folder: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(folder)?;
        Ok(Self {
            backend: Backend::Sqlite,
            clock: ManualClock::at(BEGIN_MS),
            location: Location::Sqlite(folder.path().join("skep.db")),
            folder,
        })
    }

    /// Opens the store; may be called again, as a restart would.
    pub async fn open(
        &self,
        schema: &[SchemaPart],
        before_commit: Option<BeforeCommit>,
    ) -> Result<Db, skep_db::SchemaError> {
        Db::open(self.options(schema, before_commit)).await
    }

    /// How the store is opened.
    pub fn options(&self, schema: &[SchemaPart], before_commit: Option<BeforeCommit>) -> DbOptions {
        DbOptions {
            location: self.location.clone(),
            schema: schema.to_vec(),
            clock: Some(Arc::new(self.clock.clone())),
            before_commit,
        }
    }

    /// Where it lies.
    pub const fn location(&self) -> &Location {
        &self.location
    }

    /// Opens the store on the clock of its engine, for what really takes time.
    pub async fn open_on_real_clock(
        &self,
        schema: &[SchemaPart],
        before_commit: Option<BeforeCommit>,
    ) -> Result<Db, skep_db::SchemaError> {
        Db::open(DbOptions {
            location: self.location.clone(),
            schema: schema.to_vec(),
            clock: None,
            before_commit,
        })
        .await
    }

    /// A folder that is gone with the store.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The SQLite file, on that engine.
    pub fn sqlite_file(&self) -> Option<&PathBuf> {
        match &self.location {
            Location::Sqlite(path) => Some(path),
            Location::Postgres(_) => None,
        }
    }

    /// The PostgreSQL address as a configuration file has it, on that engine.
    pub fn postgres_url(&self) -> Option<String> {
        self.postgres_address().map(as_url)
    }

    /// The PostgreSQL address, on that engine.
    pub fn postgres_address(&self) -> Option<&str> {
        match &self.location {
            Location::Sqlite(_) => None,
            Location::Postgres(address) => Some(address.reveal()),
        }
    }
}

/// `host=/run user=ada dbname=a dbname=b` as `postgres://ada@%2Frun/b`; an address stays one.
fn as_url(address: &str) -> String {
    if address.contains("://") {
        return address.to_owned();
    }
    let value = |key: &str| {
        let mut pairs = address.split_whitespace().filter_map(|p| p.split_once('='));
        // The later of two settings wins.
        pairs
            .rfind(|(name, _)| *name == key)
            .map(|(_, value)| value)
    };
    let host = value("host").unwrap_or("localhost").replace('/', "%2F");
    let port = value("port").map_or_else(String::new, |port| format!(":{port}"));
    let user = value("user").unwrap_or("postgres");
    let name = value("dbname").unwrap_or_default();
    format!("postgres://{user}@{host}{port}/{name}")
}

/// Makes a database in the cluster of this address; the answer is its own address.
async fn create_database(cluster: String) -> anyhow::Result<String> {
    let (client, connection) = tokio_postgres::connect(&cluster, tokio_postgres::NoTls).await?;
    let driver = skep_stdx::spawn("test-cluster-connection", connection);
    let mut random = [0; 8];
    OsEntropy.fill(&mut random);
    let name = format!("skep_test_{:016x}", u64::from_le_bytes(random));
    client
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await?;
    drop(client);
    driver.await??;
    // The later of two `dbname` settings wins, in both forms of address.
    Ok(match cluster.split_once("://") {
        Some((scheme, rest)) => {
            let (authority_and_path, query) = rest
                .split_once('?')
                .map_or((rest, String::new()), |(a, q)| (a, format!("?{q}")));
            let authority = authority_and_path.split('/').next().unwrap_or_default();
            format!("{scheme}://{authority}/{name}{query}")
        }
        None => format!("{cluster} dbname={name}"),
    })
}

/// Runs one test on one engine, on a runtime of its own.
pub fn run_on<F>(backend: Backend, test: impl FnOnce(TestStore) -> F)
where
    F: Future<Output = anyhow::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .and_then(|runtime| {
            runtime.block_on(async {
                let outcome = match TestStore::new(backend).await {
                    Ok(store) => test(store).await,
                    Err(error) => Err(error),
                };
                outcome.map_err(|error| std::io::Error::other(format!("{error:?}")))
            })
        });
    #[expect(clippy::panic, reason = "this is how a test fails")]
    if let Err(error) = runtime {
        panic!("{error}");
    }
}

/// Declares each named `async fn(TestStore) -> anyhow::Result<()>` as a test on both engines.
#[macro_export]
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test] fn $name() { $crate::run_on($crate::Backend::Sqlite, super::$name); })+
        }
        mod postgres {
            $(#[test] fn $name() { $crate::run_on($crate::Backend::Postgres, super::$name); })+
        }
    };
}

#[cfg(test)]
mod tests {
    use super::as_url;

    #[test]
    fn a_list_of_settings_becomes_an_address() {
        for (settings, address) in [
            (
                "host=/tmp/pg user=ada dbname=a dbname=b",
                "postgres://ada@%2Ftmp%2Fpg/b",
            ),
            (
                "host=127.0.0.1 port=5433 user=ada dbname=a",
                "postgres://ada@127.0.0.1:5433/a",
            ),
            ("postgres://ada@host/b?x=1", "postgres://ada@host/b?x=1"),
        ] {
            assert_eq!(as_url(settings), address);
        }
    }
}
