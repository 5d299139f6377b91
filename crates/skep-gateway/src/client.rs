//! The client's side of one call: waiting for its answer, taking its parts, or gone.
//!
//! Owns the way back to the client. Invariant: once the client has left nothing more is sent, and
//! a body that breaks off is cut, never ended as if it were whole.

use crate::answer::name_call;
use crate::body::{RelayError, ReplyBody};
use crate::limits::RELAY_PARTS_MAX;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use skep_types::CallId;
use std::future::pending;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The way back to one client.
pub(crate) struct Client {
    state: State,
    call: CallId,
}

enum State {
    Waiting(oneshot::Sender<Response<ReplyBody>>),
    Taking(mpsc::Sender<Result<Bytes, RelayError>>),
    Left,
}

impl Client {
    /// A client that waits for the head of its answer.
    pub(crate) const fn waiting(
        sender: oneshot::Sender<Response<ReplyBody>>,
        call: CallId,
    ) -> Self {
        Self {
            state: State::Waiting(sender),
            call,
        }
    }

    /// Whether nobody is there any more, noticed by [`Self::leave`] or not.
    pub(crate) fn is_gone(&self) -> bool {
        match &self.state {
            State::Waiting(sender) => sender.is_closed(),
            State::Taking(sender) => sender.is_closed(),
            State::Left => true,
        }
    }

    /// Whether its leaving was noticed.
    pub(crate) const fn has_left(&self) -> bool {
        matches!(self.state, State::Left)
    }

    /// Returns when the client has hung up.
    pub(crate) async fn hangs_up(&mut self) {
        match &mut self.state {
            State::Waiting(sender) => sender.closed().await,
            State::Taking(sender) => sender.closed().await,
            State::Left => pending().await,
        }
    }

    /// Notes that the client is gone.
    pub(crate) fn leave(&mut self) {
        self.state = State::Left;
    }

    /// Gives a whole answer, if the client still waits for one.
    pub(crate) fn answer(&mut self, mut answer: Response<ReplyBody>) {
        name_call(answer.headers_mut(), &self.call);
        if let State::Waiting(sender) = std::mem::replace(&mut self.state, State::Left) {
            // Nobody may be left to take it.
            drop(sender.send(answer));
        }
    }

    /// Gives the head of an answer whose parts follow.
    pub(crate) fn begin(&mut self, status: StatusCode, headers: HeaderMap) {
        let State::Waiting(sender) = std::mem::replace(&mut self.state, State::Left) else {
            return;
        };
        let (parts, body) = mpsc::channel(RELAY_PARTS_MAX);
        let mut answer = Response::new(ReplyBody::relayed(body));
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        if sender.send(answer).is_ok() {
            self.state = State::Taking(parts);
        }
    }

    /// Gives the next part; a client that takes nothing for `idle` has left.
    pub(crate) async fn give(&mut self, part: Bytes, idle: Duration) {
        if let State::Taking(sender) = &self.state {
            let given = tokio::time::timeout(idle, sender.send(Ok(part))).await;
            if !matches!(given, Ok(Ok(()))) {
                self.leave();
            }
        }
    }

    /// Breaks the answer off.
    pub(crate) async fn cut(&mut self, error: RelayError, idle: Duration) {
        if let State::Taking(sender) = std::mem::replace(&mut self.state, State::Left) {
            // Whoever takes nothing sees the cut in that the channel is gone before its end.
            drop(tokio::time::timeout(idle, sender.send(Err(error))).await);
        }
    }
}
