//! A typed client of the server, over the Unix socket in a home or over TCP with a token.
//!
//! Each call opens a connection of its own: a command line makes a handful of calls and the
//! connection never leaves the machine. Below there is one file for each noun of the API.

mod dead;
mod exchange;
mod job;
mod ledger;
mod node;
mod path;
mod plan;
mod queue;
mod schedule;
mod status;
mod topic;

pub use dead::DeadListQuery;
pub(crate) use exchange::within;
pub use job::JobListQuery;
pub use status::{exit_of_status, status_of_exit};

use crate::client_error::ClientError;
use crate::installation::HealthView;
use exchange::Endpoint;
use skep_stdx::Secret;
use std::path::PathBuf;

/// A client of one server. Holds no connection.
#[derive(Debug, Clone)]
pub struct Client(Endpoint);

impl Client {
    /// A client over the socket in a home. The server knows its caller by the peer's user id.
    pub const fn at_socket(path: PathBuf) -> Self {
        Self(Endpoint::Socket(path))
    }

    /// A client over TCP; `authority` is host and port, as in `127.0.0.1:7575`.
    pub const fn at_address(authority: String, token: Secret) -> Self {
        Self(Endpoint::Address { authority, token })
    }

    /// Whether the process answers.
    pub async fn health(&self) -> Result<HealthView, ClientError> {
        self.get("/healthz").await
    }
}
