//! Passing an answer on, part by part, while listening in on it.
//!
//! A stream goes through unbuffered, but for the parts up to the name of the model, which goes
//! into the head, and the part that ends the message, which waits for the account: a client that
//! has seen the end of its answer can rely on its cost being written down. An answer without
//! streaming is given once it is whole. Invariant: the bytes are the provider's, all of them, in
//! order; an answer that breaks off is cut for the client as well.

use crate::answer::Fault;
use crate::body::{RelayError, ReplyBody};
use crate::call::{Account, NotSettled, Seen};
use crate::client::Client;
use crate::limits::HEAD_HOLD_BYTES_MAX;
use crate::upstream::AnswerBody;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use skep_wire::limits::JSON_ANSWER_BYTES_MAX;
use skep_wire::{UsageReader, UsageReport};
use std::time::Duration;
use tokio::time::Instant;

/// Relays one answer to its end, and ends the call. If the end cannot be written down, the
/// client's answer is cut or withheld.
pub(crate) async fn relay(
    account: &Account<'_>,
    client: Client,
    head: (StatusCode, HeaderMap),
    mut body: AnswerBody,
    deadline: Instant,
) {
    let mut relay = Relay::new(account, client, head, deadline);
    let end = loop {
        // Also noticed when a part could not be given.
        if relay.client.has_left() && !relay.draining {
            relay.drain();
        }
        match relay.next(&mut body).await {
            Next::Part(part) => {
                if let Err(NotSettled) = relay.take(part).await {
                    break End::WHOLE;
                }
            }
            Next::HoldIsOver => relay.open().await,
            Next::ClientLeft => relay.client.leave(),
            Next::End(end) => break end,
        }
        if relay.client.has_left() && relay.ended.is_some() {
            break End::WHOLE;
        }
    };
    relay.close(end).await;
}

enum Next {
    Part(Bytes),
    HoldIsOver,
    ClientLeft,
    End(End),
}

/// How the provider's part ended.
#[derive(Debug, Clone, Copy)]
struct End {
    /// Why the usage is not known, if it is not.
    reason: &'static str,
    /// It did not end but break off.
    cut: bool,
}

impl End {
    const WHOLE: Self = Self {
        reason: "truncated",
        cut: false,
    };

    const fn cut(reason: &'static str) -> Self {
        Self { reason, cut: true }
    }
}

struct Relay<'a> {
    account: &'a Account<'a>,
    client: Client,
    status: StatusCode,
    /// The head and what is held with it, until they are given.
    head: Option<HeaderMap>,
    held: BytesMut,
    is_stream: bool,
    reader: UsageReader,
    /// Whether the end was written down, once that was tried.
    ended: Option<Result<(), NotSettled>>,
    hold_until: Instant,
    /// The client is gone and the deadline is that of the drain.
    draining: bool,
    deadline: Instant,
    idle: Duration,
    client_idle: Duration,
}

impl<'a> Relay<'a> {
    fn new(
        account: &'a Account<'a>,
        client: Client,
        (status, headers): (StatusCode, HeaderMap),
        deadline: Instant,
    ) -> Self {
        let timeouts = &account.gateway.timeouts;
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let now = Instant::now();
        Self {
            account,
            client,
            status,
            head: Some(headers),
            held: BytesMut::new(),
            is_stream: essence.eq_ignore_ascii_case("text/event-stream"),
            reader: UsageReader::for_content_type(&content_type),
            ended: None,
            hold_until: now + timeouts.head_hold,
            draining: false,
            deadline,
            idle: timeouts.idle,
            client_idle: timeouts.client_idle,
        }
    }

    async fn next(&mut self, body: &mut AnswerBody) -> Next {
        let holds = self.is_stream && self.head.is_some();
        let (here, left) = (!self.draining, self.draining);
        // From now, not from the last part: giving that one may have taken the client long.
        let silent_at = Instant::now() + self.idle;
        tokio::select! {
            frame = body.frame() => match frame {
                None => Next::End(End::WHOLE),
                Some(Err(_)) => Next::End(End::cut("broke_off")),
                // Trailers are no part of the message.
                Some(Ok(frame)) => Next::Part(frame.into_data().unwrap_or_default()),
            },
            () = tokio::time::sleep_until(self.deadline) => {
                Next::End(End::cut(if left { "client_gone" } else { "too_long" }))
            }
            () = tokio::time::sleep_until(silent_at) => Next::End(End::cut("silent")),
            () = tokio::time::sleep_until(self.hold_until), if holds => Next::HoldIsOver,
            () = self.client.hangs_up(), if here => Next::ClientLeft,
        }
    }

