//! What a fence is asked to be: paths, rights, limits, and the command that runs in it.
//!
//! Invariant: a [`FenceSpec`] that [`FenceSpec::checked`] returned has absolute paths without
//! symbolic links to the attempt, writable paths that stay in the repository, and no read-only
//! path that would show the attempt's own surroundings or a whole home.

use crate::error::SandboxError;
use crate::level::IsolationLevel;
use crate::limits::{ProcessLimits, READ_ONLY_PATHS_MAX, WRITABLE_PATHS_MAX};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Where everything of an attempt lies inside the fence at level `namespaces`.
pub(crate) const INSIDE_ROOT: &str = "/skep";

/// The directories of an attempt as its worker sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencePaths {
    /// The work tree; read-only except for the directories of the scope.
    pub repo: PathBuf,
    /// The private git directory.
    pub git: PathBuf,
    /// The private `HOME`.
    pub home: PathBuf,
    /// The private `TMPDIR`.
    pub tmp: PathBuf,
    /// `CARGO_TARGET_DIR` and the like.
    pub target: PathBuf,
    /// Read-only: the instruction and what belongs to it.
    pub input: PathBuf,
    /// Where the contract and the transcript go.
    pub output: PathBuf,
}

impl FencePaths {
    /// The paths inside a fence of this level around this attempt directory.
    pub fn inside(level: IsolationLevel, attempt_dir: &Path) -> Self {
        match level {
            IsolationLevel::Namespaces => Self::under(Path::new(INSIDE_ROOT)),
            IsolationLevel::Landlock => Self::under(attempt_dir),
        }
    }

    /// The same directories as the engine sees them.
    pub fn on_host(attempt_dir: &Path) -> Self {
        Self::under(attempt_dir)
    }

    fn under(root: &Path) -> Self {
        Self {
            repo: root.join("repo"),
            git: root.join("git"),
            home: root.join("home"),
            tmp: root.join("tmp"),
            target: root.join("target"),
            input: root.join("in"),
            output: root.join("out"),
        }
    }

    /// Every directory, in the order of the fields.
    pub fn all(&self) -> [&Path; 7] {
        [
            &self.repo,
            &self.git,
            &self.home,
            &self.tmp,
            &self.target,
            &self.input,
            &self.output,
        ]
    }
}

/// What a fence is asked to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceSpec {
    /// How strong.
    pub level: IsolationLevel,
    /// The attempt's directory on the host; holds the directories of [`FencePaths`].
    pub attempt_dir: PathBuf,
    /// Directories of the work tree the worker may write in, relative to it; `.` is all of it, an
    /// empty list is nothing. A missing one is made.
    pub writable: Vec<PathBuf>,
    /// Whether the worker may commit.
    pub git_writable: bool,
    /// Toolchain roots: readable and executable, at the same path inside as outside.
    pub read_only: Vec<PathBuf>,
    /// Object stores of other repositories that the attempt borrows from; read-only, same path.
    pub object_stores: Vec<PathBuf>,
    /// Whether to make a listener for the gateway that the worker can reach.
    pub gateway: bool,
    /// What one process may use.
    pub limits: ProcessLimits,
    /// The program whose `main` calls [`crate::launcher_main`]; it is shown inside as well.
    pub launcher: PathBuf,
}

/// One command for the inside of a fence.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencedCommand {
    /// The program, looked up in the `PATH` of `env` unless it is a path, and its arguments.
    pub argv: Vec<String>,
    /// The whole environment: nothing of the engine's own is passed on.
    pub env: Vec<(String, String)>,
    /// Where to start, as an inside path.
    pub cwd: PathBuf,
}

/// Values of the environment may be secrets, so only the names are printed.
impl fmt::Debug for FencedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("FencedCommand")
            .field("argv", &self.argv)
            .field("env", &names)
            .field("cwd", &self.cwd)
            .finish()
    }
}

impl FenceSpec {
    /// The attempt's paths as the worker will see them.
    pub fn paths(&self) -> FencePaths {
        FencePaths::inside(self.level, &self.attempt_dir)
    }

