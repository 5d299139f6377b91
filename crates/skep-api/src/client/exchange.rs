//! One exchange with a server: a connection, a request, an answer.
//!
//! Owns no state: a connection lives as long as its exchange. Every wait and every body has a limit,
//! and whatever is no answer becomes a [`ClientError`] that names the server.

use super::Client;
use super::status::exit_of_status;
use crate::client_error::ClientError;
use crate::document::ErrorDocument;
use crate::limits;
use crate::route::Verb;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skep_stdx::Secret;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Where a server is, and what opens it.
#[derive(Debug, Clone)]
pub(super) enum Endpoint {
    /// The socket in a home.
    Socket(PathBuf),
    /// Host and port, and the token that goes with each request.
    Address { authority: String, token: Secret },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Address { authority, .. } => write!(f, "http://{authority}"),
        }
    }
}

impl Client {
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let answer = self
            .send(Verb::Get, path, Bytes::new(), "application/json")
            .await?;
        self.read(answer).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let body = match body {
            Some(document) => serde_json::to_vec(document)
                .map_err(|error| self.malformed(error))?
                .into(),
            None => Bytes::new(),
        };
        let answer = self
            .send(Verb::Post, path, body, "application/json")
            .await?;
        self.read(answer).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        answer: Response<Incoming>,
    ) -> Result<T, ClientError> {
        if !answer.status().is_success() {
            return Err(self.refusal(answer).await);
        }
        let bytes = self.collect(answer).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.malformed(error))
    }

    /// What the server said instead of an answer.
    pub(super) async fn refusal(&self, answer: Response<Incoming>) -> ClientError {
        let status = answer.status();
        let bytes = match self.collect(answer).await {
            Ok(bytes) => bytes,
            Err(error) => return error,
        };
        match serde_json::from_slice::<ErrorDocument>(&bytes) {
            Ok(ErrorDocument { mut error }) => {
                error.exit = exit_of_status(status, error.exit);
                ClientError::Refused(error)
            }
            Err(_) => self.malformed(format!(
                "status {status}, {}",
                String::from_utf8_lossy(&bytes)
                    .chars()
                    .take(limits::FOREIGN_ANSWER_CHARS_MAX)
                    .collect::<String>()
            )),
        }
    }

    async fn collect(&self, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = Limited::new(answer.into_body(), limits::ANSWER_BYTES_MAX).collect();
        match within(limits::ANSWER_MS, body).await {
            Some(Ok(collected)) => Ok(collected.to_bytes()),
            Some(Err(source)) => Err(self.broken(source)),
            None => Err(self.timeout(limits::ANSWER_MS)),
        }
    }

    pub(super) async fn send(
        &self,
        verb: Verb,
        path: &str,
        body: Bytes,
        accept: &str,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder()
            .method(verb.as_str())
            .uri(path)
            .header(header::ACCEPT, accept);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request = match &self.0 {
            Endpoint::Socket(_) => request.header(header::HOST, "localhost"),
            Endpoint::Address { authority, token } => request
                .header(header::HOST, authority)
                .header(header::AUTHORIZATION, format!("Bearer {}", token.reveal())),
        };
        let request = request
            .body(Full::new(body))
            .map_err(|error| self.malformed(error))?;
        let unreachable = |source| ClientError::Unreachable {
            endpoint: self.0.to_string(),
            source,
        };
        let exchange = match &self.0 {
            Endpoint::Socket(path) => {
                match within(limits::CONNECT_MS, UnixStream::connect(path)).await {
                    Some(stream) => self.exchange(stream.map_err(unreachable)?, request).await,
                    None => return Err(self.timeout(limits::CONNECT_MS)),
                }
            }
            Endpoint::Address { authority, .. } => {
                match within(limits::CONNECT_MS, TcpStream::connect(authority)).await {
                    Some(stream) => self.exchange(stream.map_err(unreachable)?, request).await,
                    None => return Err(self.timeout(limits::CONNECT_MS)),
                }
            }
        };
        exchange?.map_err(|source| self.broken(source))
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<hyper::Result<Response<Incoming>>, ClientError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| self.broken(source))?;
        // The connection ends by itself, with an error that the answer already carries.
        skep_stdx::spawn("api-client-connection", connection);
        within(limits::ANSWER_MS, sender.send_request(request))
            .await
            .ok_or_else(|| self.timeout(limits::ANSWER_MS))
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken {
            endpoint: self.0.to_string(),
            source: source.into(),
        }
    }

    fn malformed(&self, reason: impl fmt::Display) -> ClientError {
        ClientError::Malformed {
            endpoint: self.0.to_string(),
            reason: reason.to_string(),
        }
    }

    fn timeout(&self, limit_ms: u64) -> ClientError {
        ClientError::Timeout {
            endpoint: self.0.to_string(),
            seconds: limit_ms / 1_000,
        }
    }
}

/// What the future gives, or nothing once the limit has passed.
pub(crate) async fn within<F: Future>(limit_ms: u64, future: F) -> Option<F::Output> {
    tokio::time::timeout(Duration::from_millis(limit_ms), future)
        .await
        .ok()
}
