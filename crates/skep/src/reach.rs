//! How a command gets at a home: through whoever holds it, or directly while nobody does.
//!
//! Invariant: the store is opened by the holder of the home's lock and by nobody else.

use crate::config::{Config, Secrets};
use crate::engine::OpenHome;
use crate::failure::Failure;
use crate::home_lock::{HomeLock, LockError};
use skep_api::{
    AlarmView, Client, ClientError, DeadClasses, DeadLetter, DeadListQuery, DeadMessageView,
    DeadView, DiffView, DrainRequest, Drained, EventView, FiringView, JobListQuery, JobSubmitted,
    JobSummary, JobView, LedgerEntries, LedgerHeadView, LedgerView, LogView, MessageView,
    MessagesChanged, NodeView, Page, PauseRequest, PlanRequest, PlanView, PreviewView,
    ProduceMessage, ProducedMessage, QueueView, RetryRequest, ScheduleRequest, ScheduleSummary,
    ScheduleView, TopicView,
};
use skep_director::{Home, JobQuery};
use skep_ledger::Anchor;
use skep_stdx::Stopwatch;
use std::time::Duration;

/// The longest wait for a holder that has the lock and does not answer yet, in milliseconds.
const HOLDER_START_MS: u64 = 10_000;
/// How often it is asked, in milliseconds.
const HOLDER_POLL_MS: u64 = 50;

/// A way to a home.
pub(crate) enum Reach {
    /// Somebody holds it and answers on its socket.
    Holder(Client),
    /// Nobody holds it: this process does, for the length of one command.
    Direct(Box<OpenHome>),
}

/// Either a holder that answers, or the lock.
pub(crate) enum Door {
    /// Somebody holds the home and answers on its socket.
    Holder(Client),
    /// Nobody does; now this process.
    Lock(HomeLock),
}

impl Door {
    /// Finds the holder, or takes the lock. A holder that has just started is waited for.
    pub(crate) async fn find(home: &Home) -> Result<Self, Failure> {
        let waited = Stopwatch::start();
        loop {
            let client = Client::at_socket(home.socket());
            let silence = match client.health().await {
                Ok(_) => return Ok(Self::Holder(client)),
                Err(error @ ClientError::Refused(_)) => return Err(error.into()),
                Err(error) => error,
            };
            match HomeLock::take(home) {
                Ok(lock) => return Ok(Self::Lock(lock)),
                Err(LockError::Held { holder }) => {
                    if waited.elapsed() > Duration::from_millis(HOLDER_START_MS) {
                        let by = holder.map_or_else(String::new, |id| format!(" (process {id})"));
                        return Err(Failure::unreachable(
                            "holder_silent",
                            format!(
                                "the holder of {}{by} does not answer: {}",
                                home.root().display(),
                                silence.body().message
                            ),
                            "wait until it has started or ended; a process that hangs has to be stopped",
                        ));
                    }
                }
                Err(error @ LockError::Unusable { .. }) => return Err(error.failure(home)),
            }
            tokio::time::sleep(Duration::from_millis(HOLDER_POLL_MS)).await;
        }
    }
}

impl Reach {
    /// A way to `home`, which has to be there already.
    pub(crate) async fn existing(home: &Home, config: &Config) -> Result<Self, Failure> {
        if !home.root().is_dir() {
            return Err(Failure::not_found(
                "home_not_found",
                format!("there is no Skep home at {}", home.root().display()),
                "`skep run` and `skep up` make one; `--home` or SKEP_HOME choose another",
            ));
        }
        match Door::find(home).await? {
            Door::Holder(client) => Ok(Self::Holder(client)),
            Door::Lock(lock) => {
                let open = OpenHome::open(home, lock, config, Secrets::Left).await?;
                Ok(Self::Direct(Box::new(open)))
            }
        }
    }

    /// Whether a holder answers; without one nothing moves by itself.
    pub(crate) const fn has_holder(&self) -> bool {
        matches!(self, Self::Holder(_))
    }