    /// Where the worker finds the launcher's program.
    pub fn launcher_inside(&self) -> PathBuf {
        match self.level {
            IsolationLevel::Namespaces => Path::new(INSIDE_ROOT).join("bin/skep"),
            IsolationLevel::Landlock => self.launcher.clone(),
        }
    }

    /// The spec with its paths resolved and checked.
    ///
    /// # Errors
    /// [`SandboxError::Spec`] when a path is missing or not allowed.
    pub fn checked(&self) -> Result<Self, SandboxError> {
        let mut spec = self.clone();
        spec.attempt_dir = resolve(&self.attempt_dir)?;
        spec.launcher = resolve(&self.launcher)?;
        for directory in FencePaths::on_host(&spec.attempt_dir).all() {
            let is_directory = directory.symlink_metadata().is_ok_and(|m| m.is_dir());
            if !is_directory {
                return Err(refused(directory, "is no directory of the attempt"));
            }
        }
        if is_open_to_others(&spec.attempt_dir) {
            return Err(refused(&spec.attempt_dir, "is open to other users"));
        }
        spec.writable = minimal(&self.writable)?;
        spec.read_only = self.checked_roots(&self.read_only, &spec.attempt_dir)?;
        spec.object_stores = self.checked_roots(&self.object_stores, &spec.attempt_dir)?;
        if spec.read_only.len() + spec.object_stores.len() > READ_ONLY_PATHS_MAX {
            return Err(refused(&self.attempt_dir, "has too many read-only paths"));
        }
        if spec.writable.len() > WRITABLE_PATHS_MAX {
            return Err(refused(&self.attempt_dir, "has too many writable paths"));
        }
        Ok(spec)
    }

    fn checked_roots(
        &self,
        roots: &[PathBuf],
        attempt_dir: &Path,
    ) -> Result<Vec<PathBuf>, SandboxError> {
        let mut kept: Vec<PathBuf> = Vec::new();
        for root in roots {
            let normal = root.is_absolute()
                && root
                    .components()
                    .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
            if !normal {
                return Err(refused(root, "is not an absolute path without `..`"));
            }
            for path in [root.as_path(), &resolve(root)?] {
                check_root(path, attempt_dir)?;
            }
            kept.push(root.clone());
        }
        kept.sort();
        kept.dedup();
        Ok(kept)
    }
}

/// Directories that hold other people's things: a root may lie in one, but not be one.
const TOO_WIDE: &[&str] = &[
    "/",
    "/etc",
    "/home",
    "/mnt",
    "/media",
    "/opt",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/usr/home",
    "/var",
    "/var/lib",
    "/var/tmp",
    "/Users",
];

/// Trees that the fence makes itself.
const OWN_TREES: &[&str] = &["/dev", "/proc", "/sys", INSIDE_ROOT];

fn check_root(root: &Path, attempt_dir: &Path) -> Result<(), SandboxError> {
    if TOO_WIDE.iter().any(|wide| root == Path::new(wide)) {
        return Err(refused(root, "is too wide to show to an agent"));
    }
    if std::env::home_dir().is_some_and(|home| home.starts_with(root)) {
        return Err(refused(root, "is a home, or holds one"));
    }
    if OWN_TREES.iter().any(|tree| root.starts_with(tree)) {
        return Err(refused(root, "lies in a tree that the fence makes itself"));
    }
    if attempt_dir.starts_with(root) || root.starts_with(attempt_dir) {
        return Err(refused(
            root,
            "holds the attempt's directory, or lies in it",
        ));
    }
    Ok(())
}

