//! The nodes of a store.

use crate::describe::describe;
use serde::{Deserialize, Serialize};

/// One line of `skep node list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its id; the same after a restart.
    pub id: String,
    /// The machine's name.
    pub host: String,
    /// `working`, `draining`, `drained`, `silent` when it was not seen for as long as a lease lasts,
    /// or `left`.
    pub state: String,
    /// What it does: `engine`, `gateway`, `web`, `worker`.
    pub roles: Vec<String>,
    /// Jobs that it runs at a time.
    pub slots: i64,
    /// Jobs that it holds.
    pub running: i64,
    /// Its program's version.
    pub version: String,
    /// When it started.
    pub started_at: i64,
    /// When it was last seen; on SQLite, when it started.
    pub seen_at: i64,
}

describe! { NodeView, "One engine of a store.",
    always {
        id: String, host: String, state: String, roles: Vec<String>, slots: i64, running: i64,
        version: String, started_at: i64, seen_at: i64,
    }
}
