//! One attempt: a repository of its own, a fence, a worker in it, and what it left behind.
//!
//! Everything the worker says is a claim. What this step writes is what the engine saw: the proof
//! of the fence, the exit, the tip it imported into its own vault.

mod observe;

use crate::director::Context;
use crate::engine::{Signal, StepFailure, advance};
use crate::error::DirectorError;
use crate::event::{self, FenceProved, ResultRecorded};
use crate::limits::{LOG_BYTES_MAX, PREPARE_MS};
use crate::record::{self, Dispatch, ResultRow, put_result};
use crate::{log, prompt};
use observe::Observer;
use skep_db::{DbError, Tx};
use skep_harness::{HarnessKind, LaunchPlan, ProcessExit, RunContext, RunOutcome, RunPaths};
use skep_queue::{AttemptEnd, AttemptStart, Claim, Lease};
use skep_sandbox::{
    AttemptRepository, FencePaths, FenceSpec, FencedCommand, FencedProcess, Oid, SandboxError,
};
use skep_stdx::Secret;
use skep_types::{AttemptId, AttemptState, FailureClass, JobState, Role, Scope};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

/// What follows an attempt under the same claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// A result was taken in; it is to be verified.
    Verify,
    /// The job has left this claim.
    Left,
}

/// Runs the attempt of `claim`.
pub(crate) async fn run(
    context: &Context,
    claim: &Claim,
    signal: watch::Receiver<Signal>,
) -> Result<After, StepFailure> {
    let Some(attempt) = &claim.attempt else {
        return Err(DirectorError::conflict(
            "claim_without_attempt",
            "the claim has no attempt",
            "",
        )
        .into());
    };
    let lease = Lease {
        job: claim.job.id.clone(),
        fence: claim.fence,
    };
    let folder = context.home.attempts().join(attempt.as_str());
    let ended = run_in(context, claim, &lease, attempt, &folder, signal).await;
    // The folder goes whatever happened; what matters of it is in the vault and the database.
    if let Err(error) = crate::check::remove(&folder).await {
        tracing::warn!(%attempt, error = crate::error::describe(&error), "the attempt's folder was left");
    }
    ended
}

async fn run_in(
    context: &Context,
    claim: &Claim,
    lease: &Lease,
    attempt: &AttemptId,
    folder: &Path,
    signal: watch::Receiver<Signal>,
) -> Result<After, StepFailure> {
    let job = claim.job.id.clone();
    let (dispatch, results, verdicts) = context
        .db
        .read("attempt", async move |tx: &mut Tx<'_>| {
            let dispatch = record::dispatch(tx, &job).await?;
            Ok::<_, DbError>((
                dispatch,
                record::results(tx, &job).await?,
                record::verdicts(tx, &job).await?,
            ))
        })
        .await?;
    let previous = results
        .iter()
        .rev()
        .find_map(|result| result.tip_commit.clone());
    let worker = Worker {
        context,
        claim,
        lease,
        attempt,
        dispatch: &dispatch,
    };
    let repository = worker.prepare(folder, previous.as_deref()).await?;
    skep_stdx::crash::point("attempt.prepared");
    let instruction = prompt::instruction(context, &dispatch, verdicts.last()).await?;
    let (key, mut process, kind) = worker.start(folder, &repository, instruction).await?;
    skep_stdx::crash::point("attempt.started");
    let serving = process
        .gateway_listener()
        .map(|listener| (context.serve_gateway)(listener));
    let watched = worker.watch(&mut process, kind, signal).await;
    let killed = process.kill().await;
    if let Some(serving) = serving {
        serving.abort();
    }
    worker.revoke(key).await?;
    killed.map_err(|e| DirectorError::outside("end the worker's processes", e))?;
    match watched? {
        Watched::Ended(outcome, proof) => {
            worker.take_in(folder, &repository, *outcome, proof).await
        }
        Watched::Stopped(how) => worker.stopped(how).await,
    }
}

/// How watching a worker ended.
enum Watched {
    /// It ended by itself, or at its time limit; with the proof of its fence.
    Ended(Box<Ended>, String),
    /// It was told to.
    Stopped(Signal),
}

