//! Whose turn it is to land in which repository, among the jobs of this node and of every other
//! node that shares its folder.
//!
//! A turn lasts from the look at a target's work tree until that is in line with its branch again:
//! in between it looks as if its user had changed it. Nothing but this look depends on it: the
//! branch itself is moved by compare-and-swap only.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedMutexGuard, oneshot};

/// The file in a vault that is locked for a turn; the kernel lets go of it with its holder.
const TURN_FILE: &str = "skep-turn";

/// The turns of this process.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>>);

/// The turn of one landing. Dropping it lets the next one in.
pub(super) struct Turn {
    /// Goes first, so that the next of this process does not find it locked.
    _among_nodes: File,
    _among_jobs: OwnedMutexGuard<()>,
}

impl Turns {
    /// Waits until no other job lands in the repository of `vault`.
    pub(super) async fn wait(&self, vault: &Path) -> io::Result<Turn> {
        let among_jobs = self.of(vault).lock_owned().await;
        Ok(Turn {
            _among_nodes: lock(&vault.join(TURN_FILE)).await?,
            _among_jobs: among_jobs,
        })
    }

    fn of(&self, vault: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(vault.to_owned()).or_default())
    }
}

/// Locks a file in a thread that nobody waits for at the end: the kernel keeps the line, and one
/// that is given up on locks it for a moment and lets go. There is one at most for each vault that
/// is waited for, and as many given up as landings were interrupted in one turn of another node.
async fn lock(path: &Path) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    let (sender, locked) = oneshot::channel();
    std::thread::Builder::new()
        .name("skep-turn".to_owned())
        .spawn(move || {
            let taken = file.lock().map(|()| file);
            drop(sender.send(taken));
        })?;
    locked
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the thread that waits for it ended")))
}
