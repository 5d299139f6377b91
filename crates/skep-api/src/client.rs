//! A typed client of the server, over the Unix socket in a home or over TCP with a token.
//!
//! Each call opens a connection of its own: a command line makes a handful of calls and the
//! connection never leaves the machine. The HTTP status of a refusal carries the exit code of the
//! command line, see [`exit_of_status`] and its inverse [`status_of_exit`].

use crate::client_error::ClientError;
use crate::dead::{DeadClasses, DeadLetter, DeadView, DrainRequest, Drained};
use crate::document::{
    DiffView, DispatchRequest, ErrorDocument, EventView, JobSubmitted, JobSummary, JobView,
    LedgerView, LogView, Page, RetryRequest,
};
use crate::event_stream::EventStream;
use crate::installation::{HealthView, LedgerEntries, LedgerHeadView};
use crate::kind::{CallRequest, ShellRequest};
use crate::limits;
use crate::node::NodeView;
use crate::plan::{CancelRequest, PlanRequest, PlanView};
use crate::queue::QueueView;
use crate::route::Verb;
use crate::schedule::{
    FiringView, PauseRequest, PreviewView, ScheduleRequest, ScheduleSummary, ScheduleView,
};
use crate::topic::{
    AlarmView, DeadMessageView, MessageView, MessagesChanged, ProduceMessage, ProducedMessage,
    TopicView,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skep_stdx::Secret;
use skep_types::FailureClass;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A client of one server. Holds no connection.
#[derive(Debug, Clone)]
pub struct Client(Endpoint);

#[derive(Debug, Clone)]
enum Endpoint {
    Socket(PathBuf),
    Address { authority: String, token: Secret },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Address { authority, .. } => write!(f, "http://{authority}"),
        }
    }
}

/// Which jobs a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobListQuery {
    /// Job states, separated by commas; all when absent.
    pub state: Option<String>,
    /// Only jobs of this project.
    pub project: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// The most items to answer.
    pub limit: Option<i64>,
}

/// Which dead letters a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadListQuery {
    /// Only jobs that failed as this.
    pub class: Option<FailureClass>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// The most items to answer.
    pub limit: Option<i64>,
}

/// The exit code that an HTTP status stands for; `document` decides where the status leaves it open.
pub fn exit_of_status(status: StatusCode, document: u8) -> u8 {
    match status.as_u16() {
        401 | 403 => 3,
        404 => 4,
        409 | 422 => document,
        500.. => 5,
        _ => 2,
    }
}

/// The HTTP status that carries an exit code of the command line.
pub const fn status_of_exit(exit: u8) -> StatusCode {
    match exit {
        2 => StatusCode::BAD_REQUEST,
        3 => StatusCode::FORBIDDEN,
        4 => StatusCode::NOT_FOUND,
        5 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    }
}

impl Client {
    /// A client over the socket in a home. The server knows its caller by the peer's user id.
    pub const fn at_socket(path: PathBuf) -> Self {
        Self(Endpoint::Socket(path))
    }

    /// A client over TCP; `authority` is host and port, as in `127.0.0.1:7575`.
    pub const fn at_address(authority: String, token: Secret) -> Self {
        Self(Endpoint::Address { authority, token })
    }

    /// Whether the process answers.
    pub async fn health(&self) -> Result<HealthView, ClientError> {
        self.get("/healthz").await
    }

    /// Makes a job of an instruction.
    pub async fn dispatch(&self, request: &DispatchRequest) -> Result<JobSubmitted, ClientError> {
        self.post("/api/v1/jobs", Some(request)).await
    }

    /// Makes a job of one model call.
    pub async fn dispatch_call(&self, request: &CallRequest) -> Result<JobSubmitted, ClientError> {
        self.post("/api/v1/calls", Some(request)).await
    }

    /// Makes a job of one command.
    pub async fn dispatch_shell(
        &self,
        request: &ShellRequest,
    ) -> Result<JobSubmitted, ClientError> {
        self.post("/api/v1/shells", Some(request)).await
    }

