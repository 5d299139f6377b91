//! Dispatch: a request becomes a complete record, or an error that says what is missing.
//!
//! Everything that can be known now is settled now, before anything is written: the base commit,
//! the target branch, the worker, the model and its family, the scope, the budget, the reviewer.
//! [`prepare`] does that, with git and without the store; what it made is written in one
//! transaction, alone or with the rest of a plan. Only a job that waits for others has no base
//! yet: it starts from where they left the target, which [`pin_base`] finds out.

mod base;
pub(crate) mod call;
mod choice;
mod overlap;
pub(crate) mod shell;
mod text;
mod wish;

pub(crate) use base::{Pins, pin_base};
pub(crate) use choice::check_model;
pub(crate) use overlap::{refuse_overlap, scope_of};
pub(crate) use wish::Wish;

use crate::context::Context;
use crate::error::DirectorError;
use crate::event::JobDispatched;
use crate::limits::ATTEMPTS_MAX;
use crate::record::{Asked, Dispatch, put_dispatch};
use base::pin;
use choice::{choose_gate, choose_worker};
use overlap::parse_scope;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use skep_api::{DispatchRequest, JobSubmitted, Waiver};
use skep_db::Tx;
use skep_queue::{EnqueueError, Enqueued, NewJob};
use skep_types::{JobId, JobKind, Purpose, Tier};
use text::check_text;

/// A request that was completed and not yet written down.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) new_job: NewJob,
    pub(crate) record: Asked,
    pub(crate) warnings: Vec<String>,
}

impl Prepared {
    /// The job, once it is queued.
    pub(crate) fn job(&self) -> &JobId {
        &self.new_job.id
    }

    /// Queues the job with all that is written beside it, in the caller's transaction; for an
    /// agent's job the caller holds `Context::scopes`.
    pub(crate) async fn put(&self, tx: &mut Tx<'_>) -> Result<JobSubmitted, DirectorError> {
        let enqueued = skep_queue::enqueue(tx, &self.new_job)
            .await
            .map_err(not_enqueued)?;
        if enqueued.created {
            self.write_record(tx).await?;
        }
        // The same request again returns the earlier job, which need not make room for itself.
        if enqueued.id == self.new_job.id
            && let Some(record) = self.record.agent()
        {
            refuse_overlap(tx, &[record]).await?;
        }
        Ok(submitted(enqueued))
    }

    /// Writes the record of the job, which was just queued, its budget and its event.
    pub(crate) async fn write_record(&self, tx: &mut Tx<'_>) -> Result<(), DirectorError> {
        match &self.record {
            Asked::Agent(record) => write_record(tx, record).await,
            Asked::Call(row) => call::write(tx, row).await,
            Asked::Shell(row) => shell::write(tx, row).await,
        }
    }
}

/// When a job's base is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PinAt {
    /// Now: it can start at once.
    Dispatch,
    /// When the jobs that it waits for have ended.
    Release,
}

/// Checks `request`, completes it, writes it down and queues it.
pub(crate) async fn dispatch(
    context: &Context,
    request: DispatchRequest,
) -> Result<JobSubmitted, DirectorError> {
    let prepared = prepare_now(context, &request).await?;
    let warnings = prepared.warnings.clone();
    let _turn = context.scopes.lock().await;
    let enqueued = context
        .db
        .write("dispatch", async move |tx: &mut Tx<'_>| {
            prepared.put(tx).await
        })
        .await?;
    Ok(JobSubmitted {
        warnings,
        ..enqueued
    })
}

/// [`prepare`] for a job that can start at once.
pub(crate) async fn prepare_now(
    context: &Context,
    request: &DispatchRequest,
) -> Result<Prepared, DirectorError> {
    prepare(context, request, PinAt::Dispatch, &mut Pins::default()).await
}