struct Ended {
    outcome: RunOutcome,
    refusals: i64,
    timed_out: bool,
}

struct Worker<'a> {
    context: &'a Context,
    claim: &'a Claim,
    lease: &'a Lease,
    attempt: &'a AttemptId,
    dispatch: &'a Dispatch,
}

impl Worker<'_> {
    /// Makes the attempt's repository and runs the configured preparation in it.
    async fn prepare(
        &self,
        folder: &Path,
        previous: Option<&str>,
    ) -> Result<AttemptRepository, StepFailure> {
        let dispatch = self.dispatch;
        let missing = || {
            DirectorError::conflict(
                "record_incomplete",
                "the dispatch record names no repository",
                "dispatch the job again",
            )
        };
        let vault = dispatch.vault.as_deref().ok_or_else(missing)?;
        let base = dispatch.base_commit.as_deref().ok_or_else(missing)?;
        let start = dispatch
            .reviewed_commit
            .as_deref()
            .or(previous)
            .unwrap_or(base);
        let branch = format!("skep/{}", self.attempt);
        let repository = AttemptRepository::create(
            Path::new(vault),
            &parse_oid(start)?,
            folder,
            &branch,
            self.context.engine.isolation,
        )
        .await
        .map_err(|e| DirectorError::outside("make the attempt's repository", e))?;
        skep_sandbox::link_caches(&self.context.toolchain_roots(), folder)
            .map_err(|e| DirectorError::outside("link the toolchain's caches", e))?;
        if dispatch.role == Role::Builder {
            for command in &self.context.toolchain.prepare {
                prepare_step(&folder.join("repo"), command).await?;
            }
        }
        Ok(repository)
    }

    /// Mints the key, closes the fence and starts the worker in it.
    async fn start(
        &self,
        folder: &Path,
        repository: &AttemptRepository,
        instruction: String,
    ) -> Result<(skep_types::KeyId, FencedProcess, HarnessKind), StepFailure> {
        let (context, dispatch) = (self.context, self.dispatch);
        let kind: HarnessKind = dispatch
            .harness
            .parse()
            .map_err(|e| DirectorError::outside("choose the harness", e))?;
        let scope = Scope::parse(&dispatch.scope)
            .map_err(|e| DirectorError::outside("read the scope", e))?;
        let is_builder = dispatch.role == Role::Builder;
        let writable = if is_builder {
            repository.writable(&scope)
        } else {
            Vec::new()
        };
        let spec = FenceSpec {
            level: context.engine.isolation,
            attempt_dir: folder.to_owned(),
            writable,
            git_writable: is_builder,
            read_only: context.toolchain_roots(),
            object_stores: repository.object_stores.clone(),
            gateway: true,
            limits: skep_sandbox::ProcessLimits::default(),
            launcher: context.launcher.clone(),
        };
        let (key_id, key) = self.mint().await?;
        let fence = skep_sandbox::prepare(&spec).await.map_err(fence_failure)?;
        let url = fence.gateway_url().unwrap_or_default().to_owned();
        let plan = self.plan(kind, &spec, url, scope, instruction, key)?;
        write_inputs(&folder.join("in"), &plan).await?;
        let command = FencedCommand {
            argv: plan.argv,
            env: plan.env,
            cwd: plan.cwd,
        };
        let process = fence.start(command).await.map_err(fence_failure)?;
        self.record_start(process.proof().level.as_str()).await?;
        Ok((key_id, process, kind))
    }

    fn plan(
        &self,
        kind: HarnessKind,
        spec: &FenceSpec,
        gateway_url: String,
        scope: Scope,
        instruction: String,
        key: Secret,
    ) -> Result<LaunchPlan, DirectorError> {
        let (context, dispatch) = (self.context, self.dispatch);
        let paths = spec.paths();
        let tools = context.toolchain_roots();
        let facts = dispatch
            .model
            .as_ref()
            .and_then(|model| context.models.get(model));
        let mut limits = skep_harness::AgentLimits::default();
        if let Some(facts) = facts {
            limits.context_tokens = facts.context_tokens;
            let output = facts
                .output_tokens_max
                .and_then(|max| u32::try_from(max).ok());
            limits.output_tokens_max = output.map_or(limits.output_tokens_max, |max| {
                max.min(limits.output_tokens_max)
            });
        }
        let run = RunContext {
            job_id: self.claim.job.id.clone(),
            attempt_id: self.attempt.clone(),
            instruction,
            role: dispatch.role,
            scope,
            checks: dispatch.checks.clone(),
            base_commit: dispatch.base_commit.clone().unwrap_or_default(),
            model: dispatch.model.clone(),
            paths: run_paths(&paths),
            gateway_url,
            key,
            agent_binary: spec.launcher_inside(),
            exec_command: dispatch.command.clone(),
            identity: skep_harness::GitIdentity {
                name: format!("{} (skep)", dispatch.worker),
                email: format!("{}@skep.invalid", self.attempt),
            },
            toolchain_path: Vec::new(),
            toolchain_env: skep_sandbox::toolchain_environment(&tools, &paths),
            limits,
        };
        skep_harness::launch_plan(kind, &run)
            .map_err(|e| DirectorError::outside("plan the launch", e))
    }

    async fn mint(&self) -> Result<(skep_types::KeyId, Secret), DirectorError> {
        let dispatch = self.dispatch;
        let lifetime_ms =
            i64::try_from(self.context.engine.attempt_seconds_max * 1_000).unwrap_or(i64::MAX / 2);
        let expires_at = self.context.clock.now_ms().saturating_add(lifetime_ms);
        let new_key = skep_gateway::NewKey {
            job: Some((self.claim.job.id.clone(), self.claim.fence)),
            attempt: Some(self.attempt.clone()),
            project: Some(self.claim.job.project.clone()),
            worker: Some(dispatch.worker.clone()),
            models: dispatch.model.clone().into_iter().collect(),
            tier: dispatch.tier,
            limit: None,
            expires_at_ms: Some(expires_at),
        };
        let entropy = self.context.entropy.clone();
        let minted = self
            .context
            .db
            .write("mint key", async move |tx: &mut Tx<'_>| {
                skep_gateway::mint(tx, &*entropy, &new_key).await
            })
            .await;
        Ok(minted?)
    }

    async fn revoke(&self, key: skep_types::KeyId) -> Result<(), DirectorError> {
        let revoked = self
            .context
            .db
            .write("revoke key", async move |tx: &mut Tx<'_>| {
                skep_gateway::revoke(tx, &key).await
            })
            .await;
        revoked?;
        Ok(())
    }

    async fn record_start(&self, level: &'static str) -> Result<(), DirectorError> {
        let (lease, attempt) = (self.lease.clone(), self.attempt.clone());
        let start = AttemptStart {
            harness: self.dispatch.harness.clone(),
            model_requested: self.dispatch.model.clone(),
            session_id: None,
        };
        self.context
            .db
            .write("attempt started", async move |tx: &mut Tx<'_>| {
                skep_queue::attempt_started(tx, &lease, &attempt, &start)
                    .await
                    .map_err(|e| DirectorError::outside("record the attempt's start", e))?;
                let proved = FenceProved {
                    job: lease.job.clone(),
                    attempt: attempt.clone(),
                    fence: lease.fence,
                    level,
                };
                event::append(tx, lease.job.as_str(), &proved).await
            })
            .await
    }

    /// Follows the worker to its end, its limit, or a signal.
    async fn watch(
        &self,
        process: &mut FencedProcess,
        kind: HarnessKind,
        mut signal: watch::Receiver<Signal>,
    ) -> Result<Watched, StepFailure> {
        let context = self.context;
        let proof = serde_json::to_string(process.proof()).unwrap_or_default();
        let log = context
            .home
            .logs()
            .join(self.claim.job.id.as_str())
            .join(format!("{}.log", self.attempt));
        let mut observer = Observer::new(context, self.lease, self.attempt, kind);
        let limit = Duration::from_secs(context.engine.attempt_seconds_max);
        let finished = {
            let output = log::capture(process, &log, LOG_BYTES_MAX, |line| observer.line(line));
            tokio::select! {
                written = output => { written.map_err(|e| DirectorError::outside("keep the worker's output", e))?; Some(()) }
                () = tokio::time::sleep(limit) => None,
                changed = signal.wait_for(|s| *s != Signal::Go) => {
                    let how = changed.map_or(Signal::Stopping, |s| *s);
                    return Ok(Watched::Stopped(how));
                }
            }
        };
        let exit = if finished.is_some() {
            let exit = tokio::time::timeout(Duration::from_secs(10), process.wait()).await;
            match exit {
                Ok(exit) => exit.map_err(|e| DirectorError::outside("wait for the worker", e))?,
                // Its output has ended and it has not: what is left of it is killed.
                Err(_) => skep_sandbox::ExitStatus {
                    code: None,
                    signal: Some(9),
                },
            }
        } else {
            skep_sandbox::ExitStatus {
                code: None,
                signal: Some(9),
            }
        };
        process
            .kill()
            .await
            .map_err(|e| DirectorError::outside("end the worker's processes", e))?;
        let contract = read_limited(
            &self
                .context
                .home
                .attempts()
                .join(self.attempt.as_str())
                .join("out/contract.json"),
        );
        let events = observer.finish().await;
        let refusals = i64::try_from(events.iter().filter(|e| observe::is_refusal(e)).count())
            .unwrap_or(i64::MAX);
        let exit = ProcessExit {
            code: exit.code,
            signal: exit.signal,
        };
        let outcome = skep_harness::outcome(exit, &events, contract.as_deref());
        Ok(Watched::Ended(
            Box::new(Ended {
                outcome,
                refusals,
                timed_out: finished.is_none(),
            }),
            proof,
        ))
    }

    /// Imports the tip, and records result, end of the attempt and next state together.
    async fn take_in(
        &self,
        folder: &Path,
        repository: &AttemptRepository,
        ended: Ended,
        proof: String,
    ) -> Result<After, StepFailure> {
        let Ended {
            outcome,
            refusals,
            timed_out,
        } = ended;
        let dispatch = self.dispatch;
        let failure = if timed_out {
            Some(FailureClass::Stalled)
        } else {
            outcome.failure
        };
        let has_contract = outcome.contract.is_ok();
        let tip = if dispatch.role == Role::Builder {
            let (Some(vault), Some(base)) = (&dispatch.vault, &dispatch.base_commit) else {
                return Err(DirectorError::conflict(
                    "record_incomplete",
                    "the record names no base",
                    "",
                )
                .into());
            };
            let git = repository.attempt_dir.join("git");
            let base = parse_oid(base)?;
            let imported =
                skep_sandbox::import_tip(Path::new(vault), &git, &repository.branch, &base).await;
            match imported {
                Ok(tip) => Some(tip.to_string()),
                Err(error) if has_contract => {
                    return Err(StepFailure {
                        class: FailureClass::InvalidOutput,
                        error: DirectorError::outside("import the attempt's commits", error),
                    });
                }
                Err(_) => None,
            }
        } else {
            dispatch
                .reviewed_commit
                .clone()
                .or_else(|| dispatch.base_commit.clone())
        };
        skep_stdx::crash::point("attempt.imported");
        let contract_status = outcome.contract.as_ref().ok().map(|c| c.status.as_str());
        let row = ResultRow {
            attempt: self.attempt.clone(),
            job: self.lease.job.clone(),
            fence: self.lease.fence,
            tip_commit: tip.clone(),
            contract: outcome
                .contract
                .as_ref()
                .ok()
                .and_then(|c| serde_json::to_string(c).ok()),
            contract_error: outcome
                .contract
                .as_ref()
                .err()
                .map(|e| crate::error::describe(e)),
            report: read_limited(&folder.join("out/review.json"))
                .and_then(|b| String::from_utf8(b).ok()),
            exit_code: outcome.exit.code.map(i64::from),
            isolation: proof,
            refusals,
        };
        let recorded = ResultRecorded {
            job: self.lease.job.clone(),
            attempt: self.attempt.clone(),
            fence: self.lease.fence,
            tip_commit: tip,
            contract_status,
            exit_code: row.exit_code,
            refusals,
        };
        let end = End::of(&outcome, failure, has_contract);
        self.record_end(row, recorded, end, outcome.models.into_iter().next_back())
            .await
    }

    async fn record_end(
        &self,
        row: ResultRow,
        recorded: ResultRecorded,
        end: End,
        model_actual: Option<String>,
    ) -> Result<After, StepFailure> {
        let (lease, attempt) = (self.lease.clone(), self.attempt.clone());
        let after = match end {
            End::Contract => After::Verify,
            End::Parked(_) | End::Failed(_) => After::Left,
        };
        let transient = matches!(end, End::Failed(class) if class.is_transient() && self.claim.job.attempts_used + 1 < self.claim.job.attempts_max);
        if let (true, End::Failed(class)) = (transient, end) {
            let message = row.contract_error.clone().unwrap_or_default();
            return Err(StepFailure {
                class,
                error: DirectorError::conflict("attempt_failed", message, ""),
            });
        }
        self.context
            .db
            .write("attempt ended", async move |tx: &mut Tx<'_>| {
                put_result(tx, &row).await?;
                event::append(tx, lease.job.as_str(), &recorded).await?;
                let state = match end {
                    End::Contract => AttemptState::Succeeded,
                    End::Parked(_) => AttemptState::Parked,
                    End::Failed(_) => AttemptState::Failed,
                };
                let failure_class = match end {
                    End::Contract => None,
                    End::Parked(class) | End::Failed(class) => Some(class),
                };
                let attempt_end = AttemptEnd {
                    state,
                    failure_class,
                    model_actual: model_actual.clone(),
                    counts_as_attempt: state != AttemptState::Parked,
                };
                skep_queue::attempt_ended(tx, &lease, &attempt, &attempt_end)
                    .await
                    .map_err(|e| DirectorError::outside("record the attempt's end", e))?;
                match end {
                    End::Contract => advance(tx, &lease, JobState::Verifying, true, None).await,
                    End::Parked(class) => {
                        record::put_reason(tx, &lease.job, "the budget is used up; raise it with `skep job retry ID --budget-usd X`").await?;
                        advance(tx, &lease, JobState::WaitingBudget, false, Some(class)).await
                    }
                    End::Failed(class) => {
                        let reason = row.contract_error.clone();
                        crate::verify::record_missing(tx, &lease, &attempt, reason.as_deref()).await?;
                        crate::engine::finish(tx, &lease, JobState::Failed, Some(class), reason.as_deref()).await
                    }
                }
            })
            .await?;
        skep_stdx::crash::point("attempt.recorded");
        Ok(after)
    }

    /// The worker was ended by a cancel or a stop; its attempt counts for nothing.
    async fn stopped(&self, how: Signal) -> Result<After, StepFailure> {
        if how == Signal::Stopping {
            let (lease, attempt) = (self.lease.clone(), self.attempt.clone());
            self.context
                .db
                .write("attempt interrupted", async move |tx: &mut Tx<'_>| {
                    let end = AttemptEnd {
                        state: AttemptState::Lost,
                        failure_class: None,
                        model_actual: None,
                        counts_as_attempt: false,
                    };
                    skep_queue::attempt_ended(tx, &lease, &attempt, &end)
                        .await
                        .map_err(|e| DirectorError::outside("record the attempt's end", e))?;
                    advance(tx, &lease, JobState::Queued, false, None).await
                })
                .await?;
        }
        Ok(After::Left)
    }
}

