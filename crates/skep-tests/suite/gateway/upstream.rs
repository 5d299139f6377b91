//! A provider on loopback that answers exactly the bytes it is told, in the pieces it is told.

use anyhow::Context as _;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Method, path and query.
    pub(super) target: String,
    /// The header lines, in order.
    pub(super) headers: Vec<String>,
    pub(super) body: Vec<u8>,
}

impl Seen {
    /// The value of the first header called `name`.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// One answer.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    head: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    /// One chunk of the body.
    Chunk(Vec<u8>),
    /// Nothing more until the gate gives one permit.
    Gate(Arc<Semaphore>),
    /// The regular end of the body.
    End,
    /// The connection is closed here, in the middle of the body.
    Cut,
}

impl Plan {
    /// An event stream; its parts follow.
    pub(super) fn stream() -> Self {
        Self::with_head(
            "200 OK",
            &["content-type: text/event-stream; charset=utf-8"],
        )
    }

    /// No answer at all until the gate gives one permit.
    pub(super) fn silent(gate: &Arc<Semaphore>) -> Self {
        Self {
            head: String::new(),
            steps: Vec::new(),
        }
        .gate(gate)
    }

    /// A JSON answer.
    pub(super) fn json(status: &str, headers: &[&str], body: &str) -> Self {
        let mut lines = vec!["content-type: application/json"];
        lines.extend(headers);
        Self::with_head(status, &lines).chunk(body).end()
    }

    fn with_head(status: &str, headers: &[&str]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n");
        for line in headers {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head.push_str("connection: close\r\n\r\n");
        Self {
            head,
            steps: Vec::new(),
        }
    }

    pub(super) fn chunk(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.steps.push(Step::Chunk(bytes.as_ref().to_vec()));
        self
    }

    /// The bytes in chunks of `size`.
    pub(super) fn chunks(self, bytes: impl AsRef<[u8]>, size: usize) -> Self {
        bytes.as_ref().chunks(size).fold(self, Self::chunk)
    }

    pub(super) fn gate(mut self, gate: &Arc<Semaphore>) -> Self {
        self.steps.push(Step::Gate(Arc::clone(gate)));
        self
    }

    pub(super) fn end(mut self) -> Self {
        self.steps.push(Step::End);
        self
    }

    pub(super) fn cut(mut self) -> Self {
        self.steps.push(Step::Cut);
        self
    }
}

/// The provider.
pub(super) struct ScriptedUpstream {
    pub(super) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    seen: Mutex<Vec<Seen>>,
    count: watch::Sender<usize>,
    plans: Mutex<VecDeque<Plan>>,
    otherwise: Mutex<Option<Plan>>,
}

impl ScriptedUpstream {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            seen: Mutex::default(),
            count: watch::channel(0).0,
            plans: Mutex::default(),
            otherwise: Mutex::default(),
        });
        let accepting = Arc::clone(&state);
        skep_stdx::spawn("scripted-upstream", async move {
            while let Ok((connection, _)) = listener.accept().await {
                let state = Arc::clone(&accepting);
                skep_stdx::spawn("scripted-connection", async move {
                    // A gateway that has gone away is part of some tests.
                    drop(serve(connection, &state).await);
                });
            }
        });
        Ok(Self { address, state })
    }

    /// The next answer; they are given in the order in which they were planned.
    pub(super) fn plan(&self, plan: Plan) {
        self.state.plans.lock().unwrap().push_back(plan);
    }

    /// The answer to every request without a plan of its own.
    pub(super) fn otherwise(&self, plan: Plan) {
        *self.state.otherwise.lock().unwrap() = Some(plan);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// How many requests have arrived so far.
    pub(super) fn arrivals(&self) -> watch::Receiver<usize> {
        self.state.count.subscribe()
    }

    /// Returns once `count` requests have arrived.
    pub(super) async fn wait_for(&self, count: usize) -> anyhow::Result<()> {
        let mut arrived = self.arrivals();
        arrived.wait_for(|arrived| *arrived >= count).await?;
        Ok(())
    }
}

async fn serve(mut connection: TcpStream, state: &State) -> anyhow::Result<()> {
    let seen = read_request(&mut connection).await?;
    state.seen.lock().unwrap().push(seen);
    state.count.send_modify(|count| *count += 1);
    let plan = state.plans.lock().unwrap().pop_front();
    let plan = plan.or_else(|| state.otherwise.lock().unwrap().clone());
    let Plan { head, steps } = plan.context("no answer was planned")?;
    connection.write_all(head.as_bytes()).await?;
    for step in steps {
        match step {
            Step::Chunk(bytes) => {
                let size = format!("{:x}\r\n", bytes.len());
                connection.write_all(size.as_bytes()).await?;
                connection.write_all(&bytes).await?;
                connection.write_all(b"\r\n").await?;
                connection.flush().await?;
            }
            Step::Gate(gate) => gate.acquire().await?.forget(),
            Step::End => connection.write_all(b"0\r\n\r\n").await?,
            Step::Cut => break,
        }
    }
    connection.shutdown().await?;
    Ok(())
}

async fn read_request(connection: &mut TcpStream) -> anyhow::Result<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        anyhow::ensure!(
            connection.read_buf(&mut bytes).await? > 0,
            "no whole head came"
        );
    };
    let head = String::from_utf8(bytes[..head_end].to_vec())?;
    let mut lines = head.split("\r\n");
    let target = lines.next().context("an empty head")?;
    let seen = Seen {
        target: target.trim_end_matches(" HTTP/1.1").to_owned(),
        headers: lines.map(str::to_owned).collect(),
        body: Vec::new(),
    };
    let length: usize = seen
        .header("content-length")
        .context("no length")?
        .parse()?;
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        anyhow::ensure!(
            connection.read_buf(&mut body).await? > 0,
            "no whole body came"
        );
    }
    Ok(Seen { body, ..seen })
}
