//! A real server over a fresh home, and a client that sends exactly the bytes it is told to.

use anyhow::Context as _;
use skep_db::{Db, DbOptions, Location, SchemaPart, Tx};
use skep_director::{Director, DirectorOptions, EngineConfig, Home, NodeOptions, ToolchainConfig};
use skep_gateway::{Gateway, GatewayOptions, GatewayTables, NewKey, Timeouts};
use skep_http::{
    LocalToken, Server, ServerOptions, Services, listen_on_loopback, listen_on_socket,
};
use skep_ledger::{LedgerKey, Payload};
use skep_stdx::{OsEntropy, Secret, SharedClock, SharedEntropy, SystemClock};
use skep_types::{NodeId, Tier};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SCHEMA: [SchemaPart; 6] = [
    skep_authority::SCHEMA,
    skep_ledger::SCHEMA,
    skep_queue::SCHEMA,
    skep_topic::SCHEMA,
    skep_gateway::SCHEMA,
    skep_director::SCHEMA,
];

/// A server on a port and on the socket of its home. No engine runs.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) token: Secret,
    pub(super) virtual_key: Secret,
    pub(super) socket: PathBuf,
    pub(super) gateway: Arc<Gateway>,
    db: Db,
    server: Server,
    _folder: tempfile::TempDir,
}

/// An event that a test appends.
#[derive(serde::Serialize)]
struct BeeCounted {
    bees: i64,
}

impl Payload for BeeCounted {
    const KIND: &'static str = "bee_counted";
    const VERSION: i64 = 1;
}

impl TestServer {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let home = Home::at(folder.path().join("home"));
        home.prepare()?;
        let clock: SharedClock = Arc::new(SystemClock);
        let entropy: SharedEntropy = Arc::new(OsEntropy);
        let ledger_key = LedgerKey::open_or_create(&home.ledger_key())?;
        let db = Db::open(DbOptions {
            location: Location::Sqlite(home.database()),
            schema: SCHEMA.to_vec(),
            clock: None,
            before_commit: Some(skep_ledger::sealer(ledger_key.clone())),
        })
        .await?;
        let gateway = Arc::new(Gateway::new(GatewayOptions {
            db: db.clone(),
            node: NodeId::new(clock.as_ref(), entropy.as_ref()),
            config: GatewayTables::default().resolve(|_| Err("no secrets".to_owned()))?,
            clock: clock.clone(),
            entropy: entropy.clone(),
            timeouts: Timeouts::default(),
        })?);
        let topics = skep_director::topics(Vec::new())?;
        topics.register(&db).await?;
        let director = Director::new(DirectorOptions {
            home: home.clone(),
            db: db.clone(),
            models: BTreeMap::new(),
            workers: BTreeMap::new(),
            engine: EngineConfig::default(),
            flow: Arc::default(),
            node: NodeOptions::all_roles("test".to_owned(), "0.0.0"),
            toolchain: ToolchainConfig::default(),
            clock,
            entropy: entropy.clone(),
            launcher: PathBuf::from("skep"),
            gateway: (*gateway).clone(),
            serve_gateway: skep_http::serve_gateway(gateway.clone()),
            ledger_public_key: ledger_key.public(),
            owner: "a test".to_owned(),
            topics,
            alert: Arc::new(|_| {}),
        });
        let mut server = Server::new(ServerOptions {
            director,
            gateway: gateway.clone(),
            db: db.clone(),
            ledger_key: ledger_key.public(),
            entropy,
            version: "0.0.0",
        });
        let token = LocalToken::load_or_make(&home.token(), &OsEntropy)?.secret;
        let listener = listen_on_loopback("127.0.0.1:0".parse()?).await?;
        let address = listener.local_addr()?;
        server.serve_network(listener, &token, Services::ALL);
        server.serve_socket(listen_on_socket(&home.socket())?);
        Ok(Self {
            address,
            token,
            virtual_key: mint(&db).await?,
            socket: home.socket(),
            gateway,
            db,
            server,
            _folder: folder,
        })
    }

    /// Appends an event about `home` that counts `bees`.
    pub(super) async fn append(&self, bees: i64) -> anyhow::Result<()> {
        let write = async move |tx: &mut Tx<'_>| {
            skep_ledger::append(tx, skep_ledger::HOME, &BeeCounted { bees }).await
        };
        Ok(self.db.write("append", write).await?)
    }

    pub(super) async fn stop(self) {
        self.server.stop().await;
    }

    /// A request to the port, under the server's own name.
    pub(super) fn request(&self, verb: &str, path: &str) -> Request {
        Request::to(self.address, verb, path)
    }
}

async fn mint(db: &Db) -> anyhow::Result<Secret> {
    let key = async move |tx: &mut Tx<'_>| {
        let new = NewKey {
            job: None,
            attempt: None,
            project: None,
            worker: None,
            models: Vec::new(),
            tier: Tier::Convenience,
            limit: None,
            expires_at_ms: None,
        };
        skep_gateway::mint(tx, &OsEntropy, &new).await
    };
    Ok(db.write("mint", key).await?.1)
}

/// A request, written out by hand.
#[derive(Debug, Clone)]
pub(super) struct Request {
    address: SocketAddr,
    line: String,
    host: Option<String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Request {
    pub(super) fn to(address: SocketAddr, verb: &str, path: &str) -> Self {
        Self {
            address,
            line: format!("{verb} {path} HTTP/1.1"),
            host: Some(address.to_string()),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(super) fn host(mut self, host: Option<&str>) -> Self {
        self.host = host.map(str::to_owned);
        self
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn bearer(self, secret: &Secret) -> Self {
        self.header("authorization", &format!("Bearer {}", secret.reveal()))
    }

    pub(super) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it; what is to be read comes on the stream.
    pub(super) async fn send(self) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        let mut head = format!("{}\r\nconnection: close\r\n", self.line);
        for (name, value) in self.host.iter().map(|host| ("host", host)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", self.body.len()));
        stream.write_all(head.as_bytes()).await?;
        // The server may answer and close before it has read a body that it does not want.
        drop(stream.write_all(&self.body).await);
        Ok(stream)
    }

    /// Sends it and reads the answer to its end.
    pub(super) async fn answer(self) -> anyhow::Result<Answer> {
        let mut stream = self.send().await?;
        let mut bytes = Vec::new();
        // A reset after the answer was read takes nothing of it away.
        drop(stream.read_to_end(&mut bytes).await);
        Answer::read(&bytes)
    }
}

impl Answer {
    fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let text = String::from_utf8(bytes.to_vec())?;
        let (head, body) = text
            .split_once("\r\n\r\n")
            .ok_or_else(|| anyhow::anyhow!("no answer, but {text:?}"))?;
        let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
        Ok(Self {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }

    pub(super) fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| format!("{self:?}"))
    }

    /// The code of an error, which has a message and a hint.
    pub(super) fn error_code(&self) -> anyhow::Result<String> {
        let error = &self.json()?["error"];
        for field in ["code", "message", "hint"] {
            let text = error[field].as_str().unwrap_or_default();
            anyhow::ensure!(!text.is_empty(), "no {field}: {self:?}");
        }
        Ok(error["code"].as_str().unwrap_or_default().to_owned())
    }
}
