//! An archive: everything that a store holds in one file that either engine can read.
//!
//! JSON lines. The first names the format, the program and the schema's steps; then comes each
//! table with its columns and its rows, then the files that belong to the store, and last the
//! counts and the digests, without which an archive is not taken. Nothing here knows a table by
//! name: columns, keys and counters are read from the engine, so a new table is covered from the
//! step that makes it.
//!
//! Invariants: rows stand in the order of their primary keys, bytewise, and columns in the order
//! of their names, so that one content has one text on both engines; an import commits only what
//! it has read back as the archive has it. Decision 023.

mod catalogue;
mod error;
mod export;
mod import;
mod line;
mod read;
mod write;

pub(crate) use export::weight;

pub use catalogue::{Catalogue, Column, ColumnKind, TableShape};
pub use error::ArchiveError;
pub use import::Imported;
pub use read::{Archive, ArchiveFile};
pub use write::{ArchiveWriter, Written};

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The word that every archive begins with.
const FORMAT: &str = "skep-data";
/// The version of the format that is written, and the newest that is read.
const VERSION: i64 = 1;

/// Who writes an archive, and of what. Nothing of it is needed to read the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The version of the program.
    pub product: String,
    /// When, in milliseconds since 1970.
    pub exported_at_ms: i64,
    /// The folder that the store belongs to, if it has one.
    pub home: Option<String>,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    format: String,
    version: i64,
    #[serde(flatten)]
    origin: Origin,
    engine: String,
    steps: Vec<StepMark>,
}

/// One applied step of the schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StepMark {
    owner: String,
    version: i64,
    /// SHA-256 of the step's text for SQLite, a zero byte, and its text for PostgreSQL.
    sha256: String,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    tables: Vec<(String, u64)>,
    rows: u64,
    files: u64,
    /// Of the lines about tables: one content has one digest, whichever engine it lies on.
    content_sha256: String,
    /// Of every byte before this line.
    sha256: String,
}

/// How far an export or an import has come; shared with whoever shows it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// How many rows are done.
    pub fn rows(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, rows: usize) {
        self.0.fetch_add(rows as u64, Ordering::Relaxed);
    }
}
