//! One model call from admission to its end, as a task of its own.
//!
//! The task outlives its client: whoever hangs up does not stop the account from being kept.
//! Invariant: a call that was admitted is ended, or, where the store does not answer or the
//! process dies, its reservation stays until [`reconcile`](crate::reconcile) makes it unconfirmed.

use crate::admit::{Admitted, Asked, admit};
use crate::answer::{Fault, MODEL_ACTUAL, name_call, refused};
use crate::body::ReplyBody;
use crate::client::Client;
use crate::direct::Deferred;
use crate::gateway::Inner;
use crate::headers::to_client;
use crate::relay::relay;
use crate::settle::{Ending, Outcome, end};
use crate::timeouts::Timeouts;
use crate::upstream::{AnswerBody, Outgoing, SendError, Upstream};
use http::{HeaderValue, Response, StatusCode};
use skep_db::{DbError, Tx};
use skep_stdx::Backoff;
use skep_types::{CallId, TokenCounts};
use skep_wire::UsageReport;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// One call under way.
pub(crate) struct Call {
    pub(crate) gateway: Arc<Inner>,
    pub(crate) asked: Asked,
    pub(crate) outgoing: Outgoing,
}

/// What is known of a call's end before it is written down.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) status: Option<StatusCode>,
    pub(crate) report: UsageReport,
}

impl Call {
    /// Runs the call to its end; the answer goes through `client` as soon as its head is known.
    pub(crate) async fn run(self, client: oneshot::Sender<Response<ReplyBody>>) {
        let mut client = Client::waiting(client, self.asked.call.clone());
        let asked = self.asked.clone();
        let admission = self
            .gateway
            .db
            .write("admit_call", async move |tx: &mut Tx<'_>| {
                admit(tx, &asked).await
            })
            .await;
        let admitted = match admission {
            Ok(Ok(admitted)) => admitted,
            Ok(Err(refusal)) => {
                tracing::info!(call = %self.asked.call, code = refusal.code(), "call refused");
                return client.answer(refused(&refusal));
            }
            Err(error) => {
                tracing::error!(call = %self.asked.call, %error, "call not admitted");
                client.answer(Fault::StoreUnavailable.answer());
                return self.forget_admission(&error).await;
            }
        };
        skep_stdx::crash::point("gateway.admitted");
        self.carry_out(&admitted, client, None).await;
    }

    /// Runs an admitted call to its end. With `deferred` its end is left there, for whoever takes
    /// the answer to write down.
    pub(crate) async fn carry_out(
        &self,
        admitted: &Admitted,
        mut client: Client,
        deferred: Option<Arc<Deferred>>,
    ) {
        let account = Account {
            gateway: &self.gateway,
            call: &self.asked.call,
            admitted,
            deferred,
        };
        if client.is_gone() {
            let _ = account
                .end(Seen::default(), Outcome::Released("client_gone"))
                .await;
            return;
        }
        let deadline = Instant::now() + self.gateway.timeouts.call;
        if let Some(answer) = self.send(&account, &mut client, deadline).await {
            self.relay_answer(&account, client, answer, deadline).await;
        }
    }

    /// Whether the admission was committed is not known: if it was, nothing has been sent.
    async fn forget_admission(&self, error: &DbError) {
        if !matches!(error, DbError::CommitUnknown { .. }) {
            return;
        }
        let ending = Ending {
            call: self.asked.call.clone(),
            http_status: None,
            tokens: TokenCounts::default(),
            model_actual: None,
            substituted: false,
            outcome: Outcome::Released("not_sent"),
        };
        let _ = end_with_retries(&self.gateway, ending).await;
    }

    /// The head of the provider's answer; `None` if there is none and the client was told.
    async fn send(
        &self,
        account: &Account<'_>,
        client: &mut Client,
        deadline: Instant,
    ) -> Option<Response<AnswerBody>> {
        let provider = account.admitted.model.provider.clone();
        let timeouts = &self.gateway.timeouts;
        let (outcome, fault) = match self.gateway.upstreams.get(&provider) {
            None => (
                Outcome::Released("not_sent"),
                Fault::Unreachable { provider },
            ),
            Some(upstream) => {
                let sent = self.send_to(upstream, client, timeouts, deadline).await;
                match sent {
                    Ok(answer) if !answer.status().is_redirection() => return Some(answer),
                    Ok(answer) => {
                        let seen = Seen {
                            status: Some(answer.status()),
                            ..Seen::default()
                        };
                        let _ = account.end(seen, Outcome::Released("redirect")).await;
                        client.answer(Fault::Redirect { provider }.answer());
                        return None;
                    }
                    Err(Silence::Send(SendError::NotSent)) => (
                        Outcome::Released("not_sent"),
                        Fault::Unreachable { provider },
                    ),
                    Err(Silence::Send(SendError::BrokeOff)) => (
                        Outcome::Unconfirmed("broke_off"),
                        Fault::BrokeOff { provider },
                    ),
                    Err(Silence::TooLong) => {
                        let ms = timeouts.first_byte.as_millis();
                        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
                        (
                            Outcome::Unconfirmed("no_answer"),
                            Fault::FirstByte { provider, ms },
                        )
                    }
                }
            }
        };
        tracing::warn!(call = %account.call, code = fault.code(), "no answer from the provider");
        let _ = account.end(Seen::default(), outcome).await;
        client.answer(fault.answer());
        None
    }

    async fn send_to(
        &self,
        upstream: &Upstream,
        client: &mut Client,
        timeouts: &Timeouts,
        deadline: Instant,
    ) -> Result<Response<AnswerBody>, Silence> {
        let mut deadline = deadline.min(Instant::now() + timeouts.first_byte);
        let sending = upstream.send(self.outgoing.clone());
        tokio::pin!(sending);
        loop {
            tokio::select! {
                sent = &mut sending => return sent.map_err(Silence::Send),
                () = tokio::time::sleep_until(deadline) => return Err(Silence::TooLong),
                () = client.hangs_up(), if !client.has_left() => {
                    client.leave();
                    deadline = deadline.min(Instant::now() + timeouts.drain);
                }
            }
        }
    }

    async fn relay_answer(
        &self,
        account: &Account<'_>,
        client: Client,
        answer: Response<AnswerBody>,
        deadline: Instant,
    ) {
        let (parts, body) = answer.into_parts();
        let mut headers = to_client(&parts.headers);
        name_call(&mut headers, account.call);
        let head = (parts.status, headers);
        relay(account, client, head, body, deadline).await;
    }
}