    /// The client is gone: the rest is read for a while, to learn what the call cost.
    fn drain(&mut self) {
        self.draining = true;
        self.head = None;
        self.held.clear();
        let drained = Instant::now() + self.account.gateway.timeouts.drain;
        self.deadline = self.deadline.min(drained);
    }

    async fn take(&mut self, part: Bytes) -> Result<(), NotSettled> {
        self.reader.feed(&part);
        let report = self.reader.report();
        if self.is_stream && self.ended.is_none() && report.complete {
            let seen = self.seen(report.clone());
            let outcome = self.account.outcome(&seen, End::WHOLE.reason);
            let ended = self.account.end(seen, outcome).await;
            self.ended = Some(ended);
            ended?;
        }
        if self.client.has_left() {
            return Ok(());
        }
        if self.head.is_none() {
            self.client.give(part, self.client_idle).await;
            return Ok(());
        }
        self.held.extend_from_slice(&part);
        if self.is_held_enough() {
            self.open().await;
        }
        Ok(())
    }

    fn is_held_enough(&self) -> bool {
        let report = self.reader.report();
        if self.is_stream {
            report.model_actual.is_some()
                || report.error.is_some()
                || report.problem.is_some()
                || self.held.len() > HEAD_HOLD_BYTES_MAX
        } else {
            self.held.len() > JSON_ANSWER_BYTES_MAX
        }
    }

    /// Gives the head and what was held with it; from here on parts go through as they come.
    async fn open(&mut self) {
        let model = Account::model_header(self.reader.report());
        self.give_head(model).await;
    }

    async fn give_head(&mut self, model: Option<(HeaderName, HeaderValue)>) {
        if let Some(mut headers) = self.head.take() {
            headers.extend(model);
            self.client.begin(self.status, headers);
            let held = self.held.split().freeze();
            if !held.is_empty() {
                self.client.give(held, self.client_idle).await;
            }
        }
    }

    async fn close(mut self, end: End) {
        let report = std::mem::replace(&mut self.reader, UsageReader::json()).finish();
        let ended = match self.ended {
            Some(ended) => ended,
            None => {
                let seen = self.seen(report.clone());
                let outcome = self.account.outcome(&seen, end.reason);
                self.account.end(seen, outcome).await
            }
        };
        let nothing_given = self.head.is_some();
        if nothing_given && (!self.is_stream || (end.cut && self.held.is_empty())) {
            return self.answer_whole(&report, end, ended);
        }
        self.give_head(Account::model_header(&report)).await;
        match (ended, end.cut) {
            (Err(NotSettled), _) => {
                self.client
                    .cut(RelayError::NotSettled, self.client_idle)
                    .await;
            }
            (Ok(()), true) => {
                self.client
                    .cut(RelayError::Upstream, self.client_idle)
                    .await;
            }
            (Ok(()), false) => {}
        }
    }

    fn answer_whole(&mut self, report: &UsageReport, end: End, ended: Result<(), NotSettled>) {
        let Some(mut headers) = self.head.take() else {
            return;
        };
        if ended.is_err() {
            return self.client.answer(Fault::NotSettled.answer());
        }
        if end.cut {
            let provider = self.account.admitted.model.provider.clone();
            return self.client.answer(Fault::BrokeOff { provider }.answer());
        }
        headers.extend(Account::model_header(report));
        let mut answer = Response::new(ReplyBody::whole(self.held.split().freeze()));
        *answer.status_mut() = self.status;
        *answer.headers_mut() = headers;
        self.client.answer(answer);
    }

    const fn seen(&self, report: UsageReport) -> Seen {
        Seen {
            status: Some(self.status),
            report,
        }
    }
}
