//! A real PgBouncer that gives each transaction another server process.

use crate::TestStore;
use anyhow::Context as _;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Distributions keep it where only root's PATH leads.
const USUAL_PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A running pooler; dropping it ends it.
pub struct Pooler {
    process: Child,
    folder: tempfile::TempDir,
    server: Server,
}

/// Where a store's server listens: `postgres://USER@HOST[:PORT]/NAME`, a host that is a folder with
/// its slashes escaped.
struct Server {
    folder: PathBuf,
    port: String,
    user: String,
    name: String,
}

impl Server {
    fn of(store: &TestStore) -> Option<Self> {
        let url = store.postgres_url()?;
        let (user, rest) = url.strip_prefix("postgres://")?.split_once('@')?;
        let (host, name) = rest.split_once('/')?;
        let (host, port) = host.split_once(':').unwrap_or((host, "5432"));
        Some(Self {
            folder: host.replace("%2F", "/").into(),
            port: port.to_owned(),
            user: user.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl Pooler {
    /// Starts a pooler before the server of `store`, with fewer server processes than it gets
    /// clients.
    ///
    /// # Errors
    /// There is no PgBouncer on this machine, the server listens on no Unix socket, or the pooler
    /// does not start; the message says which.
    pub fn start(store: &TestStore) -> anyhow::Result<Self> {
        let program = find_program().context(
            "no `pgbouncer` on this machine: run the tests with `cargo xtask test`, or install it",
        )?;
        let server = Server::of(store).context("the store has no PostgreSQL server")?;
        let folder = tempfile::tempdir()?;
        let owner = std::fs::metadata(&server.folder)
            .with_context(|| format!("no folder {}", server.folder.display()))?;
        let settings = folder.path().join("pgbouncer.ini");
        let (host, here) = (server.folder.display(), folder.path().display());
        let (port, user) = (&server.port, &server.user);
        std::fs::write(
            &settings,
            format!(
                "[databases]\n* = host={host} port={port} user={user}\n[pgbouncer]\n\
                unix_socket_dir = {here}\nlisten_port = 6432\nauth_type = any\n\
                pool_mode = transaction\ndefault_pool_size = 3\nserver_login_retry = 1\n"
            ),
        )?;
        let mut command = Command::new(program);
        command
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // It refuses to run as root; whoever may reach the server's socket may run it.
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = (owner.uid(), owner.gid());
            chown(folder.path(), Some(uid), Some(gid))?;
            chown(&settings, Some(uid), Some(gid))?;
            command.uid(uid).gid(gid);
        }
        let mut process = command.spawn()?;
        let mut lines = BufReader::new(process.stderr.take().context("it has an output")?);
        let mut said = String::new();
        while !said.contains("process up") {
            let read = lines.read_line(&mut said)?;
            anyhow::ensure!(read > 0, "the pooler did not start: {said}");
        }
        // What it says from here on is read by nobody and must not fill the pipe.
        std::thread::Builder::new()
            .spawn(move || lines.lines().map_while(Result::ok).for_each(drop))?;
        Ok(Self {
            process,
            folder,
            server,
        })
    }

    /// The address of the store through the pooler, as a configuration file has it.
    pub fn address(&self) -> String {
        let here = self.folder.path().to_string_lossy().replace('/', "%2F");
        let Server { user, name, .. } = &self.server;
        format!("postgres://{user}@{here}:6432/{name}?statement_cache=off")
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may have ended by itself, which a test has found out in other ways.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn find_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("pgbouncer"))
        .chain([PathBuf::from(USUAL_PROGRAM)])
        .find(|file| file.is_file())
}
