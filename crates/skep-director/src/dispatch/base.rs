//! Where the work starts and where it goes: repository, base commit, target branch, all of them
//! as they are now.

use crate::context::Context;
use crate::error::DirectorError;
use crate::event::{self, BasePinned};
use crate::record;
use skep_api::DispatchRequest;
use skep_db::Tx;
use skep_queue::Lease;
use skep_sandbox::Git;
use skep_types::{JobKind, Role};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What was pinned at dispatch.
#[derive(Debug, Clone)]
pub(super) struct Pinned {
    pub(super) repo: PathBuf,
    pub(super) vault: PathBuf,
    pub(super) base: String,
    /// What the base was resolved from.
    pub(super) from: String,
    pub(super) target: Option<String>,
    pub(super) project: String,
    pub(super) warnings: Vec<String>,
}

/// What was pinned for the requests of one plan: those that name the same place start from the
/// same commit, and git is asked once.
#[derive(Debug, Default)]
pub(crate) struct Pins(HashMap<Place, Pinned>);

/// Repository, base, target branch, and whether it lands at all.
type Place = (Option<String>, Option<String>, Option<String>, bool);

/// Pins what the request names.
pub(super) async fn pin(
    context: &Context,
    request: &DispatchRequest,
    role: Role,
    pins: &mut Pins,
) -> Result<Pinned, DirectorError> {
    let place = (
        request.repo.clone(),
        request.base.clone(),
        request.target_branch.clone(),
        role == Role::Builder,
    );
    if let Some(pinned) = pins.0.get(&place) {
        return Ok(pinned.clone());
    }
    let pinned = look_up(context, request, role).await?;
    pins.0.insert(place, pinned.clone());
    Ok(pinned)
}

/// Pins the base of a job of `kind` that waited for others, under its lease: the start `from` that
/// its record names in `repo`, as it is now that they have ended and landed. The commit is the
/// job's from then on, however often it is tried.
pub(crate) async fn pin_base(
    context: &Context,
    lease: &Lease,
    kind: JobKind,
    repo: Option<&str>,
    from: Option<&str>,
) -> Result<String, DirectorError> {
    let incomplete = || DirectorError::incomplete("the record names no place to start from");
    let repo = repo.ok_or_else(incomplete)?;
    let from = from.ok_or_else(incomplete)?;
    let base = resolve(&Git::discovering(repo), from, Path::new(repo)).await?;
    let (lease, commit) = (lease.clone(), base.clone());
    context
        .db
        .write("pin base", async move |tx: &mut Tx<'_>| {
            skep_authority::demand(tx, &lease.job, lease.fence)
                .await
                .map_err(|e| DirectorError::outside("show the current fence", e))?;
            if kind == JobKind::Shell {
                record::pin_shell(tx, &lease.job, &commit).await?;
            } else {
                record::pin_base(tx, &lease.job, &commit).await?;
            }
            let pinned = BasePinned {
                job: lease.job.clone(),
                fence: lease.fence,
                commit: commit.clone(),
            };
            event::append(tx, lease.job.as_str(), &pinned).await
        })
        .await?;
    skep_stdx::crash::point("attempt.pinned");
    Ok(base)
}

async fn resolve(git: &Git, start: &str, repo: &Path) -> Result<String, DirectorError> {
    let name = format!("{start}^{{commit}}");
    let arguments = [
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        &name,
    ];
    let commit = git.run(&arguments).await.map_err(|_| {
        DirectorError::usage(
            "base_not_found",
            format!("there is no commit `{start}` in {}", repo.display()),
            "name a commit, branch or tag that exists with --base; a new repository needs a first commit",
        )
    })?;
    Ok(commit.trim().to_owned())
}

async fn look_up(
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
    let repo = work_tree(repo).await?;
    let git = Git::discovering(&repo);
    let target = match role {
        Role::Observer | Role::Director => None,
        Role::Builder => Some(target(&git, request.target_branch.as_deref()).await?),
    };
    let start = request
        .base
        .clone()
        .or_else(|| target.clone())
        .unwrap_or_else(|| "HEAD".to_owned());
    let base = resolve(&git, &start, &repo).await?;
    let vault = skep_sandbox::ensure_vault(context.home.shared(), &repo)
        .await
        .map_err(|e| DirectorError::outside("open the engine's own copy of the repository", e))?;
    let mut project = repo.file_name().map_or_else(
        || "project".to_owned(),
        |n| n.to_string_lossy().into_owned(),
    );
    project.truncate(project.floor_char_boundary(skep_queue::limits::NAME_BYTES_MAX));
    Ok(Pinned {
        warnings: uncommitted(&git, &base).await.into_iter().collect(),
        repo,
        vault,
        base,
        from: start,
        target,
        project,
    })
}

/// The root of the work tree that a person named by any folder in it.
async fn work_tree(repo: &str) -> Result<PathBuf, DirectorError> {
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
    Ok(PathBuf::from(top.trim_end()))
}

/// The branch to land on: the one asked for, or the one that the work tree is on.
async fn target(git: &Git, asked_for: Option<&str>) -> Result<String, DirectorError> {
    if let Some(branch) = asked_for {
        check_branch(git, branch).await?;
        return Ok(branch.to_owned());
    }
    let current = git
        .run(&["symbolic-ref", "--quiet", "--short", "HEAD"])
        .await
        .map_err(|_| {
            DirectorError::usage(
                "target_missing",
                "the repository is on no branch",
                "name the branch to land on with --target-branch",
            )
        })?;
    Ok(current.trim().to_owned())
}

/// A warning where the work tree holds what the job will not see.
async fn uncommitted(git: &Git, base: &str) -> Option<String> {
    let dirty = git
        .run(&["status", "--porcelain", "--untracked-files=no"])
        .await
        .unwrap_or_default();
    let short = &base[..12.min(base.len())];
    (!dirty.trim().is_empty()).then(|| {
        format!("the work tree has uncommitted changes; the job starts from {short} without them")
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
