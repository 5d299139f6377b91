//! Runs a job's checks where no agent can write: a clean checkout of the exact commit, guarded
//! files from base, no network, private caches, the same fence as an attempt.
//!
//! Every check has a checkout of its own, so that no check can prepare the next one's verdict.

mod canary;
mod counts;

pub(crate) use counts::TestCounts;

use crate::director::Context;
use crate::error::DirectorError;
use crate::home;
use crate::limits::CHECK_LOG_BYTES_MAX;
use crate::log::capture;
use skep_sandbox::{ExitStatus, FencePaths, FenceSpec, FencedCommand, FencedProcess, Git};
use skep_stdx::Stopwatch;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What became of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckOutcome {
    pub(crate) command: String,
    /// Absent when the check ran into its limit.
    pub(crate) exit_code: Option<i64>,
    pub(crate) limit_s: u64,
    pub(crate) duration_ms: i64,
    pub(crate) alive: RunnerAlive,
    pub(crate) counts: Option<TestCounts>,
    /// Where the output lies, relative to the home.
    pub(crate) log: String,
}

/// Whether the runner was proved to report failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunnerAlive {
    /// A test that must fail made the check fail.
    Proved,
    /// A test that must fail was there and the check exited 0.
    Blind,
    /// No canary is known for the command.
    NotApplicable,
    /// The check failed by itself; there was nothing to prove.
    NotTried,
}

/// What is checked.
pub(crate) struct CheckPlan<'a> {
    pub(crate) vault: &'a Path,
    pub(crate) base: &'a str,
    pub(crate) commit: &'a str,
    pub(crate) commands: &'a [String],
    /// Changed paths that come from base.
    pub(crate) guarded: &'a [String],
    /// A folder for the checkouts; made and removed here.
    pub(crate) place: PathBuf,
    /// A folder for the outputs.
    pub(crate) logs: PathBuf,
    /// The beginning of the outputs' file names.
    pub(crate) log_prefix: String,
    /// Whether to prove that the runner reports failure.
    pub(crate) canaries: bool,
}

/// Runs every check of `plan`, one after another.
pub(crate) async fn run_checks(
    context: &Context,
    plan: &CheckPlan<'_>,
) -> Result<Vec<CheckOutcome>, DirectorError> {
    let mut outcomes = Vec::new();
    for (index, command) in plan.commands.iter().enumerate() {
        let place = plan.place.join(index.to_string());
        let outcome = run_check(context, plan, command, index, &place).await;
        remove(&plan.place).await?;
        outcomes.push(outcome?);
    }
    Ok(outcomes)
}

async fn run_check(
    context: &Context,
    plan: &CheckPlan<'_>,
    command: &str,
    index: usize,
    place: &Path,
) -> Result<CheckOutcome, DirectorError> {
    remove(place).await?;
    let repo = check_out(plan, place, &context.toolchain_roots()).await?;
    let log = plan.logs.join(format!("{}-{index}.log", plan.log_prefix));
    let limit = Duration::from_secs(context.engine.check_seconds_max);
    let watch = Stopwatch::start();
    let exit_code = run_once(context, place, command, &log, limit).await?;
    let duration_ms = watch.elapsed_ms();
    let output = crate::log::tail(&log, usize::MAX).unwrap_or_default();
    let counts = counts::test_counts(&output);
    let alive = if exit_code != Some(0) || !plan.canaries {
        RunnerAlive::NotTried
    } else {
        let files = list_files(plan).await?;
        let manifest = |path: &str| {
            // Only a path of the listing is read: it cannot lead out of the checkout.
            files
                .iter()
                .any(|file| file == path)
                .then(|| std::fs::read_to_string(repo.join(path)).ok())?
        };
        match canary::canary(command, &files, manifest) {
            None => RunnerAlive::NotApplicable,
            Some(canary) => {
                write_canary(&repo, &canary)?;
                let log = plan
                    .logs
                    .join(format!("{}-{index}-canary.log", plan.log_prefix));
                match run_once(context, place, command, &log, limit).await? {
                    Some(0) => RunnerAlive::Blind,
                    _ => RunnerAlive::Proved,
                }
            }
        }
    };
    let log = log
        .strip_prefix(context.home.root())
        .unwrap_or(&log)
        .to_string_lossy()
        .into_owned();
    let limit_s = limit.as_secs();
    Ok(CheckOutcome {
        command: command.to_owned(),
        exit_code,
        limit_s,
        duration_ms,
        alive,
        counts,
        log,
    })
}

