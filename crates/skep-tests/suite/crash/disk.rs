//! A home on a disk that is full for a while, or read-only: the engine keeps what it has answered,
//! says what is wrong, and goes on by itself.
//!
//! The disk is a small file system in memory. Where none can be mounted, the tests say so and test
//! nothing. More rounds than one with `SKEP_DISK_ROUNDS`, as `cargo xtask chaos disk` runs them.

use super::site::{Engine, Site};
use anyhow::Context as _;
use skep_testkit::{Backend, TestStore, run_on};
use skep_types::JobId;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable that asks for more rounds.
const ROUNDS_VARIABLE: &str = "SKEP_DISK_ROUNDS";
/// The size of the disk: twice what the engine keeps free, in megabytes.
const DISK_MEGABYTES: u32 = 128;
/// What is left free, in turn, in kilobytes: nothing at all; enough for the store to grow a little,
/// so that work fails half-way; enough for anything but what is kept free.
const LEFT_KILOBYTES: [u64; 3] = [0, 300, 40_000];
/// Jobs that are asked for on a full disk, at most.
const ASKED_MAX: u32 = 4;

#[test]
fn a_disk_that_is_full_for_a_while() {
    run_on(Backend::Sqlite, full_for_a_while);
}

#[test]
fn a_disk_that_is_read_only_at_the_start() {
    run_on(Backend::Sqlite, read_only_at_the_start);
}

async fn full_for_a_while(store: TestStore) -> anyhow::Result<()> {
    let Some(disk) = Disk::mount(store.folder())? else {
        return Ok(());
    };
    let site = Site::at(&store, disk.folder.join("home"))?;
    let mut engine = site.up().await?;
    let mut jobs = vec![site.submit("noter", 1).await?];
    let mut number = 1;
    for round in 0..rounds()? {
        for left in LEFT_KILOBYTES {
            one_spell(&site, &disk, &mut engine, left, (&mut jobs, &mut number))
                .await
                .with_context(|| format!("round {round}, {left} KB left"))?;
        }
    }
    site.finish_with(&engine, &jobs).await?;
    let said = site.said();
    anyhow::ensure!(said.contains("work is claimed again"), "{said}");
    engine.stop().await?;
    site.assert_no_process().await
}

/// The disk is full, jobs are asked for, and there is room again.
async fn one_spell(
    site: &Site<'_>,
    disk: &Disk,
    engine: &mut Engine,
    left_kilobytes: u64,
    (jobs, number): (&mut Vec<JobId>, &mut u32),
) -> anyhow::Result<()> {
    // Some of it runs when the space goes.
    for _ in 0..2 {
        *number += 1;
        jobs.push(site.submit("noter", *number).await?);
    }
    disk.fill(left_kilobytes)?;
    let mut refused = None;
    for _ in 0..ASKED_MAX {
        *number += 1;
        let answer = site.ask("noter", *number).await?;
        match answer["error"]["code"].as_str() {
            // What was answered counts, whatever becomes of the disk.
            None => jobs.push(serde_json::from_value(answer["id"].clone())?),
            Some(code) => refused = Some((code.to_owned(), answer["error"]["hint"].clone())),
        }
    }
    let (code, hint) = refused.context("every job was taken")?;
    anyhow::ensure!(code == "disk_full", "{code}");
    anyhow::ensure!(
        hint.as_str().is_some_and(|h| h.contains("free some space")),
        "{hint}"
    );
    let doctor = site.document(&["doctor"]).await?;
    let checks = doctor["checks"].as_array().context("it checks")?;
    let found = checks.iter().find(|check| check["name"] == "disk");
    anyhow::ensure!(
        found.is_some_and(|check| check["state"] == "fail"),
        "{doctor}"
    );
    anyhow::ensure!(engine.is_up()?, "the engine died: {}", site.said());
    disk.empty()
}

async fn read_only_at_the_start(store: TestStore) -> anyhow::Result<()> {
    let Some(disk) = Disk::mount(store.folder())? else {
        return Ok(());
    };
    let site = Site::at(&store, disk.folder.join("home"))?;
    let engine = site.up().await?;
    let jobs = vec![site.submit("noter", 1).await?];
    site.finish_with(&engine, &jobs).await?;
    engine.stop().await?;
    disk.remount("ro")?;
    let refused = site.document(&["up", "--listen", "127.0.0.1:0"]).await?;
    anyhow::ensure!(refused["error"]["hint"].is_string(), "{refused}");
    let doctor = site.document(&["doctor"]).await?;
    anyhow::ensure!(doctor["ok"] == false, "{doctor}");
    disk.remount("rw")?;
    site.finish(&jobs).await?;
    Ok(())
}

fn rounds() -> anyhow::Result<u32> {
    match std::env::var(ROUNDS_VARIABLE) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{ROUNDS_VARIABLE} is not a number")),
        Err(_) => Ok(1),
    }
}

/// A small file system of its own; unmounted when dropped.
struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts one below `folder`; none where that is not allowed.
    #[expect(clippy::print_stdout, reason = "a test that tests nothing says so")]
    fn mount(folder: &Path) -> anyhow::Result<Option<Self>> {
        let folder = folder.join("disk");
        std::fs::create_dir(&folder)?;
        let size = format!("size={DISK_MEGABYTES}m,mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Some(Self { folder })),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr);
                println!("nothing is tested, no disk can be mounted here: {why}");
                Ok(None)
            }
            Err(error) => {
                println!("nothing is tested, there is no mount: {error}");
                Ok(None)
            }
        }
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Takes all the space that there is but for so much.
    fn fill(&self, left_kilobytes: u64) -> anyhow::Result<()> {
        let mut ballast = std::fs::File::create(self.ballast())?;
        let block = vec![0; 4_096];
        let mut taken: u64 = 0;
        while ballast.write_all(&block).is_ok() {
            taken += 4_096;
        }
        ballast.set_len(taken.saturating_sub(left_kilobytes * 1_024))?;
        Ok(())
    }

    fn empty(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.ballast())?)
    }

    fn remount(&self, how: &str) -> anyhow::Result<()> {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", &format!("remount,{how}")])
            .arg(&self.folder);
        let output = mount.output()?;
        let why = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "failed to remount {how}: {why}");
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that still dies may have a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).output();
    }
}
