//! The engine's own repository for each source repository: where attempts' work is imported,
//! checked and compared, so that the user's repository is written by the lander alone.
//!
//! Invariant: a vault's configuration, hooks and references are the engine's; its only link to the
//! source is the source's objects, read through alternates.

use crate::git::{Git, GitError};
use crate::limits::{ALTERNATES_DEPTH_MAX, INFO_FILE_BYTES_MAX};
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a repository cannot be used or made. Messages complete "failed to prepare the repository: ".
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is no repository there.
    #[error("{} is not in a git repository", path.display())]
    NotARepository {
        /// Where it was looked for.
        path: PathBuf,
        /// What git says.
        #[source]
        source: GitError,
    },
    /// A path that git's files cannot hold.
    #[error("{} has a line end in its name", path.display())]
    UnusablePath {
        /// The path.
        path: PathBuf,
    },
    /// The vault of another repository has the same name.
    #[error("{} belongs to another repository", path.display())]
    ForeignVault {
        /// The vault.
        path: PathBuf,
    },
    /// A chain of alternates is longer than git itself follows.
    #[error("{} borrows objects through too many repositories", path.display())]
    TooManyAlternates {
        /// The object store at the start of the chain.
        path: PathBuf,
    },
    /// A directory that must be new is not.
    #[error("{} exists already", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{} could not be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A git command failed.
    #[error("a git command failed")]
    Git(#[from] GitError),
}

impl RepositoryError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotARepository { .. } => "not_a_repository",
            Self::UnusablePath { .. } | Self::TooManyAlternates { .. } => "repository_unusable",
            Self::ForeignVault { .. } | Self::Exists { .. } => "repository_conflict",
            Self::File { .. } => "repository_io",
            Self::Git(error) => error.code(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotARepository { .. } => {
                Some("name a git repository with `--repo`, or make one with `git init`".to_owned())
            }
            Self::UnusablePath { .. } => Some("rename the folder".to_owned()),
            Self::TooManyAlternates { .. } => {
                Some("copy borrowed objects in with `git repack -a -d`".to_owned())
            }
            Self::ForeignVault { path } => Some(format!("move {} away", path.display())),
            Self::Exists { .. } | Self::File { .. } => None,
            Self::Git(error) => error.hint(),
        }
    }
}

/// Where the parts of a repository are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The git directory that holds objects and references, shared by linked work trees.
    pub git_dir: PathBuf,
    /// Its object store.
    pub objects: PathBuf,
    /// How its objects are named: `sha1` or `sha256`.
    pub object_format: String,
}

impl Source {
    /// Finds the repository that `path` is in: a work tree, a linked one, or a bare repository.
    ///
    /// # Errors
    /// [`RepositoryError::NotARepository`].
    pub async fn find(path: &Path) -> Result<Self, RepositoryError> {
        let not_found = |source| RepositoryError::NotARepository {
            path: path.to_owned(),
            source,
        };
        let arguments = [
            "rev-parse",
            "--path-format=absolute",
            "--git-common-dir",
            "--git-path",
            "objects",
            "--show-object-format",
        ];
        let answer = Git::discovering(path)
            .run(&arguments)
            .await
            .map_err(not_found)?;
        let lines: Vec<&str> = answer.lines().collect();
        let [git_dir, objects, object_format] = lines.as_slice() else {
            return Err(RepositoryError::UnusablePath {
                path: path.to_owned(),
            });
        };
        Ok(Self {
            git_dir: resolve(Path::new(git_dir))?,
            objects: resolve(Path::new(objects))?,
            object_format: (*object_format).to_owned(),
        })
    }

    /// Git in this repository.
    pub fn git(&self) -> Git {
        Git::at(&self.git_dir)
    }

    /// The object store and every one it borrows from, in git's order.
    ///
    /// # Errors
    /// [`RepositoryError::TooManyAlternates`], and files that cannot be read.
    pub fn object_stores(&self) -> Result<Vec<PathBuf>, RepositoryError> {
        let mut stores = vec![self.objects.clone()];
        let mut level = stores.clone();
        for _ in 0..=ALTERNATES_DEPTH_MAX {
            let mut next = Vec::new();
            for store in &level {
                for borrowed in alternates_of(store)? {
                    if !stores.contains(&borrowed) {
                        stores.push(borrowed.clone());
                        next.push(borrowed);
                    }
                }
            }
            if next.is_empty() {
                return Ok(stores);
            }
            level = next;
        }
        Err(RepositoryError::TooManyAlternates {
            path: self.objects.clone(),
        })
    }
}

/// The vault of the repository that `source` is in, made when it is not there yet:
/// `home/vaults/<name>.git`.
///
/// # Errors
/// When `source` is no repository or the vault cannot be written.
pub async fn ensure_vault(home: &Path, source: &Path) -> Result<PathBuf, RepositoryError> {
    let source = Source::find(source).await?;
    let vaults = home.join("vaults");
    std::fs::create_dir_all(&vaults).map_err(file_error(&vaults))?;
    let name = vault_name(&vaults, &source.git_dir).await?;
    let vault = vaults.join(format!("{name}.git"));
    if !vault.is_dir() {
        make_vault(&vault, &source).await?;
    }
    let owner = Git::at(&vault).run(&["config", "--get", OWNER]).await?;
    if Path::new(&owner) != source.git_dir {
        return Err(RepositoryError::ForeignVault { path: vault });
    }
    write_alternates(
        &vault.join("objects"),
        std::slice::from_ref(&source.objects),
    )?;
    copy_shallow(&source.git_dir, &vault)?;
    Ok(vault)
}

