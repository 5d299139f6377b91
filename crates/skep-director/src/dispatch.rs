//! Dispatch: a request becomes a complete record, or an error that says what is missing.
//!
//! Everything that can be known now is settled now: the base commit, the target branch, the
//! worker, the model and its family, the scope, the budget, the reviewer. Nothing is written
//! unless all of it is.

use crate::config::WorkerConfig;
use crate::director::Context;
use crate::error::DirectorError;
use crate::event::JobDispatched;
use crate::limits::{
    ATTEMPTS_MAX, CHECK_BYTES_MAX, CHECKS_MAX, INSTRUCTION_BYTES_MAX, PAGE_MAX, SCOPE_GLOBS_MAX,
    WAIVERS_MAX,
};
use crate::record::{Dispatch, put_dispatch};
use crate::review;
use ring::digest::{SHA256, digest};
use skep_api::{DispatchRequest, JobSubmitted, Waiver};
use skep_db::Tx;
use skep_harness::HarnessKind;
use skep_queue::{EnqueueError, JobFilter, NewJob};
use skep_sandbox::Git;
use skep_types::{Gate, JobId, JobKind, JobState, MicroUsd, Purpose, Role, Scope, Tier};
use std::path::{Path, PathBuf};

/// Checks `request`, completes it, writes it down and queues it.
pub(crate) async fn dispatch(
    context: &Context,
    request: DispatchRequest,
) -> Result<JobSubmitted, DirectorError> {
    check_text(&request)?;
    let (worker_name, worker) = choose_worker(context, &request)?;
    check_model(context, &worker, request.tier.unwrap_or(Tier::Sensitive))?;
    let role = request.role.unwrap_or(worker.role);
    let scope = Scope::parse(&request.scope).map_err(|error| {
        DirectorError::usage(
            "bad_scope",
            error.to_string(),
            error.hint().unwrap_or_default(),
        )
    })?;
    let pinned = pin(context, &request, role).await?;
    let (gate, reviewer) = choose_gate(context, &request, &worker, role)?;
    let job = JobId::new(&*context.clock, &*context.entropy);
    let mut waivers = request.waivers.clone();
    waivers.extend(request.waive_tests.as_ref().map(|reason| Waiver {
        finding: "tests_run".to_owned(),
        reason: reason.clone(),
    }));
    let budget = request.budget_micro_usd.or(context.engine.job_budget());
    let record = Dispatch {
        job: job.clone(),
        instruction: request.instruction.clone(),
        repo: Some(pinned.repo.to_string_lossy().into_owned()),
        vault: Some(pinned.vault.to_string_lossy().into_owned()),
        base_commit: Some(pinned.base.clone()),
        target_branch: pinned.target,
        scope: scope.globs().to_vec(),
        role,
        tier: request.tier.unwrap_or(Tier::Sensitive),
        worker: worker_name,
        harness: worker.harness,
        model: worker.model,
        command: worker.command,
        checks: request.checks.clone(),
        gate,
        budget,
        waivers,
        reviewer,
        reviews: None,
        reviewed_commit: None,
        rework_rounds_max: context.engine.rework_rounds_max,
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
        priority: 0,
        run_at_ms: None,
        attempts_max: ATTEMPTS_MAX,
        parent: None,
        idempotency_digest: request_digest(&request),
        idempotency_key: request.idempotency_key,
    };
    let warnings = pinned.warnings;
    let enqueued = context
        .db
        .write("dispatch", async move |tx: &mut Tx<'_>| {
            let submitted = enqueue(tx, &new_job, &record).await?;
            // The same request again returns the earlier job, which need not make room for itself.
            if submitted.id == record.job {
                refuse_overlap(tx, &record).await?;
            }
            Ok::<_, DirectorError>(submitted)
        })
        .await?;
    Ok(JobSubmitted {
        warnings,
        ..enqueued
    })
}

