//! A private PostgreSQL cluster: made, started and removed by one test run.
//!
//! It lies in a temporary folder, listens on a Unix socket in that folder only, and keeps fsync
//! on, because what the tests prove is durability. A server refuses to run as root, so under root
//! it runs as an unprivileged user. A keeper process is the server's parent and holds the other end
//! of a pipe: whatever ends this program, a failure, Ctrl-C or a kill, the pipe closes and the
//! keeper stops the server and removes the folder.

use crate::machine::{self, User};
use crate::process;
use crate::report::say;
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where distributions keep the server's programs, which they leave out of PATH.
const DISTRIBUTION_ROOTS: &[&str] = &["/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt"];

/// Every test has a database and a pool of its own, and as many tests run as there are cores.
const CONNECTIONS_MAX: u32 = 300;

/// The clusters that this process has made.
static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// What the server is set to, beyond initdb's defaults.
const SETTINGS: &str = "listen_addresses = ''\nfsync = on\nlog_min_messages = warning\n";

/// The keeper: makes the cluster, starts the server as its child, says `ready`, and once its
/// input has ended stops the server. Without a server it gives back the log. Either way the folder
/// goes. `$1` is the folder, `$2` the folder of the server's programs, `$3` the settings.
const KEEPER: &str = r#"
trap 'rm -rf "$1"' EXIT
give_up() { cat "$1/server.log"; exit 1; }
{
    "$2/initdb" -A trust -U postgres -E UTF8 --locale=C --no-sync -D "$1/data" &&
    printf '%s' "$3" >>"$1/data/postgresql.conf"
} >"$1/server.log" 2>&1 || give_up "$1"
"$2/postgres" -D "$1/data" >>"$1/server.log" 2>&1 &
server=$!
until grep -qsx 'ready *' "$1/data/postmaster.pid"; do
    kill -0 "$server" 2>/dev/null || give_up "$1"
    sleep 0.05
done
echo ready
cat >/dev/null
kill -QUIT "$server"
wait "$server"
"#;

/// A running cluster; dropping it removes it.
pub(crate) struct Cluster {
    folder: PathBuf,
    keeper: Child,
}

/// The folder of `initdb` and `postgres`, installed first where that is possible.
pub(crate) fn server_programs() -> Result<PathBuf> {
    if let Some(found) = find_programs() {
        return Ok(found);
    }
    if machine::current_user()?.uid != 0 || machine::program("apt-get").is_none() {
        bail!(
            "no PostgreSQL server programs on this machine: install your distribution's \
             `postgresql` package; the tests make a cluster of their own and need no running server"
        );
    }
    install_debian_package("postgresql")?;
    find_programs().context("the package `postgresql` brought no `initdb`")
}

/// Sees to it that there is a PgBouncer, which some tests go through to their server.
pub(crate) fn ensure_pooler() -> Result<()> {
    // Distributions keep it where only root's PATH leads.
    let is_there =
        || machine::program("pgbouncer").is_some() || Path::new("/usr/sbin/pgbouncer").is_file();
    if is_there() {
        return Ok(());
    }
    if machine::current_user()?.uid != 0 || machine::program("apt-get").is_none() {
        bail!("no PgBouncer on this machine: install your distribution's `pgbouncer` package");
    }
    install_debian_package("pgbouncer")?;
    if !is_there() {
        bail!("the package `pgbouncer` brought no `pgbouncer`");
    }
    Ok(())
}

