//! The store of a home and the key of its ledger: how both are opened, and what is said when they
//! are not to be had.
//!
//! Invariant: every way to open a home's store brings the tables of every crate and the ledger's
//! sealer.

use crate::config::{Config, Database};
use crate::failure::{Failure, failed_to};
use skep_db::{Db, DbError, DbOptions, Location, SchemaPart};
use skep_director::Home;
use skep_ledger::{LedgerError, LedgerKey, SealerService};

/// The tables of every crate, in the order of their layers.
pub(crate) const SCHEMA: [SchemaPart; 6] = [
    skep_authority::SCHEMA,
    skep_ledger::SCHEMA,
    skep_queue::SCHEMA,
    skep_topic::SCHEMA,
    skep_gateway::SCHEMA,
    skep_director::SCHEMA,
];

/// How the home's store is opened.
pub(crate) fn store_options(
    home: &Home,
    config: &Config,
    key: &LedgerKey,
) -> Result<DbOptions, Failure> {
    let location = match config.database()? {
        Database::Sqlite => Location::Sqlite(home.database()),
        Database::Postgres(address) => Location::Postgres(address),
    };
    Ok(DbOptions {
        location,
        schema: SCHEMA.to_vec(),
        clock: None,
        before_commit: Some(skep_ledger::sealer(key.clone())),
    })
}

/// Opens the home's store, its schema up to date.
pub(crate) async fn open_store(
    home: &Home,
    config: &Config,
    key: &LedgerKey,
) -> Result<Db, Failure> {
    Ok(Db::open(store_options(home, config, key)?).await?)
}

/// The store of a home that nobody runs, with everything on its ledger sealed.
pub(crate) async fn open_settled(home: &Home, config: &Config) -> Result<Db, Failure> {
    let key = open_ledger_key(home)?;
    let db = open_store(home, config, &key).await?;
    seal(&db, key).await.map_err(|error| {
        let hint = error
            .hint()
            .unwrap_or_else(|| "`skep doctor` checks the home".to_owned());
        Failure::unreachable(error.code(), failed_to(&error), hint)
    })?;
    Ok(db)
}

/// Seals what no sealer has seen yet.
pub(crate) async fn seal(db: &Db, key: LedgerKey) -> Result<(), LedgerError> {
    if db.engine() == skep_db::Engine::Postgres {
        SealerService::new(db.clone(), key).seal_pending().await?;
    }
    Ok(())
}

/// The key that signs the ledger; made where there is none yet.
pub(crate) fn open_ledger_key(home: &Home) -> Result<LedgerKey, Failure> {
    LedgerKey::open_or_create(&home.ledger_key()).map_err(|error| {
        let hint = error
            .hint()
            .unwrap_or_else(|| "`skep doctor` checks the home".to_owned());
        Failure::unreachable(error.code(), failed_to(&error), hint)
    })
}

/// What a person is told of a store that does not answer.
pub(crate) fn store_failed(error: &DbError) -> Failure {
    let hint = "`skep doctor` says what is wrong";
    Failure::unreachable("database_failed", failed_to(error), hint)
}

/// What a person is told of a ledger that is not in order.
pub(crate) fn ledger_failed(error: &LedgerError) -> Failure {
    let hint = error
        .hint()
        .unwrap_or_else(|| "`skep doctor` says what is wrong".to_owned());
    Failure::unreachable(error.code(), failed_to(error), hint)
}