/// Queues `new_job` with its record, its budget and its event, in the caller's transaction.
pub(crate) async fn enqueue(
    tx: &mut Tx<'_>,
    new_job: &NewJob,
    record: &Dispatch,
) -> Result<JobSubmitted, DirectorError> {
    let enqueued = skep_queue::enqueue(tx, new_job).await.map_err(|error| {
        if let EnqueueError::Db(error) = error {
            return DirectorError::Db(error);
        }
        DirectorError::conflict(
            "idempotency_conflict",
            error.to_string(),
            "use a new idempotency key, or submit the very same request again",
        )
    })?;
    if enqueued.created {
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
        crate::event::append(tx, record.job.as_str(), &event).await?;
    }
    let (id, number, state) = (enqueued.id, enqueued.number, enqueued.state);
    Ok(JobSubmitted {
        id,
        number,
        state,
        warnings: Vec::new(),
    })
}

fn request_digest(request: &DispatchRequest) -> Vec<u8> {
    let text = serde_json::to_vec(request).unwrap_or_default();
    digest(&SHA256, &text).as_ref().to_vec()
}

fn check_text(request: &DispatchRequest) -> Result<(), DirectorError> {
    let usage = |code, message: &str, hint: &str| DirectorError::usage(code, message, hint);
    if request.instruction.trim().is_empty() {
        return Err(usage(
            "instruction_empty",
            "the instruction is empty",
            "say in a sentence what is to be done",
        ));
    }
    if request.instruction.len() > INSTRUCTION_BYTES_MAX {
        return Err(usage(
            "instruction_too_large",
            &format!(
                "the instruction has {} bytes; the limit is {INSTRUCTION_BYTES_MAX}",
                request.instruction.len()
            ),
            "put the material into a file of the repository and name the file in the instruction",
        ));
    }
    if request.kind.is_some_and(|kind| kind != JobKind::Agent) {
        return Err(usage(
            "kind_unavailable",
            "this build runs jobs of kind `agent` only",
            "leave --kind out",
        ));
    }
    if request.checks.len() > CHECKS_MAX
        || request
            .checks
            .iter()
            .any(|check| check.trim().is_empty() || check.len() > CHECK_BYTES_MAX)
    {
        return Err(usage(
            "bad_check",
            &format!(
                "a job has at most {CHECKS_MAX} checks, none of them empty or over {CHECK_BYTES_MAX} bytes"
            ),
            "put long checks into a script of the repository",
        ));
    }
    if request.scope.len() > SCOPE_GLOBS_MAX || request.waivers.len() > WAIVERS_MAX {
        return Err(usage(
            "too_many_globs",
            &format!("a job has at most {SCOPE_GLOBS_MAX} scope globs and {WAIVERS_MAX} waivers"),
            "name directories instead of files, as in `src/**`",
        ));
    }
    Ok(())
}

fn choose_worker(
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
    Ok((name, worker))
}

