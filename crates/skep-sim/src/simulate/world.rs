//! The actors of one history: nodes with what they believe, clients, requests under way; and, beside
//! them, what a bystander who sees every answer knows.
//!
//! A node acts on its beliefs only. What it believes may be wrong: it was cut off, it slept, its
//! answer was lost. That is the point.

mod hear;
mod note;

use super::dice::{Dice, mixed};
use super::message::{Course, Request};
use super::model::Model;
use super::pace::Pace;
use super::queue::Queue;
use super::room::Turn;
use super::rule::{Rule, Violation};
use super::step::{Ask, Fate, JobName, LeaseName, Step, StepId};
use super::story::Telling;
use super::turn::{POLICIES, POLICIES_WITHOUT_RATE, policy};
use anyhow::Result;
use skep_queue::{ClaimMemory, FlowPolicy, Lease};
use skep_stdx::{Clock as _, SeededEntropy};
use skep_types::{AttemptId, AttemptState, JobId, JobState, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How many nodes there are.
pub(crate) const NODES: usize = 3;
/// When every history begins, in milliseconds since 1970: 2026-01-01.
const BEGIN_MS: i64 = 1_767_225_600_000;

/// A claim as its node sees it.
#[derive(Debug, Clone)]
pub(crate) struct Belief {
    pub(crate) name: LeaseName,
    pub(crate) job: JobId,
    pub(crate) state: JobState,
    /// Where the attempt stands, if the claim started one.
    pub(crate) attempt: Option<AttemptState>,
}

/// One node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) alive: bool,
    pub(crate) paused: bool,
    pub(crate) beliefs: Vec<Belief>,
    /// What its claims remember; a new run begins with a fresh one.
    pub(super) memory: Arc<ClaimMemory>,
    /// Grows with every start, so that an answer to a dead run is not heard by the next.
    run: u32,
}

/// A claim that the queue gave out, whether or not its node ever heard of it.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) lease: Lease,
    pub(crate) attempt: AttemptId,
    pub(crate) node: usize,
}

/// Which names jobs are asked for under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) singletons: bool,
    pub(crate) debounces: bool,
}

impl Names {
    pub(crate) const NONE: Self = Self {
        singletons: false,
        debounces: false,
    };
}

/// A name that a job can have for itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Singleton(String),
    Debounce(String),
}

/// One request that was sent.
#[derive(Debug, Clone)]
struct Sent {
    request: Request,
    /// The node that sent it, and in which of its runs.
    sender: Option<(usize, u32)>,
    arrived: bool,
}

/// Everything about one history.
pub(crate) struct World {
    pub(crate) queue: Arc<Queue>,
    pub(super) seed: u64,
    pub(crate) nodes: Vec<Node>,
    /// The jobs that were asked for.
    pub(crate) jobs: BTreeMap<JobName, JobId>,
    pub(crate) issued: BTreeMap<LeaseName, Issued>,
    /// Requests that wait for their `Deliver`.
    pub(crate) under_way: Vec<StepId>,
    sent: BTreeMap<StepId, Sent>,
    /// The last state that anybody was told of each job.
    pub(crate) seen: BTreeMap<JobId, JobState>,
    /// Who holds each job, by what the answers said.
    pub(crate) holders: BTreeMap<JobId, LeaseName>,
    /// The limits, the same for every node.
    pub(super) policy: Arc<FlowPolicy>,
    /// How each job that was asked for takes its turn.
    turns: BTreeMap<JobId, Turn>,
    /// What started under a rate, by what the answers said; not later than the queue has it.
    pace: Pace,
    /// The queues that were paused and not resumed, by what the answers said.
    pub(crate) paused: BTreeSet<String>,
    /// The same by what the events say.
    pub(crate) paused_told: BTreeSet<String>,
    pub(crate) acknowledged: BTreeSet<JobId>,
    completed: BTreeSet<JobId>,
    /// The digest and the job of each key, by what the answers said.
    keys: BTreeMap<String, (Vec<u8>, JobId)>,
    /// The last job that was made under each name and keeps it.
    named: BTreeMap<Named, JobId>,
    newest: BTreeMap<JobId, i64>,
    pub(crate) model: Option<Model>,
    pub(crate) tellings: BTreeMap<String, Telling>,
    /// The number of the last job, and the ledger's last entry, before this history.
    pub(crate) begin: (i64, i64),
    /// The last entry that was read.
    pub(crate) read_to: i64,
    /// The last thing that was answered, in words.
    pub(crate) last_answer: String,
    /// How many requests reached the store.
    pub(crate) steps_done: u64,
}

