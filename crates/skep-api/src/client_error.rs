//! What a call of the client can end in besides an answer.

use crate::document::ErrorBody;

/// A call that brought no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens there.
    #[error("reach the server at {endpoint}")]
    Unreachable {
        /// The socket or the address.
        endpoint: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("talk to the server at {endpoint}")]
    Broken {
        /// The socket or the address.
        endpoint: String,
        /// What broke.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server took longer than the limit.
    #[error("wait for the server at {endpoint}: no answer within {seconds} seconds")]
    Timeout {
        /// The socket or the address.
        endpoint: String,
        /// The limit.
        seconds: u64,
    },
    /// The answer is not what this version expects.
    #[error("read the answer of the server at {endpoint}: {reason}")]
    Malformed {
        /// The socket or the address.
        endpoint: String,
        /// What was found.
        reason: String,
    },
    /// The server understood and refused.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
}

impl ClientError {
    /// The error as every surface shows it.
    pub fn body(&self) -> ErrorBody {
        let (code, message, hint) = match self {
            Self::Refused(body) => return body.clone(),
            Self::Unreachable { endpoint, source } => (
                "server_unreachable",
                format!("no server answers at {endpoint}: {source}"),
                "start one with `skep up`",
            ),
            Self::Broken { endpoint, source } => (
                "server_connection_broken",
                format!("the connection to the server at {endpoint} broke: {source}"),
                "the server may have stopped: see its own output, then try again",
            ),
            Self::Timeout { endpoint, seconds } => (
                "server_timeout",
                format!("the server at {endpoint} gave no answer within {seconds} seconds"),
                "`skep doctor` says whether the store answers",
            ),
            Self::Malformed { endpoint, reason } => (
                "server_answer_malformed",
                format!("the server at {endpoint} gave an answer that cannot be read: {reason}"),
                "client and server may be of different versions: restart the server with this one",
            ),
        };
        let (code, hint) = (code.to_owned(), Some(hint.to_owned()));
        ErrorBody {
            code,
            message,
            hint,
            exit: 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_code_and_a_hint() {
        let endpoint = || "here".to_owned();
        let errors = [
            ClientError::Unreachable {
                endpoint: endpoint(),
                source: std::io::Error::other("x"),
            },
            ClientError::Broken {
                endpoint: endpoint(),
                source: "x".into(),
            },
            ClientError::Timeout {
                endpoint: endpoint(),
                seconds: 5,
            },
            ClientError::Malformed {
                endpoint: endpoint(),
                reason: "x".to_owned(),
            },
        ];
        for error in errors {
            let body = error.body();
            assert!(
                body.code.starts_with("server_") && body.hint.is_some(),
                "{body:?}"
            );
            assert_eq!(body.exit, 5);
        }
    }
}
