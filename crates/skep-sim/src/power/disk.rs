//! A disk that keeps apart what was written and what was synced, and can lose its power.
//!
//! Owns, for every file below one folder, its content as of the last sync and every change since.
//! At the cut the disk dies: every later change fails. [`Disk::after_cut`] is then one of the
//! states in which the machine may find it: all that was synced, and of the rest nothing, all, or
//! any part down to single sectors.

use super::vfs;
use crate::simulate::Dice;
use rusqlite::ffi;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

/// What a disk writes at once; a write is torn between two of these.
const SECTOR_BYTES: usize = 512;

/// The disks of this process.
static DISKS: Mutex<Vec<Weak<Disk>>> = Mutex::new(Vec::new());

/// One simulated disk.
pub(crate) struct Disk {
    folder: PathBuf,
    sync: Sync,
    state: Mutex<State>,
    /// Notified whenever a file is closed.
    closed: Condvar,
}

/// What a sync is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// What was written is on the disk.
    Honest,
    /// Nothing is; it only says so.
    Lies,
    /// The write-ahead log is not, everything else is: what `synchronous = NORMAL` comes to.
    LiesAboutTheLog,
}

/// What becomes of what was written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All of it is lost.
    Everything,
    /// All of it got through.
    Nothing,
    /// Each write is lost or not.
    Writes,
    /// Each sector of each write is lost or not.
    Sectors,
    /// As much as came before a certain sector.
    Rest,
    /// Each sector got through, or is lost, or holds nonsense.
    Nonsense,
}

impl Loss {
    pub(crate) const ALL: &'static [Self] = &[
        Self::Everything,
        Self::Nothing,
        Self::Writes,
        Self::Sectors,
        Self::Rest,
        Self::Nonsense,
    ];
}

/// An error that the disk gives for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No space left.
    Full,
    /// A write fails, as over a quota or on a broken sector.
    Write,
    /// A sync fails.
    Sync,
    /// Nothing may be written.
    ReadOnly,
}

/// Whether a change is carried out.
pub(super) enum Verdict {
    Passes,
    /// With this code of SQLite's.
    Fails(c_int),
}

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Content>,
    changes: u64,
    cut_at: Option<u64>,
    dead: bool,
    fault: Option<Fault>,
    /// How many changes the fault has refused.
    refused: u64,
    /// Files that are open.
    open: usize,
}

#[derive(Default)]
struct Content {
    /// As of the last sync; `None` for a file that is not there.
    synced: Option<Vec<u8>>,
    since: Vec<Change>,
}

enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
    Delete,
}

impl Disk {
    /// A disk that holds the files below `folder`, as they are now.
    pub(crate) fn new(folder: &Path, sync: Sync) -> Arc<Self> {
        vfs::install();
        let disk = Arc::new(Self {
            folder: folder.to_owned(),
            sync,
            state: Mutex::default(),
            closed: Condvar::new(),
        });
        let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
        disks.retain(|disk| disk.strong_count() > 0);
        disks.push(Arc::downgrade(&disk));
        disk
    }

    /// Cuts the power at the change `changes` from now, which may get through or not.
    pub(crate) fn cut_after(&self, changes: u64) {
        let mut state = self.state();
        state.cut_at = Some(state.changes + changes.max(1));
    }

    /// Whether the power is gone.
    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Waits until every file is closed: a store that is dropped closes on threads of its own.
    pub(crate) fn wait_closed(&self) {
        let state = self.state();
        let open = |state: &mut State| state.open > 0;
        drop(self.closed.wait_while(state, open));
    }

    /// Lets every change fail from now on; `None` ends it. The answer is how many the last fault
    /// refused.
    pub(crate) fn fail(&self, fault: Option<Fault>) -> u64 {
        let mut state = self.state();
        state.fault = fault;
        std::mem::take(&mut state.refused)
    }

    /// Writes what the machine finds after the cut into the folder `into`.
    pub(crate) fn after_cut(
        &self,
        into: &Path,
        loss: Loss,
        dice: &mut Dice,
    ) -> std::io::Result<()> {
        for (path, content) in &self.state().files {
            let Some(name) = path.file_name() else {
                continue;
            };
            if let Some(bytes) = content.after_cut(loss, dice) {
                std::fs::write(into.join(name), bytes)?;
            }
        }
        Ok(())
    }

    /// The disk that a file lies on.
    pub(super) fn of(path: &Path) -> Option<Arc<Self>> {
        let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut disks = disks.iter().filter_map(Weak::upgrade);
        disks.find(|disk| path.starts_with(&disk.folder))
    }

    pub(super) fn opens(&self, path: &Path) -> Verdict {
        let mut state = self.state();
        if state.dead {
            return Verdict::Fails(ffi::SQLITE_CANTOPEN);
        }
        state
            .files
            .entry(path.to_owned())
            .or_insert_with(|| Content {
                synced: std::fs::read(path).ok(),
                since: Vec::new(),
            });
        Verdict::Passes
    }

    pub(super) fn writes(&self, path: &Path, at: usize, bytes: &[u8]) -> Verdict {
        let bytes = bytes.to_vec();
        self.changes(path, Change::Write { at, bytes }, ffi::SQLITE_IOERR_WRITE)
    }

