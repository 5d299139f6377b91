//! The options of `skep data`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `skep data`
#[derive(Debug, Subcommand)]
pub(crate) enum Data {
    /// Write everything of the home to one file
    Export(DataExport),
    /// Take such a file into an empty database, on either engine
    Import(DataImport),
    /// Ask the database a question in SQL; nothing can be changed
    Query(DataQuery),
}

/// `skep data export`
#[derive(Debug, Args)]
#[command(
    long_about = "Write everything of the home to one file of JSON lines, which either engine takes.\n\n\
    The database is read as it stands at one moment, also while a server runs. The file is for its \
    owner's eyes only: it holds every instruction and result."
)]
pub(crate) struct DataExport {
    /// A file that does not exist yet; `-` is the standard output
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// With reports, logs and the engine's own repositories
    #[arg(long)]
    pub(crate) files: bool,
    /// With the ledger's key and the API token; the file is then a secret
    #[arg(long)]
    pub(crate) with_keys: bool,
}

/// `skep data import`
#[derive(Debug, Args)]
#[command(
    long_about = "Take what `skep data export` wrote into the empty database that the configuration \
    names.\n\n\
    The file is held against its digest first. Then everything is stored in one transaction, read \
    back and compared, and only then committed: a failed or killed import leaves nothing. Jobs that \
    were under way go on at the next start."
)]
pub(crate) struct DataImport {
    /// The file; `-` is the standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Store U+FFFD where a text has a zero character, which PostgreSQL cannot hold
    #[arg(long)]
    pub(crate) replace_zero: bool,
}

/// `skep data query`
#[derive(Debug, Args)]
#[command(
    long_about = "Ask the database a question in SQL. The connection is read-only, so nothing can be \
    changed, and a server that runs is not disturbed.\n\n\
    docs/reference/sql.md lists every table, view and column. With `--json` each row is a line."
)]
pub(crate) struct DataQuery {
    /// One SELECT
    #[arg(value_name = "SQL")]
    pub(crate) sql: String,
    /// The most rows to print
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub(crate) limit: usize,
    /// The longest time the database may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) timeout: u64,
}
