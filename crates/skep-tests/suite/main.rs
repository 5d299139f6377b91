//! Behaviour across crates, a module per noun. `cargo xtask test` starts what the tests need.

mod db;
