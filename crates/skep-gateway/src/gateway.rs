//! The door: which request is what, and what is decided about it without the store.
//!
//! Owns the providers' connections and the number of calls under way. Invariant: no byte of a
//! request leaves before [`admit`](crate::admit) has let it through.

use crate::admit::{Asked, Charge, authenticate, usable};
use crate::answer::{self, Fault, refused};
use crate::body::ReplyBody;
use crate::budget::sync_budgets;
use crate::call::Call;
use crate::config::{GatewayConfig, ModelConfig};
use crate::digest::sha256;
use crate::headers::{are_too_large, betas, credential};
use crate::key::is_well_formed;
use crate::limits::{CALLS_MAX, HEADER_BYTES_MAX, REQUEST_BODY_BYTES_MAX};
use crate::price::{NoBound, Priced, WorstCase, worst_case};
use crate::refusal::Refusal;
use crate::settle::{Reconciled, reconcile};
use crate::timeouts::Timeouts;
use crate::upstream::{Outgoing, StartError, Upstream, set_up};
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use skep_db::{Db, DbError, Tx};
use skep_stdx::{SharedClock, SharedEntropy};
use skep_types::{CallId, NodeId};
use skep_wire::{RequestHead, read_head, rewrite_model};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The route of a model call.
pub(crate) const MESSAGES: &str = "/v1/messages";
const COUNT_TOKENS: &str = "/v1/messages/count_tokens";
const MODELS: &str = "/v1/models";

/// What a gateway is made of.
pub struct GatewayOptions {
    /// The store; its schema holds [`SCHEMA`](crate::SCHEMA).
    pub db: Db,
    /// This process, so that another can tell which calls were its own.
    pub node: NodeId,
    /// Providers, models, budgets.
    pub config: GatewayConfig,
    /// For the ids of calls.
    pub clock: SharedClock,
    /// For the ids of calls.
    pub entropy: SharedEntropy,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

/// The gateway. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) config: Arc<GatewayConfig>,
    pub(crate) upstreams: BTreeMap<String, Upstream>,
    pub(crate) entropy: SharedEntropy,
    pub(crate) timeouts: Timeouts,
    node: NodeId,
    clock: SharedClock,
    slots: Arc<Semaphore>,
}

impl Gateway {
    /// Sets up the providers and loads their scripts; contacts nobody and writes nothing.
    ///
    /// # Errors
    /// A credential, a script or the system's root certificates cannot be used.
    pub fn new(options: GatewayOptions) -> Result<Self, StartError> {
        let mut timeouts = options.timeouts;
        // A call that took longer would be taken for lost by others.
        timeouts.call = timeouts.call.min(Timeouts::default().call);
        let upstreams = set_up(&options.config.providers, timeouts.connect)?;
        Ok(Self(Arc::new(Inner {
            db: options.db,
            config: Arc::new(options.config),
            upstreams,
            entropy: options.entropy,
            timeouts,
            node: options.node,
            clock: options.clock,
            slots: Arc::new(Semaphore::new(CALLS_MAX)),
        })))
    }

    /// Brings the budgets of the configuration into force and gives up the calls that nobody
    /// watches any more. To be done at the start, and from time to time.
    ///
    /// `is_only_holder`: no other living process makes calls on this store.
    pub async fn prepare(&self, is_only_holder: bool) -> Result<Reconciled, DbError> {
        let (config, entropy) = (Arc::clone(&self.0.config), Arc::clone(&self.0.entropy));
        let holder = is_only_holder.then(|| self.0.node.clone());
        let write = async move |tx: &mut Tx<'_>| {
            sync_budgets(tx, entropy.as_ref(), &config.budgets).await?;
            reconcile(tx, holder.as_ref()).await
        };
        self.0.db.write("prepare_gateway", write).await
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &GatewayConfig {
        &self.0.config
    }

    /// Returns when no call is under way. While it waits none begins: clients are told to come
    /// back. For an orderly end, with a deadline of the caller's.
    pub async fn idle(&self) {
        let all = u32::try_from(CALLS_MAX).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        drop(self.0.slots.acquire_many(all).await);
    }

