//! Where the store lies and how it is opened.

use crate::{DbError, SchemaPart, Tx};
use skep_stdx::{Secret, SharedClock};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

/// Runs inside every SQLite commit, after its operations: how the ledger seals what they appended.
pub type BeforeCommit = Box<
    dyn for<'a, 'c> Fn(&'a mut Tx<'c>) -> Pin<Box<dyn Future<Output = Result<(), DbError>> + 'a>>
        + Send
        + Sync,
>;

/// Where the store lies.
#[derive(Debug, Clone)]
pub enum Location {
    /// One file; made if absent, readable by its owner only.
    Sqlite(PathBuf),
    /// A `postgres://` address or a key-value connection string.
    Postgres(Secret),
}

/// How to open a store.
pub struct DbOptions {
    /// Where it lies.
    pub location: Location,
    /// The schema of every crate that owns tables, in the order of their layers.
    pub schema: Vec<SchemaPart>,
    /// Overrides the store's clock. `None`: SQLite uses the machine's, PostgreSQL the server's.
    pub clock: Option<SharedClock>,
    /// See [`BeforeCommit`]; not used on PostgreSQL, where a sealer of its own follows the commits.
    pub before_commit: Option<BeforeCommit>,
}
