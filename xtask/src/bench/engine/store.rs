//! The servers of one run: a private PostgreSQL and two Redis, on the real disk, with fsync on.

use crate::machine;
use crate::process;
use crate::stopwatch::{Stopwatch, pause};
use crate::test::cluster::{self, Cluster};
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the PostgreSQL server is set to beyond its defaults, for ours and for every peer: room for
/// the pools and the log, nothing that weakens a commit.
pub(super) const POSTGRES_SETTINGS: &str = "synchronous_commit = on\nfull_page_writes = on\n\
    shared_buffers = 1GB\nmax_wal_size = 4GB\n";

/// A server that does not answer by then will not.
const READY_S_MAX: f64 = 10.0;
const LOOK: Duration = Duration::from_millis(10);

/// The PostgreSQL server.
pub(super) struct Postgres {
    cluster: Cluster,
    programs: PathBuf,
}

/// A transaction that holds an old snapshot of one database until it is dropped.
pub(super) struct Pin(Child);

impl Postgres {
    pub(super) fn start() -> Result<Self> {
        let programs = cluster::server_programs()?;
        Ok(Self {
            cluster: Cluster::start_with(&programs, POSTGRES_SETTINGS)?,
            programs,
        })
    }

    /// The address of the maintenance database.
    pub(super) fn url(&self) -> String {
        self.cluster.url()
    }

    /// Makes a database, in place of one of the same name; the answer is its address.
    pub(super) fn fresh(&self, name: &str) -> Result<String> {
        self.query(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
        self.query(&format!("CREATE DATABASE {name}"))?;
        let url = self.url();
        let server = url.strip_suffix("/postgres").unwrap_or(&url);
        Ok(format!("{server}/{name}"))
    }

    /// Removes every database of an earlier measurement and writes what is in memory to disk, so
    /// that the next one starts as the first did.
    pub(super) fn sweep(&self) -> Result<()> {
        let sql =
            "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'";
        for name in self.query(sql)?.lines() {
            self.query(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
        }
        self.query("CHECKPOINT").map(drop)
    }

    /// The answer of one statement, unadorned.
    pub(super) fn query(&self, sql: &str) -> Result<String> {
        let mut psql = self.psql(&self.url());
        process::output(psql.args(["-tAqc", sql]))
    }

    /// Bytes of the write-ahead log so far.
    pub(super) fn wal_bytes(&self) -> Result<f64> {
        let text = self.query("SELECT pg_current_wal_lsn() - '0/0'")?;
        Ok(text.trim().parse()?)
    }

    /// Opens a transaction in the database of this address that sees it as it is now.
    pub(super) fn pin(&self, url: &str) -> Result<Pin> {
        let mut child = self
            .psql(url)
            .args(["-tAq"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start psql")?;
        let sql = "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT 'held';\n";
        let stdin = child.stdin.as_mut().context("psql has no input")?;
        stdin.write_all(sql.as_bytes())?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("psql has no output")?).read_line(&mut line)?;
        let pin = Pin(child);
        if line.trim() != "held" {
            bail!("no snapshot could be pinned: {line}");
        }
        Ok(pin)
    }

    fn psql(&self, url: &str) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-d", url]);
        psql
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It ends with its input; a server that is gone ended it before.
        let _ = self.0.wait();
    }
}

/// When Redis hands its log to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fsync {
    /// Before it answers: what is acknowledged is durable.
    Always,
    /// Once a second: what is acknowledged may be lost.
    EverySecond,
}

impl Fsync {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::EverySecond => "everysec",
        }
    }
}

/// The keeper: starts the server, and ends it and its folder when its own input ends, whatever
/// ended this program. `$1` is the folder, `$2` the policy.
const REDIS_KEEPER: &str = r#"
trap 'rm -rf "$1"' EXIT
redis-server --port 0 --unixsocket "$1/s" --dir "$1" --daemonize no --save "" \
    --appendonly yes --appendfsync "$2" --maxmemory-policy noeviction >"$1/log" 2>&1 &
server=$!
cat >/dev/null
kill "$server"
wait "$server"
"#;

/// What the keeper sets, for the page.
pub(super) const REDIS_SETTINGS: &str =
    "appendonly yes, appendfsync always or everysec, save \"\", maxmemory-policy noeviction";

/// A Redis server; dropping it removes it.
pub(super) struct Redis {
    folder: PathBuf,
    keeper: Child,
}

impl Redis {
    pub(super) fn start(fsync: Fsync) -> Result<Self> {
        if machine::program("redis-server").is_none() {
            cluster::install_debian_package("redis-server")?;
        }
        let folder = std::env::temp_dir().join(format!(
            "skep-redis-{}-{}",
            std::process::id(),
            fsync.word()
        ));
        std::fs::create_dir(&folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
        let keeper = Command::new("sh")
            .args(["-c", REDIS_KEEPER, "keeper"])
            .arg(&folder)
            .arg(fsync.word())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("failed to start the keeper of Redis")?;
        let redis = Self { folder, keeper };
        let watch = Stopwatch::start();
        while redis.command("PING").ok().as_deref() != Some("+PONG") {
            if watch.seconds() > READY_S_MAX {
                let log = std::fs::read_to_string(redis.folder.join("log")).unwrap_or_default();
                bail!("Redis did not start:\n{log}");
            }
            pause(LOOK);
        }
        Ok(redis)
    }

    /// The path of its socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    /// The first line of the answer to a command of one line.
    pub(super) fn command(&self, line: &str) -> Result<String> {
        let mut stream = UnixStream::connect(self.socket())?;
        ask(&mut stream, line)
    }

    /// Milliseconds of each of `count` acknowledged writes, one after the other.
    pub(super) fn commits_ms(&self, count: usize) -> Result<Vec<f64>> {
        let mut stream = UnixStream::connect(self.socket())?;
        let mut times = Vec::new();
        for _ in 0..count {
            let watch = Stopwatch::start();
            ask(&mut stream, "SET commit 1")?;
            times.push(watch.seconds() * 1e3);
        }
        Ok(times)
    }
}

fn ask(stream: &mut UnixStream, line: &str) -> Result<String> {
    stream.write_all(format!("{line}\r\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// What kind of file system holds a folder, as `stat` names it.
pub(super) fn file_system(folder: &Path) -> String {
    let mut stat = Command::new("stat");
    process::output(stat.args(["-f", "-c", "%T"]).arg(folder))
        .map_or("unknown".to_owned(), |text| text.trim().to_owned())
}
