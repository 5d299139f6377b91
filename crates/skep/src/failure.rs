//! A command that did not do what was asked: a stable code, one sentence, and what to do next.
//!
//! Invariant: every failure has a code and a hint, whichever part of the program it comes from.

use skep_api::{ClientError, ErrorBody};
use skep_db::SchemaError;
use skep_director::DirectorError;
use skep_http::ServeError;
use std::io;

/// The hint of a failure that came without one.
const HINT: &str = "`skep doctor` checks the whole installation";

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be shown to the user.
    Shown(ErrorBody),
    /// The reader of the standard output has gone; there is nobody to tell.
    OutputClosed,
}

/// What a command that ran to its end leaves with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, and the work succeeded.
    Done,
    /// The command ran and the work did not succeed.
    Unsuccessful,
    /// Ended by a signal of this number after an orderly stop.
    Signal(u8),
}

impl Exit {
    /// The process's exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unsuccessful => 1,
            // As shells report a process that a signal ended.
            Self::Signal(number) => 128 + number,
        }
    }
}

impl Failure {
    fn of(
        exit: u8,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Shown(ErrorBody {
            code: code.to_owned(),
            message: message.into(),
            hint: Some(hint.into()),
            exit,
        })
    }

    /// The command ran and the work did not succeed.
    pub(crate) fn unsuccessful(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::of(1, code, message, hint)
    }

    /// The command or the configuration is wrong; nothing was changed.
    pub(crate) fn usage(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::of(2, code, message, hint)
    }

    /// There is no such thing.
    pub(crate) fn not_found(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::of(4, code, message, hint)
    }

    /// The server, or a part that is needed, cannot be reached.
    pub(crate) fn unreachable(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::of(5, code, message, hint)
    }

    /// The exit code that the failure stands for.
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Shown(body) => body.exit,
            Self::OutputClosed => 0,
        }
    }
}

impl From<ErrorBody> for Failure {
    fn from(mut body: ErrorBody) -> Self {
        body.hint = body.hint.filter(|hint| !hint.is_empty());
        body.hint.get_or_insert_with(|| HINT.to_owned());
        Self::Shown(body)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        error.body().into()
    }
}

impl From<DirectorError> for Failure {
    fn from(error: DirectorError) -> Self {
        error.body().into()
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        error.body().into()
    }
}

impl From<SchemaError> for Failure {
    fn from(error: SchemaError) -> Self {
        let message = failed_to(&error);
        Self::of(5, error.code(), message, error.hint())
    }
}

impl From<io::Error> for Failure {
    /// Only for the standard output: any other file has a name that its error must give.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::of(
            1,
            "output_failed",
            format!("the standard output cannot be written: {error}"),
            "check the disk that the output is redirected to",
        )
    }
}

/// An error and its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// The same as a sentence about what was being done.
pub(crate) fn failed_to(error: &dyn std::error::Error) -> String {
    format!("failed to {}", with_causes(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_without_a_hint_gets_one() {
        let body = ErrorBody {
            code: "x".to_owned(),
            message: "y".to_owned(),
            hint: Some(String::new()),
            exit: 3,
        };
        let failure = Failure::from(body);
        assert_eq!(failure.code(), 3);
        let shown = matches!(&failure, Failure::Shown(body) if body.hint.as_deref() == Some(HINT));
        assert!(shown, "{failure:?}");
    }
}