    pub(crate) async fn job(&self, job: &str) -> Result<JobView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.job(job).await?,
            Self::Direct(open) => open.director.job(job).await?,
        })
    }

    pub(crate) async fn jobs(&self, query: JobQuery) -> Result<Page<JobSummary>, Failure> {
        match self {
            Self::Holder(client) => {
                let words: Vec<&str> = query.states.iter().map(|state| state.as_str()).collect();
                let query = JobListQuery {
                    state: (!words.is_empty()).then(|| words.join(",")),
                    project: query.project,
                    cursor: query.cursor,
                    limit: query.limit,
                };
                Ok(client.jobs(&query).await?)
            }
            Self::Direct(open) => Ok(open.director.jobs(&query).await?),
        }
    }

    pub(crate) async fn job_log(
        &self,
        job: &str,
        attempt: Option<&str>,
    ) -> Result<LogView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.job_log(job, attempt).await?,
            Self::Direct(open) => open.director.job_log(job, attempt).await?,
        })
    }

    pub(crate) async fn job_diff(&self, job: &str) -> Result<DiffView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.job_diff(job).await?,
            Self::Direct(open) => open.director.job_diff(job).await?,
        })
    }

    pub(crate) async fn cancel(&self, job: &str) -> Result<JobSubmitted, Failure> {
        Ok(match self {
            Self::Holder(client) => client.cancel(job).await?,
            Self::Direct(open) => open.director.cancel(job).await?,
        })
    }

    pub(crate) async fn cancel_tree(&self, job: &str) -> Result<JobSubmitted, Failure> {
        Ok(match self {
            Self::Holder(client) => client.cancel_tree(job).await?,
            Self::Direct(open) => open.director.cancel_tree(job).await?,
        })
    }

    pub(crate) async fn run_plan(&self, request: &PlanRequest) -> Result<PlanView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.run_plan(request).await?,
            Self::Direct(open) => open.director.run_plan(request).await?,
        })
    }

    pub(crate) async fn check_plan(&self, request: &PlanRequest) -> Result<PlanView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.check_plan(request).await?,
            Self::Direct(open) => open.director.check_plan(request).await?,
        })
    }

    pub(crate) async fn plan(&self, plan: &str) -> Result<PlanView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.plan(plan).await?,
            Self::Direct(open) => open.director.plan(plan).await?,
        })
    }

    pub(crate) async fn retry(
        &self,
        job: &str,
        request: RetryRequest,
    ) -> Result<JobSubmitted, Failure> {
        Ok(match self {
            Self::Holder(client) => client.retry(job, &request).await?,
            Self::Direct(open) => open.director.retry(job, request).await?,
        })
    }

    pub(crate) async fn queues(&self) -> Result<Page<QueueView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.queues().await?,
            Self::Direct(open) => open.director.queues().await?,
        })
    }

    pub(crate) async fn set_queue_paused(
        &self,
        queue: &str,
        paused: bool,
    ) -> Result<QueueView, Failure> {
        Ok(match self {
            Self::Holder(client) if paused => client.pause_queue(queue).await?,
            Self::Holder(client) => client.resume_queue(queue).await?,
            Self::Direct(open) => open.director.set_queue_paused(queue, paused).await?,
        })
    }

    pub(crate) async fn nodes(&self) -> Result<Page<NodeView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.nodes().await?,
            Self::Direct(open) => open.director.nodes().await?,
        })
    }

    pub(crate) async fn set_node_draining(
        &self,
        node: &str,
        draining: bool,
    ) -> Result<NodeView, Failure> {
        Ok(match self {
            Self::Holder(client) if draining => client.drain_node(node).await?,
            Self::Holder(client) => client.resume_node(node).await?,
            Self::Direct(open) => open.director.set_node_draining(node, draining).await?,
        })
    }

    pub(crate) async fn add_schedule(
        &self,
        request: ScheduleRequest,
    ) -> Result<ScheduleView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.add_schedule(&request).await?,
            Self::Direct(open) => open.director.add_schedule(request).await?,
        })
    }

    pub(crate) async fn schedules(&self) -> Result<Page<ScheduleSummary>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.schedules().await?,
            Self::Direct(open) => open.director.schedules().await?,
        })
    }

    pub(crate) async fn schedule(&self, name: &str) -> Result<ScheduleView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.schedule(name).await?,
            Self::Direct(open) => open.director.schedule(name).await?,
        })
    }

    pub(crate) async fn schedule_next(
        &self,
        name: &str,
        count: i64,
    ) -> Result<PreviewView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.schedule_next(name, count).await?,
            Self::Direct(open) => open.director.schedule_next(name, Some(count)).await?,
        })
    }

    pub(crate) async fn firings(
        &self,
        name: &str,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<FiringView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.firings(name, cursor, limit).await?,
            Self::Direct(open) => open.director.firings(name, cursor, limit).await?,
        })
    }

    pub(crate) async fn pause_schedule(
        &self,
        name: &str,
        request: PauseRequest,
    ) -> Result<ScheduleView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.pause_schedule(name, &request).await?,
            Self::Direct(open) => open.director.pause_schedule(name, request).await?,
        })
    }

    pub(crate) async fn resume_schedule(&self, name: &str) -> Result<ScheduleView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.resume_schedule(name).await?,
            Self::Direct(open) => open.director.resume_schedule(name).await?,
        })
    }

    pub(crate) async fn run_schedule(&self, name: &str) -> Result<FiringView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.run_schedule(name).await?,
            Self::Direct(open) => open.director.run_schedule(name).await?,
        })
    }

    pub(crate) async fn remove_schedule(&self, name: &str) -> Result<ScheduleView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.remove_schedule(name).await?,
            Self::Direct(open) => open.director.remove_schedule(name).await?,
        })
    }

    pub(crate) async fn dead(&self, query: DeadListQuery) -> Result<Page<DeadLetter>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.dead(&query).await?,
            Self::Direct(open) => open.director.dead(&query).await?,
        })
    }

    pub(crate) async fn dead_classes(&self) -> Result<DeadClasses, Failure> {
        Ok(match self {
            Self::Holder(client) => client.dead_classes().await?,
            Self::Direct(open) => open.director.dead_classes().await?,
        })
    }

    pub(crate) async fn dead_letter(&self, job: &str) -> Result<DeadView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.dead_letter(job).await?,
            Self::Direct(open) => open.director.dead_letter(job).await?,
        })
    }

    pub(crate) async fn replay(&self, job: &str) -> Result<JobSubmitted, Failure> {
        Ok(match self {
            Self::Holder(client) => client.replay(job).await?,
            Self::Direct(open) => open.director.replay(job).await?,
        })
    }

    pub(crate) async fn drain(&self, request: DrainRequest) -> Result<Drained, Failure> {
        Ok(match self {
            Self::Holder(client) => client.drain(&request).await?,
            Self::Direct(open) => open.director.drain(request).await?,
        })
    }

    pub(crate) async fn dismiss(&self, job: &str) -> Result<JobSubmitted, Failure> {
        Ok(match self {
            Self::Holder(client) => client.dismiss(job).await?,
            Self::Direct(open) => open.director.dismiss(job).await?,
        })
    }

    pub(crate) async fn events(
        &self,
        after: i64,
        subject: Option<&str>,
        limit: i64,
    ) -> Result<Vec<EventView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.events(after, subject, limit).await?.items,
            Self::Direct(open) => open.director.events(after, subject, limit).await?,
        })
    }

    pub(crate) async fn ledger_entries(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<LedgerEntries, Failure> {
        match self {
            Self::Holder(client) => Ok(client.ledger_entries(after, limit).await?),
            Self::Direct(open) => open.ledger_entries(after, limit).await,
        }
    }

    pub(crate) async fn topics(&self) -> Result<Page<TopicView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.topics().await?,
            Self::Direct(open) => open.director.topics().await?,
        })
    }

    pub(crate) async fn topic(&self, name: &str) -> Result<TopicView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.topic(name).await?,
            Self::Direct(open) => open.director.topic(name).await?,
        })
    }

    pub(crate) async fn messages(
        &self,
        topic: &str,
        partition: i64,
        after: Option<i64>,
        limit: Option<i64>,
    ) -> Result<Page<MessageView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.messages(topic, partition, after, limit).await?,
            Self::Direct(open) => {
                open.director
                    .messages(topic, partition, after, limit)
                    .await?
            }
        })
    }

    pub(crate) async fn produce(
        &self,
        topic: &str,
        message: ProduceMessage,
    ) -> Result<ProducedMessage, Failure> {
        Ok(match self {
            Self::Holder(client) => client.produce(topic, &message).await?,
            Self::Direct(open) => open.director.produce(topic, message).await?,
        })
    }

    pub(crate) async fn dead_messages(
        &self,
        topic: &str,
        group: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<DeadMessageView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.dead_messages(topic, group, limit).await?,
            Self::Direct(open) => open.director.dead_messages(topic, group, limit).await?,
        })
    }

    pub(crate) async fn drain_dead_messages(
        &self,
        topic: &str,
        group: Option<&str>,
        limit: Option<i64>,
    ) -> Result<MessagesChanged, Failure> {
        Ok(match self {
            Self::Holder(client) => client.drain_dead_messages(topic, group, limit).await?,
            Self::Direct(open) => {
                open.director
                    .drain_dead_messages(topic, group, limit)
                    .await?
            }
        })
    }

    pub(crate) async fn replay_message(
        &self,
        message: &str,
        group: Option<&str>,
    ) -> Result<MessagesChanged, Failure> {
        Ok(match self {
            Self::Holder(client) => client.replay_message(message, group).await?,
            Self::Direct(open) => open.director.replay_message(message, group).await?,
        })
    }

    pub(crate) async fn dismiss_message(
        &self,
        message: &str,
        group: Option<&str>,
    ) -> Result<MessagesChanged, Failure> {
        Ok(match self {
            Self::Holder(client) => client.dismiss_message(message, group).await?,
            Self::Direct(open) => open.director.dismiss_message(message, group).await?,
        })
    }

    pub(crate) async fn alarms(
        &self,
        all: bool,
        limit: Option<i64>,
    ) -> Result<Page<AlarmView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.alarms(all, limit).await?,
            Self::Direct(open) => open.director.alarms(all, limit).await?,
        })
    }

    pub(crate) async fn ack_alarm(&self, number: i64) -> Result<AlarmView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.ack_alarm(number).await?,
            Self::Direct(open) => open.director.ack_alarm(number).await?,
        })
    }

    pub(crate) async fn newest_events(
        &self,
        subject: Option<&str>,
        limit: i64,
    ) -> Result<Vec<EventView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.newest_events(subject, limit).await?.items,
            Self::Direct(open) => open.director.newest_events(subject, limit).await?,
        })
    }

    pub(crate) async fn ledger_head(&self) -> Result<LedgerHeadView, Failure> {
        match self {
            Self::Holder(client) => Ok(client.ledger_head().await?),
            Self::Direct(open) => open.ledger_head().await,
        }
    }

    pub(crate) async fn verify_ledger(&self, anchors: &[Anchor]) -> Result<LedgerView, Failure> {
        Ok(match self {
            Self::Holder(client) => {
                let anchors: Vec<String> = anchors.iter().map(Anchor::to_string).collect();
                client.verify_ledger_with(&anchors).await?
            }
            Self::Direct(open) => open.director.verify_ledger_with(anchors.to_vec()).await?,
        })
    }
}
