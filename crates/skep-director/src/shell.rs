//! One command as a job, under the fence: no model, no network, no contract. What it leaves is what
//! the engine measured from outside: exit code or signal, output and its digest, duration, and the
//! proof of the fence.
//!
//! A command observes. It has a folder of its own, empty or with a repository laid out in it, and
//! whatever it writes there goes with the folder; nothing of it can land.

use crate::artifact;
use crate::attempt::{self, back_off};
use crate::call::hex;
use crate::context::Context;
use crate::dispatch::pin_base;
use crate::engine::{StepFailure, finish};
use crate::error::{DirectorError, describe};
use crate::event::{self, ShellEnded};
use crate::limits::{SALT_BYTES, SHELL_TAIL_BYTES_MAX};
use crate::log::{self, AtLimit, Captured};
use crate::record::{self, RunRow, ShellRow, put_run};
use crate::running::Signal;
use ring::digest::{Context as Hasher, SHA256};
use skep_db::Tx;
use skep_queue::{AttemptEnd, AttemptStart, Claim, Lease};
use skep_sandbox::{
    AttemptRepository, ExitStatus, FenceSpec, FencedCommand, FencedProcess, IsolationLevel,
    SandboxError,
};
use skep_stdx::{Redactor, Stopwatch};
use skep_types::{AttemptId, AttemptState, FailureClass, JobKind, JobState, Scope};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

/// Runs the command of `claim`.
pub(crate) async fn run(
    context: &Context,
    claim: &Claim,
    signal: watch::Receiver<Signal>,
) -> Result<(), StepFailure> {
    let Some(attempt) = &claim.attempt else {
        return Err(DirectorError::incomplete("the claim has no attempt").into());
    };
    let job = claim.job.id.clone();
    let mut row = context
        .db
        .read("command", async move |tx: &mut Tx<'_>| {
            record::shell(tx, &job).await
        })
        .await?;
    if row.vault.is_some() && row.base_commit.is_none() {
        let (lease, kind) = (claim.lease(), claim.job.kind);
        let (repo, from) = (row.repo.as_deref(), row.base_from.as_deref());
        row.base_commit = Some(pin_base(context, &lease, kind, repo, from).await?);
    }
    let folder = context.home.attempts().join(attempt.as_str());
    let step = Step {
        context,
        claim,
        lease: claim.lease(),
        attempt,
        row: &row,
        folder: &folder,
    };
    let ended = step.run(signal).await;
    if let Err(error) = crate::check::remove(&folder).await {
        tracing::warn!(%attempt, error = describe(&error), "the command's folder was left");
    }
    ended
}

struct Step<'a> {
    context: &'a Context,
    claim: &'a Claim,
    lease: Lease,
    attempt: &'a AttemptId,
    row: &'a ShellRow,
    folder: &'a Path,
}

/// How a command ended, as seen from outside.
struct Measured {
    end: End,
    output: Captured,
    duration_ms: i64,
    level: IsolationLevel,
    proof: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By itself, or by a signal of its own making.
    Exit(ExitStatus),
    TooLong,
    TooMuch,
}

impl End {
    /// The one class of an end that is no success.
    fn failure(self) -> Option<FailureClass> {
        match self {
            Self::Exit(ExitStatus { code: Some(0), .. }) => None,
            Self::Exit(ExitStatus { code: Some(_), .. }) => Some(FailureClass::ToolFailure),
            Self::Exit(ExitStatus { code: None, .. }) => Some(FailureClass::WorkerCrash),
            Self::TooLong => Some(FailureClass::WallClock),
            Self::TooMuch => Some(FailureClass::OutputLimit),
        }
    }

    const fn limit(self) -> Option<&'static str> {
        match self {
            Self::Exit(_) => None,
            Self::TooLong => Some("time"),
            Self::TooMuch => Some("output"),
        }
    }

    const fn status(self) -> ExitStatus {
        match self {
            Self::Exit(status) => status,
            Self::TooLong | Self::TooMuch => ExitStatus {
                code: None,
                signal: None,
            },
        }
    }
}

/// What the ledger holds of a run. The output's digest stands there under the run's salt, and says
/// nothing once that is forgotten.
fn ended(row: &RunRow, end: End, level: IsolationLevel) -> ShellEnded {
    let mut hasher = Hasher::new(&SHA256);
    hasher.update(&row.salt);
    hasher.update(&row.output_sha256);
    ShellEnded {
        job: row.job.clone(),
        attempt: row.attempt.clone(),
        fence: row.fence,
        exit_code: row.exit_code,
        signal: row.signal,
        limit: end.limit(),
        duration_ms: row.duration_ms,
        output_bytes: row.output_bytes,
        output_sha256: hex(hasher.finish().as_ref()),
        level: level.as_str(),
    }
}