/// Installs a package with apt, as root, saying so.
pub(crate) fn install_debian_package(package: &str) -> Result<()> {
    say(&format!(
        "`{package}` is needed and missing; installing it with apt-get"
    ));
    let apt = |arguments: &[&str]| {
        process::succeeds(
            Command::new("apt-get")
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    let install = ["install", "--yes", "--no-install-recommends", package];
    // The lists of a fresh image are empty or old; a second try follows an update.
    if apt(&install)? || (apt(&["update"])? && apt(&install)?) {
        Ok(())
    } else {
        bail!("apt-get could not install `{package}`")
    }
}

impl Cluster {
    /// Makes and starts a cluster with the programs in `programs`.
    pub(crate) fn start(programs: &Path) -> Result<Self> {
        Self::start_with(programs, "")
    }

    /// The same with further settings, as lines of `postgresql.conf`.
    pub(crate) fn start_with(programs: &Path, further: &str) -> Result<Self> {
        let user = unprivileged_user()?;
        let folder = make_folder(user)?;
        let settings = format!(
            "{SETTINGS}max_connections = {CONNECTIONS_MAX}\n{further}unix_socket_directories = '{}'\n",
            folder.display()
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", KEEPER, "keeper"])
            .args([folder.as_os_str(), programs.as_os_str()])
            .arg(settings)
            .current_dir("/")
            .env("HOME", &folder)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A group of its own: Ctrl-C in the terminal must not reach it.
            .process_group(0);
        if let Some(user) = user {
            // Under root this also leaves root's other groups behind.
            command.uid(user.uid).gid(user.gid);
        }
        let keeper = command
            .spawn()
            .context("failed to start the keeper of the test database")?;
        let mut cluster = Self { folder, keeper };
        let stdout = cluster.keeper.stdout.take();
        let mut stdout = BufReader::new(stdout.context("the keeper has no output")?);
        let mut text = String::new();
        stdout.read_line(&mut text)?;
        if text.trim() == "ready" {
            return Ok(cluster);
        }
        stdout.read_to_string(&mut text)?;
        bail!("the private PostgreSQL server did not start:\n{text}")
    }

    /// The address of the maintenance database, for a user that may create databases.
    pub(crate) fn url(&self) -> String {
        let socket = self.folder.to_string_lossy().replace('/', "%2F");
        format!("postgres://postgres@{socket}/postgres")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // The keeper cannot be helped from here; it removes what it can and ends.
        let _ = self.keeper.wait();
    }
}

fn find_programs() -> Option<PathBuf> {
    // Links in PATH lead to wrappers on some systems; the server's own folder comes first.
    let mut folders: Vec<PathBuf> = DISTRIBUTION_ROOTS
        .iter()
        .filter_map(|root| std::fs::read_dir(root).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    folders.sort();
    folders.reverse();
    folders.extend(machine::program("initdb").and_then(|initdb| {
        let real = initdb.canonicalize().ok()?;
        real.parent().map(Path::to_owned)
    }));
    let whole = |folder: &PathBuf| {
        ["initdb", "postgres"]
            .iter()
            .all(|name| folder.join(name).is_file())
    };
    folders.into_iter().find(whole)
}

/// Whom the server runs as: `None` stands for the user of this program.
fn unprivileged_user() -> Result<Option<User>> {
    if machine::current_user()?.uid != 0 {
        return Ok(None);
    }
    let user = machine::user("postgres").or_else(|| machine::user("nobody"));
    let user = user.context("root needs a user `postgres` or `nobody` to run PostgreSQL as")?;
    Ok(Some(user))
}

/// A short path, because the address of a Unix socket holds about a hundred bytes.
fn make_folder(user: Option<User>) -> Result<PathBuf> {
    let number = CLUSTERS.fetch_add(1, Ordering::SeqCst);
    let folder = std::env::temp_dir().join(format!("skep-pg-{}-{number}", std::process::id()));
    // Whoever reaches the socket is the superuser, so nobody else may.
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    if let Some(user) = user {
        std::os::unix::fs::chown(&folder, Some(user.uid), Some(user.gid))
            .with_context(|| format!("failed to hand over {}", folder.display()))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cannot_start_says_why() {
        let error = Cluster::start(Path::new("/nowhere"))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("/nowhere/initdb"), "{error}");
    }

    #[test]
    fn a_cluster_answers_and_leaves_nothing_behind() {
        // Where the programs are missing, `cargo xtask test` has already said so and stopped.
        let programs = server_programs().unwrap();
        let cluster = Cluster::start(&programs).unwrap();
        let folder = cluster.folder.clone();
        let mut psql = Command::new(programs.join("psql"));
        psql.args(["-tA", "-c", "SHOW fsync", &cluster.url()]);
        assert_eq!(process::output(&mut psql).unwrap(), "on\n");
        let pid = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
        let server = format!("/proc/{}", pid.lines().next().unwrap());
        assert!(Path::new(&server).exists());
        drop(cluster);
        assert!(!folder.exists(), "{} is still there", folder.display());
        assert!(!Path::new(&server).exists(), "{server} still runs");
    }
}
