//! The wire: documents that the API, the command line's `--json` and the demo print alike, the
//! route table, and a typed client.
//!
//! Knows neither the server nor the database. A field that is here is stable; see
//! `docs/reference/` for the documents by example.

pub mod client;
mod client_error;
pub mod dead;
pub mod describe;
pub mod document;
mod document_schema;
mod event_stream;
pub mod installation;
pub mod kind;
pub mod limits;
pub mod node;
pub mod openapi;
mod plan;
pub mod queue;
pub mod route;
pub mod schedule;
pub mod topic;

pub use client::{Client, DeadListQuery, JobListQuery};
pub use client_error::ClientError;
pub use dead::*;
pub use document::*;
pub use event_stream::EventStream;
pub use installation::*;
pub use kind::*;
pub use node::*;
pub use openapi::openapi;
pub use plan::*;
pub use queue::*;
pub use schedule::*;
pub use topic::*;