fn check_model(context: &Context, worker: &WorkerConfig, tier: Tier) -> Result<(), DirectorError> {
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

fn choose_gate(
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
    )?;
    let default = if reviewer.is_some() {
        Gate::G2
    } else {
        Gate::G1
    };
    let gate = request.gate.unwrap_or(default);
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

/// What was pinned at dispatch.
struct Pinned {
    repo: PathBuf,
    vault: PathBuf,
    base: String,
    target: Option<String>,
    project: String,
    warnings: Vec<String>,
}

async fn pin(
    context: &Context,
    request: &DispatchRequest,
    role: Role,
) -> Result<Pinned, DirectorError> {
    let Some(repo) = &request.repo else {
        return Err(DirectorError::usage(
            "repo_missing",
            "an agent needs a repository to work in",
            "name it with --repo DIR",
        ));
    };
    let not_a_repository = |reason: String| {
        DirectorError::usage(
            "not_a_repository",
            format!("`{repo}` is not a git work tree: {reason}"),
            "name the folder of a repository with --repo, or run `git init` and commit there",
        )
    };
    let folder = Path::new(repo)
        .canonicalize()
        .map_err(|e| not_a_repository(e.to_string()))?;
    if !folder.is_dir() {
        return Err(not_a_repository("it is no folder".to_owned()));
    }
    let git = Git::discovering(&folder);
    let top = git
        .run(&["rev-parse", "--show-toplevel"])
        .await
        .map_err(|_| not_a_repository("git does not find one there".to_owned()))?;
    let repo = PathBuf::from(top.trim_end());
    let git = Git::discovering(&repo);
    let current = git
        .run(&["symbolic-ref", "--quiet", "--short", "HEAD"])
        .await
        .ok();
    let target = match (role, &request.target_branch) {
        (Role::Observer | Role::Director, _) => None,
        (Role::Builder, Some(branch)) => {
            check_branch(&git, branch).await?;
            Some(branch.clone())
        }
        (Role::Builder, None) => Some(current.map(|b| b.trim().to_owned()).ok_or_else(|| {
            DirectorError::usage(
                "target_missing",
                "the repository is on no branch",
                "name the branch to land on with --target-branch",
            )
        })?),
    };
    let start = request
        .base
        .clone()
        .or_else(|| target.clone())
        .unwrap_or_else(|| "HEAD".to_owned());
    let base = git
        .run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{start}^{{commit}}")])
        .await
        .map_err(|_| {
            DirectorError::usage(
                "base_not_found",
                format!("there is no commit `{start}` in {}", repo.display()),
                "name a commit, branch or tag that exists with --base; a new repository needs a first commit",
            )
        })?;
    let vault = skep_sandbox::ensure_vault(context.home.root(), &repo)
        .await
        .map_err(|e| DirectorError::outside("open the engine's own copy of the repository", e))?;
    let dirty = git
        .run(&["status", "--porcelain", "--untracked-files=no"])
        .await
        .unwrap_or_default();
    let warnings = (!dirty.trim().is_empty())
        .then(|| {
            let short = &base.trim()[..12.min(base.trim().len())];
            format!(
                "the work tree has uncommitted changes; the job starts from {short} without them"
            )
        })
        .into_iter()
        .collect();
    let project = repo.file_name().map_or_else(
        || "project".to_owned(),
        |n| n.to_string_lossy().into_owned(),
    );
    Ok(Pinned {
        repo,
        vault,
        base: base.trim().to_owned(),
        target,
        project,
        warnings,
    })
}

async fn check_branch(git: &Git, branch: &str) -> Result<(), DirectorError> {
    // Git itself takes fewer names for branches than for references: not `-x`, not `HEAD`. What
    // it takes for another name, as in `@{-1}`, names no branch of its own.
    let is_branch = match git.run(&["check-ref-format", "--branch", branch]).await {
        Ok(name) => name == branch && !branch.starts_with("refs/"),
        Err(_) => false,
    };
    if is_branch {
        return Ok(());
    }
    Err(DirectorError::usage(
        "bad_target",
        format!("`{branch}` is not a branch name"),
        "name a branch such as `main` with --target-branch",
    ))
}

/// Two live builders never hold overlapping scopes of one repository.
pub(crate) async fn refuse_overlap(
    tx: &mut Tx<'_>,
    record: &Dispatch,
) -> Result<(), DirectorError> {
    if record.role != Role::Builder {
        return Ok(());
    }
    let scope = scope_of(record)?;
    let live: Vec<JobState> = JobState::ALL
        .iter()
        .copied()
        .filter(|s| !s.is_terminal())
        .collect();
    let filter = JobFilter {
        states: live,
        ..JobFilter::default()
    };
    let mut cursor = None;
    let mut jobs = Vec::new();
    loop {
        let page = skep_queue::jobs(tx, &filter, cursor, PAGE_MAX).await?;
        jobs.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    for job in jobs {
        if job.id == record.job {
            continue;
        }
        let other = crate::record::dispatch(tx, &job.id).await?;
        if other.vault != record.vault || other.role != Role::Builder {
            continue;
        }
        if scope_of(&other)?.overlaps(&scope) {
            return Err(DirectorError::policy(
                "scope_overlap",
                format!(
                    "job {} already works inside {} of this repository",
                    job.number,
                    other.scope.join(", ")
                ),
                format!(
                    "wait for it (`skep job show {}`), cancel it, or give a --scope apart from it",
                    job.number
                ),
            ));
        }
    }
    Ok(())
}

fn scope_of(record: &Dispatch) -> Result<Scope, DirectorError> {
    Scope::parse(&record.scope).map_err(|error| {
        DirectorError::usage(
            "bad_scope",
            error.to_string(),
            error.hint().unwrap_or_default(),
        )
    })
}

impl crate::config::EngineConfig {
    /// The budget of a job that names none.
    fn job_budget(&self) -> Option<MicroUsd> {
        MicroUsd::from_usd(self.job_budget_usd)
    }
}
