//! The gateway's routes: handed over as they are, on the main port and inside each fence.
//!
//! The virtual key is the gateway's business; the local token is not known there.

use crate::connection::serve_network;
use crate::limits;
use crate::metrics::Metrics;
use crate::server::finished;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use skep_director::ServeGateway;
use skep_gateway::Gateway;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Where the model vendors' routes begin.
const PREFIXES: [&str; 3] = ["/v1/{*rest}", "/v1beta/{*rest}", "/k/{*rest}"];

/// The gateway's routes and nothing else.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    PREFIXES
        .iter()
        .fold(Router::new(), |router, prefix| {
            router.route(prefix, any(hand_over))
        })
        .with_state(gateway)
}

async fn hand_over(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    gateway.handle(request).await.map(Body::new)
}

/// Serves the gateway's routes, and nothing else, on the listener inside an attempt's fence. The
/// task serves until it is aborted, and its connections end with it.
pub fn serve_gateway(gateway: Arc<Gateway>) -> ServeGateway {
    Arc::new(move |listener| {
        let gateway = gateway.clone();
        skep_stdx::spawn("serve-fence", async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => serve_until_aborted(listener, gateway).await,
                Err(error) => {
                    tracing::error!(%error, "the listener inside a fence cannot be served");
                }
            }
        })
    })
}

async fn serve_until_aborted(listener: TcpListener, gateway: Arc<Gateway>) {
    let metrics = Arc::new(Metrics::default());
    // Whatever is asked there is asked of the gateway: it also answers what is no route.
    let router = Router::new().fallback(hand_over).with_state(gateway);
    let router = finished(router, metrics.clone());
    // Held, so that the receiver never sees its sender go.
    let (never, stop) = watch::channel(false);
    serve_network(
        listener,
        router,
        limits::FENCE_CONNECTIONS_MAX,
        metrics,
        stop,
    )
    .await;
    drop(never);
}
