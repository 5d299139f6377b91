//! Behaviour across crates, a module per noun. `cargo xtask test` starts what the tests need.

mod authority;
mod db;
mod ledger;
mod queue;
mod schema;
