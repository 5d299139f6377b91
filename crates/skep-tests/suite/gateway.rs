//! The gateway over real HTTP: what goes through, what is refused, and that the account is right.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails where it stands; the lint knows no tests outside test modules"
)]

mod budgets;
mod direct;
mod doors;
mod endings;
mod money;
mod relay;
mod replay;
mod secrecy;
mod stand;
mod upstream;
