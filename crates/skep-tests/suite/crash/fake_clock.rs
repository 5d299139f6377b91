//! A clock of its own for a whole process, with `libfaketime`.

use anyhow::Context as _;
use skep_stdx::{Clock as _, SystemClock};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// The variable that says where `libfaketime` is.
const CLOCK_VARIABLE: &str = "SKEP_TEST_FAKETIME";

/// A machine's clock, as every process of a site is made to see it by `libfaketime`. The clock that
/// only goes forward stays as it is.
#[derive(Clone)]
pub(super) struct FakeClock {
    library: PathBuf,
    /// Holds by how many seconds it is ahead.
    offset: PathBuf,
}

impl FakeClock {
    /// One that goes right, with its state in `folder`.
    pub(super) fn new(folder: &Path) -> anyhow::Result<Self> {
        let library = std::env::var_os(CLOCK_VARIABLE).map(PathBuf::from);
        let clock = Self {
            library: library.with_context(|| format!("{CLOCK_VARIABLE} is not set"))?,
            offset: folder.join("clock"),
        };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it to so many seconds ahead of the right time.
    pub(super) fn set(&self, ahead_s: i64) -> anyhow::Result<()> {
        // Whole at every instant: whoever reads it reads the old or the new one.
        let fresh = self.offset.with_extension("new");
        std::fs::write(&fresh, format!("{ahead_s:+}\n"))?;
        Ok(std::fs::rename(fresh, &self.offset)?)
    }

    /// Sets it to `unix_s`, from where it goes on.
    pub(super) fn start_at(&self, unix_s: i64) -> anyhow::Result<()> {
        self.set(unix_s - SystemClock.now_ms() / 1_000)
    }

    /// Waits until it shows `unix_s`.
    pub(super) async fn reaches(&self, unix_s: i64) -> anyhow::Result<()> {
        let ahead: i64 = std::fs::read_to_string(&self.offset)?.trim().parse()?;
        let left_ms = (unix_s - ahead) * 1_000 - SystemClock.now_ms();
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        tokio::time::sleep(left).await;
        Ok(())
    }

    /// Puts a process under it.
    pub(super) fn rule(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.offset)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1")
            .env("TZ", "Europe/Berlin");
    }
}
