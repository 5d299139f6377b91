//! One `skep up` on an empty home, from its start to its end.

use crate::machine;
use crate::stopwatch::{Stopwatch, pause};
use anyhow::{Context as _, Result, bail};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often a starting server is asked. Finer than what is measured.
const POLL: Duration = Duration::from_millis(2);
/// A server that is not ready by then will not be.
const READY_S_MAX: f64 = 30.0;
/// How long one question may take.
const ANSWER: Duration = Duration::from_millis(500);
/// What a server does after its start (opening pools, first sweeps) is over by then.
const SETTLE: Duration = Duration::from_secs(1);

static HOMES: AtomicU32 = AtomicU32::new(0);

/// A running server; dropping it stops it and removes its home.
pub(super) struct Server {
    /// From the start of the process to the first 200 of `/readyz`.
    pub(super) ready_ms: f64,
    child: Child,
    home: PathBuf,
}

impl Server {
    /// Starts `binary up` on a free port and waits until it is ready.
    pub(super) fn start(binary: &Path) -> Result<Self> {
        Self::start_with(binary, "")
    }

    /// The same with a configuration, the text of a `skep.toml`.
    pub(super) fn start_with(binary: &Path, configuration: &str) -> Result<Self> {
        let home = std::env::temp_dir().join(format!(
            "skep-bench-{}-{}",
            std::process::id(),
            HOMES.fetch_add(1, Ordering::SeqCst)
        ));
        std::fs::create_dir(&home).context("failed to make an empty home")?;
        std::fs::write(home.join("skep.toml"), configuration)
            .context("failed to write the configuration")?;
        let address = free_address()?;
        let watch = Stopwatch::start();
        let child = Command::new(binary)
            .arg("--home")
            .arg(&home)
            .args(["up", "--listen", &address.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {}", binary.display()))?;
        let mut server = Self {
            ready_ms: 0.0,
            child,
            home,
        };
        while !ready(address) {
            if let Some(status) = server.child.try_wait()? {
                bail!("`skep up` ended before it was ready ({status})");
            }
            if watch.seconds() > READY_S_MAX {
                bail!("`skep up` was not ready after {READY_S_MAX} s");
            }
            pause(POLL);
        }
        server.ready_ms = watch.seconds() * 1_000.0;
        Ok(server)
    }

    /// The server's process.
    pub(super) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Where it keeps its files.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Resident memory once the server has nothing to do, in KiB.
    pub(super) fn idle_kib(&self) -> Result<u64> {
        pause(SETTLE);
        machine::resident_kib(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, so that the ordinary way out is taken; the standard library only has SIGKILL.
        let asked = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// An address on loopback that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("failed to find a free port")?;
    Ok(listener.local_addr()?)
}

/// Whether the server says that it is ready.
fn ready(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut head = [0; 12];
    stream.set_read_timeout(Some(ANSWER)).is_ok()
        && stream.write_all(request.as_bytes()).is_ok()
        && stream.read_exact(&mut head).is_ok()
        && head == *b"HTTP/1.1 200"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that gives one answer to one question.
    fn answers(answer: &'static str) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let ready = ready(address);
        server.join().unwrap();
        ready
    }

    #[test]
    fn ready_is_a_200_and_nothing_else() {
        assert!(answers("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!answers("HTTP/1.1 503 Service Unavailable\r\n\r\n"));
        assert!(!answers("HTTP"));
        assert!(!ready(free_address().unwrap()));
    }

    #[test]
    fn a_program_that_ends_at_once_is_no_server() {
        let error = Server::start(Path::new("/bin/false")).err().unwrap();
        assert!(
            error.to_string().contains("ended before it was ready"),
            "{error}"
        );
    }
}
