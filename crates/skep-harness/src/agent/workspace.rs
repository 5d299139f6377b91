//! Where paths lead: the repository, its scope, and the stored outputs.
//!
//! Owns nothing on disk. Invariant: a path that is handed out lies inside the repository after
//! every symlink is followed, and outside `.git`; a path for writing is inside the scope as well.
//! The kernel holds the same walls behind this one; these exist to refuse early and to say why.

use crate::event::RefusedBy;
use skep_types::Scope;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Folders that are listed and never entered: built, fetched or git's own.
const SKIPPED_FOLDERS: [&str; 7] = [
    ".git",
    "target",
    "node_modules",
    ".venv",
    "__pycache__",
    ".pytest_cache",
    ".tox",
];

#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    scope: Scope,
    outputs: PathBuf,
}

/// A path inside the repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Absolute, symlinks followed as far as the path exists.
    pub(crate) absolute: PathBuf,
    /// Relative to the repository's root; empty for the root itself.
    pub(crate) relative: PathBuf,
}

/// Why a path is not handed out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) by: Option<RefusedBy>,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn policy(message: impl Into<String>) -> Self {
        Self {
            by: Some(RefusedBy::Policy),
            message: message.into(),
        }
    }

    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self {
            by: None,
            message: message.into(),
        }
    }

    /// An operating system's error while doing `what` to `path`.
    pub(crate) fn io(what: &str, path: &Path, error: &io::Error) -> Self {
        let by = kernel_refusal(error);
        let wall = if by.is_some() {
            "refused by the kernel: "
        } else {
            ""
        };
        Self {
            by,
            message: format!("{wall}failed to {what} {}: {error}", path.display()),
        }
    }
}

/// Whether an error is the fence speaking.
pub(crate) fn kernel_refusal(error: &io::Error) -> Option<RefusedBy> {
    let refused = matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    );
    refused.then_some(RefusedBy::Kernel)
}

/// Whether a walk enters a folder of this name.
pub(crate) fn is_skipped(name: &str) -> bool {
    SKIPPED_FOLDERS.contains(&name)
}

