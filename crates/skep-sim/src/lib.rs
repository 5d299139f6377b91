//! What the engine is put through: simulated histories, power cuts, faults of the disk.
//!
//! Each is a module that the suite runs in short and the program `skep-sim` at length; every
//! random choice comes from a seed, which is printed when it fails and replays the failure.

pub mod power;
pub mod simulate;

use std::path::{Path, PathBuf};

/// Where files lie that need not survive the machine; elsewhere in the usual folder.
const MEMORY_FOLDER: &str = "/dev/shm";

fn memory_folder() -> PathBuf {
    let folder = Path::new(MEMORY_FOLDER);
    if folder.is_dir() {
        folder.to_owned()
    } else {
        std::env::temp_dir()
    }
}