/// Whether anybody but its owner may enter a directory. A worker may set any mode on its own files,
/// and what belongs to the superuser must not become a way for others to be one.
fn is_open_to_others(directory: &Path) -> bool {
    directory
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

fn resolve(path: &Path) -> Result<PathBuf, SandboxError> {
    path.canonicalize().map_err(|source| SandboxError::Path {
        path: path.to_owned(),
        source,
    })
}

fn refused(path: &Path, reason: &'static str) -> SandboxError {
    SandboxError::Spec {
        path: path.to_owned(),
        reason,
    }
}

/// The writable directories without `.` parts and without those that lie in another one. The
/// repository's root is the empty path.
fn minimal(writable: &[PathBuf]) -> Result<Vec<PathBuf>, SandboxError> {
    let mut normal = Vec::new();
    for directory in writable {
        let mut path = PathBuf::new();
        for part in directory.components() {
            match part {
                Component::Normal(name) if name.eq_ignore_ascii_case(".git") => {
                    return Err(refused(directory, "is git's own directory"));
                }
                Component::Normal(name) => path.push(name),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(refused(directory, "leaves the repository"));
                }
            }
        }
        normal.push(path);
    }
    normal.sort();
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in normal {
        if !kept.iter().any(|above| path.starts_with(above)) {
            kept.push(path);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(attempt_dir: &Path) -> FenceSpec {
        FenceSpec {
            level: IsolationLevel::Namespaces,
            attempt_dir: attempt_dir.to_owned(),
            writable: Vec::new(),
            git_writable: false,
            read_only: Vec::new(),
            object_stores: Vec::new(),
            gateway: false,
            limits: ProcessLimits::default(),
            launcher: PathBuf::from("/bin/sh"),
        }
    }

    fn attempt() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        crate::create_directories(dir.path()).unwrap();
        dir
    }

    #[test]
    fn writable_paths_stay_in_the_repository_and_are_minimal() {
        let dir = attempt();
        let mut spec = spec(dir.path());
        let cases: &[(&[&str], Option<&[&str]>)] = &[
            (&["src", "src/a", "tests"], Some(&["src", "tests"])),
            (&["./src/."], Some(&["src"])),
            (&["src", "."], Some(&[""])),
            (&[], Some(&[])),
            (&["../x"], None),
            (&["/etc"], None),
            (&[".git"], None),
            (&["a/.GIT"], None),
        ];
        for (writable, expected) in cases {
            spec.writable = writable.iter().map(PathBuf::from).collect();
            let found = spec.checked().ok().map(|checked| checked.writable);
            let expected = expected.map(|paths| paths.iter().map(PathBuf::from).collect());
            assert_eq!(found, expected, "{writable:?}");
        }
    }

    #[test]
    fn a_root_that_shows_too_much_is_refused() {
        let dir = attempt();
        let outside = tempfile::tempdir().unwrap();
        let link = outside.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        let mut spec = spec(dir.path());
        spec.read_only = vec![outside.path().to_owned()];
        assert!(spec.checked().is_ok());
        let home = std::env::home_dir().unwrap();
        for root in [
            Path::new("/"),
            Path::new("/etc"),
            Path::new("/proc/self"),
            Path::new("/skep/x"),
            Path::new("relative"),
            Path::new("/usr/../etc/ssl"),
            Path::new("/no/such/path"),
            &link,
            &home,
            dir.path(),
            &dir.path().join("home"),
            dir.path().parent().unwrap(),
        ] {
            spec.read_only = vec![root.to_owned()];
            assert!(spec.checked().is_err(), "{}", root.display());
        }
    }

    #[test]
    fn an_attempt_that_others_can_enter_is_refused() {
        let dir = attempt();
        let mut spec = spec(dir.path());
        assert!(spec.checked().is_ok());
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o711)).unwrap();
        assert!(spec.checked().is_err());
        spec.attempt_dir = dir.path().join("repo");
        assert!(spec.checked().is_err(), "no attempt is there");
    }

    #[test]
    fn printing_a_command_shows_no_value() {
        let command = FencedCommand {
            argv: vec!["true".to_owned()],
            env: vec![("SKEP_API_KEY".to_owned(), "sk-secret".to_owned())],
            cwd: PathBuf::from("/"),
        };
        let text = format!("{command:?}");
        assert!(
            text.contains("SKEP_API_KEY") && !text.contains("sk-secret"),
            "{text}"
        );
    }
}