impl Workspace {
    /// `repo` must exist.
    pub(crate) fn open(repo: &Path, scope: Scope, outputs: PathBuf) -> io::Result<Self> {
        Ok(Self {
            root: repo.canonicalize()?,
            scope,
            outputs,
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The file of stored output number `number`.
    pub(crate) fn output(&self, number: u32) -> PathBuf {
        self.outputs.join(format!("{number}.txt"))
    }

    pub(crate) fn outputs(&self) -> &Path {
        &self.outputs
    }

    /// A place to read: a path in the repository, or `@N` for a stored output.
    pub(crate) fn to_read(&self, path: &str) -> Result<Place, Refusal> {
        if let Some(number) = path.strip_prefix('@') {
            let Ok(number) = number.parse() else {
                return Err(Refusal::plain(format!("`{path}` is no stored output")));
            };
            return Ok(Place {
                absolute: self.output(number),
                relative: PathBuf::from(path),
            });
        }
        self.locate(path)
    }

    /// A place to write: inside the repository, and inside the scope.
    pub(crate) fn to_write(&self, path: &str) -> Result<Place, Refusal> {
        let place = self.locate(path)?;
        if self.scope.allows(&place.relative) {
            return Ok(place);
        }
        Err(Refusal {
            by: Some(RefusedBy::Scope),
            message: format!(
                "refused by the scope: {} is not covered by {}",
                place.relative.display(),
                self.scope.globs().join(", ")
            ),
        })
    }

    fn locate(&self, path: &str) -> Result<Place, Refusal> {
        let lexical = self.lexical(path)?;
        let absolute = follow(&self.root.join(&lexical))?;
        let Ok(relative) = absolute.strip_prefix(&self.root) else {
            return Err(Refusal::policy(format!(
                "`{path}` leads out of the repository through a symlink"
            )));
        };
        let relative = relative.to_owned();
        if has_git(&lexical) || has_git(&relative) {
            return Err(Refusal::policy(
                "`.git` is not yours to touch; use git through `run`",
            ));
        }
        Ok(Place { absolute, relative })
    }

    /// The path relative to the root, without `.` and `..`, before symlinks are looked at.
    fn lexical(&self, path: &str) -> Result<PathBuf, Refusal> {
        if path.is_empty() || path.contains('\0') {
            return Err(Refusal::plain("the path is empty or holds a zero byte"));
        }
        let path = Path::new(path);
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        let mut lexical = PathBuf::new();
        for component in path.components() {
            let inside = match component {
                Component::Normal(name) => {
                    lexical.push(name);
                    true
                }
                Component::CurDir => true,
                Component::ParentDir => lexical.pop(),
                Component::RootDir | Component::Prefix(_) => false,
            };
            if !inside {
                let message = format!("`{}` is outside the repository", path.display());
                return Err(Refusal::policy(message));
            }
        }
        Ok(lexical)
    }
}

/// `path` with symlinks followed in the part that exists.
fn follow(path: &Path) -> Result<PathBuf, Refusal> {
    let mut existing = path;
    let mut missing = Vec::new();
    loop {
        match existing.canonicalize() {
            Ok(mut followed) => {
                followed.extend(missing.iter().rev());
                return Ok(followed);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                // A symlink to nowhere exists itself: writing to it would create its target.
                if existing.is_symlink() {
                    let message = format!("{} is a symlink to nowhere", existing.display());
                    return Err(Refusal::policy(message));
                }
            }
            Err(error) => return Err(Refusal::io("resolve", existing, &error)),
        }
        let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
            return Err(Refusal::plain(format!("{} does not exist", path.display())));
        };
        missing.push(name);
        existing = parent;
    }
}

fn has_git(path: &Path) -> bool {
    path.components()
        .any(|c| c.as_os_str().eq_ignore_ascii_case(".git"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Fixture {
        _folder: tempfile::TempDir,
        workspace: Workspace,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let repo = folder.path().join("repo");
        fs::create_dir_all(repo.join("src/deep")).unwrap();
        fs::create_dir_all(repo.join(".git")).unwrap();
        fs::write(repo.join("src/a.rs"), "a").unwrap();
        fs::write(repo.join("b.rs"), "b").unwrap();
        fs::write(folder.path().join("secret"), "s").unwrap();
        symlink("../../secret", repo.join("src/out")).unwrap();
        symlink(folder.path(), repo.join("src/up")).unwrap();
        symlink("nowhere", repo.join("src/dangling")).unwrap();
        symlink("../b.rs", repo.join("src/to_b")).unwrap();
        symlink("../.git", repo.join("src/to_git")).unwrap();
        let scope = Scope::parse(&["src/**"]).unwrap();
        let workspace = Workspace::open(&repo, scope, folder.path().join("outputs")).unwrap();
        Fixture {
            _folder: folder,
            workspace,
        }
    }

    fn check_read(path: &str, expected: Result<&str, Option<RefusedBy>>) {
        let fixture = fixture();
        let found = fixture.workspace.to_read(path);
        let found = found
            .map(|p| p.relative.display().to_string())
            .map_err(|r| r.by);
        assert_eq!(found, expected.map(str::to_owned), "read {path}");
    }

    fn check_write(path: &str, expected: Result<&str, RefusedBy>) {
        let fixture = fixture();
        let found = fixture.workspace.to_write(path);
        let found = found
            .map(|p| p.relative.display().to_string())
            .map_err(|r| r.by);
        assert_eq!(
            found,
            expected.map(str::to_owned).map_err(Some),
            "write {path}"
        );
    }

    #[test]
    fn reading_stays_inside_the_repository() {
        check_read("b.rs", Ok("b.rs"));
        check_read("./src/../src//a.rs", Ok("src/a.rs"));
        check_read("src/to_b", Ok("b.rs"));
        check_read(".", Ok(""));
        check_read("src/new.rs", Ok("src/new.rs"));
        check_read("@12", Ok("@12"));
        check_read("@12/../../secret", Err(None));
        check_read("", Err(None));
        for path in [
            "../secret",
            "/etc/passwd",
            "src/../../secret",
            "src/out",
            "src/up/secret",
            ".git/config",
            ".GIT/config",
            "src/to_git/config",
            "src/dangling",
        ] {
            check_read(path, Err(Some(RefusedBy::Policy)));
        }
    }

    #[test]
    fn an_absolute_path_into_the_repository_is_that_path() {
        let fixture = fixture();
        let absolute = fixture.workspace.root().join("src/a.rs");
        let place = fixture
            .workspace
            .to_read(absolute.to_str().unwrap())
            .unwrap();
        assert_eq!(place.relative, Path::new("src/a.rs"));
    }

    #[test]
    fn writing_stays_inside_the_scope_after_symlinks() {
        check_write("src/a.rs", Ok("src/a.rs"));
        check_write("src/deep/er/new.rs", Ok("src/deep/er/new.rs"));
        check_write("b.rs", Err(RefusedBy::Scope));
        check_write("src/to_b", Err(RefusedBy::Scope));
        check_write("src/../b.rs", Err(RefusedBy::Scope));
        check_write("src/out", Err(RefusedBy::Policy));
        check_write("src/dangling", Err(RefusedBy::Policy));
        check_write("src/to_git/hooks/pre-commit", Err(RefusedBy::Policy));
    }
}