    /// One job, by id or number.
    pub async fn job(&self, reference: &str) -> Result<JobView, ClientError> {
        self.get(&job_path(reference, "")).await
    }

    /// A page of jobs, newest first.
    pub async fn jobs(&self, query: &JobListQuery) -> Result<Page<JobSummary>, ClientError> {
        let limit = query.limit.map(|limit| limit.to_string());
        let path = with_query(
            "/api/v1/jobs",
            &[
                ("state", query.state.as_deref()),
                ("project", query.project.as_deref()),
                ("cursor", query.cursor.as_deref()),
                ("limit", limit.as_deref()),
            ],
        );
        self.get(&path).await
    }

    /// What a worker wrote; the newest attempt's when `attempt` is absent.
    pub async fn job_log(
        &self,
        reference: &str,
        attempt: Option<&str>,
    ) -> Result<LogView, ClientError> {
        let path = with_query(&job_path(reference, "/log"), &[("attempt", attempt)]);
        self.get(&path).await
    }

    /// What a job changed.
    pub async fn job_diff(&self, reference: &str) -> Result<DiffView, ClientError> {
        self.get(&job_path(reference, "/diff")).await
    }

    /// Ends a job.
    pub async fn cancel(&self, reference: &str) -> Result<JobSubmitted, ClientError> {
        self.post(&job_path(reference, "/cancel"), None::<&()>)
            .await
    }

    /// Ends a job, its parts, and whatever waits for one of them.
    pub async fn cancel_tree(&self, reference: &str) -> Result<JobSubmitted, ClientError> {
        let request = CancelRequest { tree: true };
        self.post(&job_path(reference, "/cancel"), Some(&request))
            .await
    }

    /// Queues a whole plan.
    pub async fn run_plan(&self, request: &PlanRequest) -> Result<PlanView, ClientError> {
        self.post("/api/v1/plans", Some(request)).await
    }

    /// What a plan would be.
    pub async fn check_plan(&self, request: &PlanRequest) -> Result<PlanView, ClientError> {
        self.post("/api/v1/plans/check", Some(request)).await
    }

    /// A plan, by id or number.
    pub async fn plan(&self, reference: &str) -> Result<PlanView, ClientError> {
        self.get(&plan_path(reference)).await
    }

    /// Starts an ended job again.
    pub async fn retry(
        &self,
        reference: &str,
        request: &RetryRequest,
    ) -> Result<JobSubmitted, ClientError> {
        self.post(&job_path(reference, "/retry"), Some(request))
            .await
    }

    /// How the queues stand.
    pub async fn queues(&self) -> Result<Page<QueueView>, ClientError> {
        self.get("/api/v1/queues").await
    }

    /// Pauses a queue.
    pub async fn pause_queue(&self, queue: &str) -> Result<QueueView, ClientError> {
        self.post(&queue_path(queue, "/pause"), None::<&()>).await
    }

    /// Lets a paused queue go on.
    pub async fn resume_queue(&self, queue: &str) -> Result<QueueView, ClientError> {
        self.post(&queue_path(queue, "/resume"), None::<&()>).await
    }

    /// The nodes of the store.
    pub async fn nodes(&self) -> Result<Page<NodeView>, ClientError> {
        self.get("/api/v1/nodes").await
    }

    /// Lets a node take no more work.
    pub async fn drain_node(&self, node: &str) -> Result<NodeView, ClientError> {
        self.post(&node_path(node, "/drain"), None::<&()>).await
    }

    /// Lets a drained node work again.
    pub async fn resume_node(&self, node: &str) -> Result<NodeView, ClientError> {
        self.post(&node_path(node, "/resume"), None::<&()>).await
    }

    /// Makes a schedule.
    pub async fn add_schedule(
        &self,
        request: &ScheduleRequest,
    ) -> Result<ScheduleView, ClientError> {
        self.post("/api/v1/schedules", Some(request)).await
    }

    /// Every schedule, by name.
    pub async fn schedules(&self) -> Result<Page<ScheduleSummary>, ClientError> {
        self.get("/api/v1/schedules").await
    }

