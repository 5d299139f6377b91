//! The queue as a few lists in memory: what every request must be answered, and what the rows
//! must then be.
//!
//! Which of several due jobs a claim takes is the queue's choice; that it takes only due ones that
//! no pause and no limit holds up, and leaves a slot free only if there is none left, is not.

mod claim;
mod enqueue;
mod lease;

use super::message::{Answer, Refusal, Request};
use super::pace::Pace;
use super::queue::LEASE_MS;
use super::room::Turn;
use skep_queue::limits::LOSSES_MAX;
use skep_queue::{Attempt, EVERY_QUEUE, Job, Lease, LostLease};
use skep_types::{AttemptId, AttemptState, FailureClass, JobId, JobState, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// What can be seen of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ModelJob {
    /// Grows with every job, as the number does that the queue gives it.
    number: usize,
    turn: Turn,
    /// The name under which it is the only one.
    singleton: Option<String>,
    /// The name under which further requests put it off.
    debounce: Option<String>,
    created_at_ms: i64,
    state: JobState,
    priority: i64,
    run_at_ms: i64,
    used: i64,
    max: i64,
    losses: i64,
    failure: Option<FailureClass>,
    changed_at_ms: i64,
    /// Whether a wait is over at `run_at_ms`.
    timed: bool,
    /// The node and the end of the lease.
    held: Option<(NodeId, i64)>,
    /// Id, fence, state, and whether it counted.
    attempts: Vec<(AttemptId, i64, AttemptState, bool)>,
}

/// The whole queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    jobs: BTreeMap<JobId, ModelJob>,
    /// The last fence that each job's claims were given.
    fences: BTreeMap<JobId, i64>,
    keys: BTreeMap<String, (Vec<u8>, JobId)>,
    /// Whether every claim gives the most there is. Else it may give less, though not nothing: see
    /// [`skep_queue::ClaimMemory`].
    claims_most: bool,
    paused: BTreeSet<String>,
    pace: Pace,
}

impl Model {
    /// No jobs.
    pub(crate) fn new(claims_most: bool) -> Self {
        Self {
            claims_most,
            ..Self::default()
        }
    }

    /// Takes a request and its answer in; the error is what the answer should have been.
    pub(crate) fn take(
        &mut self,
        now: i64,
        request: &Request,
        answer: &Answer,
    ) -> Result<(), String> {
        let expected = match request {
            Request::Claim(claim) => return self.claim(now, claim, answer),
            Request::Reconcile { restarted } => {
                self.bound_leases(now);
                let lapsed = |_: &JobId, by: &NodeId, until_ms| {
                    until_ms <= now || restarted.as_ref() == Some(by)
                };
                return self.take_back(now, lapsed, answer);
            }
            Request::GiveBack { node, at_work } => {
                let is_idle = |id: &JobId, by: &NodeId, _| by == node && !at_work.contains(id);
                return self.take_back(now, is_idle, answer);
            }
            Request::FinishAll(finishes) => return self.finish_all(now, finishes, answer),
            Request::Enqueue(new) => self.enqueue(now, new),
            Request::EnqueueAll(new) => self.enqueue_all(now, new),
            Request::Heartbeat { node, jobs } => self.heartbeat(now, node, jobs),
            Request::Start { lease, attempt } => self.start(lease, attempt),
            Request::End {
                lease,
                attempt,
                end,
            } => self.end(lease, attempt, end),
            Request::Advance { lease, to, how } => self.advance(now, lease, *to, *how),
            Request::Finish {
                lease,
                attempt,
                end,
                to,
                how,
            } => self.finish(now, lease, attempt, end, (*to, *how)),
            Request::Wake { job, from, to } => self.wake(now, job, *from, *to),
            Request::Cancel { job } => self.cancel(now, job),
            Request::PauseQueue(queue) => {
                Answer::Switched(self.paused.insert(queue.clone())).into()
            }
            Request::ResumeQueue(queue) => Answer::Switched(self.paused.remove(queue)).into(),
            Request::Retry { job, extra } => self.retry(now, job, *extra),
        };
        match (&expected, answer) {
            // What a moved job is like, the comparison of the rows tells.
            (Expected::Moved(state), Answer::Moved(job)) if job.state == *state => Ok(()),
            // In any order, and a job that is named twice once.
            (Expected::Exactly(Answer::Held(expected)), Answer::Held(held))
                if expected.iter().collect::<BTreeSet<_>>() == held.iter().collect() =>
            {
                Ok(())
            }
            (Expected::Exactly(exactly), answer) if exactly == answer => Ok(()),
            _ => Err(format!("expected {expected:?}")),
        }
    }

    /// What differs between a job's rows and the model.
    pub(crate) fn compare(&self, job: &Job, attempts: &[Attempt]) -> Result<(), String> {
        let Some(expected) = self.jobs.get(&job.id) else {
            return Err("nobody asked for it".to_owned());
        };
        let found = ModelJob {
            number: expected.number,
            turn: Turn::from(job),
            singleton: job.flow.singleton.clone(),
            debounce: job.flow.debounce.clone(),
            created_at_ms: job.created_at_ms,
            state: job.state,
            priority: job.priority,
            run_at_ms: job.run_at_ms,
            used: job.attempts_used,
            max: job.attempts_max,
            losses: job.losses,
            failure: job.failure,
            changed_at_ms: job.changed_at_ms,
            timed: expected.timed,
            held: job.held.as_ref().map(|h| (h.node.clone(), h.until_ms)),
            attempts: attempts
                .iter()
                .map(|a| (a.id.clone(), a.fence.0, a.state, a.counted))
                .collect(),
        };
        if found == *expected {
            return Ok(());
        }
        Err(format!("the row is {found:?}, expected {expected:?}"))
    }

