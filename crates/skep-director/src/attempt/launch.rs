//! Starting a worker: its repository, its key, its fence, its launch plan.

use super::{Worker, parse_oid};
use crate::artifact;
use crate::context::Context;
use crate::engine::StepFailure;
use crate::error::DirectorError;
use crate::event::{self, FenceProved};
use crate::limits::PREPARE_MS;
use crate::running::Signal;
use rustix::process::{Pid, Signal as Signal9};
use skep_db::Tx;
use skep_harness::{HarnessKind, LaunchPlan, RunContext, RunPaths};
use skep_queue::{AttemptStart, Lease};
use skep_sandbox::{
    AttemptRepository, FencePaths, FenceSpec, FencedCommand, FencedProcess, SandboxError,
};
use skep_stdx::{Redactor, Secret};
use skep_types::{AttemptId, FailureClass, KeyId, Role, Scope};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;

impl Worker<'_> {
    /// Makes the attempt's repository and runs the configured preparation in it.
    pub(super) async fn prepare(
        &self,
        folder: &Path,
        previous: Option<&str>,
        signal: &watch::Receiver<Signal>,
    ) -> Result<AttemptRepository, StepFailure> {
        let dispatch = self.dispatch;
        let is_builder = dispatch.role == Role::Builder;
        let missing = || DirectorError::incomplete("the dispatch record names no repository");
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
            &parse_oid(if is_builder { base } else { start })?,
            folder,
            &branch,
            self.context.engine.isolation,
        )
        .await
        .map_err(|e| DirectorError::outside("make the attempt's repository", e))?;
        skep_sandbox::link_caches(&self.context.toolchain_roots(), folder)
            .map_err(|e| DirectorError::outside("link the toolchain's caches", e))?;
        if is_builder {
            // The preparation runs outside the fence, so it sees the base and nothing of an agent.
            for command in &self.context.toolchain.prepare {
                prepare_step(&folder.join("repo"), command, signal.clone()).await?;
            }
            repository
                .move_to(&parse_oid(start)?)
                .await
                .map_err(|e| DirectorError::outside("lay out the last result", e))?;
        }
        Ok(repository)
    }

    /// Mints the key, closes the fence and starts the worker in it. What the worker leaves goes
    /// through the redactor, which knows the key.
    pub(super) async fn start(
        &self,
        folder: &Path,
        repository: &AttemptRepository,
        instruction: String,
    ) -> Result<(KeyId, FencedProcess, HarnessKind, Redactor), StepFailure> {
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
        let inputs = artifact::inputs(context, &dispatch.job, dispatch.tier).await?;
        let paths = spec.paths();
        let instruction = instruction + &artifact::note(&paths, &inputs, &dispatch.artifacts);
        let (key_id, key) = self.mint().await?;
        let redactor = Redactor::new([key.clone()]);
        let fence = skep_sandbox::prepare(&spec).await.map_err(fence_failure)?;
        let url = fence.gateway_url().unwrap_or_default().to_owned();
        let mut plan = self.plan(kind, &spec, url, scope, instruction, key)?;
        write_inputs(&folder.join("in"), &plan).await?;
        artifact::lay_out(context, folder, &inputs)?;
        for (name, place) in [
            (artifact::OUTPUT_VARIABLE, &paths.output),
            (artifact::INPUT_VARIABLE, &paths.input),
        ] {
            let place = place.join(artifact::FOLDER);
            plan.env
                .push((name.to_owned(), place.to_string_lossy().into_owned()));
        }
        let command = FencedCommand {
            argv: plan.argv,
            env: plan.env,
            cwd: plan.cwd,
        };
        let process = fence.start(command).await.map_err(fence_failure)?;
        self.record_start(process.proof().level.as_str()).await?;
        Ok((key_id, process, kind, redactor))
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

    async fn mint(&self) -> Result<(KeyId, Secret), DirectorError> {
        let dispatch = self.dispatch;
        let limits = self.limits();
        let lifetime_ms = limits.wall_ms.saturating_add(limits.grace_ms);
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

    pub(super) async fn revoke(&self, key: KeyId) -> Result<(), DirectorError> {
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
        let start = AttemptStart {
            harness: self.dispatch.harness.clone(),
            model_requested: self.dispatch.model.clone(),
            session_id: None,
        };
        started(self.context, self.lease, self.attempt, start, level).await
    }
}

/// Records that the process of an attempt runs, inside a fence of this level.
pub(crate) async fn started(
    context: &Context,
    lease: &Lease,
    attempt: &AttemptId,
    start: AttemptStart,
    level: &'static str,
) -> Result<(), DirectorError> {
    let (lease, attempt) = (lease.clone(), attempt.clone());
    context
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

/// What a fence that could not be closed means.
pub(crate) fn fence_failure(error: SandboxError) -> StepFailure {
    let class = if error.code() == "isolation_unavailable" {
        FailureClass::IsolationUnavailable
    } else {
        FailureClass::WorkerCrash
    };
    StepFailure {
        class,
        error: DirectorError::outside("close the fence around the worker", error),
    }
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

/// What a `prepare` command gets of the engine's environment: what finds programs and caches.
/// Keys and tokens that the engine was started with are not among it.
const PREPARE_VARIABLES: &[&str] = &[
    "PATH",
    "HOME",
    "LANG",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "XDG_CACHE_HOME",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
];

/// Runs one `prepare` command in the fresh repository, before any agent has touched it. It ends
/// with its whole process group: at its own end, its limit, or a signal to the step.
async fn prepare_step(
    repo: &Path,
    command: &str,
    mut signal: watch::Receiver<Signal>,
) -> Result<(), StepFailure> {
    let failed = |message: String| StepFailure {
        class: FailureClass::ToolFailure,
        error: DirectorError::conflict(
            "prepare_failed",
            message,
            "run the command by hand in a fresh clone",
        ),
    };
    let mut process = tokio::process::Command::new("/bin/sh");
    process
        .arg("-c")
        .arg(command)
        .current_dir(repo)
        .env_clear()
        .envs(
            PREPARE_VARIABLES
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = process
        .spawn()
        .map_err(|error| failed(format!("`{command}` did not start: {error}")))?;
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let tail = child
        .stderr
        .take()
        .map(|stderr| skep_stdx::spawn("prepare-stderr", last_line(stderr)));
    let ended = tokio::select! {
        status = child.wait() => Some(status),
        () = tokio::time::sleep(Duration::from_millis(PREPARE_MS)) => None,
        _ = signal.wait_for(|s| *s != Signal::Go) => {
            kill_group(group);
            return Err(DirectorError::conflict(
                "interrupted",
                format!("`{command}` was interrupted"),
                "the job was cancelled, or the engine was stopped",
            )
            .into());
        }
    };
    kill_group(group);
    let last = match tail {
        Some(tail) => tail.await.unwrap_or_default(),
        None => String::new(),
    };
    match ended {
        None => Err(failed(format!(
            "`{command}` took longer than {} s",
            PREPARE_MS / 1000
        ))),
        Some(Err(error)) => Err(failed(format!("`{command}` was lost: {error}"))),
        Some(Ok(status)) if !status.success() => {
            Err(failed(format!("`{command}` ended with {status}: {last}")))
        }
        Some(Ok(_)) => Ok(()),
    }
}

/// Kills what is left of a process group; one that has ended is no error.
fn kill_group(group: Option<Pid>) {
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, Signal9::KILL);
    }
}

/// The last line of a stream, cut to a line's length; the rest is read and let go.
async fn last_line(mut stream: impl AsyncRead + Unpin) -> String {
    let (mut tail, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        tail.extend_from_slice(&bytes[..read]);
        let surplus = tail.len().saturating_sub(LAST_LINE_BYTES_MAX);
        tail.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&tail).replace('\0', "");
    text.lines().next_back().unwrap_or_default().to_owned()
}

/// What is kept of a failed preparation's words, in bytes.
const LAST_LINE_BYTES_MAX: usize = 2_000;
