//! Where the store lies and how it is opened.

use crate::{DbError, Locals, SchemaPart, Tx};
use skep_stdx::{Secret, SharedClock};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

/// Runs inside a write transaction just before its COMMIT, when an operation left something in
/// [`Tx::local`](crate::Tx::local): how the ledger writes what they appended.
///
/// It gets what each operation left, in the order in which they ran, and takes all of it out. On
/// PostgreSQL that is one operation; on SQLite all of a group commit that succeeded. Its error
/// fails the whole commit.
pub type BeforeCommit = Box<
    dyn for<'a, 'c> Fn(
            &'a mut Tx<'c>,
            &'a mut [Locals],
        ) -> Pin<Box<dyn Future<Output = Result<(), DbError>> + 'a>>
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
    /// See [`BeforeCommit`]. Without one, an operation that leaves something fails.
    pub before_commit: Option<BeforeCommit>,
}

/// [`BeforeCommit`] broke a rule.
pub(crate) const fn before_commit_refused(reason: &'static str) -> DbError {
    DbError::BadClosure {
        operation: "before_commit",
        reason,
    }
}
