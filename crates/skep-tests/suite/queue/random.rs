//! Random sequences of operations: the queue answers and ends as the model does, and the ledger
//! tells the same story.

use super::model::{Model, Operation};
use super::replay::Replayed;
use super::{Hive, LEASE_MS};
use skep_queue::{
    Advance, AdvanceError, AttemptEnd, AttemptError, CancelError, Lease, NewJob, RetryError,
    WakeError,
};
use skep_stdx::{Clock as _, Entropy as _, SeededEntropy};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{AttemptId, AttemptState, FailureClass, JobId, JobState, NodeId};

on_both_engines!(seed_1, seed_2, seed_3, seed_4);

async fn seed_1(store: TestStore) -> anyhow::Result<()> {
    sequence(store, 1).await
}

async fn seed_2(store: TestStore) -> anyhow::Result<()> {
    sequence(store, 2).await
}

async fn seed_3(store: TestStore) -> anyhow::Result<()> {
    sequence(store, 3).await
}

/// A seed of one's own choice, as in `SKEP_TEST_SEED=77 cargo test -p skep-tests seed_4`.
async fn seed_4(store: TestStore) -> anyhow::Result<()> {
    let seed = std::env::var("SKEP_TEST_SEED").ok();
    sequence(store, seed.map_or(Ok(4), |seed| seed.parse())?).await
}

const OPERATIONS: usize = 400;
const NODES: usize = 3;

async fn sequence(store: TestStore, seed: u64) -> anyhow::Result<()> {
    let hive = Hive::open_with_ids(&store, seed).await?;
    let mut model = Model::new(store.clock.now_ms());
    let mut dice = Dice(SeededEntropy::new(seed));
    let mut driver = Driver {
        nodes: (0..NODES).map(|_| hive.node()).collect(),
        hive,
        jobs: Vec::new(),
        leases: Vec::new(),
    };
    for step in 0..OPERATIONS {
        let operation = dice.operation(&model);
        let expected = model.run(operation);
        let found = driver.run(operation).await?;
        assert_eq!(found, expected, "seed {seed}, step {step}: {operation:?}");
    }
    driver.compare(&model, seed).await
}

/// Runs operations on the real queue.
struct Driver {
    hive: Hive,
    nodes: Vec<NodeId>,
    jobs: Vec<JobId>,
    leases: Vec<(Lease, Option<AttemptId>)>,
}