fn fence_failure(error: SandboxError) -> StepFailure {
    let class = match error {
        SandboxError::IsolationUnavailable { .. } | SandboxError::ProofMismatch { .. } => {
            FailureClass::IsolationUnavailable
        }
        _ => FailureClass::WorkerCrash,
    };
    StepFailure {
        class,
        error: DirectorError::outside("close the fence around the worker", error),
    }
}

/// What the end of a worker means for its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There is a contract to verify.
    Contract,
    /// A budget is used up; the work can go on when it is raised.
    Parked(FailureClass),
    /// There is nothing to verify.
    Failed(FailureClass),
}

impl End {
    fn of(outcome: &RunOutcome, failure: Option<FailureClass>, has_contract: bool) -> Self {
        if failure == Some(FailureClass::BudgetExceeded) {
            Self::Parked(FailureClass::BudgetExceeded)
        } else if has_contract {
            Self::Contract
        } else if let Some(class) = failure {
            Self::Failed(class)
        } else if outcome.exit.code == Some(0) {
            Self::Failed(FailureClass::EmptySuccess)
        } else {
            Self::Failed(FailureClass::WorkerCrash)
        }
    }
}

/// Ends an attempt whose step could not be finished.
pub(crate) async fn end_failed(
    tx: &mut Tx<'_>,
    lease: &Lease,
    attempt: &AttemptId,
    class: FailureClass,
) -> Result<(), DirectorError> {
    let open = skep_queue::attempts(tx, &lease.job)
        .await?
        .iter()
        .any(|a| a.id == *attempt && !a.state.is_terminal());
    if !open {
        return Ok(());
    }
    let end = AttemptEnd {
        state: AttemptState::Failed,
        failure_class: Some(class),
        model_actual: None,
        counts_as_attempt: true,
    };
    skep_queue::attempt_ended(tx, lease, attempt, &end)
        .await
        .map_err(|e| DirectorError::outside("record the attempt's end", e))
}