impl World {
    /// The beginning of a history on a queue where every earlier job has ended.
    pub(crate) fn new(queue: Arc<Queue>, seed: u64, with_model: bool, begin: (i64, i64)) -> Self {
        queue.clock.set_ms(BEGIN_MS);
        let entropy = SeededEntropy::new(mixed(seed ^ 0x6e6f_6465));
        let node = || Node {
            id: NodeId::new(&queue.clock, &entropy),
            alive: true,
            paused: false,
            beliefs: Vec::new(),
            memory: claim_memory(seed),
            run: 0,
        };
        Self {
            nodes: (0..NODES).map(|_| node()).collect(),
            queue,
            seed,
            jobs: BTreeMap::new(),
            issued: BTreeMap::new(),
            under_way: Vec::new(),
            sent: BTreeMap::new(),
            seen: BTreeMap::new(),
            holders: BTreeMap::new(),
            policy: Arc::new(policy(first_limits(seed))),
            turns: BTreeMap::new(),
            pace: Pace::default(),
            paused: BTreeSet::new(),
            paused_told: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            completed: BTreeSet::new(),
            keys: BTreeMap::new(),
            named: BTreeMap::new(),
            newest: BTreeMap::new(),
            model: with_model.then(|| Model::new(walk_time(seed).is_zero())),
            tellings: BTreeMap::new(),
            begin,
            read_to: begin.1,
            last_answer: String::new(),
            steps_done: 0,
        }
    }

    /// Whether all jobs of this history stand in one lane.
    pub(crate) const fn has_one_lane(&self) -> bool {
        has_one_lane(self.seed)
    }

    /// Which names the requests of this history have: none, in two of five.
    pub(crate) const fn names(&self) -> Names {
        Names {
            singletons: matches!(self.seed % 5, 0 | 4),
            debounces: matches!(self.seed % 5, 1 | 4),
        }
    }

    /// How many sets of limits there are to choose from, from the first one on. Where claims begin
    /// behind a mark nobody can tell from an answer whether rates were looked at, so there are none.
    pub(crate) const fn policies(&self) -> usize {
        policies(self.seed)
    }

    /// Whether a rate limits something now.
    pub(crate) fn has_rate(&self) -> bool {
        let limits = self.policy.queues.values();
        let mut limits = limits.chain(self.policy.backends.values());
        limits.any(|limit| limit.rate.is_some())
    }

    /// The store's time.
    pub(crate) fn now(&self) -> i64 {
        self.queue.clock.now_ms()
    }

    /// Where the next history begins.
    pub(crate) fn end(&self) -> (i64, i64) {
        let numbers = self.tellings.values().map(Telling::number);
        (numbers.fold(self.begin.0, i64::max), self.read_to)
    }

    /// The requests that have arrived once and can do so again.
    pub(crate) fn arrived(&self) -> Vec<StepId> {
        let arrived = self.sent.iter().filter(|(_, sent)| sent.arrived);
        arrived.map(|(id, _)| *id).collect()
    }

    /// Does one step; `false` if it names what is not there.
    pub(crate) async fn act(&mut self, id: StepId, step: Step) -> Result<bool> {
        self.last_answer.clear();
        match step {
            Step::Send { ask, fate } => self.send(id, ask, fate).await,
            Step::Deliver { of } => self.deliver(of).await,
            Step::Crash { node } => {
                let node = &mut self.nodes[node];
                let was = std::mem::take(&mut node.alive);
                node.beliefs.clear();
                node.paused = false;
                Ok(was)
            }
            Step::Pause { node } => {
                let node = &mut self.nodes[node];
                let can = node.alive && !node.paused;
                node.paused |= can;
                Ok(can)
            }
            Step::Resume { node } => self.resume(node).await,
            Step::Limits { set } => {
                self.policy = Arc::new(policy(set));
                // A node learns of limits when it starts; what an earlier run remembers of a lane
                // that was free then is gone.
                for node in &mut self.nodes {
                    node.memory = claim_memory(self.seed);
                }
                Ok(true)
            }
            Step::Tick { ms } => {
                self.queue.clock.advance_ms(ms);
                Ok(true)
            }
        }
    }

