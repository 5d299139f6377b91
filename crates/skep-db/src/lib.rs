//! Connections, transactions and migrations on SQLite and PostgreSQL, with one meaning.
//!
//! A transaction is a closure over [`Tx`] that awaits nothing but the database and may be run
//! again. SQLite runs it on its one writer thread, many to a commit, each in a savepoint of its
//! own; PostgreSQL runs it on a connection of its pool and repeats it after a serialization
//! failure. What operations leave in [`Tx::local`] is taken up by [`BeforeCommit`] inside the
//! commit; wake-ups collected by [`Tx::wake`] reach their listeners after it.
//!
//! Knows nothing of what the tables mean.

mod archive;
mod database;
mod error;
mod given;
pub mod limits;
mod locals;
mod migrate;
mod options;
mod postgres;
mod query;
mod rows;
mod sql;
mod sqlite;
mod tx;
mod value;

pub use archive::{
    Archive, ArchiveError, ArchiveFile, ArchiveWriter, Catalogue, Column, ColumnKind, Imported,
    Origin, Progress, TableShape, Written,
};
pub use database::{Db, Engine};
pub use error::{DbError, StorageFault};
pub use locals::Locals;
pub use migrate::{SchemaError, SchemaPart, Step, Table};
pub use options::{BeforeCommit, DbOptions, Location};
pub use query::{Answer, QueryError, QueryLimits, ask};
pub use rows::{Kind, List, Rows};
pub use tx::Tx;
pub use value::{FromValue, Row, Value};
