//! Where the `skep` binary under test is: it is also the launcher of every fence.

use anyhow::Context as _;
use std::path::PathBuf;

/// The variable that names the binary under test.
const BINARY_VARIABLE: &str = "SKEP_BIN";

/// The binary in `SKEP_BIN`, or the one that `cargo build -p skep` leaves beside the tests.
///
/// # Errors
/// There is none; the message says how it is built.
pub fn skep_binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE).map(PathBuf::from) {
        anyhow::ensure!(
            path.is_file(),
            "{BINARY_VARIABLE} names {}, which is no file",
            path.display()
        );
        return Ok(path);
    }
    // Tests lie in `TARGET/PROFILE/deps`, programs one folder up.
    let test = std::env::current_exe().context("failed to find the test's own program")?;
    let path = test
        .parent()
        .and_then(|deps| deps.parent())
        .map(|profile| profile.join("skep"));
    match path {
        Some(path) if path.is_file() => Ok(path),
        _ => anyhow::bail!(
            "there is no `skep` binary beside the tests: run `cargo build -p skep`, or name one in {BINARY_VARIABLE}"
        ),
    }
}
