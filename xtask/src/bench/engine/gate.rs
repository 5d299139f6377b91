//! The gate: bytes that a finished job may cost, as they were last accepted.
//!
//! One caller and a fixed number of jobs write nearly the same bytes in every run, so this is the
//! one measurement that a busy machine cannot blur. More than a tenth above fails.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the accepted bytes lie.
const FILE: &str = "bench/engine-bytes.json";
/// How far above the accepted bytes a run may be, as a factor.
const SLACK: f64 = 1.1;

/// The accepted bytes.
#[derive(Debug)]
pub(super) struct Gate {
    file: PathBuf,
    pub(super) accepted: BTreeMap<String, Bytes>,
}

/// Bytes of one finished job.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Bytes {
    /// Written to make its commits durable.
    pub(super) written_per_job: f64,
    /// Taken up in the store.
    pub(super) disk_per_job: f64,
}

impl Gate {
    /// Reads the file; without one nothing is accepted yet.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let file = root.join(FILE);
        let accepted = match std::fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("{FILE} is broken"))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("failed to read {FILE}")),
        };
        Ok(Self { file, accepted })
    }

    /// Makes what was measured the accepted bytes.
    pub(super) fn accept(&mut self, engine: &str, bytes: Bytes) -> Result<()> {
        let whole = Bytes {
            written_per_job: bytes.written_per_job.round(),
            disk_per_job: bytes.disk_per_job.round(),
        };
        self.accepted.insert(engine.to_owned(), whole);
        let text = serde_json::to_string_pretty(&self.accepted)?;
        std::fs::write(&self.file, text + "\n").with_context(|| format!("failed to write {FILE}"))
    }

    /// What a run may not exceed.
    pub(super) fn limit(&self, engine: &str) -> Option<Bytes> {
        self.accepted.get(engine).map(|bytes| Bytes {
            written_per_job: bytes.written_per_job * SLACK,
            disk_per_job: bytes.disk_per_job * SLACK,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_is_the_limit_and_a_tenth() {
        let root = std::env::temp_dir().join(format!("skep-gate-{}", std::process::id()));
        std::fs::create_dir_all(root.join("bench")).unwrap();
        let mut gate = Gate::read(&root).unwrap();
        assert_eq!(gate.limit("sqlite"), None);
        let bytes = Bytes {
            written_per_job: 999.6,
            disk_per_job: 10.0,
        };
        gate.accept("sqlite", bytes).unwrap();
        let limit = Gate::read(&root).unwrap().limit("sqlite").unwrap();
        assert!((limit.written_per_job - 1_100.0).abs() < 1e-6);
        assert!((limit.disk_per_job - 11.0).abs() < 1e-6);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
