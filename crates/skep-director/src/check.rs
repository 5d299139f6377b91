//! Runs a job's checks where no agent can write: a clean checkout of the exact commit, guarded
//! files from base, no network, private caches, the same fence as an attempt.
//!
//! Every check has a checkout of its own, so that no check can prepare the next one's verdict.

mod canary;
mod counts;

pub(crate) use counts::TestCounts;

use crate::context::Context;
use crate::error::DirectorError;
use crate::home;
use crate::limits::CHECK_LOG_BYTES_MAX;
use crate::log::{AtLimit, Captured, capture};
use crate::running::Signal;
use skep_sandbox::{ExitStatus, FencePaths, FenceSpec, FencedCommand, FencedProcess, Git};
use skep_stdx::{Redactor, Stopwatch};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

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
    /// Anything but [`Signal::Go`] ends the check under way and all that would follow.
    pub(crate) signal: watch::Receiver<Signal>,
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

/// One command that is no check of a result.
pub(crate) struct LoneCommand<'a> {
    /// The repository and the commit that are laid out for it; an empty folder without.
    pub(crate) source: Option<(&'a Path, &'a str)>,
    pub(crate) command: &'a str,
    /// A folder for the checkout; made and removed here.
    pub(crate) place: PathBuf,
    /// Where the output goes.
    pub(crate) log: &'a Path,
    /// The longest it may take.
    pub(crate) limit: Duration,
    /// Anything but [`Signal::Go`] ends it.
    pub(crate) signal: watch::Receiver<Signal>,
}

/// Runs one command as checks are run. The answer is its exit code, none if it ran into its limit.
pub(crate) async fn run_alone(
    context: &Context,
    lone: &LoneCommand<'_>,
) -> Result<Option<i64>, DirectorError> {
    remove(&lone.place).await?;
    let ended = async {
        let layout = make_room(&lone.place, &context.toolchain_roots())?;
        if let Some((vault, commit)) = lone.source {
            skep_sandbox::clean_checkout(vault, &crate::attempt::parse_oid(commit)?, &layout.repo)
                .await
                .map_err(|e| DirectorError::outside("check out the commit to be looked at", e))?;
        }
        let signal = lone.signal.clone();
        run_once(
            context,
            &lone.place,
            lone.command,
            lone.log,
            lone.limit,
            signal,
        )
        .await
    };
    let ended = ended.await;
    remove(&lone.place).await?;
    ended
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
    let once = async |log: &Path| {
        let signal = plan.signal.clone();
        run_once(context, place, command, log, limit, signal).await
    };
    let exit_code = once(&log).await?;
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
                match once(&log).await? {
                    Some(0) => RunnerAlive::Blind,
                    _ => RunnerAlive::Proved,
                }
            }
        }
    };
    let log = log
        .strip_prefix(context.home.shared())
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
    let repo = make_room(place, roots)?.repo;
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
        restore(&base, &repo, Path::new(path))
            .map_err(|e| DirectorError::outside("restore a guarded file from base", e))?;
    }
    remove(&base).await?;
    Ok(repo)
}

/// Makes the folders of a command that runs at `place`, all of them empty.
fn make_room(place: &Path, roots: &[PathBuf]) -> Result<FencePaths, DirectorError> {
    let layout = FencePaths::on_host(place);
    for folder in layout.all() {
        // Nobody else may look in: the fence refuses a folder that is open to other users.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|e| DirectorError::outside("make room for a check", e))?;
    }
    skep_sandbox::link_caches(roots, place)
        .map_err(|e| DirectorError::outside("link the toolchain's caches", e))?;
    Ok(layout)
}

/// Makes the file at `path` below `repo` what it is below `base`: a file, a link, or nothing.
fn restore(base: &Path, repo: &Path, path: &Path) -> std::io::Result<()> {
    let (from, to) = (base.join(path), repo.join(path));
    let Ok(kind) = std::fs::symlink_metadata(&from) else {
        let folders = path.ancestors().skip(1);
        let is_there = folders
            .into_iter()
            .all(|folder| is_folder(&repo.join(folder)));
        return if is_there { clear(&to) } else { Ok(()) };
    };
    make_way(repo, path)?;
    if kind.is_symlink() {
        std::os::unix::fs::symlink(std::fs::read_link(from)?, to)
    } else {
        std::fs::copy(from, to).map(drop)
    }
}

/// Makes room for a file at `path` below `repo`: the folders it needs, and nothing where it goes.
/// A link in the way is removed and never followed: it may lead out of the repository.
fn make_way(repo: &Path, path: &Path) -> std::io::Result<()> {
    let mut folder = repo.to_owned();
    for part in path.parent().into_iter().flatten() {
        folder.push(part);
        if !is_folder(&folder) {
            clear(&folder)?;
            std::fs::create_dir(&folder)?;
        }
    }
    clear(&repo.join(path))
}

/// Whether `path` is a folder, not a link to one.
fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Removes whatever is at `path`; a link itself, not what it leads to.
fn clear(path: &Path) -> std::io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
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
    // The check has run in this checkout and may have put anything there.
    make_way(repo, Path::new(&canary.path))
        .and_then(|()| std::fs::write(repo.join(&canary.path), canary.content))
        .map_err(|e| DirectorError::outside("place the canary", e))
}

async fn run_once(
    context: &Context,
    place: &Path,
    command: &str,
    log: &Path,
    limit: Duration,
    mut signal: watch::Receiver<Signal>,
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
    let ended = {
        // A check may close its output and go on; the limit is for all of it.
        let end = async {
            capture(
                &mut process,
                log,
                (CHECK_LOG_BYTES_MAX, AtLimit::Cut),
                &Redactor::default(),
                &mut Captured::new(Vec::new()),
                |_, _| {},
            )
            .await
            .map_err(|e| DirectorError::outside("keep a check's output", e))?;
            let exit = process.wait().await;
            exit.map_err(|e| DirectorError::outside("wait for a check", e))
        };
        tokio::select! {
            exit = end => exit.map(Some),
            () = tokio::time::sleep(limit) => Ok(None),
            _ = signal.wait_for(|s| *s != Signal::Go) => Err(interrupted()),
        }
    };
    process
        .kill()
        .await
        .map_err(|e| DirectorError::outside("end a check's processes", e))?;
    let ended: Option<ExitStatus> = ended?;
    // A check that was killed by a signal has failed like one that exits 128 + signal in a shell.
    Ok(ended.map(|exit| {
        exit.code
            .unwrap_or_else(|| 128 + exit.signal.unwrap_or(0))
            .into()
    }))
}

/// The answer of a check that was told to stop. Whoever told it decides what becomes of the job.
fn interrupted() -> DirectorError {
    DirectorError::conflict("interrupted", "the check was interrupted", "")
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
