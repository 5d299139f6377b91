//! Everything that one run needs, and the one way in which anything is measured: repetition by
//! repetition, every contender once in each.

use super::figure::Runs;
use super::install::Installed;
use super::ours::Programs;
use super::peer::Peer;
use super::plan::Plan;
use super::probe;
use super::store::{Fsync, Postgres, Redis};
use super::{gate, ours};
use crate::machine::Workspace;
use crate::real::bounded::{self, Reach};
use crate::report::{number, say};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

/// What a measurement may take beyond its own length: building a store, installing a schema,
/// filling a queue.
const SLACK_S: f64 = 300.0;
/// What a part that has no length of its own may take: the slowest engine fills ten million jobs.
const COUNTED_S_MAX: f64 = 4.0 * 3_600.0;
/// What is shown of the log of a program that failed.
const LOG_LINES: usize = 5;

/// One run.
pub(super) struct Stand {
    pub(super) plan: Plan,
    pub(super) postgres: Postgres,
    pub(super) programs: Programs,
    pub(super) gate: gate::Gate,
    /// What the contenders said of their versions.
    pub(super) versions: BTreeMap<String, String>,
    /// The share of the cores that others used before each measurement.
    pub(super) busy: Vec<f64>,
    /// Milliseconds of durable commits by what was committed to.
    pub(super) commits: BTreeMap<&'static str, Vec<f64>>,
    peers: Installed,
    always: Redis,
    every_second: Redis,
    scratch: PathBuf,
}

/// Someone who is measured.
pub(super) struct Contender {
    pub(super) who: String,
    pub(super) work: Work,
}

/// How someone is measured.
pub(super) enum Work {
    /// A part of our benchmark, by its command line, and its length in seconds if it has one.
    Ours(String, Option<u64>),
    /// A peer's driver.
    Peer(&'static Peer, Asked),
}

/// What is asked of a peer's driver.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) mode: &'static str,
    pub(super) store: PeerStore,
    pub(super) clients: u32,
    pub(super) batch: u32,
    pub(super) seconds: u64,
    pub(super) sample: u64,
    pub(super) rate: u32,
    /// Settings of this row, as JSON.
    pub(super) further: &'static str,
}

/// Where a peer keeps its jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerStore {
    Redis(Fsync),
    Postgres,
    /// PostgreSQL with an old snapshot held open.
    PinnedPostgres,
}

impl Stand {
    /// Builds our side, installs theirs, starts the servers, takes the first probes.
    pub(super) fn build(workspace: &Workspace, plan: Plan) -> Result<Self> {
        say("building the benchmark and the product");
        let mut stand = Self {
            programs: ours::build(workspace)?,
            peers: Installed::find_or_install(&workspace.root)?,
            gate: gate::Gate::read(&workspace.root)?,
            postgres: Postgres::start()?,
            always: Redis::start(Fsync::Always)?,
            every_second: Redis::start(Fsync::EverySecond)?,
            scratch: workspace.target.join("xtask/bench-engine"),
            versions: BTreeMap::new(),
            busy: Vec::new(),
            commits: BTreeMap::new(),
            plan,
        };
        std::fs::create_dir_all(&stand.scratch).context("failed to make a folder for logs")?;
        let server = stand.postgres.query("SHOW server_version")?;
        stand.version("PostgreSQL", server.trim());
        let redis = crate::process::output(Command::new("redis-server").arg("--version"))?;
        let redis = redis
            .split_whitespace()
            .find_map(|word| word.strip_prefix("v="));
        stand.version("Redis", redis.unwrap_or("unknown"));
        stand.probe()?;
        Ok(stand)
    }

    fn version(&mut self, name: &str, version: &str) {
        self.versions.insert(name.to_owned(), version.to_owned());
    }

    /// Takes every probe of the disk once more; parts take them between their repetitions.
    fn probe(&mut self) -> Result<()> {
        let always = self.always.commits_ms(probe::WRITES)?;
        let every_second = self.every_second.commits_ms(probe::WRITES)?;
        self.commit(
            "a 4 KiB write with fdatasync, no database",
            probe::fdatasync_ms()?,
        );
        self.commit("Redis SET, appendfsync always", always);
        self.commit(
            "Redis SET, appendfsync everysec (not durable)",
            every_second,
        );
        for (engine, what) in [("sqlite", SQLITE_COMMIT), ("postgres", POSTGRES_COMMIT)] {
            let words = format!("commit --engine {engine}");
            let document = self.ours(&words, None)?;
            self.commit(what, commit_of(&document));
        }
        Ok(())
    }

    fn commit(&mut self, what: &'static str, times: Vec<f64>) {
        self.commits.entry(what).or_default().extend(times);
    }

