//! Machines made of network namespaces: one for each, one that is the switch between them, and a
//! PostgreSQL server in one of its own. What listens on an address is reached over the switch and
//! from nowhere else; the addresses exist only in these namespaces, and none has a way out.
//!
//! A machine that is unplugged keeps its carrier, its routes and its neighbours: what it sends
//! is gone without a word, and so is what is sent to it. Everything goes with its owner; what a
//! killed owner left is swept by the next.

use anyhow::Context as _;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";
/// How every name begins; the number of the process that made it follows.
const PREFIX: &str = "skep-nodes";
/// The database's place on the switch.
const DATABASE: &str = "db";
/// The first three numbers of every address.
const NETWORK: &str = "10.249.83";
/// Where distributions keep the server's programs.
const SERVER_PROGRAMS: &str = "/usr/lib/postgresql";

/// Makes a cluster in `$1` with the programs in `$2`, listening on `$3`, and runs it until the
/// input ends.
const KEEPER: &str = r#"
trap 'rm -rf "$1"' EXIT
give_up() { cat "$1/log"; exit 1; }
{
    "$2/initdb" -A trust -U postgres -E UTF8 --locale=C --no-sync -D "$1/data" &&
    echo "host all all $3/24 trust" >>"$1/data/pg_hba.conf" &&
    cat >>"$1/data/postgresql.conf" <<END
listen_addresses = '$3'
unix_socket_directories = '$1'
log_lock_waits = on
END
} >"$1/log" 2>&1 || give_up "$1"
"$2/postgres" -D "$1/data" >>"$1/log" 2>&1 &
server=$!
until grep -qsx 'ready *' "$1/data/postmaster.pid"; do
    kill -0 "$server" 2>/dev/null || give_up "$1"
    sleep 0.02
done
echo ready
cat >/dev/null
kill -QUIT "$server"
wait "$server"
"#;

/// The sets of machines that this process has made.
static SETS: AtomicU32 = AtomicU32::new(0);

/// Machines on one switch, with a database server.
pub(super) struct Hosts {
    /// What the names of its namespaces begin with.
    prefix: String,
    names: Vec<String>,
    server: Option<Server>,
}

impl Hosts {
    /// Machines of these names; none where namespaces cannot be made.
    #[expect(clippy::print_stdout, reason = "a test that tests nothing says so")]
    pub(super) fn make(names: &[&str]) -> anyhow::Result<Option<Self>> {
        sweep();
        let set = SETS.fetch_add(1, Ordering::SeqCst);
        let mut hosts = Self {
            prefix: format!("{PREFIX}-{}-{set}", std::process::id()),
            names: Vec::new(),
            server: None,
        };
        if let Err(why) = ip(["netns", "add", &hosts.switch()]) {
            println!("nothing is tested, no network namespace can be made here: {why}");
            return Ok(None);
        }
        let switch = hosts.switch();
        ip(["-n", &switch, "link", "add", "switch", "type", "bridge"])?;
        ip(["-n", &switch, "link", "set", "switch", "up"])?;
        for name in [DATABASE].iter().chain(names) {
            hosts.plug_in(name)?;
        }
        hosts.introduce()?;
        hosts.server = Some(Server::start(&hosts)?);
        Ok(Some(hosts))
    }

    /// The database's address, for the machines.
    pub(super) fn database_url(&self) -> String {
        format!("postgres://postgres@{}/postgres", address(0))
    }

    /// The same for the test, which is on no machine.
    pub(super) fn database_address(&self) -> anyhow::Result<String> {
        let server = self.server.as_ref().context("the server is up")?;
        let folder = server.folder.path().display();
        Ok(format!("host={folder} user=postgres dbname=postgres"))
    }

    /// A command on a machine; the process is the program's own.
    pub(super) fn command(&self, name: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={NAMES}/{}", self.namespace(name)))
            .arg("--")
            .arg(program);
        command
    }

    /// Nothing that it sends arrives, and nothing that is sent to it; nobody is told.
    pub(super) fn cut(&self, name: &str) -> anyhow::Result<()> {
        ip(["-n", &self.switch(), "link", "set", name, "nomaster"])
    }

    /// What is sent arrives again.
    pub(super) fn join(&self, name: &str) -> anyhow::Result<()> {
        ip([
            "-n",
            &self.switch(),
            "link",
            "set",
            name,
            "master",
            "switch",
        ])
    }

