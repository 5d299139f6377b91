//! What `skep up` does when nobody asks anything of it: processor time, and writes to disk.

use super::super::server::Server;
use super::store::Postgres;
use crate::stopwatch::{Stopwatch, pause};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What a server does after its start is over by then.
const SETTLE: Duration = Duration::from_secs(5);

/// What an idle server did while it was watched.
#[derive(Debug)]
pub(super) struct Idle {
    /// Share of one core, in percent.
    pub(super) processor_percent: f64,
    /// Bytes that the process sent towards the disk.
    pub(super) written_bytes: f64,
    /// Files of the home that changed.
    pub(super) changed_files: Vec<String>,
    /// Bytes of the PostgreSQL server's log, with the server alone and with ours beside it.
    pub(super) wal_bytes: Option<[f64; 2]>,
}

/// Watches one server for so many seconds, on SQLite or on a database of `postgres`.
pub(super) fn watch(product: &Path, postgres: Option<&Postgres>, seconds: u64) -> Result<Idle> {
    let length = Duration::from_secs(seconds);
    let (configuration, alone) = match postgres {
        None => (String::new(), None),
        Some(postgres) => {
            let url = postgres.fresh("idle")?;
            postgres.query("CHECKPOINT")?;
            let before = postgres.wal_bytes()?;
            pause(length);
            let alone = postgres.wal_bytes()? - before;
            (format!("[database]\nurl = \"{url}\"\n"), Some(alone))
        }
    };
    let server = Server::start_with(product, &configuration)?;
    pause(SETTLE);
    if let Some(postgres) = postgres {
        postgres.query("CHECKPOINT")?;
    }
    let wal = postgres.map(Postgres::wal_bytes).transpose()?;
    let (files, written) = (files(server.home())?, written_bytes(server.process_id())?);
    let (ticks, watch) = (processor_ticks(server.process_id())?, Stopwatch::start());
    pause(length);
    let seconds = watch.seconds();
    let ticks = processor_ticks(server.process_id())? - ticks;
    let written = written_bytes(server.process_id())? - written;
    let now = self::files(server.home())?;
    let changed = now
        .iter()
        .filter(|(name, state)| files.get(*name) != Some(state));
    let wal_now = postgres.map(Postgres::wal_bytes).transpose()?;
    Ok(Idle {
        processor_percent: ticks / ticks_a_second()? / seconds * 100.0,
        written_bytes: written,
        changed_files: changed.map(|(name, _)| name.clone()).collect(),
        wal_bytes: alone
            .zip(wal_now.zip(wal))
            .map(|(alone, (now, then))| [alone, now - then]),
    })
}

/// The length and the time of the last change of every file below a folder.
fn files(folder: &Path) -> Result<BTreeMap<String, (u64, std::time::SystemTime)>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next)? {
            let path = entry?.path();
            // Looked at, never opened: the store is live.
            let about = std::fs::symlink_metadata(&path)?;
            if about.is_dir() {
                folders.push(path);
            } else if let Ok(name) = path.strip_prefix(folder) {
                let name = name.to_string_lossy().into_owned();
                found.insert(name, (about.len(), about.modified()?));
            }
        }
    }
    Ok(found)
}

/// Bytes that a process has sent towards the disk.
fn written_bytes(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/io");
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("no write_bytes")?.parse()?)
}

/// Ticks that a process has used, in user and kernel mode.
fn processor_ticks(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    // The name in brackets may hold anything; the counted fields follow it.
    let fields = text.rsplit_once(')').context("no process name")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse);
    Ok(ticks.collect::<Result<Vec<f64>, _>>()?.iter().sum())
}

fn ticks_a_second() -> Result<f64> {
    let text = crate::process::output(Command::new("getconf").arg("CLK_TCK"))?;
    Ok(text.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_seen_and_this_process_uses_the_processor() {
        let folder = std::env::temp_dir().join(format!("skep-idle-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("deep")).unwrap();
        std::fs::write(folder.join("deep/a"), "a").unwrap();
        let before = files(&folder).unwrap();
        assert_eq!(before.keys().collect::<Vec<_>>(), ["deep/a"]);
        std::fs::write(folder.join("deep/a"), "longer").unwrap();
        assert_ne!(files(&folder).unwrap(), before);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(processor_ticks(std::process::id()).unwrap() >= 0.0);
        assert!(ticks_a_second().unwrap() > 0.0);
        assert!(written_bytes(std::process::id()).unwrap() >= 0.0);
    }
}
