//! The repository of one attempt: a private git directory and a work tree at a pinned base.
//!
//! Objects come from the source through alternates and are never copied. The agent commits to one
//! branch here; [`crate::import::import_tip`] carries it to the vault.
//!
//! Invariant: what the engine wrote about the repository is kept outside what the agent can reach
//! (`alternates` in the attempt's directory), so that it can be compared later.

use crate::git::Git;
use crate::level::IsolationLevel;
use crate::oid::Oid;
use crate::spec::FencePaths;
use crate::vault::{
    RepositoryError, Source, copy_shallow, file_error, init_bare, write_alternates,
};
use skep_types::Scope;
use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file in an attempt's directory that holds what its `objects/info/alternates` must be.
pub(crate) const ALTERNATES_RECORD: &str = "alternates";

/// Who commits in an attempt's repository, until signing gives each agent its own name.
const IDENTITY: [(&str, &str); 2] = [
    ("user.name", "Skep agent"),
    ("user.email", "agent@skep.invalid"),
];

/// The repository of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRepository {
    /// The attempt's directory on the host.
    pub attempt_dir: PathBuf,
    /// The branch the agent works on, as in `skep/att_…`.
    pub branch: String,
    /// The commit it starts from.
    pub base: Oid,
    /// What the fence must show for the objects to be found; goes to `FenceSpec::object_stores`.
    pub object_stores: Vec<PathBuf>,
}

impl AttemptRepository {
    /// Makes an attempt's directories and its repository at `base`, a commit that the repository
    /// at `source` has: the user's, or a vault.
    ///
    /// # Errors
    /// [`RepositoryError::Exists`] when the attempt has a repository already.
    pub async fn create(
        source: &Path,
        base: &Oid,
        attempt_dir: &Path,
        branch: &str,
        level: IsolationLevel,
    ) -> Result<Self, RepositoryError> {
        let source = Source::find(source).await?;
        let object_stores = source.object_stores()?;
        create_directories(attempt_dir)?;
        let attempt_dir = attempt_dir
            .canonicalize()
            .map_err(file_error(attempt_dir))?;
        let host = FencePaths::on_host(&attempt_dir);
        if host.git.join("HEAD").exists() {
            return Err(RepositoryError::Exists { path: host.git });
        }
        init_bare(&host.git, &source.object_format).await?;
        let alternates = write_alternates(&host.git.join("objects"), &object_stores)?;
        let record = attempt_dir.join(ALTERNATES_RECORD);
        std::fs::write(&record, alternates).map_err(file_error(&record))?;
        copy_shallow(&source.git_dir, &host.git)?;
        let repository = Self {
            attempt_dir,
            branch: branch.to_owned(),
            base: base.clone(),
            object_stores,
        };
        repository.configure().await?;
        repository.check_out(level).await?;
        Ok(repository)
    }

    /// Moves branch and work tree on to `commit`, which the object stores hold.
    ///
    /// # Errors
    /// When git fails; the commit may be missing.
    pub async fn move_to(&self, commit: &Oid) -> Result<(), RepositoryError> {
        let host = FencePaths::on_host(&self.attempt_dir);
        let reference = format!("refs/heads/{}", self.branch);
        let git = Git::at(&host.git);
        git.run(&["update-ref", &reference, commit.as_str()])
            .await?;
        git.with_work_tree(&host.repo)
            .run(&["read-tree", "-u", "--reset", "HEAD"])
            .await?;
        Ok(())
    }

    /// The directories that the kernel has to open for `scope` here, for `FenceSpec::writable`.
    pub fn writable(&self, scope: &Scope) -> Vec<PathBuf> {
        let repo = FencePaths::on_host(&self.attempt_dir).repo;
        scope.directories(|path| {
            repo.join(path)
                .symlink_metadata()
                .is_ok_and(|metadata| metadata.is_dir())
        })
    }

    async fn configure(&self) -> Result<(), RepositoryError> {
        let git = Git::at(FencePaths::on_host(&self.attempt_dir).git);
        let settings = [
            // A work tree is where the `.git` file is that points here, so none is named.
            ("core.bare", "false"),
            ("core.logAllRefUpdates", "true"),
            // Owner and inode differ between inside and outside; without this every file looks
            // changed at the first glance.
            ("core.checkStat", "minimal"),
            ("core.trustctime", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("advice.detachedHead", "false"),
        ];
        for (name, value) in settings.into_iter().chain(IDENTITY) {
            git.run(&["config", name, value]).await?;
        }
        Ok(())
    }

    async fn check_out(&self, level: IsolationLevel) -> Result<(), RepositoryError> {
        let host = FencePaths::on_host(&self.attempt_dir);
        let reference = format!("refs/heads/{}", self.branch);
        let git = Git::at(&host.git);
        git.run(&["check-ref-format", &reference]).await?;
        git.run(&["update-ref", &reference, self.base.as_str()])
            .await?;
        git.run(&["symbolic-ref", "HEAD", &reference]).await?;
        git.with_work_tree(&host.repo)
            .run(&["read-tree", "-u", "--reset", "HEAD"])
            .await?;
        let inside = FencePaths::inside(level, &self.attempt_dir).git;
        let mut pointer = OsString::from("gitdir: ");
        pointer.push(inside);
        pointer.push("\n");
        let file = host.repo.join(".git");
        std::fs::write(&file, pointer.as_encoded_bytes()).map_err(file_error(&file))
    }
}

/// Makes the directories of an attempt, closed to other users. Directories that are there stay.
///
/// # Errors
/// When they cannot be made.
pub fn create_directories(attempt_dir: &Path) -> Result<(), RepositoryError> {
    make_private(attempt_dir)?;
    let closed = Permissions::from_mode(0o700);
    std::fs::set_permissions(attempt_dir, closed).map_err(file_error(attempt_dir))?;
    for directory in FencePaths::on_host(attempt_dir).all() {
        make_private(directory)?;
    }
    Ok(())
}

fn make_private(path: &Path) -> Result<(), RepositoryError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(file_error(path))
}