impl Driver {
    async fn run(&mut self, operation: Operation) -> anyhow::Result<String> {
        Ok(match operation {
            Operation::Enqueue {
                priority,
                delay_ms,
                attempts_max,
            } => {
                let new = NewJob {
                    priority,
                    run_at_ms: Some(self.hive.clock.now_ms() + delay_ms),
                    attempts_max,
                    ..self.hive.new_job()
                };
                self.jobs.push(new.id.clone());
                self.hive.enqueue(new).await?.state.to_string()
            }
            Operation::Claim { node, slots } => self.claim(node, slots).await?,
            Operation::Heartbeat { node } => {
                let kept = self.hive.heartbeat(&self.nodes[node]).await?;
                let mut places: Vec<usize> = kept.iter().map(|id| self.place(id)).collect();
                places.sort_unstable();
                let places: Vec<String> = places.iter().map(usize::to_string).collect();
                places.join(", ")
            }
            Operation::Start { lease } => {
                let (lease, attempt) = self.lease(lease);
                attempt_answer(self.hive.started(&lease, &attempt).await)?
            }
            Operation::End {
                lease,
                state,
                failure,
                counts,
            } => {
                let (lease, attempt) = self.lease(lease);
                let end = AttemptEnd {
                    state,
                    failure_class: failure,
                    model_actual: None,
                    session_id: None,
                    counts_as_attempt: counts,
                };
                attempt_answer(self.hive.ended(&lease, &attempt, end).await)?
            }
            Operation::Advance { lease, to, how } => {
                let (lease, _) = self.lease(lease);
                match self.hive.advance_as(&lease, to, how).await {
                    Ok(job) => job.state.to_string(),
                    Err(AdvanceError::Stale { current }) => {
                        format!("stale {:?}", current.map(|fence| fence.0))
                    }
                    Err(AdvanceError::Illegal(_)) => "illegal".to_owned(),
                    Err(error) => return Err(error.into()),
                }
            }
            Operation::Wake { job, from, to } => {
                match self.hive.wake(&self.jobs[job], from, to).await {
                    Ok(woken) => woken.to_string(),
                    Err(WakeError::Illegal(_)) => "illegal".to_owned(),
                    Err(error) => return Err(error.into()),
                }
            }
            Operation::Cancel { job } => match self.hive.cancel(&self.jobs[job]).await {
                Ok(cancelled) => cancelled.from.to_string(),
                Err(CancelError::Ended { state }) => format!("ended {state}"),
                Err(error) => return Err(error.into()),
            },
            Operation::Retry { job, extra } => {
                match self.hive.retry(&self.jobs[job], extra).await {
                    Ok(job) => job.attempts_max.to_string(),
                    Err(RetryError::Live { state }) => format!("live {state}"),
                    Err(RetryError::Illegal(_)) => "illegal".to_owned(),
                    Err(error) => return Err(error.into()),
                }
            }
            Operation::Reconcile { restarted } => {
                let restarted = restarted.map(|node| &self.nodes[node]);
                let lost = self.hive.reconcile(restarted).await?.lost;
                let lost: Vec<String> = lost
                    .iter()
                    .map(|lost| format!("{} {} {}", self.place(&lost.job), lost.from, lost.to))
                    .collect();
                lost.join(", ")
            }
            Operation::Tick { ms } => {
                self.hive.clock.advance_ms(ms);
                String::new()
            }
        })
    }

    async fn claim(&mut self, node: usize, slots: usize) -> anyhow::Result<String> {
        let slots = i64::try_from(slots)?;
        let claims = self.hive.claim(&self.nodes[node], slots).await?;
        let mut answer = Vec::new();
        for claim in &claims {
            let place = self.place(&claim.job.id);
            answer.push(format!("{place} {} {}", claim.found, claim.fence));
            self.leases.push((claim.lease(), claim.attempt.clone()));
        }
        Ok(answer.join(", "))
    }

    fn place(&self, id: &JobId) -> usize {
        let place = self.jobs.iter().position(|job| job == id);
        place.unwrap_or(usize::MAX)
    }

    /// A lease and its attempt; for a lease without one, the id that it would have.
    fn lease(&self, place: usize) -> (Lease, AttemptId) {
        let (lease, attempt) = self.leases[place].clone();
        let none = AttemptId::of(&lease.job, lease.fence);
        (lease, attempt.unwrap_or(none))
    }

    /// Rows against model, ledger against rows.
    async fn compare(&self, model: &Model, seed: u64) -> anyhow::Result<()> {
        let report = self.hive.ledger.verify().await?;
        assert_eq!(report.first_bad, None, "seed {seed}");
        for (place, (id, expected)) in self.jobs.iter().zip(&model.jobs).enumerate() {
            let job = self.hive.job(id).await?;
            let attempts = self.hive.attempts(id).await?;
            let mut found = expected.clone();
            found.state = job.state;
            found.priority = job.priority;
            found.run_at_ms = job.run_at_ms;
            (found.used, found.max) = (job.attempts_used, job.attempts_max);
            (found.losses, found.failure) = (job.losses, job.failure);
            found.held = job.held.as_ref().map(|held| {
                let node = self.nodes.iter().position(|node| *node == held.node);
                (node.unwrap_or(usize::MAX), held.until_ms)
            });
            found.attempts = attempts
                .iter()
                .map(|a| (a.fence.0, a.state, a.counted))
                .collect();
            assert_eq!(found, *expected, "seed {seed}, job {place}");
            let ended = i64::from(job.state.is_terminal());
            assert_eq!(self.hive.places(id).await?, (1 - ended, ended));
            let replayed = Replayed::of_events(&self.hive.events_of(id).await?)
                .map_err(|error| error.context(format!("seed {seed}, job {place}")))?;
            assert_eq!(
                replayed,
                Replayed::of_rows(&job, &attempts),
                "seed {seed}, job {place}"
            );
        }
        Ok(())
    }
}

