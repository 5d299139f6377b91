//! The home: one folder that holds everything an engine owns. On a store of several nodes, what
//! they must all see (vaults, logs, reports, the ledger's key) lies in a folder that they share.

use skep_stdx::{Clock, Entropy};
use skep_types::NodeId;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The paths inside a home. Making one touches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
    shared: Option<PathBuf>,
}

impl Home {
    /// The home at `root`.
    pub const fn at(root: PathBuf) -> Self {
        Self { root, shared: None }
    }

    /// The same home, with what other nodes must see in `shared`.
    #[must_use]
    pub fn with_shared(mut self, shared: Option<PathBuf>) -> Self {
        self.shared = shared;
        self
    }

    /// Makes the folders that are missing, readable by their owner only.
    pub fn prepare(&self) -> io::Result<()> {
        let folders = [
            self.root().to_owned(),
            self.shared().to_owned(),
            self.attempts(),
            self.vaults(),
            self.reports(),
            self.logs(),
            self.artifacts(),
        ];
        folders.iter().try_for_each(|folder| {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
        })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that every node of the store sees: the home itself where there is one node.
    pub fn shared(&self) -> &Path {
        self.shared.as_deref().unwrap_or(&self.root)
    }

    /// What tells one shared folder from another: made once, kept in it.
    pub(crate) fn shared_id(&self, entropy: &dyn Entropy) -> io::Result<String> {
        let path = self.shared().join("shared-id");
        if let Ok(known) = std::fs::read_to_string(&path) {
            return Ok(known.trim().to_owned());
        }
        let mut random = [0_u8; 16];
        entropy.fill(&mut random);
        let fresh: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        // Of two nodes that make it at once one wins, and both read that one's.
        let draft = path.with_extension(&fresh);
        std::fs::write(&draft, &fresh)?;
        let linked = std::fs::hard_link(&draft, &path);
        std::fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(std::fs::read_to_string(&path)?.trim().to_owned()),
        }
    }

    /// The SQLite file.
    pub fn database(&self) -> PathBuf {
        self.root.join("skep.db")
    }

    /// The Unix socket of whoever holds the home.
    pub fn socket(&self) -> PathBuf {
        self.root.join("skep.sock")
    }

    /// The lock of whoever holds the home.
    pub fn lock(&self) -> PathBuf {
        self.root.join("skep.lock")
    }

    /// There as long as `skep up` runs, and after it if it did not stop in order.
    pub fn up_marker(&self) -> PathBuf {
        self.root.join("up.running")
    }

    /// The local API token.
    pub fn token(&self) -> PathBuf {
        self.root.join("token")
    }

    /// The key that signs the ledger's head.
    pub fn ledger_key(&self) -> PathBuf {
        self.shared().join("ledger.key")
    }

    /// The key that is to follow, while the ledger is taken from one to the other.
    pub fn next_ledger_key(&self) -> PathBuf {
        self.shared().join("ledger.key.next")
    }

    /// Where a key is kept that signed the heads up to `seq`.
    pub fn old_ledger_key(&self, seq: i64) -> PathBuf {
        self.shared().join(format!("ledger.key.until-{seq}"))
    }

    /// The id of the engine of this home. The same after a restart, so that the engine knows what
    /// its earlier run held.
    pub(crate) fn node_id(&self, clock: &dyn Clock, entropy: &dyn Entropy) -> NodeId {
        let path = self.root.join("node");
        let known = std::fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        known.unwrap_or_else(|| {
            let fresh = NodeId::new(clock, entropy);
            if let Err(error) = std::fs::write(&path, fresh.as_str()) {
                tracing::warn!(%error, "the node's id was not kept; a restart waits for its leases to lapse");
            }
            fresh
        })
    }

    /// One folder for each attempt under way.
    pub fn attempts(&self) -> PathBuf {
        self.root.join("attempts")
    }

    /// The engine's own bare repositories, one for each source repository.
    pub fn vaults(&self) -> PathBuf {
        self.shared().join("vaults")
    }

    /// The delivered accounts of ended jobs.
    pub fn reports(&self) -> PathBuf {
        self.shared().join("reports")
    }

    /// The artifacts of all jobs, by their digests.
    pub fn artifacts(&self) -> PathBuf {
        self.shared().join(crate::artifact::FOLDER)
    }

    /// Payloads of messages that were too large for their topic.
    pub fn spill(&self) -> PathBuf {
        self.shared().join("spill")
    }

    /// What workers and checks wrote, one folder for each job.
    pub fn logs(&self) -> PathBuf {
        self.shared().join("logs")
    }
}

/// Removes a tree that an agent may have left: as deep as it likes, and without the rights to
/// remove it. The work is done by `rm`, which needs neither stack nor descriptors for the depth.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    if run("rm", &["-rf", "--"], path).is_ok() {
        return Ok(());
    }
    run("chmod", &["-R", "u+rwx", "--"], path)?;
    run("rm", &["-rf", "--"], path)
}

fn run(program: &str, arguments: &[&str], path: &Path) -> io::Result<()> {
    let output = std::process::Command::new(program)
        .args(arguments)
        .arg(path)
        .stdin(std::process::Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let first = message.lines().next().unwrap_or("no message");
    Err(io::Error::other(format!(
        "{program} ended with {}: {first}",
        output.status
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_tree_of_any_depth_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("python3")
            .args([
                "-c",
                "import os\nfor _ in range(20000):\n    os.mkdir('d'); os.chdir('d')",
            ])
            .current_dir(place.path())
            .status()
            .unwrap();
        assert!(made.success());
        remove_tree(&place.path().join("d")).unwrap();
        assert!(!place.path().join("d").exists());
    }

    #[test]
    fn a_closed_folder_is_removed_and_a_missing_one_is_no_error() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        std::fs::create_dir_all(tree.join("closed/inner")).unwrap();
        std::fs::set_permissions(tree.join("closed"), std::fs::Permissions::from_mode(0o500))
            .unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        remove_tree(&tree).unwrap();
    }
}
