//! What the edge answers when it does not do what was asked.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use skep_api::client::status_of_exit;
use skep_api::{ErrorBody, ErrorDocument};
use skep_director::DirectorError;
use std::net::SocketAddr;

/// The hint of an error that came without one.
const HINT: &str = "`skep doctor` checks the whole installation";

/// A server that could not be started. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is reachable from other machines.
    #[error("listen on {address}: it is reachable from other machines")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The address is taken.
    #[error("listen on {address}: another program listens there")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be had.
    #[error("listen on {address}")]
    Listen {
        /// The address or the socket's path.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The token file is unusable.
    #[error("use the token file {path}: {reason}")]
    Token {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

impl ServeError {
    /// The error as every surface shows it.
    pub fn body(&self) -> ErrorBody {
        let (code, hint, exit) = match self {
            Self::NotLoopback { .. } => (
                "listen_not_loopback",
                "listen on 127.0.0.1 and reach it from elsewhere through an SSH tunnel: `ssh -L 7575:127.0.0.1:7575 HOST`",
                3,
            ),
            Self::AddressInUse { .. } => (
                "address_in_use",
                "choose another port with `--listen 127.0.0.1:PORT`; port 0 takes a free one",
                2,
            ),
            Self::Listen { .. } => (
                "listen_failed",
                "choose another address with `--listen`, or a shorter `--home` for the socket in it",
                2,
            ),
            Self::Token { .. } => (
                "token_file_unusable",
                "remove the file: the next start makes a new token",
                2,
            ),
        };
        let cause = match self {
            Self::Listen { source, .. } => format!(": {source}"),
            Self::NotLoopback { .. } | Self::AddressInUse { .. } | Self::Token { .. } => {
                String::new()
            }
        };
        ErrorBody {
            code: code.to_owned(),
            message: format!("failed to {self}{cause}"),
            hint: Some(hint.to_owned()),
            exit,
        }
    }
}

/// A request that was refused, on its way to becoming an answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: ErrorBody,
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: &'static str,
    ) -> Self {
        let body = ErrorBody {
            code: code.to_owned(),
            message: message.into(),
            hint: Some(hint.to_owned()),
            exit: 1,
        };
        Self { status, body }
    }

    /// A request that is not formed as the description says.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "request_malformed",
            message,
            "GET /api/v1/openapi.json describes every request",
        )
    }
}

impl From<DirectorError> for Refusal {
    fn from(error: DirectorError) -> Self {
        let mut body = error.body();
        body.hint = body.hint.filter(|hint| !hint.is_empty());
        body.hint.get_or_insert_with(|| HINT.to_owned());
        Self {
            status: status_of_exit(body.exit),
            body,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut answer =
            (self.status, axum::Json(ErrorDocument { error: self.body })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"skep\"");
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        answer
    }
}
