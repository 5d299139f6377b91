//! Connections: accepted up to a limit, read under a deadline, ended together.
//!
//! Invariant: a connection lives in its door's set, so nothing outlives the door's task, whether
//! it was stopped or aborted.

use crate::ServeError;
use crate::limits;
use crate::metrics::Metrics;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Listens on a loopback address.
///
/// # Errors
/// [`ServeError::NotLoopback`] for any other address, and what the system says.
pub async fn listen_on_loopback(address: SocketAddr) -> Result<TcpListener, ServeError> {
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback { address });
    }
    TcpListener::bind(address).await.map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            ServeError::AddressInUse { address }
        } else {
            ServeError::Listen {
                address: address.to_string(),
                source,
            }
        }
    })
}

/// Listens on the socket of a home whose lock the caller holds; a socket that is already there
/// was left by a holder that died.
///
/// # Errors
/// [`ServeError::Listen`] with what the system says.
pub fn listen_on_socket(path: &Path) -> Result<UnixListener, ServeError> {
    let listen = || {
        match std::fs::symlink_metadata(path) {
            Ok(left) if left.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::other("something that is not a socket is there")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        // The folder is closed to others; this closes the socket too, should the folder be opened.
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    listen().map_err(|source| ServeError::Listen {
        address: path.display().to_string(),
        source,
    })
}

/// Serves `router` to everybody who connects, until `stop`.
pub(crate) async fn serve_network(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) {
    let mut door = Door::new(router, connections_max, metrics);
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            () = door.reap() => continue,
            accepted = listener.accept(), if door.has_room() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Small answers at once; a stream's events must not wait for each other.
                let _ = stream.set_nodelay(true);
                door.take(stream);
            }
            Err(error) => pause_after(&error).await,
        }
    }
    door.close().await;
}

/// Serves `router` to the user that this process runs as, until `stop`.
pub(crate) async fn serve_socket(
    listener: UnixListener,
    router: Router,
    connections_max: usize,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) {
    let owner = rustix::process::geteuid().as_raw();
    let mut door = Door::new(router, connections_max, metrics);
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            () = door.reap() => continue,
            accepted = listener.accept(), if door.has_room() => accepted,
        };
        match accepted {
            Ok((stream, _)) if is_peer(&stream, owner) => door.take(stream),
            Ok(_) => tracing::warn!("closed a connection of another user to the home's socket"),
            Err(error) => pause_after(&error).await,
        }
    }
    door.close().await;
}

/// Ends when the server stops, or was dropped.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that the server is gone, which is the same to a door.
    let _ = stop.wait_for(|stopped| *stopped).await;
}

fn is_peer(stream: &UnixStream, owner: u32) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == owner)
}

async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(limits::ACCEPT_RETRY_MS)).await;
}

/// One listener's connections.
struct Door {
    router: Router,
    connections_max: usize,
    metrics: Arc<Metrics>,
    open: JoinSet<()>,
    drain: GracefulShutdown,
    http: http1::Builder,
}

impl Door {
    fn new(router: Router, connections_max: usize, metrics: Arc<Metrics>) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(limits::HEAD_MS))
            .max_buf_size(limits::HEAD_BYTES_MAX)
            .max_headers(limits::HEADERS_MAX);
        Self {
            router,
            connections_max,
            metrics,
            open: JoinSet::new(),
            drain: GracefulShutdown::new(),
            http,
        }
    }

    fn has_room(&self) -> bool {
        self.open.len() < self.connections_max
    }

    /// Ends when a connection has ended; never while there is none.
    async fn reap(&mut self) {
        match self.open.join_next().await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::error!(%error, "a connection ended by a panic"),
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        let connection = self.drain.watch(connection);
        let counted = self.metrics.connection();
        self.open.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
            drop(counted);
        });
    }

    async fn close(self) {
        let Self {
            mut open, drain, ..
        } = self;
        let drained =
            tokio::time::timeout(Duration::from_millis(limits::DRAIN_MS), drain.shutdown());
        if drained.await.is_err() {
            tracing::warn!(open = open.len(), "closing connections that did not end");
        }
        open.shutdown().await;
    }
}