    /// Measures every contender `repetitions` times, in turns. One that fails is left out of that
    /// repetition, and the page says why.
    pub(super) fn measure(
        &mut self,
        repetitions: usize,
        contenders: &[Contender],
    ) -> Result<Vec<Runs>> {
        let mut all: Vec<Runs> = contenders
            .iter()
            .map(|contender| Runs {
                who: contender.who.clone(),
                ours: matches!(contender.work, Work::Ours(..)),
                documents: Vec::new(),
                failure: None,
            })
            .collect();
        for repetition in 1..=repetitions {
            for (contender, runs) in contenders.iter().zip(&mut all) {
                self.busy.push(probe::busy_share()?);
                let outcome = match &contender.work {
                    Work::Ours(words, seconds) => self.ours(words, *seconds),
                    Work::Peer(peer, asked) => self.peer(peer, asked),
                };
                let shown = match &outcome {
                    Ok(document) => headline(document),
                    Err(error) => format!("failed: {error:#}"),
                };
                say(&format!(
                    "  {repetition}/{repetitions} {}: {shown}",
                    contender.who
                ));
                match outcome {
                    Ok(document) => runs.documents.push(document),
                    Err(error) => runs.failure = Some(first_line(&format!("{error:#}"))),
                }
                self.postgres.sweep()?;
            }
            self.probe()?;
        }
        Ok(all)
    }

    /// Runs a part of our benchmark.
    pub(super) fn ours(&mut self, words: &str, seconds: Option<u64>) -> Result<Value> {
        let command = ours::command(&self.programs.benchmark, &self.postgres.url(), words);
        let document = self.json_of(command, seconds)?;
        let engine = document.get("engine").and_then(Value::as_str);
        let what = if engine == Some("postgres") {
            POSTGRES_COMMIT
        } else {
            SQLITE_COMMIT
        };
        self.commit(what, commit_of(&document));
        Ok(document)
    }

    fn peer(&mut self, peer: &Peer, asked: &Asked) -> Result<Value> {
        let name = format!("peer_{}", peer.key);
        let (server, pin) = match asked.store {
            PeerStore::Redis(fsync) => {
                let redis = self.redis(fsync);
                redis.command("FLUSHALL")?;
                (redis.socket().to_string_lossy().into_owned(), None)
            }
            PeerStore::Postgres => (self.postgres.fresh(&name)?, None),
            PeerStore::PinnedPostgres => {
                let url = self.postgres.fresh(&name)?;
                let pin = self.postgres.pin(&url)?;
                (url, Some(pin))
            }
        };
        let python = peer.driver.ends_with(".py");
        let warm_up = self.plan.warm_up_s[usize::from(python)];
        let mut input = json!({
            "mode": asked.mode, "server": server, "clients": asked.clients, "batch": asked.batch,
            "seconds": asked.seconds, "sample": asked.sample, "rate": asked.rate,
            "warm_up": warm_up,
        });
        let further: Value = serde_json::from_str(asked.further).context("a row's settings")?;
        if let (Some(input), Value::Object(further)) = (input.as_object_mut(), further) {
            input.extend(further);
        }
        let mut command = self.peers.driver(peer.driver);
        command.arg(input.to_string());
        let document = self.json_of(command, Some(asked.seconds + warm_up));
        drop(pin);
        let document = document?;
        if let Some(versions) = document.get("versions").and_then(Value::as_object) {
            for (name, version) in versions {
                self.version(name, version.as_str().unwrap_or("unknown"));
            }
        }
        Ok(document)
    }

    /// The server of this policy.
    fn redis(&self, fsync: Fsync) -> &Redis {
        match fsync {
            Fsync::Always => &self.always,
            Fsync::EverySecond => &self.every_second,
        }
    }

    /// Runs a command, in time, and reads the last line of its output.
    fn json_of(&self, mut command: Command, seconds: Option<u64>) -> Result<Value> {
        let (output, log) = (self.scratch.join("output"), self.scratch.join("log"));
        command.stderr(File::create(&log).context("failed to make a log")?);
        #[expect(clippy::cast_precision_loss, reason = "a number of seconds")]
        let limit = seconds.map_or(COUNTED_S_MAX, |seconds| seconds as f64 + SLACK_S);
        let status = bounded::run(&mut command, &output, limit, Reach::Group)?;
        let text = std::fs::read_to_string(&output).unwrap_or_default();
        if !status.success() {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            let last = lines.len().saturating_sub(LOG_LINES);
            bail!("it ended with {status}: {}", lines[last..].join(" / "));
        }
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line).with_context(|| format!("no document in `{line}`"))
    }
}

/// What a commit of ours is called.
const SQLITE_COMMIT: &str = "SQLite, one row through skep-db";
const POSTGRES_COMMIT: &str = "PostgreSQL, one row through skep-db";

/// The commit that a document tells of.
fn commit_of(document: &Value) -> Vec<f64> {
    let time = document.get("commit_ms").and_then(Value::as_f64);
    time.into_iter().collect()
}

/// The number of a document that people look at first.
fn headline(document: &Value) -> String {
    for (pointer, unit) in [
        ("/per_second", "/s"),
        ("/after_ack_ms/p50", " ms p50"),
        ("/one_ms/p99", " ms p99"),
        ("/written_per_job", " bytes"),
    ] {
        if let Some(value) = document.pointer(pointer).and_then(Value::as_f64) {
            return format!("{}{unit}", number(value));
        }
    }
    "done".to_owned()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().replace('|', "/")
}
