//! Calls that this process makes itself: admitted in the caller's transaction, settled in the
//! caller's, sent and accounted for in between like any other.
//!
//! Such a call has a virtual key as well, so that key, fence, tier, price and every budget are
//! decided by the same code; its secret is thrown away where it is made, so nobody can present it.
//! Invariant: a call that was admitted here is ended once. Whoever takes the answer and drops it
//! without settling has it settled for him.

use crate::admit::{Asked, admit};
use crate::answer::{ERROR_CODE, MODEL_ACTUAL};
use crate::body::ReplyBody;
use crate::call::{Call, end_with_retries};
use crate::client::Client;
use crate::config::OnExhaust;
use crate::digest::sha256;
use crate::gateway::{Gateway, Inner, MESSAGES};
use crate::key::{NewKey, mint};
use crate::refusal::Refusal;
use crate::settle::{Ending, end};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::BodyExt as _;
use skep_db::{DbError, Tx};
use skep_types::CallId;
use skep_wire::{ErrorKind, read_head};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// The version of the Messages API that the engine's own calls speak.
const API_VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("anthropic-version"),
    HeaderValue::from_static("2023-06-01"),
);

/// Why a call cannot even be asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectError {
    /// The body is no request of the Messages API.
    #[error("read the request of a model call")]
    Malformed(#[source] skep_wire::RequestHeadError),
    /// As many calls as there may be are under way.
    #[error("make a model call: {max} are under way")]
    Busy {
        /// The limit.
        max: usize,
    },
}

/// One call that has not been sent yet.
pub struct DirectCall {
    call: Call,
    slot: OwnedSemaphorePermit,
}

/// What decides about one call.
#[derive(Clone)]
pub struct DirectAsk {
    gateway: Arc<Inner>,
    asked: Asked,
}

/// A call that may go out: its key is minted and its worst case reserved.
#[derive(Debug, Clone)]
pub struct Admission(crate::admit::Admitted);

/// Why a call was refused before any byte left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectRefusal {
    /// Stable, for scripts.
    pub code: &'static str,
    /// The kind of error, as clients see it.
    pub kind: ErrorKind,
    /// In words; names budgets and models of this caller, nobody else's.
    pub message: String,
    /// What the exhausted budget wants, where it was one.
    pub on_exhaust: Option<OnExhaust>,
}

/// The answer to a call, the gateway's own errors included.
#[derive(Debug)]
pub struct DirectAnswer {
    /// The call, as `model_call` knows it.
    pub call: CallId,
    /// The HTTP status.
    pub status: u16,
    /// The stable code of an error of the gateway's own.
    pub code: Option<String>,
    /// The model that answered, in the provider's words.
    pub model_actual: Option<String>,
    /// Whether another model answered than the one that was asked for.
    pub substituted: bool,
    /// How long to wait before the next try, in seconds, where the provider says it.
    pub retry_after_s: Option<u64>,
    /// The whole body; `None` if it broke off.
    pub body: Option<Bytes>,
    /// What is left to be written down.
    pub account: Unsettled,
}

/// The end of a call that is still to be written down.
#[derive(Debug, Clone)]
pub struct Unsettled(Arc<Deferred>);

/// The end of a call on its way to whoever writes it down.
pub(crate) struct Deferred {
    gateway: Arc<Inner>,
    ending: Mutex<Option<Ending>>,
    /// Held until the end is written, so that an orderly stop waits for it.
    slot: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Gateway {
    /// A call of `body`, a request of the Messages API without streaming.
    ///
    /// # Errors
    /// The body is no such request, or too many calls are under way.
    pub fn direct(&self, body: Bytes) -> Result<DirectCall, DirectError> {
        let head = read_head(&body).map_err(DirectError::Malformed)?;
        let slot = self.slot().ok_or(DirectError::Busy {
            max: crate::limits::CALLS_MAX,
        })?;
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(CONTENT_TYPE, json);
        headers.insert(API_VERSION.0, API_VERSION.1);
        let call = self.prepare_call(MESSAGES, Vec::new(), None, headers, &head, body);
        Ok(DirectCall { call, slot })
    }
}

impl DirectCall {
    /// Its id.
    pub fn id(&self) -> &CallId {
        &self.call.asked.call
    }

    /// What decides about it, for a transaction of the caller's.
    pub fn ask(&self) -> DirectAsk {
        DirectAsk {
            gateway: Arc::clone(&self.call.gateway),
            asked: self.call.asked.clone(),
        }
    }

