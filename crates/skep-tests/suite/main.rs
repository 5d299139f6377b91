//! Behaviour across crates, a module per noun. `cargo xtask test` starts what the tests need.

mod authority;
mod cli;
mod crash;
mod data;
mod db;
mod director;
mod figure;
mod gateway;
mod http;
mod ledger;
mod month;
mod nodes;
mod queue;
mod schema;
mod simulator;
mod topic;