/// A command that is not there is the command's failure, not the fence's.
fn start_failure(error: SandboxError) -> StepFailure {
    let is_command = matches!(error, SandboxError::Command(_));
    let failure = attempt::fence_failure(error);
    if is_command {
        return StepFailure {
            class: FailureClass::ToolFailure,
            ..failure
        };
    }
    failure
}

impl Step<'_> {
    async fn run(&self, signal: watch::Receiver<Signal>) -> Result<(), StepFailure> {
        let spec = self.prepare().await?;
        skep_stdx::crash::point("shell.prepared");
        let mut process = self.start(&spec).await?;
        skep_stdx::crash::point("shell.started");
        let watched = self.watch(&mut process, signal).await;
        let killed = process.kill().await;
        let watched = watched?;
        killed.map_err(|e| DirectorError::outside("end the command's processes", e))?;
        match watched {
            Ok(measured) => {
                skep_stdx::crash::point("shell.ended");
                self.conclude(measured).await
            }
            Err(Signal::Stopping) => {
                Ok(attempt::interrupted(self.context, &self.lease, self.attempt).await?)
            }
            Err(_) => Ok(()),
        }
    }

    /// Makes the folder of the command, and the fence around it.
    async fn prepare(&self) -> Result<FenceSpec, StepFailure> {
        let (context, row) = (self.context, self.row);
        let mut spec = FenceSpec {
            level: context.engine.isolation,
            attempt_dir: self.folder.to_owned(),
            writable: Vec::new(),
            git_writable: false,
            read_only: context.toolchain_roots(),
            object_stores: Vec::new(),
            gateway: false,
            limits: skep_sandbox::ProcessLimits::default(),
            launcher: context.launcher.clone(),
        };
        if let (Some(vault), Some(base)) = (&row.vault, &row.base_commit) {
            let repository = AttemptRepository::create(
                Path::new(vault),
                &attempt::parse_oid(base)?,
                self.folder,
                &format!("skep/{}", self.attempt),
                context.engine.isolation,
            )
            .await
            .map_err(|e| DirectorError::outside("lay out the command's repository", e))?;
            if !row.scope.is_empty() {
                let scope = Scope::parse(&row.scope)
                    .map_err(|e| DirectorError::outside("read the scope", e))?;
                spec.writable = repository.writable(&scope);
            }
            spec.object_stores = repository.object_stores;
        } else {
            skep_sandbox::create_directories(self.folder)
                .map_err(|e| DirectorError::outside("make the command's folder", e))?;
            spec.writable = vec![PathBuf::new()];
        }
        skep_sandbox::link_caches(&spec.read_only, self.folder)
            .map_err(|e| DirectorError::outside("link the toolchain's caches", e))?;
        let inputs = artifact::inputs(context, &row.job, row.tier).await?;
        artifact::lay_out(context, self.folder, &inputs)?;
        Ok(spec)
    }

    async fn start(&self, spec: &FenceSpec) -> Result<FencedProcess, StepFailure> {
        let paths = spec.paths();
        let mut env = self.context.tool_environment(&paths);
        let inputs = paths.input.join(artifact::FOLDER);
        let inputs = inputs.to_string_lossy().into_owned();
        env.push((artifact::INPUT_VARIABLE.to_owned(), inputs));
        let command = FencedCommand {
            argv: self.row.command.clone(),
            env,
            cwd: paths.repo,
        };
        let process = skep_sandbox::start(spec, command)
            .await
            .map_err(start_failure)?;
        let level = process.proof().level.as_str();
        let start = AttemptStart {
            harness: JobKind::Shell.as_str().to_owned(),
            model_requested: None,
            session_id: None,
        };
        attempt::started(self.context, &self.lease, self.attempt, start, level).await?;
        Ok(process)
    }

    /// Follows the command to its end or one of its limits; the signal, if it was told to end.
    async fn watch(
        &self,
        process: &mut FencedProcess,
        mut signal: watch::Receiver<Signal>,
    ) -> Result<Result<Measured, Signal>, DirectorError> {
        let level = process.proof().level;
        let proof = serde_json::to_string(process.proof()).unwrap_or_default();
        let log = self.log();
        let bytes_max = u64::try_from(self.row.output_bytes_max).unwrap_or(0);
        let limit = Duration::from_millis(u64::try_from(self.row.timeout_ms).unwrap_or(0));
        let watch = Stopwatch::start();
        let mut output = Captured::new(self.salt());
        let ended = {
            let redactor = Redactor::default();
            let end = async {
                let limit = (bytes_max, AtLimit::Stop);
                log::capture(process, &log, limit, &redactor, &mut output, |_, _| {})
                    .await
                    .map_err(|e| DirectorError::outside("keep the command's output", e))?;
                if output.is_over {
                    return Ok(End::TooMuch);
                }
                let exit = process.wait().await;
                exit.map(End::Exit)
                    .map_err(|e| DirectorError::outside("wait for the command", e))
            };
            tokio::select! {
                end = end => Ok(end?),
                () = tokio::time::sleep(limit) => Ok(End::TooLong),
                changed = signal.wait_for(|s| *s != Signal::Go) => {
                    Err(changed.map_or(Signal::LeaseLost, |s| *s))
                }
            }
        };
        Ok(ended.map(|end| Measured {
            end,
            output,
            duration_ms: watch.elapsed_ms(),
            level,
            proof,
        }))
    }

    fn log(&self) -> PathBuf {
        let folder = self.context.home.logs().join(self.lease.job.as_str());
        folder.join(format!("{}.log", self.attempt))
    }

    fn salt(&self) -> Vec<u8> {
        let mut salt = vec![0; SALT_BYTES];
        self.context.entropy.fill(&mut salt);
        salt
    }

    /// Records the run, the end of the attempt and what it means for the job, together.
    async fn conclude(&self, measured: Measured) -> Result<(), StepFailure> {
        let status = measured.end.status();
        let failure = measured.end.failure();
        let reason = self.reason(measured.end);
        let tail = log::tail(&self.log(), SHELL_TAIL_BYTES_MAX).unwrap_or_default();
        let digest = measured.output.digest.finish();
        let row = RunRow {
            attempt: self.attempt.clone(),
            job: self.lease.job.clone(),
            fence: self.lease.fence,
            exit_code: status.code.map(i64::from),
            signal: status.signal.map(i64::from),
            limit: measured.end.limit().map(str::to_owned),
            duration_ms: measured.duration_ms,
            output_bytes: i64::try_from(measured.output.bytes).unwrap_or(i64::MAX),
            salt: measured.output.salt.clone(),
            output_sha256: digest.as_ref().to_vec(),
            tail: tail.replace('\0', "\u{fffd}"),
            isolation: measured.proof,
        };
        let ended = ended(&row, measured.end, measured.level);
        let job = &self.claim.job;
        let may_try = job.attempts_used + 1 < job.attempts_max;
        let delay_ms = failure
            .filter(|class| class.is_transient() && may_try)
            .map(|_| attempt::retry_delay_ms(self.claim, &*self.context.entropy));
        let (lease, attempt) = (self.lease.clone(), self.attempt.clone());
        self.context
            .db
            .write("command ended", async move |tx: &mut Tx<'_>| {
                put_run(tx, &row).await?;
                event::append(tx, lease.job.as_str(), &ended).await?;
                let end = AttemptEnd {
                    state: match failure {
                        None => AttemptState::Succeeded,
                        Some(_) => AttemptState::Failed,
                    },
                    failure_class: failure,
                    model_actual: None,
                    session_id: None,
                    counts_as_attempt: true,
                };
                skep_queue::attempt_ended(tx, &lease, &attempt, &end)
                    .await
                    .map_err(|e| DirectorError::outside("record the attempt's end", e))?;
                match (failure, delay_ms) {
                    (None, _) => finish(tx, &lease, JobState::Done, None, None).await,
                    (Some(class), Some(delay_ms)) => {
                        back_off(tx, &lease, class, delay_ms, &reason).await
                    }
                    (Some(class), None) => {
                        finish(tx, &lease, JobState::Failed, Some(class), Some(&reason)).await
                    }
                }
            })
            .await?;
        skep_stdx::crash::point("shell.recorded");
        Ok(())
    }

    fn reason(&self, end: End) -> String {
        match end {
            End::Exit(status) => match (status.code, status.signal) {
                (Some(code), _) => format!("the command ended with exit code {code}"),
                (None, Some(signal)) => format!("the command was killed by signal {signal}"),
                (None, None) => "the command was killed".to_owned(),
            },
            End::TooLong => format!(
                "the command was stopped at its limit of {} s",
                self.row.timeout_ms / 1_000
            ),
            End::TooMuch => format!(
                "the command was stopped when its output passed {} bytes",
                self.row.output_bytes_max
            ),
        }
    }
}