    /// Sends an admitted call, at once and in a task of its own; what is returned waits for the
    /// whole answer. Whoever drops it leaves like a client that hangs up, and the call is accounted
    /// for all the same.
    pub fn run(self, admission: Admission) -> impl Future<Output = DirectAnswer> + Send {
        let Self { call, slot } = self;
        let id = call.asked.call.clone();
        let deferred = Arc::new(Deferred {
            gateway: Arc::clone(&call.gateway),
            ending: Mutex::default(),
            slot: Mutex::new(Some(slot)),
        });
        let (sender, answer) = oneshot::channel();
        let account = Arc::clone(&deferred);
        skep_stdx::spawn("engine-call", async move {
            let client = Client::waiting(sender, call.asked.call.clone());
            call.carry_out(&admission.0, client, Some(account)).await;
        });
        DirectAnswer::of(id, answer, Unsettled(deferred))
    }
}

impl DirectAnswer {
    async fn of(
        id: CallId,
        answer: oneshot::Receiver<Response<ReplyBody>>,
        account: Unsettled,
    ) -> Self {
        let Ok(answer) = answer.await else {
            return Self::lost(id, account);
        };
        let (parts, body) = answer.into_parts();
        let text = |name: &HeaderName| {
            let value = parts.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Self {
            call: id,
            status: parts.status.as_u16(),
            code: text(&ERROR_CODE),
            model_actual: text(&MODEL_ACTUAL),
            substituted: account.is_substituted(),
            retry_after_s: text(&RETRY_AFTER).and_then(|seconds| seconds.parse().ok()),
            body: body.collect().await.ok().map(|body| body.to_bytes()),
            account,
        }
    }
}

impl DirectAsk {
    /// Mints `key` and decides about the call under it, in the caller's transaction: whatever the
    /// caller writes beside it is true if and only if the call may go out. A refusal is on record
    /// once the transaction commits.
    pub async fn admit(
        &self,
        tx: &mut Tx<'_>,
        key: &NewKey,
    ) -> Result<Result<Admission, DirectRefusal>, DbError> {
        let (_, secret) = mint(tx, self.gateway.entropy.as_ref(), key).await?;
        let asked = Asked {
            secret_sha256: sha256(secret.reveal().as_bytes()),
            ..self.asked.clone()
        };
        let decided = admit(tx, &asked).await?;
        Ok(decided
            .map(Admission)
            .map_err(|refusal| DirectRefusal::of(&refusal)))
    }
}

impl DirectAnswer {
    /// The task of the call panicked; what it cost is not known.
    const fn lost(call: CallId, account: Unsettled) -> Self {
        Self {
            call,
            status: 500,
            code: None,
            model_actual: None,
            substituted: false,
            retry_after_s: None,
            body: None,
            account,
        }
    }
}

impl Unsettled {
    /// Writes the end of the call down, in the caller's transaction. Call [`Self::settled`] once
    /// that has committed.
    pub async fn settle(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        let ending = self.0.ending().clone();
        match ending {
            Some(ending) => end(tx, &ending).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// The transaction of [`Self::settle`] has committed: nothing is left to be written.
    pub fn settled(self) {
        self.0.ending().take();
    }

    fn is_substituted(&self) -> bool {
        self.0.ending().as_ref().is_some_and(|e| e.substituted)
    }
}

impl Deferred {
    /// Leaves the end of the call for whoever settles it.
    pub(crate) fn put(&self, ending: Ending) {
        *self.ending() = Some(ending);
    }

    fn ending(&self) -> std::sync::MutexGuard<'_, Option<Ending>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Deferred {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deferred")
            .field("ending", &*self.ending())
            .finish_non_exhaustive()
    }
}

/// Whoever had the answer is gone without settling it: it is settled here.
impl Drop for Deferred {
    fn drop(&mut self) {
        let ending = self.ending().take();
        let slot = self
            .slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(ending) = ending else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            // The process is ending; the next start makes the reservation unconfirmed.
            return;
        }
        let gateway = Arc::clone(&self.gateway);
        drop(skep_stdx::spawn("settle-call", async move {
            // A failure is in the log, and the reservation stays.
            let _ = end_with_retries(&gateway, ending).await;
            drop(slot);
        }));
    }
}

impl DirectRefusal {
    fn of(refusal: &Refusal) -> Self {
        let on_exhaust = refusal.exhausted().map(|exhausted| exhausted.on_exhaust);
        Self {
            code: refusal.code(),
            kind: refusal.kind(),
            message: refusal.to_string(),
            on_exhaust,
        }
    }
}
