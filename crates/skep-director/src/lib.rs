//! The use cases: dispatch, run, verify, gate, land, deliver. The only place where queue,
//! gateway, harness and sandbox meet.
//!
//! A job moves by steps. Each step is claimed from the queue under a fence, does its work, and
//! commits its outcome, the job's next state and the ledger events together. A step that is
//! interrupted leaves a state from which the next claim starts it again; what it had already done
//! outside the database is recognised and not done twice.
//!
//! Knows nothing of axum, clap or HTML, and names no table of another crate.

mod account;
mod alarm;
mod arrival;
mod artifact;
mod attempt;
mod call;
mod check;
mod children;
mod claims;
mod clock_watch;
mod config;
mod context;
mod dead;
mod delivery;
mod director;
mod dispatch;
mod engine;
mod error;
mod event;
mod evidence;
mod heartbeat;
mod home;
mod landing;
mod ledger;
pub mod limits;
mod liveness;
mod log;
mod node;
mod plan;
mod prompt;
mod queue;
mod record;
mod reference;
mod review;
mod room;
mod runner_files;
mod running;
mod schedule;
mod schema;
mod shell;
mod topic;
mod verify;

pub use arrival::{Arrival, Arriving, arrive};
pub use config::{EngineConfig, ModelFacts, ToolchainConfig, WorkerConfig};
pub use director::{Alert, Director, DirectorOptions, JobQuery, ServeGateway};
pub use engine::EngineError;
pub use error::DirectorError;
pub use home::Home;
pub use ledger::key_change;
pub use node::NodeOptions;
pub use schedule::preview;
pub use schema::SCHEMA;
pub use topic::topics;
