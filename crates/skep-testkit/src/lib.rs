//! What tests share: real stores on both engines, made for one test and gone with it.

mod store;

pub use store::{Backend, TestStore, run_on};
