//! A private PostgreSQL server for one test that has to stop it, or take all of its connections.
//!
//! The other tests share the cluster of `SKEP_TEST_POSTGRES`, which nobody stops. This one lies in a
//! temporary folder, listens on a Unix socket there, and on an address of a network namespace where
//! it is given one, and keeps fsync on. A keeper process is the server's parent and does what the
//! test says through a pipe; when the pipe closes, however the test ends, the keeper stops the server
//! and removes the folder.

use anyhow::Context as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio_postgres::error::SqlState;

/// Where distributions keep the server's programs, which they leave out of PATH.
const DISTRIBUTION_ROOTS: &[&str] = &["/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt"];

/// The servers that this process has made.
static SERVERS: AtomicU32 = AtomicU32::new(0);

/// The keeper: makes the cluster, starts the server, and then obeys `stop` (at once, as after a
/// power cut of the server alone) and `start`, answering each with `ready`. At the end of its input
/// it stops the server. Where the server does not start it gives back the log. `$1` is the folder,
/// `$2` the folder of the server's programs, `$3` the settings, `$4` who else may connect.
const KEEPER: &str = r#"
trap 'rm -rf "$1"' EXIT
give_up() { cat "$1/server.log"; exit 1; }
start() {
    "$2/postgres" -D "$1/data" >>"$1/server.log" 2>&1 &
    server=$!
    until grep -qsx 'ready *' "$1/data/postmaster.pid"; do
        kill -0 "$server" 2>/dev/null || give_up "$1"
        sleep 0.02
    done
}
stop() { kill -QUIT "$server"; wait "$server"; }
{
    "$2/initdb" -A trust -U postgres -E UTF8 --locale=C --no-sync -D "$1/data" &&
    printf '%s' "$3" >>"$1/data/postgresql.conf" &&
    printf '%s' "$4" >>"$1/data/pg_hba.conf"
} >"$1/server.log" 2>&1 || give_up "$1"
start "$@"
echo ready
while read -r word; do
    case $word in
        stop) stop ;;
        start) start "$@" ;;
    esac
    echo ready
done
stop
"#;

/// A running server; dropping it removes it.
pub struct PrivateServer {
    folder: PathBuf,
    keeper: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// A network that is a namespace's own, as a test made it.
#[derive(Debug, Clone, Copy)]
pub struct PrivateNetwork<'a> {
    /// Where the namespace has its name.
    pub namespace: &'a Path,
    /// The server's address there; whoever is in the same 24 bits may connect.
    pub address: &'a str,
}

impl PrivateServer {
    /// Makes and starts a server that takes `connections_max` connections.
    ///
    /// # Errors
    /// The server's programs are not on this machine, or it does not start; the message says why.
    pub fn start(connections_max: u32) -> anyhow::Result<Self> {
        Self::run(connections_max, None)
    }

    /// The same, in a network of its own. Only root can.
    ///
    /// # Errors
    /// As for [`PrivateServer::start`].
    pub fn start_in(network: PrivateNetwork<'_>, connections_max: u32) -> anyhow::Result<Self> {
        Self::run(connections_max, Some(network))
    }

    fn run(connections_max: u32, network: Option<PrivateNetwork<'_>>) -> anyhow::Result<Self> {
        let programs = find_programs().context(
            "no PostgreSQL server programs on this machine: run the tests with `cargo xtask test`",
        )?;
        let user = unprivileged_user()?;
        let folder = make_folder(user)?;
        let listens = network.map_or("", |network| network.address);
        let settings = format!(
            "listen_addresses = '{listens}'\nfsync = on\nmax_connections = {connections_max}\n\
             unix_socket_directories = '{}'\n",
            folder.display()
        );
        let others = network.map(|network| format!("host all all {}/24 trust\n", network.address));
        let mut command = shell_as(user, network);
        command
            .args(["-c", KEEPER, "keeper"])
            .args([folder.as_os_str(), programs.as_os_str()])
            .args([settings, others.unwrap_or_default()])
            .current_dir("/")
            .env("HOME", &folder)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let mut keeper = command.spawn().context("failed to start the keeper")?;
        let output = keeper.stdout.take().context("the keeper has no output")?;
        let mut server = Self {
            folder,
            input: keeper.stdin.take(),
            keeper,
            output: BufReader::new(output),
        };
        server.heard()?;
        Ok(server)
    }

    /// Where its maintenance database is, as a list of settings.
    pub fn address(&self) -> String {
        let folder = self.folder.display();
        format!("host={folder} user=postgres dbname=postgres")
    }

    /// Stops it as a crash would: nobody is waited for, and the next start recovers from the log.
    pub fn stop_at_once(&mut self) -> anyhow::Result<()> {
        self.tell("stop\n")
    }

