//! The handle that the edges hold, and what it is made of.

use crate::config::{EngineConfig, ModelFacts, ToolchainConfig, WorkerConfig};
use crate::context::Context;
use crate::error::DirectorError;
use crate::node::NodeOptions;
use crate::topic::{self, Decision};
use crate::{
    EngineError, Home, account, alarm, dead, dispatch, engine, ledger, node, plan, queue,
    reference, schedule,
};
use skep_api::{
    AlarmView, CallRequest, DeadClasses, DeadLetter, DeadListQuery, DeadMessageView, DeadView,
    DiffView, DispatchRequest, DrainRequest, Drained, EventView, FetchMessages, FinishMessage,
    FiringView, JobSubmitted, JobSummary, JobView, LedgerView, LogView, MessageView,
    MessagesChanged, NodeView, Page, PauseRequest, PlanRequest, PlanView, PreviewView,
    ProduceMessage, ProducedMessage, QueueView, RetryRequest, ScheduleRequest, ScheduleSummary,
    ScheduleView, ShellRequest, TopicView,
};
use skep_db::Db;
use skep_gateway::Gateway;
use skep_ledger::{Anchor, LedgerPublicKey};
use skep_queue::FlowPolicy;
use skep_stdx::{SharedClock, SharedEntropy};
use skep_topic::Topics;
use skep_types::JobState;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Serves the gateway's routes, and nothing else, on a listener until the task is aborted.
pub type ServeGateway =
    Arc<dyn Fn(std::net::TcpListener) -> tokio::task::JoinHandle<()> + Send + Sync>;

/// Says one sentence on a path that needs neither log nor store, as stderr.
pub type Alert = Arc<dyn Fn(&str) + Send + Sync>;

/// What a director is made of.
pub struct DirectorOptions {
    /// The folder that holds everything.
    pub home: Home,
    /// The store, its schema up to date.
    pub db: Db,
    /// The configured models by name.
    pub models: BTreeMap<String, ModelFacts>,
    /// The configured workers by name.
    pub workers: BTreeMap<String, WorkerConfig>,
    /// How the engine runs.
    pub engine: EngineConfig,
    /// The limits of the queue.
    pub flow: Arc<FlowPolicy>,
    /// What this node is and does.
    pub node: NodeOptions,
    /// What agents may read besides the system.
    pub toolchain: ToolchainConfig,
    /// The clock for ids and reports; leases follow the store's.
    pub clock: SharedClock,
    /// The source of ids and keys.
    pub entropy: SharedEntropy,
    /// The `skep` binary, which is also the launcher of every fence.
    pub launcher: PathBuf,
    /// The gateway, for the engine's own calls.
    pub gateway: Gateway,
    /// How the listener inside a fence is served.
    pub serve_gateway: ServeGateway,
    /// The public half of the key that signs the ledger's head.
    pub ledger_public_key: LedgerPublicKey,
    /// The owner of a job that names none.
    pub owner: String,
    /// The topics, as [`crate::topics`] gives them, registered in the store.
    pub topics: Topics,
    /// Says one sentence to whoever watches the process, past log and store.
    pub alert: Alert,
}

/// Which jobs a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// Only jobs in one of these states; all when empty.
    pub states: Vec<JobState>,
    /// Only jobs of this project.
    pub project: Option<String>,
    /// Where the last page ended.
    pub cursor: Option<String>,
    /// How many, at most.
    pub limit: Option<i64>,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Director(Arc<Context>);

impl Director {
    /// A director; nothing runs until [`Director::run`].
    pub fn new(options: DirectorOptions) -> Self {
        Self(Arc::new(Context::new(options)))
    }

    /// The engine: reconciles what an earlier engine left, then claims, runs, verifies, lands and
    /// delivers until [`Director::stop`]. A worker interrupted by the stop uses up no attempt.
    pub async fn run(&self) -> Result<(), EngineError> {
        engine::run(Arc::clone(&self.0)).await
    }

