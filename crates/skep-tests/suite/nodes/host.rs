//! Machines made of network namespaces: one for each, one that is the switch between them, and a
//! PostgreSQL server in one of its own. What listens on an address is reached over the switch and
//! from nowhere else; the addresses exist only in these namespaces, and none has a way out.
//!
//! A machine that is unplugged keeps its carrier, its routes and its neighbours: what it sends
//! is gone without a word, and so is what is sent to it. Everything goes with its owner; what a
//! killed owner left is swept by the next.

use anyhow::Context as _;
use skep_testkit::{PrivateNetwork, PrivateServer};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";
/// How every name begins; the number of the process that made it follows.
const PREFIX: &str = "skep-nodes";
/// The database's place on the switch.
const DATABASE: &str = "db";
/// The first three numbers of every address.
const NETWORK: &str = "10.249.83";
/// What the machines of one test have together.
const CONNECTIONS_MAX: u32 = 100;

/// The sets of machines that this process has made.
static SETS: AtomicU32 = AtomicU32::new(0);

/// Machines on one switch, with a database server.
pub(super) struct Hosts {
    /// What the names of its namespaces begin with.
    prefix: String,
    names: Vec<String>,
    server: Option<PrivateServer>,
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
        let network = PrivateNetwork {
            namespace: &Path::new(NAMES).join(hosts.namespace(DATABASE)),
            address: &address(0),
        };
        hosts.server = Some(PrivateServer::start_in(network, CONNECTIONS_MAX)?);
        Ok(Some(hosts))
    }

    /// The database's address, for the machines.
    pub(super) fn database_url(&self) -> String {
        format!("postgres://postgres@{}/postgres", address(0))
    }

    /// The same for the test, which is on no machine.
    pub(super) fn database_address(&self) -> anyhow::Result<String> {
        let server = self.server.as_ref().context("the server is up")?;
        Ok(server.address())
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
