//! A user's repository: a work tree in a temporary folder, made and read with real git.

use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The branch that a fresh repository is on.
const BRANCH: &str = "main";

/// A repository made for one test, with `main` checked out.
pub struct SourceRepository {
    folder: tempfile::TempDir,
}

impl SourceRepository {
    /// A repository with these files in one commit called `base`.
    pub fn new(files: &[(&str, &str)]) -> anyhow::Result<Self> {
        let repository = Self::unborn()?;
        for (path, text) in files {
            repository.write(path, text)?;
        }
        repository.commit("base")?;
        Ok(repository)
    }

    /// A repository without a commit.
    pub fn unborn() -> anyhow::Result<Self> {
        let repository = Self {
            folder: tempfile::tempdir()?,
        };
        std::fs::create_dir(repository.path())?;
        repository.git(&["init", "--quiet", "--initial-branch", BRANCH])?;
        repository.git(&["config", "user.name", "ada"])?;
        repository.git(&["config", "user.email", "ada@skep.invalid"])?;
        Ok(repository)
    }

    /// The work tree.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// The work tree as a request names it.
    pub fn text_path(&self) -> String {
        self.path().to_string_lossy().into_owned()
    }

    /// A folder beside the work tree that is gone with it.
    pub fn beside(&self) -> &Path {
        self.folder.path()
    }

    /// Runs git in the work tree; its output without the last line end.
    pub fn git(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("git")
            .current_dir(self.path())
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .context("failed to start git")?;
        let shown = arguments.join(" ");
        anyhow::ensure!(
            output.status.success(),
            "git {shown}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).context("git printed something else")?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// Writes a file of the work tree, with its folders.
    pub fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path().join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, text)?)
    }

    /// Reads a file of the work tree.
    pub fn read(&self, path: &str) -> anyhow::Result<String> {
        std::fs::read_to_string(self.path().join(path))
            .with_context(|| format!("failed to read {path} of the work tree"))
    }

    /// Commits all that lies in the work tree; its name.
    pub fn commit(&self, subject: &str) -> anyhow::Result<String> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", subject])?;
        self.tip(BRANCH)
    }

    /// The commit that a branch, or anything else, names.
    pub fn tip(&self, name: &str) -> anyhow::Result<String> {
        self.git(&["rev-parse", "--verify", &format!("{name}^{{commit}}")])
    }

    /// A file as a commit has it.
    pub fn committed(&self, commit: &str, path: &str) -> anyhow::Result<String> {
        self.git(&["show", &format!("{commit}:{path}")])
    }

    /// The subjects of a branch's commits, oldest first.
    pub fn subjects(&self, branch: &str) -> anyhow::Result<Vec<String>> {
        let text = self.git(&["log", "--reverse", "--topo-order", "--format=%s", branch])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// What git says about the work tree: nothing, when it is what its branch holds.
    pub fn status(&self) -> anyhow::Result<String> {
        self.git(&["status", "--porcelain"])
    }
}
