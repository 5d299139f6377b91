//! What can go wrong between the program and its store.

/// A failed database operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// The store cannot be reached or opened.
    #[error("reach the database")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A unique or foreign key would have been violated.
    #[error("keep the constraint {constraint}")]
    Constraint {
        /// The constraint, or the table and column, as the engine names it.
        constraint: String,
    },
    /// A statement was refused.
    #[error("run `{statement}`")]
    Statement {
        /// The statement's text, cut to its first 120 characters.
        statement: String,
        /// What the engine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A column does not hold what the reader expects.
    #[error("read column {column}: found {found}")]
    Column {
        /// The column.
        column: String,
        /// What was there instead.
        found: &'static str,
    },
    /// The transaction was run again too often.
    #[error("commit {operation}: it conflicted with others {tries} times")]
    Conflict {
        /// The operation's name.
        operation: &'static str,
        /// How often it was run.
        tries: u32,
    },
    /// The connection broke while the commit was under way: it may or may not have happened.
    #[error("learn whether {operation} was committed")]
    CommitUnknown {
        /// The operation's name.
        operation: &'static str,
        /// What broke.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The commit failed; nothing of the operation remains.
    #[error("commit {operation}: {reason}")]
    NotCommitted {
        /// The operation's name.
        operation: &'static str,
        /// What the engine said.
        reason: String,
        /// What is wrong with the disk below the store, if that was it.
        fault: Option<StorageFault>,
    },
    /// The closure awaited something other than its transaction, or panicked.
    #[error("run {operation}: {reason}")]
    BadClosure {
        /// The operation's name.
        operation: &'static str,
        /// Which rule it broke.
        reason: &'static str,
    },
    /// The store was opened to be read.
    #[error("{operation}: the store was opened to be read")]
    ReadOnly {
        /// The operation's name.
        operation: &'static str,
    },
    /// The store was closed.
    #[error("use the database after it was closed")]
    Closed,
}

/// What is wrong with the disk below the store. It passes by itself, or when somebody makes room;
/// the store goes on then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageFault {
    /// There is no space left.
    Full,
    /// Nothing may be written.
    ReadOnly,
    /// Reading or writing fails, as with a broken disk or over a quota.
    Broken,
}

impl DbError {
    /// What is wrong with the disk below the store, if that is why.
    pub fn storage_fault(&self) -> Option<StorageFault> {
        match self {
            Self::NotCommitted { fault, .. } => *fault,
            Self::Statement { source, .. }
            | Self::Unavailable(source)
            | Self::CommitUnknown { source, .. } => fault_of(&**source),
            Self::Constraint { .. }
            | Self::Column { .. }
            | Self::Conflict { .. }
            | Self::BadClosure { .. }
            | Self::ReadOnly { .. }
            | Self::Closed => None,
        }
    }

    /// Whether the store is why, and not what was asked of it, and may answer when it is asked again:
    /// it was out of reach, its connection broke during the commit, or others were in the way.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_) | Self::CommitUnknown { .. } | Self::Conflict { .. }
        )
    }

    /// Whether a unique or foreign key was the reason.
    pub const fn is_constraint(&self) -> bool {
        matches!(self, Self::Constraint { .. })
    }

    pub(crate) fn statement(
        sql: &str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Statement {
            statement: shorten(sql),
            source: Box::new(source),
        }
    }
}

/// Why a closure that ends well after a refused statement is not committed.
pub(crate) const FAILED_STATEMENT: &str = "it went on after a statement that failed";

fn fault_of(source: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<StorageFault> {
    if let Some(error) = source.downcast_ref::<rusqlite::Error>() {
        use rusqlite::ErrorCode as Code;
        let code = error.sqlite_error_code()?;
        let faults = [
            (Code::DiskFull, StorageFault::Full),
            (Code::ReadOnly, StorageFault::ReadOnly),
            (Code::SystemIoFailure, StorageFault::Broken),
        ];
        let fault = faults.into_iter().find(|(found, _)| *found == code);
        return fault.map(|(_, fault)| fault);
    }
    // `disk_full`, `read_only_sql_transaction`, `io_error`.
    let error = source.downcast_ref::<tokio_postgres::Error>()?;
    match error.code()?.code() {
        "53100" => Some(StorageFault::Full),
        "25006" => Some(StorageFault::ReadOnly),
        "58030" => Some(StorageFault::Broken),
        _ => None,
    }
}

fn shorten(sql: &str) -> String {
    let one_line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &one_line[..end]),
        None => one_line,
    }
}
