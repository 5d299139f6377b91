//! The plan, carried out through the queue's own functions on a clock that jumps from event to
//! event, with its own watch over what it did.

use super::mix::{ATTEMPTS_MAX, SLOTS, SORTS};
use super::plan::{Ends, Plan, PlannedJob};
use anyhow::Context as _;
use skep_db::{Db, DbError, Tx};
use skep_queue::{
    Advance, AdvanceError, AttemptEnd, AttemptError, AttemptStart, Claim, ClaimMemory,
    ClaimRequest, Flow, Lease, NewJob,
};
use skep_stdx::{Backoff, ManualClock, SeededEntropy};
use skep_types::{AttemptId, AttemptState, FailureClass, JobId, JobState, NodeId, Purpose, Tier};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

/// Longer than any run: the node of this replay renews nothing and dies by restart only.
const LEASE_MS: i64 = 24 * 3_600_000;
/// The wait before another try.
const BACKOFF: Backoff = Backoff {
    base_ms: 30_000,
    cap_ms: 900_000,
};

/// What the replay saw of each job.
#[derive(Debug, Clone, Default)]
pub(super) struct SeenJob {
    /// From being asked for to its first worker, in milliseconds.
    pub(super) waited_ms: Option<i64>,
    /// Runs that a restart cut short, by their length.
    pub(super) lost_ms: Vec<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrival(usize),
    /// A run ends, unless it is of an earlier fence.
    End(usize, i64),
    /// Something that waited is due.
    Due,
    Restart,
}

/// A run under way.
struct Run {
    lease: Lease,
    attempt: AttemptId,
    since_ms: i64,
}

struct Replay<'a> {
    db: &'a Db,
    clock: &'a ManualClock,
    plan: &'a Plan,
    entropy: SeededEntropy,
    node: NodeId,
    memory: Arc<ClaimMemory>,
    now_ms: i64,
    ahead: BinaryHeap<Reverse<(i64, u64, Happening)>>,
    counted: u64,
    places: BTreeMap<JobId, usize>,
    running: BTreeMap<usize, Run>,
    /// Which try each job is at.
    tries: Vec<usize>,
    seen: Vec<SeenJob>,
}

/// Carries a plan out to its last event.
pub(super) async fn replay(
    db: &Db,
    clock: &ManualClock,
    plan: &Plan,
) -> anyhow::Result<Vec<SeenJob>> {
    let entropy = SeededEntropy::new(plan.seed);
    let mut replay = Replay {
        db,
        clock,
        plan,
        node: NodeId::new(clock, &entropy),
        memory: Arc::new(ClaimMemory::simulated(Duration::ZERO)),
        entropy,
        now_ms: 0,
        ahead: BinaryHeap::new(),
        counted: 0,
        places: BTreeMap::new(),
        running: BTreeMap::new(),
        tries: vec![0; plan.jobs.len()],
        seen: vec![SeenJob::default(); plan.jobs.len()],
    };
    for (place, job) in plan.jobs.iter().enumerate() {
        replay.expect(job.at_ms, Happening::Arrival(place));
    }
    for at_ms in &plan.restarts {
        replay.expect(*at_ms, Happening::Restart);
    }
    while let Some(Reverse((at_ms, _, happening))) = replay.ahead.pop() {
        clock.set_ms(at_ms);
        replay.now_ms = at_ms;
        replay.take(happening).await?;
        replay.fill().await?;
    }
    anyhow::ensure!(replay.running.is_empty(), "a worker is still at it");
    Ok(replay.seen)
}

