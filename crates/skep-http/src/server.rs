//! The server: which routes each door has, and its start and end.
//!
//! Three doors. The network port: API with token, gateway with virtual key. The socket in the
//! home: API for its owner, no gateway. A listener inside an attempt's fence: gateway only.

use crate::access::{own_names_only, token_only};
use crate::connection::{serve_network, serve_socket};
use crate::error::Refusal;
use crate::metrics::{self, Metrics};
use crate::token::TokenCheck;
use crate::{api, gateway, limits};
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use skep_api::route::{Access, ROUTES};
use skep_db::Db;
use skep_director::Director;
use skep_gateway::Gateway;
use skep_ledger::LedgerPublicKey;
use skep_stdx::{Secret, SharedEntropy, Stopwatch};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a server needs.
pub struct ServerOptions {
    /// The use cases.
    pub director: Director,
    /// The gateway for the routes of the model vendors.
    pub gateway: Arc<Gateway>,
    /// The store, for the ledger's entries as they were hashed.
    pub db: Db,
    /// The key that the ledger's head is signed with.
    pub ledger_key: LedgerPublicKey,
    /// Makes the key under which tokens are compared.
    pub entropy: SharedEntropy,
    /// The version of the program.
    pub version: &'static str,
}

/// What is served on a port, besides whether the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Services {
    /// The API, to holders of the token.
    pub api: bool,
    /// The gateway, to holders of virtual keys.
    pub gateway: bool,
}

impl Services {
    /// Both.
    pub const ALL: Self = Self {
        api: true,
        gateway: true,
    };

    /// Neither.
    pub const fn is_none(self) -> bool {
        !self.api && !self.gateway
    }
}

/// What handlers share.
pub(crate) struct Shared {
    pub(crate) director: Director,
    pub(crate) db: Db,
    pub(crate) ledger_key: LedgerPublicKey,
    gateway: Arc<Gateway>,
    entropy: SharedEntropy,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) version: &'static str,
    pub(crate) openapi: Bytes,
    pub(crate) contract_schema: Bytes,
    pub(crate) uptime: Stopwatch,
    /// Becomes true when the server stops: streams end then.
    pub(crate) stop: watch::Receiver<bool>,
}

/// A server and the doors it serves. Dropping it closes them too, but nobody waits for that.
pub struct Server {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    doors: Vec<JoinHandle<()>>,
}

impl Server {
    /// A server that listens nowhere yet.
    pub fn new(options: ServerOptions) -> Self {
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            openapi: skep_api::openapi(options.version).to_string().into(),
            contract_schema: skep_types::ResultContract::json_schema().to_string().into(),
            director: options.director,
            db: options.db,
            ledger_key: options.ledger_key,
            gateway: options.gateway,
            entropy: options.entropy,
            metrics: Arc::new(Metrics::default()),
            version: options.version,
            uptime: Stopwatch::start(),
            stop: stopped,
        });
        Self {
            shared,
            stop,
            doors: Vec::new(),
        }
    }

    /// Serves the API to holders of `token`, and the gateway to those of virtual keys, on a port.
    /// Only what is asked for: the rest is not there.
    pub fn serve_network(&mut self, listener: TcpListener, token: &Secret, services: Services) {
        let token = TokenCheck::new(token, self.shared.entropy.as_ref());
        let router = network_router(&self.shared, token, services);
        let stop = self.stop.subscribe();
        let metrics = self.shared.metrics.clone();
        let serve = serve_network(
            listener,
            router,
            limits::NETWORK_CONNECTIONS_MAX,
            metrics,
            stop,
        );
        self.doors.push(skep_stdx::spawn("serve-network", serve));
    }

    /// Serves the API without token to the owner of the home.
    pub fn serve_socket(&mut self, listener: UnixListener) {
        let router = socket_router(&self.shared);
        let stop = self.stop.subscribe();
        let metrics = self.shared.metrics.clone();
        let serve = serve_socket(
            listener,
            router,
            limits::SOCKET_CONNECTIONS_MAX,
            metrics,
            stop,
        );
        self.doors.push(skep_stdx::spawn("serve-socket", serve));
    }

    /// Takes no more requests, lets open answers end for a bounded time, then closes everything.
    pub async fn stop(self) {
        // The doors hold receivers as long as they serve; without any there is nothing to stop.
        let _ = self.stop.send(true);
        let all_closed = async {
            for door in self.doors {
                if let Err(error) = door.await {
                    tracing::error!(%error, "a listener ended by a panic");
                }
            }
        };
        // The doors bound their own drain; twice that only guards against a stuck one.
        let bound = Duration::from_millis(2 * limits::DRAIN_MS);
        if tokio::time::timeout(bound, all_closed).await.is_err() {
            tracing::warn!("open connections did not end in time");
        }
    }
}

fn network_router(shared: &Arc<Shared>, token: TokenCheck, services: Services) -> Router {
    let guarded = if services.api {
        mounted(Access::Token)
    } else {
        Router::new()
    };
    let guarded = with_fallbacks(guarded).layer(from_fn_with_state(Arc::new(token), token_only));
    let api = guarded
        .merge(mounted(Access::Open))
        .layer(map_response(plain_and_fresh))
        .with_state(shared.clone());
    let router = if services.gateway {
        api.merge(gateway::router(shared.gateway.clone()))
    } else {
        api
    };
    finished(router, shared.metrics.clone())
}

fn socket_router(shared: &Arc<Shared>) -> Router {
    let api = with_fallbacks(mounted(Access::Token))
        .merge(mounted(Access::Open))
        .layer(map_response(plain_and_fresh))
        .with_state(shared.clone());
    finished(api, shared.metrics.clone())
}

/// Outermost, so that even a request that finds no route is checked and counted.
pub(crate) fn finished(router: Router, metrics: Arc<Metrics>) -> Router {
    router
        .layer(from_fn(own_names_only))
        .layer(from_fn_with_state(metrics, metrics::count))
}

fn mounted(access: Access) -> Router<Arc<Shared>> {
    ROUTES
        .iter()
        .filter(|route| route.access == access)
        .fold(Router::new(), |router, route| {
            router.route(route.path, api::handler(route))
        })
}

fn with_fallbacks(router: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    router
        .method_not_allowed_fallback(async || {
            Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "the route does not take this method",
                "GET /api/v1/openapi.json lists every route with its method",
            )
        })
        .fallback(not_found)
}

async fn not_found() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "route_not_found",
        "there is no such route",
        "GET /api/v1/openapi.json lists every route",
    )
}

/// What the API answers is data of this moment and nothing a browser should guess about.
async fn plain_and_fresh(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    answer
}
