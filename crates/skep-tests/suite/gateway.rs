//! The gateway over real HTTP: what goes through, what is refused, and that the account is right.

mod doors;
mod endings;
mod money;
mod relay;
mod replay;
mod secrecy;
mod stand;
mod upstream;
