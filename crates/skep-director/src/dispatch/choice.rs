//! Who does the work, with which model, and how deep the result is checked.

use crate::config::{EngineConfig, WorkerConfig};
use crate::context::Context;
use crate::error::DirectorError;
use crate::review;
use skep_api::DispatchRequest;
use skep_harness::HarnessKind;
use skep_types::{Gate, MicroUsd, Role, Tier};

/// The worker of the request: the one it names, the one called `default`, the only builder, or
/// the one that a harness and a model describe.
pub(super) fn choose_worker(
    context: &Context,
    request: &DispatchRequest,
) -> Result<(String, WorkerConfig), DirectorError> {
    let names = || {
        context
            .workers
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    };
    let builders = || {
        context
            .workers
            .iter()
            .filter(|(_, worker)| worker.role == Role::Builder)
    };
    let (name, mut worker) = if let Some(name) = &request.worker {
        let worker = context.workers.get(name).ok_or_else(|| {
            let hint = if context.workers.is_empty() {
                "no worker is configured: add [worker.NAME] to skep.toml".to_owned()
            } else {
                format!("the configured workers are: {}", names())
            };
            DirectorError::usage(
                "unknown_worker",
                format!("there is no worker `{name}`"),
                hint,
            )
        })?;
        (name.clone(), worker.clone())
    } else if let Some(worker) = context.workers.get("default") {
        ("default".to_owned(), worker.clone())
    } else if let (Some((name, worker)), 1) = (builders().next(), builders().count()) {
        (name.clone(), worker.clone())
    } else if let (Some(harness), Some(model)) = (&request.harness, &request.model) {
        let worker = WorkerConfig::ad_hoc(harness, model);
        (format!("{harness}:{model}"), worker)
    } else {
        let hint = if context.workers.is_empty() {
            "add [worker.NAME] to skep.toml, or give --harness and --model".to_owned()
        } else {
            format!("name one with --worker: {}", names())
        };
        return Err(DirectorError::usage(
            "worker_missing",
            "no worker was chosen",
            hint,
        ));
    };
    worker.harness = request.harness.clone().unwrap_or(worker.harness);
    worker.model = request.model.clone().or(worker.model);
    check_harness(&name, &worker)?;
    Ok((name, worker))
}

/// Whether the harness of a worker is known and has what it needs.
fn check_harness(name: &str, worker: &WorkerConfig) -> Result<(), DirectorError> {
    let kind: HarnessKind = worker.harness.parse().map_err(|_| {
        DirectorError::usage(
            "unknown_harness",
            format!("there is no harness `{}`", worker.harness),
            "the harnesses are: skep, exec",
        )
    })?;
    if kind == HarnessKind::Exec && worker.command.is_empty() {
        return Err(DirectorError::usage(
            "command_missing",
            format!("worker `{name}` has harness `exec` and no command"),
            "give it command = [\"program\", \"argument\"] in skep.toml",
        ));
    }
    if kind == HarnessKind::Skep && worker.model.is_none() {
        return Err(DirectorError::usage(
            "model_missing",
            format!("worker `{name}` has no model"),
            "give it model = \"NAME\" in skep.toml, or pass --model",
        ));
    }
    Ok(())
}

/// Whether the model of `worker` is known and may see data of `tier`.
pub(crate) fn check_model(
    context: &Context,
    worker: &WorkerConfig,
    tier: Tier,
) -> Result<(), DirectorError> {
    let Some(model) = &worker.model else {
        return Ok(());
    };
    let Some(facts) = context.models.get(model) else {
        let known = context
            .models
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        return Err(DirectorError::usage(
            "unknown_model",
            format!("there is no model `{model}`"),
            format!("add [model.{model}] to skep.toml; configured: {known}"),
        ));
    };
    if tier == Tier::Sacred && !facts.local {
        return Err(DirectorError::policy(
            "tier_refused",
            format!("sacred data cannot go to `{model}`, whose provider is remote"),
            "choose a model with a local provider, or another --tier if the data is not sacred",
        ));
    }
    if tier == Tier::Sensitive && !facts.local && !facts.sensitive_allowed {
        return Err(DirectorError::policy(
            "consent_missing",
            format!("no consent is on record to send sensitive data to `{model}`, which is remote"),
            "set allow_sensitive = true for its provider, or give --tier convenience if the repository is public",
        ));
    }
    Ok(())
}

/// The gate of the request, and the reviewer it needs.
pub(super) fn choose_gate(
    context: &Context,
    request: &DispatchRequest,
    worker: &WorkerConfig,
    role: Role,
) -> Result<(Gate, Option<String>), DirectorError> {
    if role != Role::Builder {
        return Ok((request.gate.unwrap_or(Gate::G0).min(Gate::G1), None));
    }
    let reviewer = review::choose_reviewer(
        context,
        request.reviewer.as_deref(),
        worker.model.as_deref(),
        request.tier.unwrap_or(Tier::Sensitive),
    )?;
    let default = if reviewer.is_some() {
        Gate::G2
    } else {
        Gate::G1
    };
    let gate = request.gate.unwrap_or(default);
    if gate > Gate::G0 && request.checks.is_empty() {
        return Err(DirectorError::usage(
            "checks_missing",
            format!("gate {gate} has nothing to check the result with"),
            "give --check COMMAND, or --gate G0 to take the result on the worker's word",
        ));
    }
    match gate {
        Gate::G0 | Gate::G1 => Ok((gate, None)),
        Gate::G2 if reviewer.is_some() => Ok((gate, reviewer)),
        Gate::G2 => Err(DirectorError::usage(
            "reviewer_missing",
            "gate G2 needs a reviewer whose model is of another family",
            "add a worker with role = \"observer\" and such a model to skep.toml",
        )),
        Gate::G3 => Err(DirectorError::usage(
            "gate_unavailable",
            "gate G3 needs decision cards, which this build does not have",
            "use --gate G2 and review the landed commit",
        )),
    }
}

impl EngineConfig {
    /// The budget of a job that names none.
    pub(super) fn job_budget(&self) -> Option<MicroUsd> {
        MicroUsd::from_usd(self.job_budget_usd)
    }
}