    /// Starts it again; it takes connections when this returns.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.tell("start\n")
    }

    fn tell(&mut self, word: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("the keeper has no input")?;
        input.write_all(word.as_bytes())?;
        self.heard()
    }

    fn heard(&mut self) -> anyhow::Result<()> {
        let mut text = String::new();
        self.output.read_line(&mut text)?;
        if text.trim() == "ready" {
            return Ok(());
        }
        self.output.read_to_string(&mut text)?;
        anyhow::bail!("the private PostgreSQL server does not run:\n{text}")
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        drop(self.input.take());
        // The keeper cannot be helped from here; it removes what it can and ends.
        let _ = self.keeper.wait();
    }
}

/// A connection of somebody who is not Skep: an administrator, a reader, a forgotten transaction.
pub struct ServerSession {
    client: tokio_postgres::Client,
}

impl ServerSession {
    /// Connects. Inside a runtime.
    pub async fn open(address: &str) -> Result<Self, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(address, tokio_postgres::NoTls).await?;
        // It ends with the client, or with the server; whoever uses the client learns of that.
        drop(skep_stdx::spawn("server-session", async {
            drop(connection.await);
        }));
        Ok(Self { client })
    }

    /// Takes connections until the server gives no more.
    pub async fn open_all(address: &str) -> Result<Vec<Self>, tokio_postgres::Error> {
        let mut all = Vec::new();
        loop {
            match Self::open(address).await {
                Ok(session) => all.push(session),
                Err(error) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => {
                    return Ok(all);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs statements without parameters.
    pub async fn run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(sql).await
    }

    /// The one number that a statement answers.
    pub async fn number(&self, sql: &str) -> Result<i64, tokio_postgres::Error> {
        self.client.query_one(sql, &[]).await?.try_get(0)
    }
}

fn find_programs() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = DISTRIBUTION_ROOTS
        .iter()
        .filter_map(|root| std::fs::read_dir(root).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    folders.sort();
    folders.reverse();
    // Links in PATH lead to wrappers on some systems; the real file lies beside the others.
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path).filter_map(|folder| {
        let real = folder.join("initdb").canonicalize().ok()?;
        real.parent().map(Path::to_owned)
    }));
    let whole = |folder: &PathBuf| {
        ["initdb", "postgres"]
            .iter()
            .all(|name| folder.join(name).is_file())
    };
    folders.into_iter().find(whole)
}

/// Whom the server runs as, by user and group; `None` stands for the user of this program. A server
/// refuses to run as root.
fn unprivileged_user() -> anyhow::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let id = |flag: &str, name: &str| -> Option<u32> {
        let said = Command::new("id").args([flag, name]).output().ok()?;
        String::from_utf8(said.stdout).ok()?.trim().parse().ok()
    };
    let user = |name: &str| Some((id("-u", name)?, id("-g", name)?));
    let found = user("postgres").or_else(|| user("nobody"));
    let found = found.context("root needs a user `postgres` or `nobody` to run PostgreSQL as")?;
    Ok(Some(found))
}

/// A shell that runs as `user`, in the network if there is one: entering it is root's.
fn shell_as(user: Option<(u32, u32)>, network: Option<PrivateNetwork<'_>>) -> Command {
    let Some(network) = network else {
        let mut command = Command::new("sh");
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        return command;
    };
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", network.namespace.display()));
    command.arg("--");
    if let Some((uid, gid)) = user {
        let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={gid}"));
        command.args(["setpriv", &uid, &gid, "--clear-groups"]);
    }
    command.arg("sh");
    command
}

/// A short path, because the address of a Unix socket holds about a hundred bytes.
fn make_folder(user: Option<(u32, u32)>) -> anyhow::Result<PathBuf> {
    let number = SERVERS.fetch_add(1, Ordering::SeqCst);
    let name = format!("skep-server-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    // Whoever reaches the socket is the superuser, so nobody else may.
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(&folder, Some(uid), Some(gid))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::{PrivateServer, ServerSession};

    #[test]
    fn a_server_stops_starts_again_and_leaves_nothing_behind() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut server = PrivateServer::start(10).unwrap();
            let session = ServerSession::open(&server.address()).await.unwrap();
            session
                .run("CREATE TABLE kept (n BIGINT); INSERT INTO kept VALUES (7)")
                .await
                .unwrap();
            let all = ServerSession::open_all(&server.address()).await.unwrap();
            assert_eq!(all.len(), 9);
            drop(all);
            server.stop_at_once().unwrap();
            session.number("SELECT n FROM kept").await.unwrap_err();
            assert!(ServerSession::open(&server.address()).await.is_err());
            server.start_again().unwrap();
            let session = ServerSession::open(&server.address()).await.unwrap();
            assert_eq!(session.number("SELECT n FROM kept").await.unwrap(), 7);
            let folder = server.folder.clone();
            drop(server);
            assert!(!folder.exists(), "{} is still there", folder.display());
        });
    }
}
