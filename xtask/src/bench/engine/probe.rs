//! What the machine can do at this moment: how busy others keep it, and what one durable write
//! costs without any database.

use crate::stopwatch::{Stopwatch, pause};
use anyhow::{Context as _, Result};
use std::io::Write as _;
use std::time::Duration;

/// How long the machine is watched before a measurement.
const WATCH: Duration = Duration::from_millis(250);
/// Writes timed for one median.
pub(super) const WRITES: usize = 100;
const BLOCK: [u8; 4096] = [1; 4096];

/// The share of all cores that somebody uses while nothing of this run does.
pub(super) fn busy_share() -> Result<f64> {
    let (busy, all) = processor_ticks()?;
    pause(WATCH);
    let (busy_now, all_now) = processor_ticks()?;
    let all = all_now - all;
    Ok(if all > 0.0 {
        (busy_now - busy) / all
    } else {
        0.0
    })
}

/// Busy and all ticks of all cores since the start of the machine.
fn processor_ticks() -> Result<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/stat").context("failed to read /proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let all: f64 = ticks.iter().take(8).sum();
    // Idle and waiting for the disk.
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    Ok((all - idle, all))
}

/// Milliseconds of each of [`WRITES`] appended blocks with its data synchronized.
pub(super) fn fdatasync_ms() -> Result<Vec<f64>> {
    let path = std::env::temp_dir().join(format!("skep-fdatasync-{}", std::process::id()));
    let mut file = std::fs::File::create(&path).context("failed to make a file to write to")?;
    let mut times = Vec::new();
    for _ in 0..WRITES {
        let watch = Stopwatch::start();
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        times.push(watch.seconds() * 1e3);
    }
    std::fs::remove_file(&path).context("failed to remove what was written")?;
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_can_be_asked() {
        let share = busy_share().unwrap();
        assert!((0.0..=1.0).contains(&share), "{share}");
        assert_eq!(fdatasync_ms().unwrap().len(), WRITES);
    }
}