fn attempt_answer(outcome: Result<(), AttemptError>) -> anyhow::Result<String> {
    Ok(match outcome {
        Ok(()) => "ok".to_owned(),
        Err(AttemptError::Stale { current }) => {
            format!("stale {:?}", current.map(|fence| fence.0))
        }
        Err(AttemptError::NotFound) => "not found".to_owned(),
        Err(AttemptError::Illegal { .. }) => "illegal".to_owned(),
        Err(error) => return Err(error.into()),
    })
}

/// Draws operations, more often such as can succeed.
struct Dice(SeededEntropy);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        let drawn = usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(0);
        drawn % bound.max(1)
    }

    fn number(&mut self, bound: usize) -> i64 {
        i64::try_from(self.below(bound)).unwrap_or(0)
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn operation(&mut self, model: &Model) -> Operation {
        let kind = self.below(100);
        if model.jobs.is_empty() || kind < 12 {
            return Operation::Enqueue {
                priority: self.number(3),
                delay_ms: self.of(&[0, 0, 0, 500, 5_000]),
                attempts_max: self.of(&[1, 1, 2]),
            };
        }
        let (node, job) = (self.below(NODES), self.below(model.jobs.len()));
        if model.leases.is_empty() || kind < 30 {
            let slots = self.below(4);
            return Operation::Claim { node, slots };
        }
        match kind {
            30..36 => Operation::Heartbeat { node },
            36..48 => Operation::Start {
                lease: self.lease(model),
            },
            48..58 => Operation::End {
                lease: self.lease(model),
                state: self.of(AttemptState::ALL),
                failure: self.failure(),
                counts: self.one_in(2),
            },
            58..78 => self.advance(model),
            78..84 => {
                let state = model.jobs[job].state;
                let from = if self.one_in(5) {
                    self.of(JobState::ALL)
                } else {
                    state
                };
                let to = self.next(from);
                Operation::Wake { job, from, to }
            }
            84..88 => Operation::Cancel { job },
            88..92 => Operation::Retry {
                job,
                extra: self.number(3),
            },
            92..95 => {
                let restarted = self.one_in(3).then_some(node);
                Operation::Reconcile { restarted }
            }
            _ => Operation::Tick {
                ms: self.of(&[1, 499, 5_000, LEASE_MS / 2, LEASE_MS]),
            },
        }
    }

    fn advance(&mut self, model: &Model) -> Operation {
        let lease = self.lease(model);
        let state = model.jobs[model.leases[lease].0].state;
        let delay = self.of(&[None, Some(0), Some(500)]);
        Operation::Advance {
            lease,
            to: self.next(state),
            how: Advance {
                keep_lease: !self.one_in(3),
                failure: self.failure(),
                run_at_ms: delay.map(|delay| model.now + delay),
            },
        }
    }

    /// A lease, most often one of the latest.
    fn lease(&mut self, model: &Model) -> usize {
        let recent = if self.one_in(6) {
            model.leases.len()
        } else {
            6
        };
        model.leases.len() - 1 - self.below(recent.min(model.leases.len()))
    }

    /// A state, most often one that can follow; more seldom an end.
    fn next(&mut self, from: JobState) -> JobState {
        if self.one_in(6) {
            return self.of(JobState::ALL);
        }
        let legal: Vec<JobState> = JobState::ALL
            .iter()
            .copied()
            .filter(|to| from.to(*to).is_ok() && !to.is_terminal())
            .collect();
        if legal.is_empty() {
            return self.of(JobState::ALL);
        }
        self.of(&legal)
    }

    fn failure(&mut self) -> Option<FailureClass> {
        self.of(&[
            None,
            Some(FailureClass::RateLimit),
            Some(FailureClass::WorkerCrash),
        ])
    }
}
