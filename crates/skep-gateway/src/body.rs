//! The body of an answer to a client: whole, or relayed part by part.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Why a relayed answer breaks off. The client sees a cut connection, never a regular end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// The provider's answer broke off, fell silent or took too long.
    #[error("relay the answer: the provider's part of it broke off")]
    Upstream,
    /// What the call cost could not be written down.
    #[error("relay the answer: its cost could not be recorded")]
    NotSettled,
}

/// The body of an answer.
#[derive(Debug)]
pub struct ReplyBody(Source);

#[derive(Debug)]
enum Source {
    Whole(Option<Bytes>),
    Relayed(mpsc::Receiver<Result<Bytes, RelayError>>),
}

impl ReplyBody {
    /// A body that is complete already.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Source::Whole(
            Some(bytes.into()).filter(|b: &Bytes| !b.is_empty()),
        ))
    }

    /// A body whose parts come through `parts`; it ends when the sender is dropped.
    pub(crate) const fn relayed(parts: mpsc::Receiver<Result<Bytes, RelayError>>) -> Self {
        Self(Source::Relayed(parts))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        let next = match &mut self.get_mut().0 {
            Source::Whole(bytes) => bytes.take().map(Ok),
            Source::Relayed(parts) => match parts.poll_recv(cx) {
                Poll::Ready(next) => next,
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(next.map(|part| part.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Source::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Source::Relayed(_) => SizeHint::default(),
        }
    }
}