/// Lays the exact commit out, with the guarded files as they are at base.
async fn check_out(
    plan: &CheckPlan<'_>,
    place: &Path,
    roots: &[PathBuf],
) -> Result<PathBuf, DirectorError> {
    let failed = |e| DirectorError::outside("check out the commit to be checked", e);
    let layout = FencePaths::on_host(place);
    for folder in layout.all() {
        std::fs::create_dir_all(folder)
            .map_err(|e| DirectorError::outside("make room for a check", e))?;
    }
    skep_sandbox::link_caches(roots, place)
        .map_err(|e| DirectorError::outside("link the toolchain's caches", e))?;
    let repo = layout.repo;
    skep_sandbox::clean_checkout(plan.vault, &crate::attempt::parse_oid(plan.commit)?, &repo)
        .await
        .map_err(failed)?;
    if plan.guarded.is_empty() {
        return Ok(repo);
    }
    let base = place.join("base");
    skep_sandbox::clean_checkout(plan.vault, &crate::attempt::parse_oid(plan.base)?, &base)
        .await
        .map_err(failed)?;
    for path in plan.guarded {
        restore(&base.join(path), &repo.join(path))
            .map_err(|e| DirectorError::outside("restore a guarded file from base", e))?;
    }
    remove(&base).await?;
    Ok(repo)
}

/// Makes `to` what `from` is: a file, a link, or nothing.
fn restore(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let Ok(kind) = std::fs::symlink_metadata(from) else {
        return Ok(());
    };
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if kind.is_symlink() {
        std::os::unix::fs::symlink(std::fs::read_link(from)?, to)
    } else {
        std::fs::copy(from, to).map(|_| ())
    }
}

async fn list_files(plan: &CheckPlan<'_>) -> Result<Vec<String>, DirectorError> {
    let listing = Git::at(plan.vault)
        .run(&["ls-tree", "-r", "-z", "--name-only", plan.commit])
        .await
        .map_err(|e| DirectorError::outside("list the commit's files", e))?;
    Ok(listing
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect())
}

fn write_canary(repo: &Path, canary: &canary::Canary) -> Result<(), DirectorError> {
    let failed = |e| DirectorError::outside("place the canary", e);
    let path = repo.join(&canary.path);
    // The folder may be a link that the commit brought; the canary must not follow it out.
    let folder = path.parent().unwrap_or(repo);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let inside = folder.canonicalize().map_err(failed)?;
    if !inside.starts_with(repo.canonicalize().map_err(failed)?) {
        return Err(failed(std::io::Error::other(
            "the test folder is a link out of the repository",
        )));
    }
    if path.symlink_metadata().is_ok() {
        std::fs::remove_file(&path).map_err(failed)?;
    }
    std::fs::write(&path, canary.content).map_err(failed)
}

async fn run_once(
    context: &Context,
    place: &Path,
    command: &str,
    log: &Path,
    limit: Duration,
) -> Result<Option<i64>, DirectorError> {
    let spec = FenceSpec {
        level: context.engine.isolation,
        attempt_dir: place.to_owned(),
        writable: vec![PathBuf::new()],
        git_writable: false,
        read_only: context.toolchain_roots(),
        object_stores: Vec::new(),
        gateway: false,
        limits: skep_sandbox::ProcessLimits::default(),
        launcher: context.launcher.clone(),
    };
    let paths = spec.paths();
    let argv = ["/bin/sh", "-c", command].map(str::to_owned).to_vec();
    let env = context.tool_environment(&paths);
    let command = FencedCommand {
        argv,
        env,
        cwd: paths.repo.clone(),
    };
    let mut process: FencedProcess = skep_sandbox::start(&spec, command)
        .await
        .map_err(|e| DirectorError::outside("start a check", e))?;
    let output = capture(&mut process, log, CHECK_LOG_BYTES_MAX, |_| {});
    let finished = tokio::time::timeout(limit, output).await;
    let ended = match finished {
        Ok(written) => {
            written.map_err(|e| DirectorError::outside("keep a check's output", e))?;
            process.wait().await.map(Some)
        }
        Err(_) => Ok(None),
    };
    process
        .kill()
        .await
        .map_err(|e| DirectorError::outside("end a check's processes", e))?;
    let ended: Option<ExitStatus> =
        ended.map_err(|e| DirectorError::outside("wait for a check", e))?;
    // A check that was killed by a signal has failed like one that exits 128 + signal in a shell.
    Ok(ended.map(|exit| {
        exit.code
            .unwrap_or_else(|| 128 + exit.signal.unwrap_or(0))
            .into()
    }))
}

/// Removes a folder of the home, if it is there.
pub(crate) async fn remove(path: &Path) -> Result<(), DirectorError> {
    let path = path.to_owned();
    let removed = tokio::task::spawn_blocking(move || home::remove_tree(&path)).await;
    removed
        .map_err(std::io::Error::other)
        .flatten()
        .map_err(|e| DirectorError::outside("clear a folder of the home", e))
}
