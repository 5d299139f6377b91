//! The append-only record of what happened, chained by hash and signed at its head.
//!
//! Owns `ledger_event`, `ledger_chain` and `ledger_head`. [`append`] leaves an event with the
//! transaction that makes it true, and [`sealer`] writes all of them just before the commit.
//! Sealing gives each a sequence number and a hash over the one before: on SQLite inside the same
//! commit, on PostgreSQL right after it ([`SealerService`]), because chaining inside the
//! transactions would make them wait for each other. Readers see sealed events only. The chain is
//! kept in segments, one row for each commit or batch (decision record 021).
//!
//! Invariants: an event that another one followed from has the lower sequence number; sequence
//! numbers have no gaps; a payload can be purged and [`verify`] still passes.
//!
//! Knows nothing of who writes the events or what they mean.

mod anchor;
mod append;
mod check;
mod digest;
mod error;
mod export;
mod gaps;
mod head;
mod key;
pub mod limits;
mod purge;
mod rekey;
mod seal;
mod segment;
mod service;
mod tail;
mod verify;
mod write;

pub use anchor::{Anchor, AnchorError};
pub use append::{Payload, append};
pub use check::{BadEntry, Fault, KeyChange};
pub use digest::Digest;
pub use error::{KeyError, LedgerError};
pub use export::{BadLine, ExportEntry, ExportReport, Exporter, verify_export};
pub use key::{LedgerKey, LedgerPublicKey};
pub use purge::{PayloadsPurged, purge};
pub use rekey::{LedgerHead, LedgerRekeyed, RekeyReason, check_key, head, rekey};
pub use seal::{sealer, take_over};
pub use service::SealerService;
pub use tail::{SealedEvent, newest, tail, tail_of};
pub use verify::{VerifyReport, verify, verify_with};

use skep_db::{SchemaPart, Step, Table};

/// The topic that is woken when there are new sealed events.
pub const TOPIC: &str = "ledger";

/// The topic that wakes the sealer of a PostgreSQL ledger.
const APPENDED: &str = "ledger_appended";

/// The subject of events about the home as a whole.
pub const HOME: &str = "home";

/// The tables of this crate.
pub const SCHEMA: SchemaPart = SchemaPart {
    owner: "skep-ledger",
    tables: &[
        Table {
            name: "ledger_event",
            tier: "convenience",
        },
        Table {
            name: "ledger_chain",
            tier: "convenience",
        },
        Table {
            name: "ledger_head",
            tier: "convenience",
        },
    ],
    steps: &[
        Step {
            version: 1,
            intent: "create-ledger",
            sqlite: include_str!("../schema/0001-create-ledger.sqlite.sql"),
            postgres: include_str!("../schema/0001-create-ledger.postgres.sql"),
        },
        Step {
            version: 2,
            intent: "chain-in-segments",
            sqlite: include_str!("../schema/0002-chain-in-segments.sqlite.sql"),
            postgres: include_str!("../schema/0002-chain-in-segments.postgres.sql"),
        },
    ],
};
