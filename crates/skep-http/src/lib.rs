//! The HTTP edge: the JSON API, the event stream, and the gateway's listeners.
//!
//! Reads requests, asks the director or the gateway, prints answers. Owns one file, the home's
//! token. Invariant: the token opens the API and never the gateway; a virtual key opens the
//! gateway and never the API; nothing but health is open.
//!
//! Knows no SQL and no business rule.

mod access;
mod api;
mod connection;
mod error;
mod events;
mod gateway;
mod ledger;
pub mod limits;
mod metrics;
mod schedule;
mod server;
mod token;
mod topic;

pub use connection::{listen_on_loopback, listen_on_socket};
pub use error::ServeError;
pub use gateway::serve_gateway;
pub use ledger::{ledger_entries, ledger_head};
pub use server::{Server, ServerOptions, Services};
pub use token::{LocalToken, TOKEN_PREFIX};