    /// Answers one request. What is no gateway route is 404 in the Messages API's error form.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<ReplyBody>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        if are_too_large(request.headers()) {
            let max = HEADER_BYTES_MAX;
            return Fault::HeadersTooLarge { max }.answer();
        }
        match (request.method(), request.uri().path()) {
            (&Method::POST, MESSAGES) => self.call(request, MESSAGES).await,
            (&Method::POST, COUNT_TOKENS) => self.call(request, COUNT_TOKENS).await,
            (&Method::GET, MODELS) => self.models(request.headers()).await,
            (&Method::HEAD, "/") => answer::empty(StatusCode::OK),
            _ => Fault::NoRoute.answer(),
        }
    }

    async fn models(&self, headers: &HeaderMap) -> Response<ReplyBody> {
        let Some(secret_sha256) = secret_of(headers) else {
            return refused(&Refusal::UnknownKey);
        };
        let read = async move |tx: &mut Tx<'_>| authenticate(tx, &secret_sha256).await;
        // A writing transaction, because the fence is asked for under its lock.
        match self.0.db.write("list_models", read).await {
            Ok(Ok(key)) => {
                let list = model_list(&usable(&self.0.config, &key));
                answer::document(StatusCode::OK, list)
            }
            Ok(Err(refusal)) => refused(&refusal),
            Err(error) => {
                tracing::error!(%error, "models not listed");
                Fault::StoreUnavailable.answer()
            }
        }
    }

    async fn call<B>(&self, request: Request<B>, path: &'static str) -> Response<ReplyBody>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let Some(secret_sha256) = secret_of(request.headers()) else {
            return refused(&Refusal::UnknownKey);
        };
        let (parts, body) = request.into_parts();
        let body = match self.body(&parts.headers, body).await {
            Ok(body) => body,
            Err(fault) => return fault.answer(),
        };
        let head = match read_head(&body) {
            Ok(head) => head,
            Err(error) => return Fault::BadRequest(described(&error)).answer(),
        };
        let Some(slot) = self.slot() else {
            return Fault::TooManyCalls { max: CALLS_MAX }.answer();
        };
        let query = parts.uri.query().map(str::to_owned);
        let call = self.prepare_call(path, secret_sha256, query, parts.headers, &head, body);
        let (sender, answer) = oneshot::channel();
        skep_stdx::spawn("model-call", async move {
            call.run(sender).await;
            drop(slot);
        });
        // The task answers in every case but a panic.
        answer.await.unwrap_or_else(|_| Fault::Internal.answer())
    }

    /// Room for one more call, if there is.
    pub(crate) fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.slots).try_acquire_owned().ok()
    }

    pub(crate) fn prepare_call(
        &self,
        path: &'static str,
        secret_sha256: Vec<u8>,
        query: Option<String>,
        headers: HeaderMap,
        head: &RequestHead,
        body: Bytes,
    ) -> Call {
        let model = self.0.config.model(&head.model).map(|(model, _)| model);
        let request_sha256 = sha256(&body);
        let body = match model {
            Some(model) if model.upstream != head.model => {
                rewrite_model(&body, head.model_span.clone(), &model.upstream).into()
            }
            _ => body,
        };
        let charge = if path == COUNT_TOKENS {
            Charge::TokenCount
        } else {
            Charge::Model(bound(model, head, &body, &betas(&headers)))
        };
        let asked = Asked {
            call: CallId::new(self.0.clock.as_ref(), self.0.entropy.as_ref()),
            secret_sha256,
            config: Arc::clone(&self.0.config),
            model: head.model.clone(),
            charge,
            request_sha256,
            request_bytes: i64::try_from(body.len()).unwrap_or(i64::MAX),
            holder: self.0.node.clone(),
        };
        Call {
            gateway: Arc::clone(&self.0),
            asked,
            outgoing: Outgoing {
                path,
                query,
                headers,
                body,
            },
        }
    }

    /// The whole body, within the limits of size and patience.
    async fn body<B>(&self, headers: &HeaderMap, body: B) -> Result<Bytes, Fault>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let max = REQUEST_BODY_BYTES_MAX;
        let declared = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok());
        let declared: usize = declared.and_then(|length| length.parse().ok()).unwrap_or(0);
        if declared > max {
            return Err(Fault::BodyTooLarge { max });
        }
        let idle = self.0.timeouts.request_body_idle;
        let mut body = pin!(body);
        let mut whole = BytesMut::with_capacity(declared);
        loop {
            let frame = tokio::time::timeout(idle, body.as_mut().frame()).await;
            let frame = frame.map_err(|_| Fault::BodyTooSlow {
                ms: u64::try_from(idle.as_millis()).unwrap_or(u64::MAX),
            })?;
            let Some(frame) = frame else {
                return Ok(whole.freeze());
            };
            let part = frame.map_err(|_| Fault::BodyBrokeOff)?.into_data();
            let part = part.unwrap_or_default();
            if whole.len() + part.len() > max {
                return Err(Fault::BodyTooLarge { max });
            }
            whole.extend_from_slice(&part);
        }
    }
}

fn secret_of(headers: &HeaderMap) -> Option<Vec<u8>> {
    let secret = credential(headers)?;
    is_well_formed(secret.reveal()).then(|| sha256(secret.reveal().as_bytes()))
}

fn bound(
    model: Option<&ModelConfig>,
    head: &RequestHead,
    body: &[u8],
    betas: &str,
) -> Result<WorstCase, NoBound> {
    let Some(model) = model else {
        let model = head.model.clone();
        return Err(NoBound::UnknownPrice { model });
    };
    worst_case(model, Priced { head, body, betas })
}

/// The error and its causes in one line.
fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The Messages API's list of models. When a model came out is not known here; the API's
/// reference has the epoch stand for that.
fn model_list(names: &[String]) -> Vec<u8> {
    let data: Vec<_> = names
        .iter()
        .map(|name| {
            serde_json::json!({
                "type": "model",
                "id": name,
                "display_name": name,
                "created_at": "1970-01-01T00:00:00Z",
            })
        })
        .collect();
    let list = serde_json::json!({
        "data": data,
        "has_more": false,
        "first_id": names.first(),
        "last_id": names.last(),
    });
    list.to_string().into_bytes()
}
