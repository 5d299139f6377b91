//! The options of `skep ledger`.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `skep ledger`
#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Print the newest events
    Tail(LedgerTail),
    /// Recompute the whole chain, of the store or of an export; exit code 1 on tampering
    Verify(LedgerVerify),
    /// Print the signed end of the chain, to be kept elsewhere
    Head,
    /// Write every event as JSON lines, with everything that proves them
    Export(LedgerExport),
    /// Go on under another signing key, on record
    Rekey(LedgerRekey),
}

/// `skep ledger verify`
#[derive(Debug, Args)]
#[command(
    long_about = "Recompute the whole chain: every payload, every hash, and the signature of the \
    head. Exit code 1, the first bad event and the kind of fault on tampering.\n\n\
    With --export a file is verified that `skep ledger export` wrote. That needs neither a home \
    nor a database, so anybody can do it anywhere.\n\n\
    No check inside one store finds that a whole earlier state was put back. Keep what `skep \
    ledger head` prints somewhere else and hand it to --anchor."
)]
pub(crate) struct LedgerVerify {
    /// Verify this export instead of the store; `-` is the standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) export: Option<PathBuf>,
    /// The public key that has to have signed the export [default: the one that it names]
    #[arg(long, value_name = "PUBLIC_KEY", requires = "export")]
    pub(crate) key: Option<String>,
    /// A head that was noted down, which has to be in the chain; may be repeated
    #[arg(long, value_name = "SEQ:HASH")]
    pub(crate) anchor: Vec<String>,
}

/// `skep ledger rekey`
#[derive(Debug, Args)]
#[command(
    long_about = "Go on under another signing key, and record in the ledger that this was done, \
    why, and where.\n\n\
    Nobody may run the home meanwhile. After `--reason lost` the file `ledger.key` of the home \
    holds the new key; for the other reasons a new one is made, and the old one is kept as \
    `ledger.key.until-N`. With several nodes on one PostgreSQL, stop all of them first."
)]
pub(crate) struct LedgerRekey {
    /// Why: `lost` when the old key is gone, `exposed` when others may have it, or `planned`
    #[arg(long, value_name = "REASON")]
    pub(crate) reason: RekeyReason,
}

/// Why a ledger goes on under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RekeyReason {
    /// The old key is gone
    Lost,
    /// Somebody else may have the old key
    Exposed,
    /// As a matter of routine
    Planned,
}

/// `skep ledger tail`
#[derive(Debug, Args)]
pub(crate) struct LedgerTail {
    /// The most events to print
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=1000))]
    pub(crate) limit: i64,
    /// Print the events after this number instead of the newest
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cursor: Option<i64>,
    /// Only events of this job, by its id
    #[arg(long, value_name = "ID")]
    pub(crate) subject: Option<String>,
    /// Go on printing events as they happen; needs a server
    #[arg(long, short)]
    pub(crate) follow: bool,
}

/// `skep ledger export`
#[derive(Debug, Args)]
pub(crate) struct LedgerExport {
    /// A new file; `-` is the standard output
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,
    /// The earlier spelling of FILE
    #[arg(long, short, value_name = "FILE", hide = true, conflicts_with = "file")]
    pub(crate) output: Option<PathBuf>,
}
