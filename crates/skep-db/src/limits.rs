//! The limits of this crate, each with its reason.

/// Operations that may wait for the store; beyond it callers wait in line.
pub const WAITING_OPERATIONS_MAX: usize = 4_096;
/// Operations in one SQLite commit. Bounds how much one failed commit takes with it.
pub const COMMIT_OPERATIONS_MAX: usize = 1_024;
/// Read-only SQLite connections. Two keep both cores of a small machine busy.
pub const SQLITE_READERS: usize = 2;
/// How long SQLite waits for another process that holds the file, in milliseconds.
pub const SQLITE_BUSY_MS: u64 = 5_000;
/// PostgreSQL connections of one process.
pub const POSTGRES_CONNECTIONS_MAX: usize = 8;
/// How long to wait for a PostgreSQL connection, in milliseconds.
pub const POSTGRES_CONNECT_MS: u64 = 10_000;
/// How long a call looks for a connection that works, in milliseconds, before it fails: a server
/// that restarts is back by then. Who asked for patience waits longer.
pub const POSTGRES_RECONNECT_MS: u64 = 10_000;
/// How long a PostgreSQL connection is believed in that does not answer, in milliseconds: what was
/// sent on it is not acknowledged, or a probe is not. A network that is cut says nothing, and
/// without this limit the kernel tries for a quarter of an hour. Several fit into a lease.
pub const POSTGRES_SILENCE_MS: u64 = 10_000;
/// How long a PostgreSQL connection is quiet before it is probed, in milliseconds: an answer that
/// was lost is noticed within [`POSTGRES_SILENCE_MS`].
pub const POSTGRES_PROBE_MS: u64 = 5_000;
/// How long the server waits for the next statement of a writing transaction, in milliseconds. The
/// rows that it locks are locked for everybody, and who is cut off cannot let go of them.
/// Transactions await nothing but the database, so none that is alive is idle for long.
pub const POSTGRES_IDLE_TRANSACTION_MS: u64 = 10_000;
/// How often a transaction is run again after a serialization failure or a deadlock.
pub const TRANSACTION_TRIES_MAX: u32 = 8;
/// Statements that a SQLite connection keeps prepared, some 10 KB each: more than are ever in use, so
/// that none is prepared twice.
pub const SQLITE_STATEMENTS_MAX: usize = 512;
/// Rewritten statements kept; the set of statements is fixed, so this is never reached.
pub const STATEMENT_TEXTS_MAX: usize = 2_048;
/// The longest line of an archive, in bytes: a row with the longest log that is kept, 16 MiB, each
/// byte of it written as six characters, twice over.
pub const ARCHIVE_LINE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// What a page of an archive should weigh in memory, in bytes: enough that the round trip does not
/// matter, little enough for a small machine.
pub const ARCHIVE_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Rows of one page of an archive.
pub const ARCHIVE_PAGE_ROWS_MAX: usize = 512;
/// Rows of one INSERT of an import: with every column of the widest table far below the 32,766
/// parameters that SQLite takes.
pub const ARCHIVE_INSERT_ROWS_MAX: usize = 128;
/// Bytes of a file in one line of an archive; a multiple of three, so that base64 has no padding.
pub const ARCHIVE_CHUNK_BYTES: usize = 48 * 1024;
/// What the rows of a typed query may weigh in memory, in bytes: more than anybody reads, little
/// enough for a small machine.
pub const QUERY_BYTES_MAX: usize = 64 * 1024 * 1024;
