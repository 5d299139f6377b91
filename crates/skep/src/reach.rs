//! How a command gets at a home: through whoever holds it, or directly while nobody does.
//!
//! Invariant: the store is opened by the holder of the home's lock and by nobody else.

mod door;
mod ledger;
mod schedule;
mod topic;

pub(crate) use door::Door;

use crate::config::{Config, Secrets};
use crate::engine::OpenHome;
use crate::failure::Failure;
use skep_api::{
    Client, DeadClasses, DeadLetter, DeadListQuery, DeadView, DiffView, DrainRequest, Drained,
    JobListQuery, JobSubmitted, JobSummary, JobView, LogView, NodeView, Page, PlanRequest,
    PlanView, QueueView, RetryRequest,
};
use skep_director::{Home, JobQuery};

/// A way to a home.
pub(crate) enum Reach {
    /// Somebody holds it and answers on its socket.
    Holder(Client),
    /// Nobody holds it: this process does, for the length of one command.
    Direct(Box<OpenHome>),
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
}
