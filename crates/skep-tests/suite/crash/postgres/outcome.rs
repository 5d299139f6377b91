//! What a scenario came to: printed for people, and left for `cargo xtask chaos postgres`.

use serde::Serialize;
use std::io::Write as _;

/// The file that outcomes are added to, one JSON document on a line.
const OUTCOMES_VARIABLE: &str = "SKEP_TEST_CHAOS_OUTCOMES";

/// What was measured while a scenario ran.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Figures {
    /// Jobs that were acknowledged, and done.
    pub(super) jobs: u64,
    /// Times that the fault struck; scans, where readers are the fault.
    pub(super) faults: u64,
    /// From the end of the last fault until a job that was asked for after it was done, in seconds.
    pub(super) recovery_s: Option<f64>,
    /// Jobs done a second before the fault.
    pub(super) undisturbed_per_s: f64,
    /// Jobs done a second from its beginning to its end.
    pub(super) disturbed_per_s: f64,
    /// The second by the first.
    pub(super) ratio: f64,
    /// How long the workers took to stop, in seconds.
    pub(super) stop_s: f64,
    /// Completions that were refused because their lease had been taken back.
    pub(super) refused: u64,
}

#[derive(Serialize)]
struct Outcome<'a> {
    name: &'a str,
    ok: bool,
    error: Option<String>,
    #[serde(flatten)]
    figures: &'a Figures,
}

/// Reports the scenario `name`; fails as it did.
#[expect(clippy::print_stdout, reason = "the figures are what the run is for")]
pub(super) fn report(name: &str, ended: anyhow::Result<Figures>) -> anyhow::Result<()> {
    let (figures, error) = match ended {
        Ok(figures) => (figures, None),
        Err(error) => (Figures::default(), Some(error)),
    };
    let outcome = Outcome {
        name,
        ok: error.is_none(),
        error: error.as_ref().map(|error| format!("{error:#}")),
        figures: &figures,
    };
    let line = serde_json::to_string(&outcome)?;
    println!("{line}");
    if let Some(file) = std::env::var_os(OUTCOMES_VARIABLE) {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)?;
        writeln!(file, "{line}")?;
    }
    error.map_or(Ok(()), Err)
}
