//! What tests share: real stores on both engines, real repositories, workers made of a few lines
//! of shell, and the binary under test. Everything is made for one test and gone with it.

mod binary;
mod pooler;
mod process;
mod repository;
mod server;
mod store;
mod worker;

pub use binary::skep_binary;
pub use pooler::Pooler;
pub use process::{Meeting, RunningProcess, processes_end, processes_marked};
pub use repository::SourceRepository;
pub use server::{PrivateNetwork, PrivateServer, ServerSession};
pub use store::{Backend, TestStore, run_on};
pub use worker::worker_script;