    /// Returns once the engine has joined the other nodes of the store, put in order what an earlier
    /// one left, and reads its topics; never if it fails at that.
    pub async fn started(&self) {
        let mut started = self.0.started.subscribe();
        // The sender lives as long as this director.
        drop(started.wait_for(|started| *started).await);
    }

    /// Asks the engine to stop.
    pub fn stop(&self) {
        self.0.running.stop();
    }

    /// How many jobs could still move without a person or more money.
    pub async fn live_jobs(&self) -> Result<i64, DirectorError> {
        account::live_jobs(&self.0.db).await
    }

    /// Writes a job down and queues it; its base is pinned here.
    pub async fn dispatch(&self, request: DispatchRequest) -> Result<JobSubmitted, DirectorError> {
        dispatch::dispatch(&self.0, request).await
    }

    /// Writes a model call down and queues it.
    pub async fn dispatch_call(&self, request: CallRequest) -> Result<JobSubmitted, DirectorError> {
        dispatch::call::dispatch(&self.0, request).await
    }

    /// Writes a command down and queues it; its repository is pinned here.
    pub async fn dispatch_shell(
        &self,
        request: ShellRequest,
    ) -> Result<JobSubmitted, DirectorError> {
        dispatch::shell::dispatch(&self.0, request).await
    }

    /// One job by id or number.
    pub async fn job(&self, reference: &str) -> Result<JobView, DirectorError> {
        account::job(&self.0, reference).await
    }

    /// A page of jobs, newest first.
    pub async fn jobs(&self, query: &JobQuery) -> Result<Page<JobSummary>, DirectorError> {
        account::jobs(&self.0, query).await
    }

    /// What a job's worker wrote: the newest attempt's, or the one asked for.
    pub async fn job_log(
        &self,
        reference: &str,
        attempt: Option<&str>,
    ) -> Result<LogView, DirectorError> {
        account::log(&self.0, reference, attempt).await
    }

    /// What a job's newest result changes.
    pub async fn job_diff(&self, reference: &str) -> Result<DiffView, DirectorError> {
        account::diff(&self.0, reference).await
    }

    /// Ends a job: its worker's whole process tree dies, its fence is withdrawn.
    pub async fn cancel(&self, reference: &str) -> Result<JobSubmitted, DirectorError> {
        reference::cancel(&self.0, reference).await
    }

    /// How the queues stand.
    pub async fn queues(&self) -> Result<Page<QueueView>, DirectorError> {
        queue::queues(&self.0).await
    }

    /// Pauses a queue, or with `*` all of them, or lets them go on.
    pub async fn set_queue_paused(
        &self,
        queue: &str,
        paused: bool,
    ) -> Result<QueueView, DirectorError> {
        queue::set_paused(&self.0, queue, paused).await
    }

    /// The nodes of the store.
    pub async fn nodes(&self) -> Result<Page<NodeView>, DirectorError> {
        node::nodes(&self.0).await
    }

    /// Lets a node, by id or host name, take no more work, or work again.
    pub async fn set_node_draining(
        &self,
        reference: &str,
        draining: bool,
    ) -> Result<NodeView, DirectorError> {
        node::set_draining(&self.0, reference, draining).await
    }

    /// Ends a job, its parts, and whatever waits for one of them.
    pub async fn cancel_tree(&self, reference: &str) -> Result<JobSubmitted, DirectorError> {
        reference::cancel_tree(&self.0, reference).await
    }

    /// Checks a plan and shows what it would be.
    pub async fn check_plan(&self, request: &PlanRequest) -> Result<PlanView, DirectorError> {
        plan::check(&self.0, request).await
    }

    /// Writes a whole plan down and queues it.
    pub async fn run_plan(&self, request: &PlanRequest) -> Result<PlanView, DirectorError> {
        plan::run(&self.0, request).await
    }

    /// A plan and where its nodes stand.
    pub async fn plan(&self, reference: &str) -> Result<PlanView, DirectorError> {
        plan::show(&self.0, reference).await
    }

