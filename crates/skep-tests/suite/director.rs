//! The director: jobs from their instruction to what is on the branch, with real git, real fences
//! and real processes.

mod account;
mod budget;
mod call;
mod check;
mod claim;
mod contract;
mod dead;
mod delivery;
mod dispatch;
mod end;
mod honest;
mod landing;
mod liveness;
mod plan;
mod prepare;
mod review;
mod runner;
mod schedule;
mod scope;
mod secrecy;
mod shell;
mod stand;
mod unsure;

pub(crate) use stand::SCHEMA;