enum Silence {
    Send(SendError),
    TooLong,
}

/// Writes the end of one call down.
pub(crate) struct Account<'a> {
    pub(crate) gateway: &'a Inner,
    pub(crate) call: &'a CallId,
    pub(crate) admitted: &'a Admitted,
    /// Where the end goes instead of into the store.
    deferred: Option<Arc<Deferred>>,
}

/// The end of a call could not be written down and keeps its reservation; the log says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotSettled;

impl Account<'_> {
    /// What a call is worth whose answer was seen as far as `seen`, and ended for `reason`.
    pub(crate) fn outcome(&self, seen: &Seen, reason: &'static str) -> Outcome {
        let report = &seen.report;
        let succeeded = seen.status.is_some_and(|status| status.is_success());
        let whole = report.complete && report.error.is_none() && report.problem.is_none();
        if whole && report.server_tool_requests > 0 {
            // Their fees are not in the price book, so what the call cost is not known.
            return Outcome::Unconfirmed("server_tool_fees");
        }
        if whole {
            return Outcome::Settled(self.cost(report));
        }
        if !succeeded {
            return Outcome::Released("upstream_status");
        }
        if report.error.is_some() && !report.usage_seen {
            return Outcome::Released("upstream_error");
        }
        Outcome::Unconfirmed(match (&report.problem, &report.error) {
            (Some(_), _) => "unreadable",
            (None, Some(_)) => "provider_error",
            (None, None) => reason,
        })
    }

    /// At the price of the model that answered, where it is configured, else of the one asked for.
    fn cost(&self, report: &UsageReport) -> skep_types::MicroUsd {
        let asked = &self.admitted.model;
        let answered = report.model_actual.as_deref().and_then(|actual| {
            let mut models = self.gateway.config.models();
            models.find(|model| model.provider == asked.provider && model.upstream == actual)
        });
        let price = answered.and_then(|model| model.price).or(asked.price);
        price.map_or(self.admitted.reserved.unwrap_or_default(), |price| {
            price.cost(&report.tokens)
        })
    }

    /// Writes the end down, trying for a while if the store does not answer.
    pub(crate) async fn end(&self, seen: Seen, outcome: Outcome) -> Result<(), NotSettled> {
        if self.admitted.reserved.is_none() {
            return Ok(());
        }
        let substituted = self.is_substituted(&seen.report);
        let ending = Ending {
            call: self.call.clone(),
            http_status: seen.status.map(|status| i64::from(status.as_u16())),
            tokens: seen.report.tokens,
            model_actual: seen.report.model_actual,
            substituted,
            outcome,
        };
        if let Some(deferred) = &self.deferred {
            deferred.put(ending);
            return Ok(());
        }
        skep_stdx::crash::point("gateway.settling");
        end_with_retries(self.gateway, ending).await
    }

    fn is_substituted(&self, report: &UsageReport) -> bool {
        let actual = report.model_actual.as_deref();
        actual.is_some_and(|actual| {
            !crate::account::is_same_model(&self.admitted.model.upstream, actual)
        })
    }

    /// The header that names the model that answered.
    pub(crate) fn model_header(report: &UsageReport) -> Option<(http::HeaderName, HeaderValue)> {
        let value = HeaderValue::from_str(report.model_actual.as_deref()?).ok()?;
        Some((MODEL_ACTUAL, value))
    }
}

pub(crate) async fn end_with_retries(gateway: &Inner, ending: Ending) -> Result<(), NotSettled> {
    let backoff = Backoff {
        base_ms: crate::limits::SETTLE_RETRY_BASE_MS,
        cap_ms: crate::limits::SETTLE_RETRY_CAP_MS,
    };
    for retry in 0..crate::limits::SETTLE_TRIES_MAX {
        let this = ending.clone();
        let ended = gateway
            .db
            .write("end_call", async move |tx: &mut Tx<'_>| {
                end(tx, &this).await
            })
            .await;
        match ended {
            Ok(_) => return Ok(()),
            Err(error) => {
                tracing::warn!(call = %ending.call, %error, retry, "end of a call not recorded");
                let wait = backoff.delay_ms(retry, gateway.entropy.as_ref());
                tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(0))).await;
            }
        }
    }
    // The reservation stays; when the call counts as lost it becomes unconfirmed spending.
    tracing::error!(call = %ending.call, "the end of a call could not be recorded");
    Err(NotSettled)
}