/// Sets a job aside until its next try.
pub(crate) async fn back_off(
    tx: &mut Tx<'_>,
    lease: &Lease,
    class: FailureClass,
    delay_ms: i64,
    reason: &str,
) -> Result<(), DirectorError> {
    let now = tx.now_ms().await?;
    record::put_reason(tx, &lease.job, reason).await?;
    let how = skep_queue::Advance {
        keep_lease: false,
        failure: Some(class),
        run_at_ms: Some(now + delay_ms),
    };
    skep_queue::advance(tx, lease, JobState::Backoff, how)
        .await
        .map(|_| ())
        .map_err(|e| DirectorError::outside("set the job aside", e))
}

pub(crate) fn parse_oid(text: &str) -> Result<Oid, DirectorError> {
    text.parse()
        .map_err(|e| DirectorError::outside("read an object name of the record", e))
}

fn run_paths(paths: &FencePaths) -> RunPaths {
    RunPaths {
        repo: paths.repo.clone(),
        home: paths.home.clone(),
        tmp: paths.tmp.clone(),
        target: paths.target.clone(),
        input: paths.input.clone(),
        output: paths.output.clone(),
    }
}

async fn write_inputs(folder: &Path, plan: &LaunchPlan) -> Result<(), DirectorError> {
    for (name, bytes) in &plan.input_files {
        tokio::fs::write(folder.join(name), bytes)
            .await
            .map_err(|e| DirectorError::outside("write the worker's input files", e))?;
    }
    Ok(())
}

