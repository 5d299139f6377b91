//! Attempt repositories and the fences around the processes that work in them.
//!
//! A fence holds files, processes and the network by the kernel, not by the prompt, and says what
//! it holds by measuring it from inside. A repository of its own gives each attempt a branch that
//! only the engine carries further. Knows no agents, no models and no jobs: it is handed paths, a
//! command and limits.

mod channel;
pub mod error;
pub mod evidence;
pub mod git;
pub mod import;
mod launcher;
pub mod level;
pub mod limits;
pub mod oid;
pub mod probe;
pub mod process;
pub mod proof;
mod remedy;
pub mod repository;
pub mod spec;
mod sys;
pub mod toolchain;
pub mod untrusted;
pub mod vault;
mod view;

pub use channel::ExitStatus;
pub use error::{Refusal, SandboxError, Step};
pub use evidence::{ChangeStatus, ChangedFile, changed_files, clean_checkout, commits};
pub use git::{Git, GitError};
pub use import::{ATTEMPT_REFS, ImportError, import_tip};
pub use launcher::launcher_main;
pub use level::IsolationLevel;
pub use limits::ProcessLimits;
pub use oid::{MalformedOid, Oid};
pub use probe::{Primitive, Probe, probe};
pub use process::{FencedProcess, Interrupter, PreparedFence, prepare, start};
pub use proof::{FenceProof, NamespaceId, gap_description};
pub use repository::{AttemptRepository, create_directories};
pub use spec::{FencePaths, FenceSpec, FencedCommand};
pub use toolchain::{link_caches, toolchain_environment};
pub use untrusted::UntrustedError;
pub use vault::{RepositoryError, Source, ensure_vault};