    /// Starts an ended or waiting job again.
    pub async fn retry(
        &self,
        reference: &str,
        request: RetryRequest,
    ) -> Result<JobSubmitted, DirectorError> {
        reference::retry(&self.0, reference, request).await
    }

    /// Makes a schedule. Its job is prepared once, so that a request that cannot work is refused
    /// now.
    pub async fn add_schedule(
        &self,
        request: ScheduleRequest,
    ) -> Result<ScheduleView, DirectorError> {
        schedule::add(&self.0, request).await
    }

    /// Every schedule that is not removed, by name.
    pub async fn schedules(&self) -> Result<Page<ScheduleSummary>, DirectorError> {
        schedule::list(&self.0).await
    }

    /// One schedule by name or id.
    pub async fn schedule(&self, name: &str) -> Result<ScheduleView, DirectorError> {
        schedule::show(&self.0, name).await
    }

    /// The next times of a schedule.
    pub async fn schedule_next(
        &self,
        name: &str,
        count: Option<i64>,
    ) -> Result<PreviewView, DirectorError> {
        schedule::next(&self.0, name, count).await
    }

    /// What became of a schedule's times, newest first.
    pub async fn firings(
        &self,
        name: &str,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<FiringView>, DirectorError> {
        schedule::firings(&self.0, name, cursor, limit).await
    }

    /// Stops a schedule from firing.
    pub async fn pause_schedule(
        &self,
        name: &str,
        request: PauseRequest,
    ) -> Result<ScheduleView, DirectorError> {
        schedule::pause(&self.0, name, request).await
    }

    /// Lets a schedule fire again.
    pub async fn resume_schedule(&self, name: &str) -> Result<ScheduleView, DirectorError> {
        schedule::resume(&self.0, name).await
    }

    /// Begins a run of a schedule now.
    pub async fn run_schedule(&self, name: &str) -> Result<FiringView, DirectorError> {
        schedule::run_now(&self.0, name).await
    }

    /// Takes a schedule away.
    pub async fn remove_schedule(&self, name: &str) -> Result<ScheduleView, DirectorError> {
        schedule::remove(&self.0, name).await
    }

    /// Fires what is due and settles what has ended; the engine does this by itself. The answer is
    /// how long nothing will be due, in milliseconds.
    pub async fn reconcile_schedules(&self) -> Result<i64, DirectorError> {
        schedule::reconcile_once(&self.0).await
    }

    /// Jobs that ended without success and that nobody has dismissed, newest first.
    pub async fn dead(&self, query: &DeadListQuery) -> Result<Page<DeadLetter>, DirectorError> {
        dead::list(&self.0, query).await
    }

    /// How many of them there are of each class.
    pub async fn dead_classes(&self) -> Result<DeadClasses, DirectorError> {
        dead::classes(&self.0).await
    }

    /// One of them with its evidence.
    pub async fn dead_letter(&self, reference: &str) -> Result<DeadView, DirectorError> {
        dead::show(&self.0, reference).await
    }

    /// Starts one of them again, unless it failed the same way too often.
    pub async fn replay(&self, reference: &str) -> Result<JobSubmitted, DirectorError> {
        dead::replay(&self.0, reference).await
    }

    /// Starts many of them again, in the order in which they were asked for.
    pub async fn drain(&self, request: DrainRequest) -> Result<Drained, DirectorError> {
        dead::drain(&self.0, request).await
    }

    /// Says that nobody needs to look at one of them any more.
    pub async fn dismiss(&self, reference: &str) -> Result<JobSubmitted, DirectorError> {
        dead::dismiss(&self.0, reference).await
    }

    /// Sealed ledger events after `after_seq`, oldest first.
    pub async fn events(
        &self,
        after_seq: i64,
        subject: Option<&str>,
        limit: i64,
    ) -> Result<Vec<EventView>, DirectorError> {
        ledger::events(&self.0, after_seq, subject, limit).await
    }

    /// The newest `limit` sealed ledger events, oldest first.
    pub async fn newest_events(
        &self,
        subject: Option<&str>,
        limit: i64,
    ) -> Result<Vec<EventView>, DirectorError> {
        ledger::newest_events(&self.0, subject, limit).await
    }

    /// Recomputes the whole chain.
    pub async fn verify_ledger(&self) -> Result<LedgerView, DirectorError> {
        self.verify_ledger_with(Vec::new()).await
    }

    /// Recomputes the whole chain, in which every anchor has to be.
    pub async fn verify_ledger_with(
        &self,
        anchors: Vec<Anchor>,
    ) -> Result<LedgerView, DirectorError> {
        ledger::verify_ledger(&self.0, anchors).await
    }

    /// Every topic with its groups.
    pub async fn topics(&self) -> Result<Page<TopicView>, DirectorError> {
        topic::list(&self.0).await
    }

    /// One topic with its groups.
    pub async fn topic(&self, name: &str) -> Result<TopicView, DirectorError> {
        topic::show(&self.0, name).await
    }

    /// Messages of one partition after an offset, oldest first; the newest without one.
    pub async fn messages(
        &self,
        name: &str,
        partition: i64,
        after: Option<i64>,
        limit: Option<i64>,
    ) -> Result<Page<MessageView>, DirectorError> {
        topic::messages(&self.0, name, partition, after, limit).await
    }

    /// Produces one message to a configured topic.
    pub async fn produce(
        &self,
        name: &str,
        request: ProduceMessage,
    ) -> Result<ProducedMessage, DirectorError> {
        topic::produce(&self.0, name, request).await
    }

    /// The dead letters of a topic, of one group if named.
    pub async fn dead_messages(
        &self,
        name: &str,
        group: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<DeadMessageView>, DirectorError> {
        topic::dead(&self.0, name, group, limit).await
    }

    /// Has one dead letter delivered once more.
    pub async fn replay_message(
        &self,
        message: &str,
        group: Option<&str>,
    ) -> Result<MessagesChanged, DirectorError> {
        topic::decide(&self.0, message, group, Decision::Replay).await
    }

    /// Says that nobody needs a message that is a dead letter or waits to be tried again.
    pub async fn dismiss_message(
        &self,
        message: &str,
        group: Option<&str>,
    ) -> Result<MessagesChanged, DirectorError> {
        topic::decide(&self.0, message, group, Decision::Dismiss).await
    }

    /// Has the dead letters of a group delivered once more, in order.
    pub async fn drain_dead_messages(
        &self,
        name: &str,
        group: Option<&str>,
        limit: Option<i64>,
    ) -> Result<MessagesChanged, DirectorError> {
        topic::drain(&self.0, name, group, limit).await
    }

    /// Hands messages of a configured topic to a reader outside.
    pub async fn fetch_messages(
        &self,
        name: &str,
        group: &str,
        request: FetchMessages,
    ) -> Result<Page<MessageView>, DirectorError> {
        topic::fetch(&self.0, name, group, request).await
    }

    /// Takes the answer of a reader outside about one message.
    pub async fn finish_message(
        &self,
        name: &str,
        group: &str,
        request: FinishMessage,
    ) -> Result<MessagesChanged, DirectorError> {
        topic::finish(&self.0, name, group, request).await
    }

    /// Open alarms, newest first; with `all` those that are over too.
    pub async fn alarms(
        &self,
        all: bool,
        limit: Option<i64>,
    ) -> Result<Page<AlarmView>, DirectorError> {
        alarm::alarms(&self.0, all, limit).await
    }

    /// Says that an alarm was seen.
    pub async fn ack_alarm(&self, number: i64) -> Result<AlarmView, DirectorError> {
        alarm::ack_alarm(&self.0, number).await
    }

    /// Changes whenever something was appended to the ledger in this process.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.0.db.listen("ledger")
    }
}