    fn is_paused(&self, turn: &Turn) -> bool {
        self.paused.contains(&turn.queue) || self.paused.contains(EVERY_QUEUE)
    }

    /// How many jobs there are.
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// When all starts under each rate are paid for.
    pub(crate) const fn rates(&self) -> &BTreeMap<String, i64> {
        self.pace.rows()
    }

    fn heartbeat(&mut self, now: i64, node: &NodeId, jobs: &[JobId]) -> Expected {
        let mut held = Vec::new();
        for id in jobs {
            if let Some(job) = self.jobs.get_mut(id)
                && job.held.as_ref().is_some_and(|(by, _)| by == node)
            {
                job.held = Some((node.clone(), now + LEASE_MS));
                held.push(id.clone());
            }
        }
        Answer::Held(held).into()
    }

    /// The job, if the fence is current.
    fn demand(&mut self, lease: &Lease) -> Option<&mut ModelJob> {
        let newest = self.fences.get(&lease.job) == Some(&lease.fence.0);
        let job = self.jobs.get_mut(&lease.job)?;
        (newest && job.held.is_some()).then_some(job)
    }

    fn wake(&mut self, now: i64, id: &JobId, from: JobState, to: JobState) -> Expected {
        if from.to(to).is_err() || to == JobState::Running {
            return Refusal::Illegal.into();
        }
        let waits = |job: &&mut ModelJob| {
            job.state == from && job.held.is_none() && !job.state.is_terminal()
        };
        let Some(job) = self.jobs.get_mut(id).filter(waits) else {
            return Answer::Woken(false).into();
        };
        (job.state, job.failure) = (to, None);
        (job.run_at_ms, job.changed_at_ms, job.timed) = (now, now, false);
        Answer::Woken(true).into()
    }

    fn cancel(&mut self, now: i64, id: &JobId) -> Expected {
        let Some(job) = self.jobs.get_mut(id) else {
            return Refusal::NotFound.into();
        };
        let from = job.state;
        if from.is_terminal() {
            return Refusal::Ended(from).into();
        }
        job.release(AttemptState::Cancelled);
        (job.state, job.failure, job.changed_at_ms) = (JobState::Cancelled, None, now);
        Answer::Cancelled(from).into()
    }

    fn retry(&mut self, now: i64, id: &JobId, extra: i64) -> Expected {
        let Some(job) = self.jobs.get_mut(id) else {
            return Refusal::NotFound.into();
        };
        if !job.state.is_terminal() {
            return Refusal::Live(job.state).into();
        }
        if job.state == JobState::Done {
            return Refusal::Illegal.into();
        }
        job.state = JobState::Queued;
        (job.singleton, job.debounce) = (None, None);
        job.max = (job.max + extra).max(job.used + 1);
        (job.losses, job.failure) = (0, None);
        (job.run_at_ms, job.changed_at_ms, job.timed) = (now, now, false);
        Expected::Moved(JobState::Queued)
    }

    fn bound_leases(&mut self, now: i64) {
        for (_, until_ms) in self.jobs.values_mut().filter_map(|job| job.held.as_mut()) {
            *until_ms = (*until_ms).min(now + LEASE_MS);
        }
    }

    /// The leases of which `goes` says so, by their job, node and end.
    fn take_back(
        &mut self,
        now: i64,
        goes: impl Fn(&JobId, &NodeId, i64) -> bool,
        answer: &Answer,
    ) -> Result<(), String> {
        let mut expected = Vec::new();
        for (id, job) in &mut self.jobs {
            let Some((node, until_ms)) = &job.held else {
                continue;
            };
            if !goes(id, node, *until_ms) {
                continue;
            }
            let (node, from) = (node.clone(), job.state);
            let open = job.attempts.iter().find(|a| is_open(a.2));
            let attempt = open.map(|attempt| attempt.0.clone());
            job.release(AttemptState::Lost);
            job.losses += 1;
            if job.losses >= LOSSES_MAX {
                job.state = JobState::Quarantined;
            } else if from == JobState::Running {
                job.state = JobState::Queued;
            }
            job.failure = Some(FailureClass::LeaseLost);
            (job.run_at_ms, job.changed_at_ms, job.timed) = (now, now, false);
            expected.push(LostLease {
                job: id.clone(),
                node,
                attempt,
                from,
                to: job.state,
            });
        }
        let Answer::TakenBack(lost) = answer else {
            return Err("expected a list of lost leases".to_owned());
        };
        let same = lost.len() == expected.len() && lost.iter().all(|l| expected.contains(l));
        if same {
            Ok(())
        } else {
            Err(format!("expected {expected:?}"))
        }
    }
}

impl ModelJob {
    fn attempt(
        &mut self,
        lease: &Lease,
        id: &AttemptId,
    ) -> Option<&mut (AttemptId, i64, AttemptState, bool)> {
        let mut attempts = self.attempts.iter_mut();
        attempts.find(|a| a.0 == *id && a.1 == lease.fence.0)
    }

    fn release(&mut self, end: AttemptState) {
        if self.held.take().is_none() {
            return;
        }
        for attempt in &mut self.attempts {
            if is_open(attempt.2) {
                attempt.2 = end;
            }
        }
    }
}

/// The answer that the queue owes.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Exactly(Answer),
    /// The job, in this state.
    Moved(JobState),
}

impl From<Answer> for Expected {
    fn from(answer: Answer) -> Self {
        Self::Exactly(answer)
    }
}

impl From<Refusal> for Expected {
    fn from(refusal: Refusal) -> Self {
        Self::Exactly(Answer::Refused(refusal))
    }
}

const fn is_open(state: AttemptState) -> bool {
    matches!(state, AttemptState::Leased | AttemptState::Running)
}