    /// A paused node goes on. A dead one starts, and before anything else takes back what its
    /// earlier run held.
    async fn resume(&mut self, place: usize) -> Result<bool> {
        let node = &mut self.nodes[place];
        if node.alive {
            return Ok(std::mem::take(&mut node.paused));
        }
        node.alive = true;
        node.memory = claim_memory(self.seed);
        node.run += 1;
        let restarted = Some(node.id.clone());
        self.perform(0, &Request::Reconcile { restarted }, Course::Commits, None)
            .await?;
        Ok(true)
    }

    async fn send(&mut self, id: StepId, ask: Ask, fate: Fate) -> Result<bool> {
        let Some((request, sender)) = self.request(id, ask) else {
            return Ok(false);
        };
        for (place, new) in request.wanted().iter().enumerate() {
            self.turns.insert(new.id.clone(), Turn::from(new));
            self.jobs
                .insert(JobName { asked: id, place }, new.id.clone());
        }
        let run = sender.map(|node| (node, self.nodes[node].run));
        let sent = Sent {
            request: request.clone(),
            sender: run,
            arrived: !matches!(fate, Fate::Lost | Fate::Delayed),
        };
        self.sent.insert(id, sent);
        let (course, hears) = match fate {
            Fate::Lost => return Ok(true),
            Fate::Delayed => {
                self.under_way.push(id);
                return Ok(true);
            }
            Fate::Answered => (Course::Commits, true),
            Fate::DiesBefore => (Course::Dies, false),
            Fate::DiesAfter => (Course::Commits, false),
            Fate::RunTwice => (Course::RunTwice, true),
        };
        let hearer = run.filter(|_| hears);
        self.perform(id, &request, course, hearer).await?;
        Ok(true)
    }

    async fn deliver(&mut self, of: StepId) -> Result<bool> {
        self.under_way.retain(|waiting| *waiting != of);
        let Some(sent) = self.sent.get_mut(&of) else {
            return Ok(false);
        };
        let first = !std::mem::replace(&mut sent.arrived, true);
        let (request, hearer) = (sent.request.clone(), sent.sender.filter(|_| first));
        self.perform(of, &request, Course::Commits, hearer).await?;
        Ok(true)
    }

    /// A request reaches the store; its answer reaches `hearer`, if it is still that run.
    async fn perform(
        &mut self,
        id: StepId,
        request: &Request,
        course: Course,
        hearer: Option<(usize, u32)>,
    ) -> Result<()> {
        self.steps_done += 1;
        let Some(answer) = self.queue.send(request, course).await? else {
            return Ok(());
        };
        self.last_answer = format!("{answer:?}");
        // An answer to a request that died is nothing that the model could know of.
        if course != Course::Dies
            && let Some(model) = &mut self.model
        {
            let now = self.queue.clock.now_ms();
            model.take(now, request, &answer).map_err(|expected| {
                let detail = format!("{request:?} was answered {answer:?}: {expected}");
                Violation::of(Rule::AsTheModel, detail)
            })?;
        }
        let claimed = self.note(id, request, &answer)?;
        if let Some((place, run)) = hearer
            && self.nodes[place].alive
            && self.nodes[place].run == run
        {
            self.hear(place, request, &answer, claimed);
        }
        Ok(())
    }
}

/// How long every walk over the line takes in this history: every third one remembers where its
/// claims ended.
const fn walk_time(seed: u64) -> Duration {
    Duration::from_millis(if seed.is_multiple_of(3) { 100 } else { 0 })
}

const fn has_one_lane(seed: u64) -> bool {
    seed.is_multiple_of(2)
}

/// The limits at the beginning: none where there is one lane, so that it is free.
pub(crate) fn first_limits(seed: u64) -> usize {
    if has_one_lane(seed) {
        return 0;
    }
    Dice::new(!seed).below(policies(seed))
}

const fn policies(seed: u64) -> usize {
    if walk_time(seed).is_zero() {
        POLICIES.len()
    } else {
        POLICIES_WITHOUT_RATE
    }
}

fn claim_memory(seed: u64) -> Arc<ClaimMemory> {
    Arc::new(ClaimMemory::simulated(walk_time(seed)))
}

/// The names of what one claim was given.
fn leases_of(claim: StepId) -> std::ops::RangeInclusive<LeaseName> {
    LeaseName { claim, place: 0 }..=LeaseName {
        claim,
        place: usize::MAX,
    }
}