impl Replay<'_> {
    fn expect(&mut self, at_ms: i64, happening: Happening) {
        self.counted += 1;
        self.ahead.push(Reverse((at_ms, self.counted, happening)));
    }

    async fn take(&mut self, happening: Happening) -> anyhow::Result<()> {
        match happening {
            Happening::Arrival(place) => self.arrive(place).await,
            Happening::End(place, fence) => {
                let run = self.running.remove(&place);
                match run {
                    Some(run) if run.lease.fence.0 == fence => self.end(place, run).await,
                    Some(run) => {
                        self.running.insert(place, run);
                        Ok(())
                    }
                    None => Ok(()),
                }
            }
            Happening::Due => Ok(()),
            Happening::Restart => self.restart().await,
        }
    }

    async fn arrive(&mut self, place: usize) -> anyhow::Result<()> {
        let new = self.new_job(&self.plan.jobs[place]);
        self.places.insert(new.id.clone(), place);
        let enqueued = self
            .db
            .write("enqueue", async move |tx: &mut Tx<'_>| {
                skep_queue::enqueue(tx, &new).await
            })
            .await?;
        anyhow::ensure!(enqueued.created);
        Ok(())
    }

    fn new_job(&self, planned: &PlannedJob) -> NewJob {
        let sort = &SORTS[planned.sort];
        NewJob {
            id: JobId::new(self.clock, &self.entropy),
            kind: sort.kind,
            purpose: Purpose::Requested,
            owner: "month".to_owned(),
            project: "month".to_owned(),
            tier: Tier::Convenience,
            priority: planned.priority,
            run_at_ms: None,
            attempts_max: ATTEMPTS_MAX,
            parent: None,
            idempotency_key: None,
            idempotency_digest: Vec::new(),
            flow: Flow {
                backend: Some(sort.backend.to_owned()),
                ..Flow::default()
            },
        }
    }

    /// Gives every free slot a job.
    async fn fill(&mut self) -> anyhow::Result<()> {
        loop {
            let busy = i64::try_from(self.running.len())?;
            let request = ClaimRequest {
                node: self.node.clone(),
                slots: SLOTS - busy,
                lease_ms: LEASE_MS,
                policy: Arc::default(),
                memory: Arc::clone(&self.memory),
            };
            let claims = self
                .db
                .write("claim", async move |tx: &mut Tx<'_>| {
                    skep_queue::claim(tx, &request).await
                })
                .await?;
            if claims.is_empty() {
                return Ok(());
            }
            for claim in claims {
                self.start(&claim).await?;
            }
        }
    }

    async fn start(&mut self, claim: &Claim) -> anyhow::Result<()> {
        let place = *self
            .places
            .get(&claim.job.id)
            .context("a job of the plan")?;
        let attempt = claim
            .attempt
            .clone()
            .context("a claim that starts a worker")?;
        let (lease, started) = (claim.lease(), attempt.clone());
        let start = AttemptStart {
            harness: SORTS[self.plan.jobs[place].sort].backend.to_owned(),
            model_requested: None,
            session_id: None,
        };
        self.db
            .write("start", async move |tx: &mut Tx<'_>| {
                skep_queue::attempt_started(tx, &lease, &started, &start).await
            })
            .await?;
        let planned = &self.plan.jobs[place];
        let run_ms = planned.tries[self.tries[place]].run_ms;
        let waited = self.now_ms - planned.at_ms;
        self.seen[place].waited_ms.get_or_insert(waited);
        self.expect(self.now_ms + run_ms, Happening::End(place, claim.fence.0));
        let earlier = self.running.insert(
            place,
            Run {
                lease: claim.lease(),
                attempt,
                since_ms: self.now_ms,
            },
        );
        anyhow::ensure!(earlier.is_none(), "a job was given out twice");
        Ok(())
    }

    async fn end(&mut self, place: usize, run: Run) -> anyhow::Result<()> {
        let tried = self.tries[place];
        self.tries[place] += 1;
        let ends = self.plan.jobs[place].tries[tried].ends;
        let (state, failure, to, wait_ms) = match ends {
            Ends::Well => (AttemptState::Succeeded, None, JobState::Done, None),
            Ends::Lasting(class) => (AttemptState::Failed, Some(class), JobState::Failed, None),
            Ends::Passing(class) => {
                let retry = u32::try_from(tried)?;
                let wait = BACKOFF.delay_ms(retry, &self.entropy);
                (
                    AttemptState::Failed,
                    Some(class),
                    JobState::Backoff,
                    Some(wait),
                )
            }
            Ends::Limited { stall_ms } => {
                let limited = Some(FailureClass::RateLimit);
                (
                    AttemptState::Failed,
                    limited,
                    JobState::WaitingQuota,
                    Some(stall_ms),
                )
            }
        };
        let end = AttemptEnd {
            state,
            failure_class: failure,
            model_actual: None,
            session_id: None,
            // A limit uses up no attempt.
            counts_as_attempt: !matches!(ends, Ends::Limited { .. }),
        };
        let advance = Advance {
            keep_lease: false,
            failure,
            run_at_ms: wait_ms.map(|wait| self.now_ms + wait),
        };
        let job = self
            .db
            .write("end", async move |tx: &mut Tx<'_>| {
                skep_queue::attempt_ended(tx, &run.lease, &run.attempt, &end).await?;
                Ok::<_, EndError>(skep_queue::advance(tx, &run.lease, to, advance).await?)
            })
            .await?;
        if let Some(wait) = wait_ms.filter(|_| !job.state.is_terminal()) {
            self.expect(self.now_ms + wait, Happening::Due);
        }
        let is_last = self.tries[place] == self.plan.jobs[place].tries.len();
        anyhow::ensure!(job.state.is_terminal() == is_last, "it is {}", job.state);
        Ok(())
    }

    /// The engine dies and begins anew: what it held is lost and starts again.
    async fn restart(&mut self) -> anyhow::Result<()> {
        let mut lost = 0;
        loop {
            let node = self.node.clone();
            let taken = self
                .db
                .write("reconcile", async move |tx: &mut Tx<'_>| {
                    skep_queue::reconcile(tx, Some(&node)).await
                })
                .await?
                .lost
                .len();
            lost += taken;
            if taken == 0 {
                break;
            }
        }
        anyhow::ensure!(lost == self.running.len(), "lost {lost}");
        for (place, run) in std::mem::take(&mut self.running) {
            self.seen[place].lost_ms.push(self.now_ms - run.since_ms);
        }
        Ok(())
    }
}

/// Why a run could not be ended.
#[derive(Debug)]
struct EndError(anyhow::Error);

macro_rules! end_error_from {
    ($($error:ty),+) => {$(
        impl From<$error> for EndError {
            fn from(error: $error) -> Self {
                Self(error.into())
            }
        }
    )+};
}
end_error_from!(DbError, AttemptError, AdvanceError);

impl From<EndError> for anyhow::Error {
    fn from(error: EndError) -> Self {
        error.0
    }
}
