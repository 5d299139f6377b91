//! The append-only record of what happened, chained by hash and signed at its head.
//!
//! Owns `ledger_event`, `ledger_chain`, `ledger_head` and, on PostgreSQL, `ledger_unsealed`.
//! [`append`] writes an event in the transaction that makes it true. Sealing gives it a sequence
//! number and a hash over the one before: on SQLite inside every commit ([`sealer`]), on
//! PostgreSQL right after it ([`SealerService`]), because chaining inside the transactions would
//! make them wait for each other. Readers see sealed events only.
//!
//! Invariants: an event that another one followed from has the lower sequence number; sequence
//! numbers have no gaps; a payload can be purged and [`verify`] still passes.
//!
//! Knows nothing of who writes the events or what they mean.

mod append;
mod digest;
mod error;
mod key;
pub mod limits;
mod purge;
mod seal;
mod service;
mod tail;
mod verify;

pub use append::{Payload, append};
pub use digest::Digest;
pub use error::{KeyError, LedgerError};
pub use key::{LedgerKey, LedgerPublicKey};
pub use purge::{PayloadsPurged, purge};
pub use seal::sealer;
pub use service::SealerService;
pub use tail::{SealedEvent, tail, tail_of};
pub use verify::{BadEntry, VerifyReport, verify};

use skep_db::{SchemaPart, Step, Table};

/// The topic that is woken when events were appended, and again when they were sealed.
pub const TOPIC: &str = "ledger";

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
            name: "ledger_unsealed",
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
    steps: &[Step {
        version: 1,
        intent: "create-ledger",
        sqlite: include_str!("../schema/0001-create-ledger.sqlite.sql"),
        postgres: include_str!("../schema/0001-create-ledger.postgres.sql"),
    }],
};