    fn switch(&self) -> String {
        self.namespace("switch")
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// A namespace with an address, and a cable to the switch.
    fn plug_in(&mut self, name: &str) -> anyhow::Result<()> {
        let (switch, host) = (self.switch(), self.namespace(name));
        let number = self.names.len();
        ip(["netns", "add", &host])?;
        self.names.push(name.to_owned());
        ip([
            "-n", &switch, "link", "add", name, "type", "veth", "peer", "name", "net", "netns",
            &host,
        ])?;
        ip(["-n", &switch, "link", "set", name, "master", "switch", "up"])?;
        let hardware = hardware(number);
        ip(["-n", &host, "link", "set", "net", "address", &hardware])?;
        let address = format!("{}/24", address(number));
        ip(["-n", &host, "address", "add", &address, "dev", "net"])?;
        ip(["-n", &host, "link", "set", "lo", "up"])?;
        ip(["-n", &host, "link", "set", "net", "up"])
    }

    /// Each knows where the others are for good: as behind a router, nobody says that they are gone.
    fn introduce(&self) -> anyhow::Result<()> {
        for (number, name) in self.names.iter().enumerate() {
            let host = self.namespace(name);
            for other in (0..self.names.len()).filter(|other| *other != number) {
                let (address, hardware) = (address(other), hardware(other));
                ip([
                    "-n",
                    &host,
                    "neigh",
                    "replace",
                    &address,
                    "lladdr",
                    &hardware,
                    "dev",
                    "net",
                    "nud",
                    "permanent",
                ])?;
            }
        }
        Ok(())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        drop(self.server.take());
        let all = self.names.iter().map(|name| self.namespace(name));
        for namespace in all.chain([self.switch()]) {
            remove(&namespace);
        }
    }
}

/// The server, with its data in a folder of its own.
struct Server {
    folder: tempfile::TempDir,
    keeper: Child,
}

impl Server {
    fn start(hosts: &Hosts) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        // It refuses to run as root.
        let user = ["postgres", "nobody"].into_iter().find_map(user_id);
        let (user, group) = user.context("there is a user to run PostgreSQL as")?;
        std::os::unix::fs::chown(folder.path(), Some(user), Some(group))?;
        let mut command = hosts.command(DATABASE, "setpriv");
        command
            .arg(format!("--reuid={user}"))
            .arg(format!("--regid={group}"))
            .args(["--clear-groups", "sh", "-c", KEEPER, "keeper"])
            .arg(folder.path())
            .arg(server_programs()?)
            .arg(address(0))
            .current_dir("/")
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let keeper = command.spawn().context("failed to start the keeper")?;
        let mut server = Self { folder, keeper };
        let output = server.keeper.stdout.take().context("it has an output")?;
        let (mut output, mut text) = (BufReader::new(output), String::new());
        output.read_line(&mut text)?;
        if text.trim() != "ready" {
            output.read_to_string(&mut text)?;
            anyhow::bail!("the database server did not start:\n{text}");
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn address(number: usize) -> String {
    format!("{NETWORK}.{}", number + 1)
}

fn hardware(number: usize) -> String {
    format!("02:00:00:00:53:{:02x}", number + 1)
}

fn ip<const N: usize>(arguments: [&str; N]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.context("failed to start ip")?;
    let why = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "ip {}: {why}", arguments.join(" "));
    Ok(())
}

/// A user's number and that of its group.
fn user_id(name: &str) -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let mut number = || fields.next()?.parse().ok();
    Some((number()?, number()?))
}

fn server_programs() -> anyhow::Result<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(SERVER_PROGRAMS)
        .with_context(|| format!("there is no PostgreSQL server in {SERVER_PROGRAMS}"))?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| is_program(&folder.join("initdb")))
        .collect();
    folders.sort();
    folders.pop().context("there is no initdb")
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o100 != 0)
}

/// Takes away what a process made that is no more.
fn sweep() {
    let Ok(names) = std::fs::read_dir(NAMES) else {
        return;
    };
    for entry in names.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').nth(1)?.parse::<u32>().ok());
        if maker.is_some_and(|maker| !Path::new(&format!("/proc/{maker}")).exists()) {
            remove(&name);
        }
    }
}

/// Ends what still runs in a namespace of ours, and takes it away. Two may sweep at once.
fn remove(namespace: &str) {
    let found = Command::new("ip")
        .args(["netns", "pids", namespace])
        .output();
    let found = found.map(|output| output.stdout).unwrap_or_default();
    for pid in String::from_utf8_lossy(&found).split_whitespace() {
        let _ = Command::new("kill").args(["-9", pid]).output();
    }
    let _ = ip(["netns", "delete", namespace]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_hears_nothing_and_comes_back() -> anyhow::Result<()> {
        let Some(hosts) = Hosts::make(&["oak", "elm"])? else {
            return Ok(());
        };
        let reaches = |from: &str| -> anyhow::Result<bool> {
            let mut ping = hosts.command(from, "bash");
            let target = format!("exec 3<>/dev/tcp/{}/5432", address(0));
            let seconds = ["-c", "timeout 2 bash -c \"$0\"", &target];
            Ok(ping.args(seconds).output()?.status.success())
        };
        assert!(reaches("oak")? && reaches("elm")?);
        hosts.cut("oak")?;
        assert!(!reaches("oak")? && reaches("elm")?);
        hosts.join("oak")?;
        assert!(reaches("oak")?);
        let (prefix, folder) = (hosts.prefix.clone(), hosts.database_address()?);
        drop(hosts);
        let mut left = std::fs::read_dir(NAMES)?.flatten();
        assert!(
            !left.any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)),
            "a namespace of {prefix} is left"
        );
        let folder = folder.trim_start_matches("host=").split(' ').next();
        assert!(!folder.is_some_and(|folder| Path::new(folder).exists()));
        Ok(())
    }

    #[test]
    fn what_a_killed_owner_left_is_swept() -> anyhow::Result<()> {
        // No process has this number: it is beyond the largest that Linux gives.
        let stale = format!("{PREFIX}-4194305-0-oak");
        if ip(["netns", "add", &stale]).is_err() {
            return Ok(());
        }
        sweep();
        assert!(!Path::new(NAMES).join(stale).exists());
        Ok(())
    }
}