/// Runs one `prepare` command in the fresh repository, before any agent has touched it.
async fn prepare_step(repo: &Path, command: &str) -> Result<(), StepFailure> {
    let mut process = tokio::process::Command::new("/bin/sh");
    process
        .arg("-c")
        .arg(command)
        .current_dir(repo)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_millis(PREPARE_MS), process.output()).await;
    let failed = |message: String| StepFailure {
        class: FailureClass::ToolFailure,
        error: DirectorError::conflict(
            "prepare_failed",
            message,
            "run the command by hand in a fresh clone",
        ),
    };
    match output {
        Err(_) => Err(failed(format!(
            "`{command}` took longer than {} s",
            PREPARE_MS / 1000
        ))),
        Ok(Err(error)) => Err(failed(format!("`{command}` did not start: {error}"))),
        Ok(Ok(output)) if !output.status.success() => {
            let text = String::from_utf8_lossy(&output.stderr);
            let last = text.lines().next_back().unwrap_or_default();
            Err(failed(format!(
                "`{command}` ended with {}: {last}",
                output.status
            )))
        }
        Ok(Ok(_)) => Ok(()),
    }
}

/// Reads a file the worker wrote: a plain file, up to the contract's limit and one byte more, so
/// that the reader sees that it is too large. Never through a link.
fn read_limited(path: &PathBuf) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let is_file = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    if !is_file {
        return None;
    }
    let mut bytes = Vec::new();
    let limit = skep_types::contract::CONTRACT_BYTES_MAX as u64 + 1;
    std::fs::File::open(path)
        .ok()?
        .take(limit)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}