/// Checks `request` and completes it. Reads git and the configuration; writes nothing that counts.
pub(crate) async fn prepare(
    context: &Context,
    request: &DispatchRequest,
    at: PinAt,
    pins: &mut Pins,
) -> Result<Prepared, DirectorError> {
    check_text(request)?;
    if let Some(shortage) = crate::room::shortage(&context.home) {
        return Err(shortage.refusal());
    }
    let (worker_name, worker) = choose_worker(context, request)?;
    let tier = request.tier.unwrap_or(Tier::Sensitive);
    check_model(context, &worker, tier)?;
    let role = request.role.unwrap_or(worker.role);
    let scope = parse_scope(&request.scope)?;
    let pinned = pin(context, request, role, pins).await?;
    let (gate, reviewer) = choose_gate(context, request, &worker, role)?;
    let job = JobId::new(&*context.clock, &*context.entropy);
    let record = Dispatch {
        job: job.clone(),
        instruction: request.instruction.clone(),
        repo: Some(pinned.repo.to_string_lossy().into_owned()),
        vault: Some(pinned.vault.to_string_lossy().into_owned()),
        base_commit: (at == PinAt::Dispatch).then_some(pinned.base),
        base_from: Some(pinned.from),
        target_branch: pinned.target,
        scope: scope.globs().to_vec(),
        role,
        tier,
        worker: worker_name,
        harness: worker.harness,
        model: worker.model,
        command: worker.command,
        checks: request.checks.clone(),
        gate,
        budget: request.budget_micro_usd.or(context.engine.job_budget()),
        waivers: waivers(request),
        reviewer,
        reviews: None,
        reviewed_commit: None,
        rework_rounds_max: context.engine.rework_rounds_max,
        artifacts: Vec::new(),
        timeout_ms: call::timeout_ms(request.timeout_seconds)?,
    };
    let new_job = NewJob {
        id: job,
        kind: JobKind::Agent,
        purpose: Purpose::Requested,
        owner: request
            .owner
            .clone()
            .unwrap_or_else(|| context.owner.clone()),
        project: request.project.clone().unwrap_or(pinned.project),
        tier: record.tier,
        priority: request.flow.priority.unwrap_or(0),
        run_at_ms: request.flow.start_at,
        attempts_max: ATTEMPTS_MAX,
        parent: None,
        idempotency_digest: request_digest(request),
        idempotency_key: request.idempotency_key.clone(),
        flow: crate::queue::flow(&request.flow, &record.harness),
    };
    Ok(Prepared {
        new_job,
        record: Asked::Agent(Box::new(record)),
        warnings: pinned.warnings,
    })
}

/// The findings that the request accepts; a missing test run has a word of its own there.
fn waivers(request: &DispatchRequest) -> Vec<Waiver> {
    let tests_run = request.waive_tests.as_ref().map(|reason| Waiver {
        finding: "tests_run".to_owned(),
        reason: reason.clone(),
    });
    request.waivers.iter().cloned().chain(tests_run).collect()
}

/// What the queue calls the fields of a request's turn.
const FLOW_FIELDS: [&str; 6] = [
    "queue",
    "priority",
    "flow_key",
    "flow_key_max",
    "singleton",
    "debounce",
];

/// Writes the record of an agent's job that was just queued, or of a plan, its budget and its event.
async fn write_record(tx: &mut Tx<'_>, record: &Dispatch) -> Result<(), DirectorError> {
    put_dispatch(tx, record).await?;
    if let Some(limit) = record.budget {
        skep_gateway::create_job_budget(tx, &record.job, limit).await?;
    }
    let event = JobDispatched {
        job: record.job.clone(),
        base_commit: record.base_commit.clone(),
        role: record.role.as_str(),
        tier: record.tier.as_str(),
        gate: record.gate.as_str(),
        checks: record.checks.len(),
        budget_micro_usd: record.budget.map(|b| b.0),
        instruction_bytes: record.instruction.len(),
    };
    crate::event::append(tx, record.job.as_str(), &event).await
}

/// Why the queue did not take a job, as its requester is told.
pub(crate) fn not_enqueued(error: EnqueueError) -> DirectorError {
    let hint = error.hint().unwrap_or_default();
    match error {
        EnqueueError::Db(error) => DirectorError::Db(error),
        EnqueueError::Conflict { .. } => DirectorError::conflict(
            "idempotency_conflict",
            error.to_string(),
            "use a new idempotency key, or submit the very same request again",
        ),
        EnqueueError::Invalid { field, .. } if FLOW_FIELDS.contains(&field) => {
            DirectorError::usage(
                "bad_turn",
                error.to_string(),
                "see `skep run --help`, the section on turns",
            )
        }
        EnqueueError::TooDeep { .. } | EnqueueError::TooWide { .. } => {
            DirectorError::policy(error.code(), error.to_string(), hint)
        }
        other @ (EnqueueError::Invalid { .. } | _) => DirectorError::usage(
            "bad_text",
            other.to_string(),
            "owners, projects and idempotency keys are short names",
        ),
    }
}

/// A job as its requester is told of it.
pub(crate) fn submitted(enqueued: Enqueued) -> JobSubmitted {
    let Enqueued {
        id, number, state, ..
    } = enqueued;
    JobSubmitted {
        id,
        number,
        state,
        warnings: Vec::new(),
    }
}

/// What makes two requests the same request.
pub(crate) fn request_digest(request: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_vec(request).unwrap_or_default();
    digest(&SHA256, &text).as_ref().to_vec()
}