    pub(super) fn truncates(&self, path: &Path, size: usize) -> Verdict {
        self.changes(path, Change::Truncate(size), ffi::SQLITE_IOERR_TRUNCATE)
    }

    pub(super) fn deletes(&self, path: &Path, sync_folder: bool) -> Verdict {
        let verdict = self.changes(path, Change::Delete, ffi::SQLITE_IOERR_DELETE);
        if sync_folder && matches!(verdict, Verdict::Passes) {
            self.state().files.remove(path);
        }
        verdict
    }

    pub(super) fn opened(&self) {
        self.state().open += 1;
    }

    pub(super) fn closes(&self) {
        self.state().open -= 1;
        self.closed.notify_all();
    }

    /// A sync of a file and, if `folder`, of the names in its folder.
    pub(super) fn syncs(&self, path: &Path, folder: bool) -> Verdict {
        let mut state = self.state();
        if state.passes(Fault::Sync) {
            let is_log = path.to_string_lossy().ends_with("-wal");
            let lies = match self.sync {
                Sync::Honest => false,
                Sync::Lies => true,
                Sync::LiesAboutTheLog => is_log,
            };
            if !lies && folder {
                state.files.values_mut().for_each(Content::sync_name);
            }
            if !lies && let Some(content) = state.files.get_mut(path) {
                content.sync();
            }
            return Verdict::Passes;
        }
        Verdict::Fails(ffi::SQLITE_IOERR_FSYNC)
    }

    fn changes(&self, path: &Path, change: Change, code: c_int) -> Verdict {
        let mut state = self.state();
        let was_dead = state.dead;
        let passes = state.passes(Fault::Write);
        // The change under way at the cut may get through, all of it or a part.
        let noted = passes || (state.dead && !was_dead);
        if noted {
            let content = state.files.entry(path.to_owned()).or_default();
            content.since.push(change);
        }
        if passes {
            return Verdict::Passes;
        }
        Verdict::Fails(match state.fault.filter(|_| !state.dead) {
            Some(Fault::Full) => ffi::SQLITE_FULL,
            Some(Fault::ReadOnly) => ffi::SQLITE_READONLY,
            _ => code,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a change, or a sync if `kind` says so; `false` if it is not carried out.
    fn passes(&mut self, kind: Fault) -> bool {
        if self.dead {
            return false;
        }
        let refused = match self.fault {
            None => false,
            Some(Fault::Sync) => kind == Fault::Sync,
            Some(Fault::Full | Fault::Write | Fault::ReadOnly) => kind == Fault::Write,
        };
        if refused {
            self.refused += 1;
            return false;
        }
        self.changes += 1;
        self.dead = self.cut_at.is_some_and(|at| self.changes >= at);
        !self.dead
    }
}

impl Content {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.since) {
            apply(&mut self.synced, &change);
        }
    }

    /// A deletion of which the folder knows is not undone by a cut.
    fn sync_name(&mut self) {
        let deleted = |change: &Change| matches!(change, Change::Delete);
        if let Some(last) = self.since.iter().rposition(deleted) {
            self.since.drain(..=last);
            self.synced = None;
        }
    }

    fn after_cut(&self, loss: Loss, dice: &mut Dice) -> Option<Vec<u8>> {
        let mut bytes = self.synced.clone();
        let whole = match loss {
            Loss::Everything => 0,
            Loss::Rest => dice.below(self.since.len() + 1),
            Loss::Nothing | Loss::Writes | Loss::Sectors | Loss::Nonsense => self.since.len(),
        };
        for change in &self.since[..whole] {
            match loss {
                Loss::Writes if dice.one_in(2) => {}
                Loss::Sectors => torn(&mut bytes, change, dice, false),
                Loss::Nonsense => torn(&mut bytes, change, dice, true),
                Loss::Everything | Loss::Nothing | Loss::Rest | Loss::Writes => {
                    apply(&mut bytes, change);
                }
            }
        }
        if let Some(change) = self.since.get(whole).filter(|_| loss == Loss::Rest) {
            torn(&mut bytes, change, dice, false);
        }
        bytes
    }
}

fn apply(content: &mut Option<Vec<u8>>, change: &Change) {
    match change {
        Change::Write { at, bytes } => put(content, *at, bytes),
        Change::Truncate(size) => content.get_or_insert_default().resize(*size, 0),
        Change::Delete => *content = None,
    }
}

fn put(content: &mut Option<Vec<u8>>, at: usize, bytes: &[u8]) {
    let content = content.get_or_insert_default();
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

/// Carries out a part of a change: some of a write's sectors, a truncation or not.
fn torn(content: &mut Option<Vec<u8>>, change: &Change, dice: &mut Dice, nonsense: bool) {
    let Change::Write { at, bytes } = change else {
        if dice.one_in(2) {
            apply(content, change);
        }
        return;
    };
    let mut from = 0;
    while from < bytes.len() {
        let left = SECTOR_BYTES - (at + from) % SECTOR_BYTES;
        let to = (from + left).min(bytes.len());
        match dice.below(if nonsense { 3 } else { 2 }) {
            0 => put(content, at + from, &bytes[from..to]),
            1 => {}
            _ => {
                let byte = u8::try_from(dice.below(256)).unwrap_or(0);
                put(content, at + from, &vec![byte; to - from]);
            }
        }
        from = to;
    }
}
