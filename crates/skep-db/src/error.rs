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

impl DbError {
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

fn shorten(sql: &str) -> String {
    let one_line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &one_line[..end]),
        None => one_line,
    }
}