/// The setting that says whose vault it is.
const OWNER: &str = "skep.source";

/// A name that is the same for the same path: git's own hash of it.
async fn vault_name(vaults: &Path, git_dir: &Path) -> Result<String, RepositoryError> {
    // Outside any repository the hash is SHA-1; a home inside one must not change the names.
    let git = Git::discovering(vaults)
        .with_variable("GIT_CEILING_DIRECTORIES", vaults.parent().unwrap_or(vaults));
    let path = git_dir.as_os_str().as_bytes();
    let name = git
        .run_with_input(&["hash-object", "--stdin"], path)
        .await?;
    Ok(String::from_utf8_lossy(&name).trim().to_owned())
}

/// Makes the vault beside its place and moves it there, so that it is whole or not there. Of two
/// that are made at once, one wins and they are alike.
async fn make_vault(vault: &Path, source: &Source) -> Result<(), RepositoryError> {
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = vault.with_extension(format!("draft-{}-{number}", std::process::id()));
    if draft.exists() {
        std::fs::remove_dir_all(&draft).map_err(file_error(&draft))?;
    }
    init_bare(&draft, &source.object_format).await?;
    let git = Git::at(&draft);
    let owner = source.git_dir.as_os_str().to_owned();
    git.run(&[OsString::from("config"), OsString::from(OWNER), owner])
        .await?;
    write_exact_attributes(&draft)?;
    match std::fs::rename(&draft, vault) {
        Ok(()) => Ok(()),
        Err(_) if vault.is_dir() => std::fs::remove_dir_all(&draft).map_err(file_error(&draft)),
        Err(source) => Err(file_error(vault)(source)),
    }
}

/// Makes an empty bare repository without hooks or anything else from a template.
pub(crate) async fn init_bare(git_dir: &Path, object_format: &str) -> Result<(), RepositoryError> {
    std::fs::create_dir_all(git_dir).map_err(file_error(git_dir))?;
    let arguments = [
        OsString::from("init"),
        OsString::from("--quiet"),
        OsString::from("--bare"),
        OsString::from("--template="),
        OsString::from(format!("--object-format={object_format}")),
        git_dir.as_os_str().to_owned(),
    ];
    Git::discovering(git_dir).run(&arguments).await?;
    let info = git_dir.join("info");
    std::fs::create_dir_all(&info).map_err(file_error(&info))
}

/// Puts the repository's attributes above those in any tree: content is what was committed, byte
/// for byte, and no attribute hides a file from a comparison.
fn write_exact_attributes(git_dir: &Path) -> Result<(), RepositoryError> {
    let path = git_dir.join("info/attributes");
    let line = "* -text !eol -filter -ident -working-tree-encoding !diff !merge -export-subst -export-ignore\n";
    std::fs::write(&path, line).map_err(file_error(&path))
}

/// Writes the list of object stores to borrow from; returns the bytes.
pub(crate) fn write_alternates(
    objects: &Path,
    stores: &[PathBuf],
) -> Result<Vec<u8>, RepositoryError> {
    let mut bytes = Vec::new();
    for store in stores {
        let name = store.as_os_str().as_bytes();
        if name.contains(&b'\n') {
            return Err(RepositoryError::UnusablePath {
                path: store.clone(),
            });
        }
        bytes.extend_from_slice(name);
        bytes.push(b'\n');
    }
    let path = objects.join("info/alternates");
    let current = std::fs::read(&path).unwrap_or_default();
    if current != bytes {
        let info = objects.join("info");
        std::fs::create_dir_all(&info).map_err(file_error(&info))?;
        std::fs::write(&path, &bytes).map_err(file_error(&path))?;
    }
    Ok(bytes)
}

/// A shallow source has commits whose parents are missing; whoever borrows from it has to know.
pub(crate) fn copy_shallow(from: &Path, to: &Path) -> Result<(), RepositoryError> {
    let (from, to) = (from.join("shallow"), to.join("shallow"));
    match read_limited(&from) {
        Ok(bytes) => std::fs::write(&to, bytes).map_err(file_error(&to)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match std::fs::remove_file(&to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error(&to)(error)),
            _ => Ok(()),
        },
        Err(error) => Err(file_error(&from)(error)),
    }
}

/// What an object store borrows from: one path a line, relative ones from the store, `#` begins a
/// comment (gitrepository-layout(5)).
fn alternates_of(objects: &Path) -> Result<Vec<PathBuf>, RepositoryError> {
    let path = objects.join("info/alternates");
    let text = match read_limited(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error(&path)(error)),
    };
    let mut found = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let store = objects.join(std::ffi::OsStr::from_bytes(line));
        // Git warns about a store that is gone and goes on without it.
        if let Ok(store) = store.canonicalize() {
            found.push(store);
        }
    }
    Ok(found)
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(INFO_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > INFO_FILE_BYTES_MAX {
        return Err(io::Error::other("the file is too large"));
    }
    Ok(bytes)
}

fn resolve(path: &Path) -> Result<PathBuf, RepositoryError> {
    path.canonicalize().map_err(file_error(path))
}

pub(crate) fn file_error(path: &Path) -> impl Fn(io::Error) -> RepositoryError + use<> {
    let path = path.to_owned();
    move |source| RepositoryError::File {
        path: path.clone(),
        source,
    }
}
