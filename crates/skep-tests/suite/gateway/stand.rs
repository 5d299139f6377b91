//! A gateway on a loopback port before a scripted upstream, with a store, a ledger and a client.

use super::upstream::ScriptedUpstream;
use crate::ledger::Ledgered;
use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use skep_db::{Db, DbError, SchemaPart, Tx, params};
use skep_gateway::{
    Gateway, GatewayOptions, GatewayTables, KeyStatus, NewKey, Sums, Timeouts, Usage,
};
use skep_stdx::{OsEntropy, Secret, SharedEntropy, SystemClock};
use skep_testkit::TestStore;
use skep_types::{KeyId, MicroUsd, NodeId, Tier};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const SCHEMA: &[SchemaPart] = &[
    skep_authority::SCHEMA,
    skep_ledger::SCHEMA,
    skep_gateway::SCHEMA,
];

/// The provider's own credential.
pub(super) const PROVIDER_KEY: &str = "sk-provider-0123456789abcdef";

/// One far and one near provider on the same upstream, told apart by their paths.
const CONFIG: &str = r#"
[provider.far]
api = "anthropic"
base_url = "http://UPSTREAM/far"
api_key = { env = "PROVIDER_KEY" }
[provider.near]
api = "anthropic"
base_url = "http://UPSTREAM/near/"
locality = "local"
[provider.consented]
api = "anthropic"
base_url = "http://UPSTREAM/consented"
allow_sensitive = true
[provider.chat]
api = "openai-chat"
base_url = "http://UPSTREAM/chat/v1"
locality = "local"
[provider.dead]
api = "anthropic"
base_url = "http://127.0.0.1:1"
[model.large]
provider = "far"
upstream = "large-1"
context_tokens = 200000
price = { input = 3.0, output = 15.0, cache_read = 0.3, cache_write_5m = 3.75, cache_write_1h = 6.0 }
[model.other]
provider = "far"
upstream = "other-1"
context_tokens = 200000
price = { input = 30.0, output = 150.0, cache_read = 3, cache_write_5m = 37.5, cache_write_1h = 60 }
[model.same]
provider = "far"
price = { input = 3.0, output = 15.0, cache_read = 0.3, cache_write_5m = 3.75, cache_write_1h = 6.0 }
[model.near]
provider = "near"
upstream = "large-1"
price = { input = 1, output = 1 }
[model.consented]
provider = "consented"
upstream = "large-1"
price = { input = 1, output = 1 }
[model.chat]
provider = "chat"
price = { input = 1, output = 1 }
[model.unpriced]
provider = "far"
[model.dead]
provider = "dead"
price = { input = 1, output = 1 }
"#;

/// Everything one test needs.
pub(super) struct Stand {
    pub(super) upstream: ScriptedUpstream,
    pub(super) ledgered: Ledgered,
    pub(super) gateway: Gateway,
    pub(super) address: SocketAddr,
    pub(super) node: NodeId,
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Option<Runtime>,
}