    /// One schedule, by name or id.
    pub async fn schedule(&self, name: &str) -> Result<ScheduleView, ClientError> {
        self.get(&schedule_path(name, "")).await
    }

    /// The next times of a schedule.
    pub async fn schedule_next(&self, name: &str, count: i64) -> Result<PreviewView, ClientError> {
        let count = count.to_string();
        let path = with_query(&schedule_path(name, "/next"), &[("limit", Some(&count))]);
        self.get(&path).await
    }

    /// What became of a schedule's times, newest first.
    pub async fn firings(
        &self,
        name: &str,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<FiringView>, ClientError> {
        let limit = limit.map(|limit| limit.to_string());
        let query = [("cursor", cursor), ("limit", limit.as_deref())];
        self.get(&with_query(&schedule_path(name, "/firings"), &query))
            .await
    }

    /// Stops a schedule from firing.
    pub async fn pause_schedule(
        &self,
        name: &str,
        request: &PauseRequest,
    ) -> Result<ScheduleView, ClientError> {
        self.post(&schedule_path(name, "/pause"), Some(request))
            .await
    }

    /// Lets a schedule fire again.
    pub async fn resume_schedule(&self, name: &str) -> Result<ScheduleView, ClientError> {
        self.post(&schedule_path(name, "/resume"), None::<&()>)
            .await
    }

    /// Begins a run of a schedule now.
    pub async fn run_schedule(&self, name: &str) -> Result<FiringView, ClientError> {
        self.post(&schedule_path(name, "/run"), None::<&()>).await
    }

    /// Takes a schedule away.
    pub async fn remove_schedule(&self, name: &str) -> Result<ScheduleView, ClientError> {
        self.post(&schedule_path(name, "/remove"), None::<&()>)
            .await
    }

    /// A page of dead letters, the newest job first.
    pub async fn dead(&self, query: &DeadListQuery) -> Result<Page<DeadLetter>, ClientError> {
        let limit = query.limit.map(|limit| limit.to_string());
        let class = query.class.map(FailureClass::as_str);
        let path = with_query(
            "/api/v1/dead",
            &[
                ("class", class),
                ("cursor", query.cursor.as_deref()),
                ("limit", limit.as_deref()),
            ],
        );
        self.get(&path).await
    }

    /// How many dead letters there are of each class.
    pub async fn dead_classes(&self) -> Result<DeadClasses, ClientError> {
        self.get("/api/v1/dead-classes").await
    }

    /// One dead letter with its evidence.
    pub async fn dead_letter(&self, reference: &str) -> Result<DeadView, ClientError> {
        self.get(&dead_path(reference, "")).await
    }

    /// Starts one dead job again.
    pub async fn replay(&self, reference: &str) -> Result<JobSubmitted, ClientError> {
        self.post(&dead_path(reference, "/replay"), None::<&()>)
            .await
    }

    /// Starts dead jobs again, in order.
    pub async fn drain(&self, request: &DrainRequest) -> Result<Drained, ClientError> {
        self.post("/api/v1/dead-drain", Some(request)).await
    }

    /// Says that nobody needs to look at a dead job any more.
    pub async fn dismiss(&self, reference: &str) -> Result<JobSubmitted, ClientError> {
        self.post(&dead_path(reference, "/dismiss"), None::<&()>)
            .await
    }

    /// A page of ledger events after a sequence number, oldest first.
    pub async fn events(
        &self,
        after: i64,
        subject: Option<&str>,
        limit: i64,
    ) -> Result<Page<EventView>, ClientError> {
        let (after, limit) = (after.to_string(), limit.to_string());
        let path = with_query(
            "/api/v1/events",
            &[
                ("after", Some(&after)),
                ("subject", subject),
                ("limit", Some(&limit)),
            ],
        );
        self.get(&path).await
    }

    /// The newest ledger events, oldest first.
    pub async fn newest_events(
        &self,
        subject: Option<&str>,
        limit: i64,
    ) -> Result<Page<EventView>, ClientError> {
        let limit = limit.to_string();
        let path = with_query(
            "/api/v1/events",
            &[
                ("newest", Some("true")),
                ("subject", subject),
                ("limit", Some(&limit)),
            ],
        );
        self.get(&path).await
    }

    /// The ledger as it grows, from after a sequence number on.
    pub async fn event_stream(
        &self,
        after: i64,
        subject: Option<&str>,
    ) -> Result<EventStream, ClientError> {
        let after = after.to_string();
        let path = with_query(
            "/api/v1/events",
            &[("after", Some(&after)), ("subject", subject)],
        );
        let answer = self
            .send(Verb::Get, &path, Bytes::new(), "text/event-stream")
            .await?;
        if answer.status().is_success() {
            Ok(EventStream::new(self.0.to_string(), answer.into_body()))
        } else {
            Err(self.refusal(answer).await)
        }
    }

    /// A part of the ledger with everything that its hashes cover.
    pub async fn ledger_entries(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<LedgerEntries, ClientError> {
        let (after, limit) = (after.to_string(), limit.to_string());
        let path = with_query(
            "/api/v1/ledger/entries",
            &[("after", Some(&after)), ("limit", Some(&limit))],
        );
        self.get(&path).await
    }

    /// The signed end of the ledger's chain.
    pub async fn ledger_head(&self) -> Result<LedgerHeadView, ClientError> {
        self.get("/api/v1/ledger/head").await
    }

    /// Recomputes the ledger's chain.
    pub async fn verify_ledger(&self) -> Result<LedgerView, ClientError> {
        self.verify_ledger_with(&[]).await
    }

    /// Recomputes the ledger's chain, in which every anchor (`SEQ:HASH`) has to be.
    pub async fn verify_ledger_with(&self, anchors: &[String]) -> Result<LedgerView, ClientError> {
        let anchors = anchors.join(",");
        let anchor = (!anchors.is_empty()).then_some(anchors.as_str());
        let path = with_query("/api/v1/ledger/verify", &[("anchor", anchor)]);
        self.get(&path).await
    }

    /// Every topic with its groups.
    pub async fn topics(&self) -> Result<Page<TopicView>, ClientError> {
        self.get("/api/v1/topics").await
    }

    /// One topic with its groups.
    pub async fn topic(&self, name: &str) -> Result<TopicView, ClientError> {
        self.get(&topic_path(name, "")).await
    }

    /// Messages of one partition after an offset; the newest without one.
    pub async fn messages(
        &self,
        topic: &str,
        partition: i64,
        after: Option<i64>,
        limit: Option<i64>,
    ) -> Result<Page<MessageView>, ClientError> {
        let partition = partition.to_string();
        let after = after.map(|after| after.to_string());
        let limit = limit.map(|limit| limit.to_string());
        let query = [
            ("partition", Some(partition.as_str())),
            ("after", after.as_deref()),
            ("limit", limit.as_deref()),
        ];
        self.get(&with_query(&topic_path(topic, "/messages"), &query))
            .await
    }

    /// Produces one message.
    pub async fn produce(
        &self,
        topic: &str,
        message: &ProduceMessage,
    ) -> Result<ProducedMessage, ClientError> {
        self.post(&topic_path(topic, "/messages"), Some(message))
            .await
    }

    /// What the groups of a topic have given up on.
    pub async fn dead_messages(
        &self,
        topic: &str,
        group: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<DeadMessageView>, ClientError> {
        let limit = limit.map(|limit| limit.to_string());
        let query = [("group", group), ("limit", limit.as_deref())];
        self.get(&with_query(&topic_path(topic, "/dead"), &query))
            .await
    }

    /// Has the dead letters of a group delivered once more, in order.
    pub async fn drain_dead_messages(
        &self,
        topic: &str,
        group: Option<&str>,
        limit: Option<i64>,
    ) -> Result<MessagesChanged, ClientError> {
        let limit = limit.map(|limit| limit.to_string());
        let query = [("group", group), ("limit", limit.as_deref())];
        self.post(
            &with_query(&topic_path(topic, "/drain"), &query),
            None::<&()>,
        )
        .await
    }

    /// Has one dead letter delivered once more.
    pub async fn replay_message(
        &self,
        message: &str,
        group: Option<&str>,
    ) -> Result<MessagesChanged, ClientError> {
        self.decide(message, group, "replay").await
    }

    /// Says that nobody needs a message.
    pub async fn dismiss_message(
        &self,
        message: &str,
        group: Option<&str>,
    ) -> Result<MessagesChanged, ClientError> {
        self.decide(message, group, "dismiss").await
    }

    async fn decide(
        &self,
        message: &str,
        group: Option<&str>,
        decision: &str,
    ) -> Result<MessagesChanged, ClientError> {
        let path = format!("/api/v1/messages/{}/{decision}", percent_encoded(message));
        self.post(&with_query(&path, &[("group", group)]), None::<&()>)
            .await
    }

    /// Alarms, newest first; with `all` those that are over too.
    pub async fn alarms(
        &self,
        all: bool,
        limit: Option<i64>,
    ) -> Result<Page<AlarmView>, ClientError> {
        let limit = limit.map(|limit| limit.to_string());
        let query = [("all", all.then_some("1")), ("limit", limit.as_deref())];
        self.get(&with_query("/api/v1/alarms", &query)).await
    }

    /// Says that an alarm was seen.
    pub async fn ack_alarm(&self, number: i64) -> Result<AlarmView, ClientError> {
        self.post(&format!("/api/v1/alarms/{number}/ack"), None::<&()>)
            .await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let answer = self
            .send(Verb::Get, path, Bytes::new(), "application/json")
            .await?;
        self.read(answer).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let body = match body {
            Some(document) => serde_json::to_vec(document)
                .map_err(|error| self.malformed(error))?
                .into(),
            None => Bytes::new(),
        };
        let answer = self
            .send(Verb::Post, path, body, "application/json")
            .await?;
        self.read(answer).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        answer: Response<Incoming>,
    ) -> Result<T, ClientError> {
        if !answer.status().is_success() {
            return Err(self.refusal(answer).await);
        }
        let bytes = self.collect(answer).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.malformed(error))
    }

    async fn refusal(&self, answer: Response<Incoming>) -> ClientError {
        let status = answer.status();
        let bytes = match self.collect(answer).await {
            Ok(bytes) => bytes,
            Err(error) => return error,
        };
        match serde_json::from_slice::<ErrorDocument>(&bytes) {
            Ok(ErrorDocument { mut error }) => {
                error.exit = exit_of_status(status, error.exit);
                ClientError::Refused(error)
            }
            Err(_) => self.malformed(format!(
                "status {status}, {}",
                String::from_utf8_lossy(&bytes)
                    .chars()
                    .take(limits::FOREIGN_ANSWER_CHARS_MAX)
                    .collect::<String>()
            )),
        }
    }

    async fn collect(&self, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = Limited::new(answer.into_body(), limits::ANSWER_BYTES_MAX).collect();
        match within(limits::ANSWER_MS, body).await {
            Some(Ok(collected)) => Ok(collected.to_bytes()),
            Some(Err(source)) => Err(self.broken(source)),
            None => Err(self.timeout(limits::ANSWER_MS)),
        }
    }

    async fn send(
        &self,
        verb: Verb,
        path: &str,
        body: Bytes,
        accept: &str,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder()
            .method(verb.as_str())
            .uri(path)
            .header(header::ACCEPT, accept);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request = match &self.0 {
            Endpoint::Socket(_) => request.header(header::HOST, "localhost"),
            Endpoint::Address { authority, token } => request
                .header(header::HOST, authority)
                .header(header::AUTHORIZATION, format!("Bearer {}", token.reveal())),
        };
        let request = request
            .body(Full::new(body))
            .map_err(|error| self.malformed(error))?;
        let unreachable = |source| ClientError::Unreachable {
            endpoint: self.0.to_string(),
            source,
        };
        let exchange = match &self.0 {
            Endpoint::Socket(path) => {
                match within(limits::CONNECT_MS, UnixStream::connect(path)).await {
                    Some(stream) => self.exchange(stream.map_err(unreachable)?, request).await,
                    None => return Err(self.timeout(limits::CONNECT_MS)),
                }
            }
            Endpoint::Address { authority, .. } => {
                match within(limits::CONNECT_MS, TcpStream::connect(authority)).await {
                    Some(stream) => self.exchange(stream.map_err(unreachable)?, request).await,
                    None => return Err(self.timeout(limits::CONNECT_MS)),
                }
            }
        };
        exchange?.map_err(|source| self.broken(source))
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<hyper::Result<Response<Incoming>>, ClientError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| self.broken(source))?;
        // The connection ends by itself, with an error that the answer already carries.
        skep_stdx::spawn("api-client-connection", connection);
        within(limits::ANSWER_MS, sender.send_request(request))
            .await
            .ok_or_else(|| self.timeout(limits::ANSWER_MS))
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken {
            endpoint: self.0.to_string(),
            source: source.into(),
        }
    }

    fn malformed(&self, reason: impl fmt::Display) -> ClientError {
        ClientError::Malformed {
            endpoint: self.0.to_string(),
            reason: reason.to_string(),
        }
    }

    fn timeout(&self, limit_ms: u64) -> ClientError {
        ClientError::Timeout {
            endpoint: self.0.to_string(),
            seconds: limit_ms / 1_000,
        }
    }
}

pub(crate) async fn within<F: Future>(limit_ms: u64, future: F) -> Option<F::Output> {
    tokio::time::timeout(Duration::from_millis(limit_ms), future)
        .await
        .ok()
}

fn plan_path(reference: &str) -> String {
    format!("/api/v1/plans/{}", percent_encoded(reference))
}

fn topic_path(topic: &str, rest: &str) -> String {
    format!("/api/v1/topics/{}{rest}", percent_encoded(topic))
}

fn job_path(reference: &str, rest: &str) -> String {
    format!("/api/v1/jobs/{}{rest}", percent_encoded(reference))
}

fn node_path(node: &str, rest: &str) -> String {
    format!("/api/v1/nodes/{}{rest}", percent_encoded(node))
}

fn queue_path(queue: &str, rest: &str) -> String {
    format!("/api/v1/queues/{}{rest}", percent_encoded(queue))
}

fn schedule_path(name: &str, rest: &str) -> String {
    format!("/api/v1/schedules/{}{rest}", percent_encoded(name))
}

fn dead_path(reference: &str, rest: &str) -> String {
    format!("/api/v1/dead/{}{rest}", percent_encoded(reference))
}

fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let pairs: Vec<String> = parameters
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", percent_encoded((*value)?))))
        .collect();
    if pairs.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", pairs.join("&"))
    }
}

/// Everything but the unreserved characters of RFC 3986, section 2.3, as `%XX`.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_and_an_exit_code_stand_for_each_other() {
        for exit in 1..=5 {
            assert_eq!(exit_of_status(status_of_exit(exit), 1), exit);
        }
        assert_eq!(exit_of_status(StatusCode::UNAUTHORIZED, 1), 3);
        assert_eq!(exit_of_status(StatusCode::PAYLOAD_TOO_LARGE, 1), 2);
        assert_eq!(exit_of_status(StatusCode::BAD_GATEWAY, 1), 5);
        assert_eq!(exit_of_status(StatusCode::UNPROCESSABLE_ENTITY, 3), 3);
    }

    #[test]
    fn a_reference_cannot_leave_its_place_in_the_path() {
        assert_eq!(
            job_path("../x?y=1", "/log"),
            "/api/v1/jobs/..%2Fx%3Fy%3D1/log"
        );
        assert_eq!(
            with_query("/p", &[("a", Some("b c")), ("d", None)]),
            "/p?a=b%20c"
        );
    }
}
