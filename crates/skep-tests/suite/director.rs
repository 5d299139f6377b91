//! The director: jobs from their instruction to what is on the branch, with real git, real fences
//! and real processes.

mod budget;
mod check;
mod claim;
mod contract;
mod dispatch;
mod end;
mod honest;
mod landing;
mod review;
mod runner;
mod scope;
mod secrecy;
mod stand;