/// One answer as the client sees it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// `None` if the body broke off.
    pub(super) body: Option<Bytes>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn json(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(
            self.body.as_ref().context("a whole body")?,
        )?)
    }

    /// The type, the message and our code of an error document.
    pub(super) fn error(&self) -> anyhow::Result<(String, String, Option<String>)> {
        let document = self.json()?;
        let text = |field: &str| {
            document["error"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        anyhow::ensure!(document["type"] == "error", "{document}");
        let code = self.header("x-skep-error").map(str::to_owned);
        Ok((text("type"), text("message"), code))
    }
}

impl Stand {
    pub(super) async fn new(store: &TestStore) -> anyhow::Result<Self> {
        Self::with(store, "", Timeouts::default()).await
    }

    /// A stand whose configuration has `more` at its end.
    pub(super) async fn with(
        store: &TestStore,
        more: &str,
        timeouts: Timeouts,
    ) -> anyhow::Result<Self> {
        let upstream = ScriptedUpstream::start().await?;
        let ledgered = Ledgered::open(store, SCHEMA).await?;
        let config = format!("{CONFIG}{more}").replace("UPSTREAM", &upstream.address.to_string());
        let tables: GatewayTables = toml::from_str(&config)?;
        let entropy: SharedEntropy = Arc::new(OsEntropy);
        let node = NodeId::new(&SystemClock, entropy.as_ref());
        let gateway = Gateway::new(GatewayOptions {
            db: ledgered.db.clone(),
            node: node.clone(),
            config: tables.resolve(|_| Ok(Secret::new(PROVIDER_KEY)))?,
            clock: Arc::new(SystemClock),
            entropy,
            timeouts,
        })?;
        gateway.prepare(true).await?;
        // A runtime of its own: dropping it is the death of the gateway's process.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let address = runtime.spawn(listen(gateway.clone())).await??;
        Ok(Self {
            upstream,
            ledgered,
            gateway,
            address,
            node,
            // A connection for each request: one that the server has just cut is not used again.
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build_http(),
            runtime: Some(runtime),
        })
    }

    pub(super) fn db(&self) -> &Db {
        &self.ledgered.db
    }

    /// Ends every task of the gateway where it stands, as `kill -9` would.
    pub(super) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(super) async fn mint(&self, new: NewKey) -> anyhow::Result<(KeyId, Secret)> {
        let mint = async move |tx: &mut Tx<'_>| skep_gateway::mint(tx, &OsEntropy, &new).await;
        Ok(self.db().write("mint", mint).await?)
    }

    /// A key without any limit.
    pub(super) async fn key(&self) -> anyhow::Result<Secret> {
        Ok(self.mint(open_key()).await?.1)
    }

    pub(super) async fn messages(&self, key: &Secret, body: &str) -> anyhow::Result<Reply> {
        self.post("/v1/messages", &[("x-api-key", key.reveal())], body)
            .await
    }

    pub(super) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> anyhow::Result<Reply> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.send(Method::POST, path, headers, body).await
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Reply> {
        let answer = self.start(method, path, headers, body).await?;
        let (parts, body) = answer.into_parts();
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.ok().map(|body| body.to_bytes()),
        })
    }

    /// The head of an answer, with its body still to come.
    pub(super) async fn start(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<http::Response<Incoming>> {
        let uri = format!("http://{}{path}", self.address);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(self.client.request(request.body(Full::new(body))?).await?)
    }

    pub(super) async fn keys(&self) -> anyhow::Result<Vec<KeyStatus>> {
        let read = async |tx: &mut Tx<'_>| skep_gateway::keys(tx, None, 100).await;
        Ok(self.db().read("keys", read).await?)
    }

    /// What a key has spent and holds, by its calls; its own budget, if it has one, agrees.
    pub(super) async fn sums(&self, key: &KeyId) -> anyhow::Result<Sums> {
        let own = format!("key:{key}");
        let read = async move |tx: &mut Tx<'_>| {
            let sql = "SELECT spent_micro_usd, reserved_micro_usd, unconfirmed_micro_usd
                FROM budget_window w JOIN budget b ON b.id = w.budget_id WHERE b.scope = ?1";
            let window = tx.query_opt(sql, params![own.as_str()]).await?;
            Ok::<_, DbError>((skep_gateway::keys(tx, None, 100).await?, window))
        };
        let (keys, window) = write(self.db(), read).await?;
        let found = keys.into_iter().find(|status| status.id == *key);
        let sums = found.context("the key is in the list")?.sums;
        if let Some(window) = window {
            let sum = |column| Ok::<_, DbError>(MicroUsd(window.get(column)?));
            let budget = Sums {
                spent: sum("spent_micro_usd")?,
                reserved: sum("reserved_micro_usd")?,
                unconfirmed: sum("unconfirmed_micro_usd")?,
            };
            anyhow::ensure!(
                budget == sums,
                "the budget holds {budget:?}, the calls {sums:?}"
            );
        }
        Ok(sums)
    }

    /// What a key has spent and holds, by its calls; for a look while calls are under way.
    pub(super) async fn sums_now(&self, key: &KeyId) -> anyhow::Result<Sums> {
        let found = self
            .keys()
            .await?
            .into_iter()
            .find(|status| status.id == *key);
        Ok(found.context("the key is in the list")?.sums)
    }

    /// What one budget of the configuration holds.
    pub(super) async fn budget(&self, name: &'static str) -> anyhow::Result<Sums> {
        let read = async |tx: &mut Tx<'_>| skep_gateway::budgets(tx).await;
        let budgets = self.db().read("budgets", read).await?;
        let found = budgets
            .into_iter()
            .find(|status| status.budget.name == name);
        found
            .and_then(|status| status.sums)
            .context("a budget with shared sums")
    }

    /// The kinds of all events about calls, in order.
    pub(super) async fn call_events(&self) -> anyhow::Result<Vec<String>> {
        let events = self.ledgered.events().await?;
        let about_calls = |kind: &str| {
            ["model_", "reservation_", "token_"]
                .iter()
                .any(|prefix| kind.starts_with(prefix))
        };
        Ok(events
            .into_iter()
            .map(|event| event.kind)
            .filter(|kind| about_calls(kind))
            .collect())
    }

    /// The payloads of all events of one kind.
    pub(super) async fn payloads(&self, kind: &str) -> anyhow::Result<Vec<Value>> {
        let events = self.ledgered.events().await?;
        let of_kind = events.iter().filter(|event| event.kind == kind);
        of_kind
            .map(|event| Ok(serde_json::from_slice(&event.payload)?))
            .collect()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A key for everything but what its tier forbids.
pub(super) fn open_key() -> NewKey {
    NewKey {
        job: None,
        attempt: None,
        project: None,
        worker: None,
        models: Vec::new(),
        tier: Tier::Convenience,
        limit: None,
        expires_at_ms: None,
    }
}

/// A key with a limit of its own.
pub(super) fn limited_key(limit: i64) -> NewKey {
    NewKey {
        limit: Some(MicroUsd(limit)),
        ..open_key()
    }
}

/// Timeouts that a test can wait for.
pub(super) fn short_timeouts() -> Timeouts {
    Timeouts {
        first_byte: Duration::from_millis(1_000),
        idle: Duration::from_millis(300),
        drain: Duration::from_millis(50),
        ..Timeouts::default()
    }
}

/// A request for `model` with so many tokens of output at most.
pub(super) fn request(model: &str, max_tokens: i64, stream: bool) -> String {
    format!(
        r#"{{"model":"{model}","max_tokens":{max_tokens},"stream":{stream},"messages":[{{"role":"user","content":"hum"}}]}}"#
    )
}

/// An event stream whose message has this usage; the model is `model`.
pub(super) fn stream_of(model: &str, usage: &str, output: i64) -> [String; 3] {
    let start = format!(
        "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"{model}\",\"content\":[],\"stop_reason\":null,\"usage\":{usage}}}}}\n\n"
    );
    let text = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"zzz \u{1f41d}\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n".to_owned();
    let end = format!(
        "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\",\"stop_sequence\":null}},\"usage\":{{\"output_tokens\":{output}}}}}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
    );
    [start, text, end]
}

/// The usual answer: 10 tokens in, 5 out.
pub(super) fn short_stream() -> String {
    stream_of("large-1", r#"{"input_tokens":10,"output_tokens":1}"#, 5).concat()
}

/// What [`short_stream`] costs with model `large`.
pub(super) const SHORT_COST: MicroUsd = MicroUsd(10 * 3 + 5 * 15);

/// The worst case of `request("large", 10, _)`: its bytes as they are sent, at the price of an
/// hour's cache write, its output, and one for each further class that rounds up.
pub(super) fn worst() -> MicroUsd {
    let sent = request("large-1", 10, true).len();
    MicroUsd(i64::try_from(sent).unwrap() * 6 + 10 * 15 + 3)
}

/// Runs one transaction that writes.
pub(super) async fn write<T: Send + 'static>(
    db: &Db,
    operation: impl AsyncFn(&mut Tx<'_>) -> Result<T, DbError> + Send + 'static,
) -> anyhow::Result<T> {
    Ok(db.write("test", operation).await?)
}

/// What one job has used.
pub(super) async fn job_cost(db: &Db, job: &skep_types::JobId) -> anyhow::Result<Usage> {
    let job = job.clone();
    write(db, async move |tx: &mut Tx<'_>| {
        skep_gateway::job_cost(tx, &job).await
    })
    .await
}

/// A fresh id of a job.
pub(super) fn job_id() -> skep_types::JobId {
    skep_types::JobId::new(&SystemClock, &OsEntropy)
}

async fn listen(gateway: Gateway) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    skep_stdx::spawn("test-listener", async move {
        while let Ok((connection, _)) = listener.accept().await {
            let gateway = gateway.clone();
            skep_stdx::spawn("test-connection", async move {
                let serve = service_fn(move |request| {
                    let gateway = gateway.clone();
                    async move { Ok::<_, std::convert::Infallible>(gateway.handle(request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                // A client that hangs up is part of some tests.
                drop(http.serve_connection(TokioIo::new(connection), serve).await);
            });
        }
    });
    Ok(address)
}
