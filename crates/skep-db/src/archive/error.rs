//! Why an archive was not written or not taken.

use crate::{DbError, SchemaError};

/// A failed export or import. The store is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The file is something else.
    #[error("read the archive: it does not begin as one")]
    Foreign,
    /// The file is of a format that this program does not know.
    #[error("read the archive: it is of version {version}, this program reads up to {known}")]
    NewerFormat {
        /// The file's version.
        version: i64,
        /// The newest that is known.
        known: i64,
    },
    /// The file ends before its last line.
    #[error("read the archive: it ends after line {lines}, before its digest")]
    Truncated {
        /// How many whole lines there are.
        lines: u64,
    },
    /// The file is not what was written.
    #[error("read the archive: {what} is not what was written")]
    Changed {
        /// What differs.
        what: String,
    },
    /// A line that means nothing.
    #[error("read line {line} of the archive: {reason}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The archive's file failed.
    #[error("{action} the archive")]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The archive has a step that this program does not know.
    #[error("take an archive of a newer version: it has step {version} of {owner}")]
    NewerStep {
        /// The crate whose step it is.
        owner: String,
        /// The unknown step.
        version: i64,
    },
    /// A step has another text in the program that wrote the archive.
    #[error("take the archive: step {version} of {owner} is not the text it was made with")]
    ChangedStep {
        /// The crate whose step it is.
        owner: String,
        /// The changed step.
        version: i64,
    },
    /// The store has steps that the archive does not have.
    #[error("take an older archive into a store that has step {version} of {owner} already")]
    StoreAhead {
        /// The crate whose step it is.
        owner: String,
        /// The step that the archive lacks.
        version: i64,
    },
    /// The store holds something.
    #[error("take the archive: the store is not empty, {} has {rows} rows", table)]
    NotEmpty {
        /// The first table that holds something.
        table: String,
        /// How many rows it has.
        rows: i64,
    },
    /// The archive has rows of a table that this engine does not have.
    #[error("take the archive: {rows} rows of {table}, which has no place on this engine")]
    NoSuchTable {
        /// The table.
        table: String,
        /// Its rows.
        rows: u64,
    },
    /// A table has other columns than the archive says.
    #[error("take the archive: the columns of {table} are not those of the store")]
    Columns {
        /// The table.
        table: String,
    },
    /// A table cannot be ordered.
    #[error("write the archive: {table} has no primary key")]
    NoKey {
        /// The table.
        table: String,
    },
    /// A column of a type that archives do not know.
    #[error("write the archive: {table}.{column} is of type {kind}")]
    ColumnKind {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The engine's name of the type.
        kind: String,
    },
    /// PostgreSQL has no text with a zero character.
    #[error("take the archive: {table}.{column} holds text with a zero character (line {line})")]
    ZeroCharacter {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The line of the archive.
        line: u64,
    },
    /// What was stored is not what the archive has.
    #[error("take the archive: what was stored reads back differently")]
    ReadBack,
    /// The connection broke in the middle.
    #[error("finish the transaction: the connection broke")]
    Interrupted,
    /// The schema could not be made.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// What the caller does with the arrived data failed.
    #[error("put the arrived data in order")]
    Arrival(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store itself failed.
    #[error("reach the store's tables")]
    Db(#[from] DbError),
}

impl ArchiveError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Foreign => "archive_foreign",
            Self::NewerFormat { .. } | Self::NewerStep { .. } => "archive_newer",
            Self::Truncated { .. } => "archive_truncated",
            Self::Changed { .. } | Self::Line { .. } => "archive_changed",
            Self::Io { .. } => "archive_io",
            Self::ChangedStep { .. } | Self::Columns { .. } => "archive_schema_differs",
            Self::StoreAhead { .. } => "store_newer_than_archive",
            Self::NotEmpty { .. } => "store_not_empty",
            Self::NoSuchTable { .. } => "archive_unsettled",
            Self::NoKey { .. } | Self::ColumnKind { .. } => "table_not_exportable",
            Self::ZeroCharacter { .. } => "archive_zero_character",
            Self::ReadBack => "archive_read_back",
            Self::Interrupted => "database_interrupted",
            Self::Schema(error) => error.code(),
            Self::Arrival(_) => "archive_arrival",
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Foreign => "name a file that `skep data export` wrote",
            Self::NewerFormat { .. } | Self::NewerStep { .. } => {
                "run the version of skep that wrote it, or a newer one"
            }
            Self::Truncated { .. } => {
                "the copy or the export was cut short: copy it again, or export again"
            }
            Self::Changed { .. } | Self::Line { .. } => {
                "the file was damaged or edited: copy it again, or export again"
            }
            Self::Io { .. } => "check the path, its disk and its rights",
            Self::ChangedStep { .. } | Self::Columns { .. } => {
                "export and import with released builds of skep"
            }
            Self::StoreAhead { .. } => {
                "import into a database that does not exist yet; it is brought up to date after"
            }
            Self::NotEmpty { .. } => {
                "import before the first start: choose a new database, or move the home's skep.db away"
            }
            Self::NoSuchTable { .. } => {
                "stop every server of the exported store with Ctrl-C or SIGTERM, and export again"
            }
            Self::NoKey { .. } | Self::ColumnKind { .. } => "this is a defect of this build",
            Self::ZeroCharacter { .. } => {
                "import with `--replace-zero`, which stores U+FFFD in its place and counts it"
            }
            Self::ReadBack => "nothing was kept; check the database server with `skep doctor`",
            Self::Interrupted => "nothing was kept; run the command again",
            Self::Schema(error) => error.hint(),
            Self::Arrival(_) => "nothing was kept; `skep doctor` checks the home",
            Self::Db(_) => "check that the database can be reached, then `skep doctor`",
        }
    }

    pub(super) const fn read(source: std::io::Error) -> Self {
        Self::Io {
            action: "read",
            source,
        }
    }

    pub(super) const fn write(source: std::io::Error) -> Self {
        Self::Io {
            action: "write",
            source,
        }
    }
}
