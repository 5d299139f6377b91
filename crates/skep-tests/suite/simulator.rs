//! The short form of `cargo xtask chaos simulate`, on both engines: random histories of the queue
//! with every fault there is. A seed that fails is printed with the shortest history that does.
//!
//! Other seeds with `SKEP_TEST_SEED`, the first of them.

use anyhow::Context as _;
use skep_sim::simulate::{Options, simulate};
use skep_testkit::Backend;

/// Histories on SQLite, which is alone in its process.
const SQLITE_HISTORIES: u64 = 200;
/// Histories on PostgreSQL, where every statement is a round trip.
const POSTGRES_HISTORIES: u64 = 40;
/// The variable that names the first seed.
const SEED_VARIABLE: &str = "SKEP_TEST_SEED";

#[test]
fn histories_on_sqlite() -> anyhow::Result<()> {
    histories(Backend::Sqlite, SQLITE_HISTORIES)
}

#[test]
fn histories_on_postgres() -> anyhow::Result<()> {
    histories(Backend::Postgres, POSTGRES_HISTORIES)
}

fn histories(backend: Backend, count: u64) -> anyhow::Result<()> {
    let seed = std::env::var(SEED_VARIABLE).ok();
    let first = seed.map_or(Ok(1), |seed| seed.parse()).context("no seed")?;
    let options = Options {
        backend,
        mutation: None,
        model: true,
        shorten: true,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(simulate(first, count, &options))?;
    assert!(outcome.failure.is_none(), "{:#?}", outcome.failure);
    assert_eq!(outcome.histories, count);
    Ok(())
}
