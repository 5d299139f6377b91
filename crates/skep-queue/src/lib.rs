//! Durable jobs: asked for once, claimed by one, ended by whoever holds the current fence.
//!
//! Owns `job` (live), `job_history` (ended), `job_key`, `attempt`, `queue_pause`, `queue_gate` and
//! `queue_rate`, and the tables of [`schedule`] and [`graph`]; the view `job_all` shows both kinds of
//! job. Every function joins the caller's transaction, appends a ledger event for every change and
//! wakes [`TOPIC`] when there may be something to claim.
//!
//! Invariants:
//! - a job's state changes only along `JobState::to`; what was refused is recorded;
//! - a job without a lease has no open attempt, and no fence of it is current;
//! - fence and lease come and go together, and the fence grows with every claim;
//! - a job is in exactly one of the two tables, by whether its state is terminal.
//!
//! A short job that is claimed and finished costs a row in each of these tables and no more: an
//! attempt is written once if its worker was never started, and the authority only lives while
//! somebody holds the job.
//!
//! Locks are taken in the order gate, job, authority, attempt, and after them those of [`graph`]. Knows nothing of agents, models or
//! HTTP.

mod advance;
mod attempt;
mod cancel;
mod change;
mod claim;
mod enqueue;
mod error;
pub mod event;
mod finish;
pub mod flow;
pub mod graph;
mod lease;
pub mod limits;
mod line;
mod pause;
mod rate;
mod read;
mod reconcile;
mod refusal;
mod retry;
mod row;
pub mod schedule;
mod standing;
mod wake;

pub use advance::{Advance, advance};
pub use attempt::{AttemptEnd, AttemptStart, attempt_ended, attempt_started};
pub use cancel::{Cancelled, cancel};
pub use claim::{CLAIMABLE, Claim, ClaimMemory, ClaimRequest, FRONT, NEXT_LANE, claim};
pub use enqueue::{Enqueued, NewJob, enqueue, enqueue_all};
pub use error::{
    AdvanceError, AttemptError, CancelError, EnqueueError, PauseError, RetryError, WakeError,
};
pub use finish::{Finish, finish_all};
pub use flow::{Flow, FlowPolicy};
pub use lease::{Lease, bound_leases, heartbeat};
pub use line::DUE;
pub use pause::{EVERY_QUEUE, pause_queue, paused_queues, resume_queue};
pub use read::{JobFilter, Page, attempts, job, job_by_number, jobs};
pub use reconcile::{LostLease, Reconciled, give_back_idle, reconcile};
pub use refusal::{RefusalReason, record_refusal};
pub use retry::retry;
pub use row::{Attempt, Held, Job, JobFlow};
pub use standing::{QueueStanding, held_by, queue, queues};
pub use wake::wake_job;

use skep_db::{SchemaPart, Step, Table};

/// The topic that is woken after every change that may have put a job in the line.
pub const TOPIC: &str = "queue";

/// The tables of this crate.
pub const SCHEMA: SchemaPart = SchemaPart {
    owner: "skep-queue",
    tables: &[
        Table {
            name: "job",
            tier: "sensitive",
        },
        Table {
            name: "job_history",
            tier: "sensitive",
        },
        Table {
            name: "job_key",
            tier: "sensitive",
        },
        Table {
            name: "attempt",
            tier: "convenience",
        },
        Table {
            name: "queue_pause",
            tier: "convenience",
        },
        Table {
            name: "queue_gate",
            tier: "sensitive",
        },
        Table {
            name: "queue_rate",
            tier: "convenience",
        },
        Table {
            name: "schedule",
            tier: "sensitive",
        },
        Table {
            name: "schedule_firing",
            tier: "sensitive",
        },
        Table {
            name: "job_node",
            tier: "sensitive",
        },
        Table {
            name: "job_edge",
            tier: "sensitive",
        },
        Table {
            name: "job_tree",
            tier: "convenience",
        },
        Table {
            name: "artifact",
            tier: "sensitive",
        },
    ],
    steps: &[
        Step {
            version: 1,
            intent: "create-queue",
            sqlite: include_str!("../schema/0001-create-queue.sqlite.sql"),
            postgres: include_str!("../schema/0001-create-queue.postgres.sql"),
        },
        Step {
            version: 2,
            intent: "create-schedules",
            sqlite: include_str!("../schema/0002-create-schedules.sqlite.sql"),
            postgres: include_str!("../schema/0002-create-schedules.postgres.sql"),
        },
        Step {
            version: 3,
            intent: "job-graph",
            sqlite: include_str!("../schema/0003-job-graph.sqlite.sql"),
            postgres: include_str!("../schema/0003-job-graph.postgres.sql"),
        },
    ],
};
