//! Where calls go: one seam for a provider over HTTP and for a script replayed in this process.
//!
//! Invariant: [`SendError::NotSent`] is said only when no byte of the request can have reached
//! the provider; everything else may have been billed.

use crate::config::{ProviderApi, ProviderConfig};
use crate::headers::to_provider;
use crate::limits::{IDLE_CONNECTION_MS, IDLE_CONNECTIONS_MAX};
use crate::replay::Replay;
use crate::script::ScriptError;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::collections::BTreeMap;
use std::time::Duration;

/// The body of a provider's answer. An error in it means that the answer broke off.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// One request as it goes out.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// `/v1/messages` or a route below it.
    pub(crate) path: &'static str,
    pub(crate) query: Option<String>,
    /// The client's headers, all of them.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendError {
    /// Nothing has reached the provider.
    NotSent,
    /// The request may have reached it.
    BrokeOff,
}

/// One provider.
pub(crate) enum Upstream {
    Http(Box<HttpProvider>),
    Replay(Replay),
}

impl Upstream {
    /// Sends one request; answers when the head of the answer is there.
    pub(crate) async fn send(&self, request: Outgoing) -> Result<Response<AnswerBody>, SendError> {
        match self {
            Self::Http(provider) => provider.send(request).await,
            Self::Replay(replay) => Ok(replay.answer(&request).await),
        }
    }
}

/// Why the providers cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A credential has characters that no header can carry.
    #[error("use the key of provider `{provider}`: it has characters that a header cannot carry")]
    Key {
        /// The provider.
        provider: String,
    },
    /// The system has no root certificates, and a provider is addressed by https.
    #[error("load the system's root certificates")]
    RootCertificates(#[source] std::io::Error),
    /// A script cannot be used.
    #[error("load the script of provider `{provider}`")]
    Script {
        /// The provider.
        provider: String,
        /// Where and why.
        #[source]
        source: ScriptError,
    },
}

impl StartError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Key { .. } => "secret_invalid",
            Self::RootCertificates(_) => "root_certificates_missing",
            Self::Script { .. } => "script_invalid",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Key { .. } => Some("check the secret for line ends and spaces".to_owned()),
            Self::RootCertificates(_) => {
                Some("install the distribution's `ca-certificates`".to_owned())
            }
            Self::Script { .. } => {
                Some("docs/reference/replay-script.md has the format".to_owned())
            }
        }
    }
}

/// Sets up every provider; contacts none.
pub(crate) fn set_up(
    providers: &BTreeMap<String, ProviderConfig>,
    connect: Duration,
) -> Result<BTreeMap<String, Upstream>, StartError> {
    let mut clients = Clients {
        plain: client(connector(connect)),
        tls: None,
        connect,
    };
    let mut upstreams = BTreeMap::new();
    for (name, provider) in providers {
        let upstream = match (&provider.script, &provider.base_url) {
            (Some(script), _) if provider.api == ProviderApi::Replay => {
                let replay = Replay::load(script).map_err(|source| StartError::Script {
                    provider: name.clone(),
                    source,
                })?;
                Upstream::Replay(replay)
            }
            (_, Some(base)) => Upstream::Http(Box::new(HttpProvider {
                client: clients.of(base)?,
                base: base_text(base),
                api_key: header_of_key(provider)?,
            })),
            // The configuration has refused a provider without either.
            (_, None) => continue,
        };
        upstreams.insert(name.clone(), upstream);
    }
    Ok(upstreams)
}

type PlainClient = Client<HttpConnector, Full<Bytes>>;
type TlsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

struct Clients {
    plain: PlainClient,
    tls: Option<TlsClient>,
    connect: Duration,
}

impl Clients {
    fn of(&mut self, base: &Uri) -> Result<HttpClient, StartError> {
        if base.scheme_str() != Some("https") {
            return Ok(HttpClient::Plain(self.plain.clone()));
        }
        if let Some(tls) = &self.tls {
            return Ok(HttpClient::Tls(tls.clone()));
        }
        let mut inner = connector(self.connect);
        inner.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(StartError::RootCertificates)?
            .https_only()
            .enable_http1()
            .wrap_connector(inner);
        let tls = client(connector);
        self.tls = Some(tls.clone());
        Ok(HttpClient::Tls(tls))
    }
}

fn connector(connect: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(connect));
    connector.set_nodelay(true);
    connector
}

fn client<C>(connector: C) -> Client<C, Full<Bytes>>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_millis(IDLE_CONNECTION_MS))
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_timer(TokioTimer::new())
        .build(connector)
}

/// The address without a slash at its end.
fn base_text(base: &Uri) -> String {
    base.to_string().trim_end_matches('/').to_owned()
}

fn header_of_key(provider: &ProviderConfig) -> Result<Option<HeaderValue>, StartError> {
    let Some(key) = &provider.api_key else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_str(key.reveal()).map_err(|_| StartError::Key {
        provider: provider.name.clone(),
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A provider over HTTP.
pub(crate) struct HttpProvider {
    client: HttpClient,
    base: String,
    api_key: Option<HeaderValue>,
}

enum HttpClient {
    Plain(PlainClient),
    Tls(TlsClient),
}

impl HttpProvider {
    async fn send(&self, outgoing: Outgoing) -> Result<Response<AnswerBody>, SendError> {
        let query = outgoing
            .query
            .map_or(String::new(), |query| format!("?{query}"));
        let uri = format!("{}{}{query}", self.base, outgoing.path);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .body(Full::new(outgoing.body))
            .map_err(|_| SendError::NotSent)?;
        *request.headers_mut() = to_provider(&outgoing.headers, self.api_key.as_ref());
        let sent = match &self.client {
            HttpClient::Plain(client) => client.request(request).await,
            HttpClient::Tls(client) => client.request(request).await,
        };
        match sent {
            Ok(answer) => Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync())),
            Err(error) if error.is_connect() => Err(SendError::NotSent),
            Err(_) => Err(SendError::BrokeOff),
        }
    }
}
