//! The queue as a few lists in memory: what every request must be answered, and what the rows
//! must then be.
//!
//! Which of several due jobs a claim takes is the queue's choice; that it takes only due ones, as
//! many as it may, is not.

use super::queue::{Answer, LEASE_MS, Refusal, Request};
use skep_queue::limits::LOSSES_MAX;
use skep_queue::{
    Advance, Attempt, AttemptEnd, Claim, ClaimRequest, Job, Lease, LostLease, NewJob,
};
use skep_types::{AttemptId, AttemptState, FailureClass, JobId, JobState, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// What can be seen of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ModelJob {
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
                return self.reconcile(now, restarted.as_ref(), answer);
            }
            Request::Enqueue(new) => self.enqueue(now, new),
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

    /// How many jobs there are.
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    fn enqueue(&mut self, now: i64, new: &NewJob) -> Expected {
        if let Some(key) = &new.idempotency_key {
            if let Some((digest, job)) = self.keys.get(key) {
                return if *digest == new.idempotency_digest {
                    Answer::Enqueued(job.clone(), false).into()
                } else {
                    Refusal::Conflict(job.clone()).into()
                };
            }
            let kept = (new.idempotency_digest.clone(), new.id.clone());
            self.keys.insert(key.clone(), kept);
        }
        if self.jobs.contains_key(&new.id) {
            return Refusal::Taken.into();
        }
        let job = ModelJob {
            state: JobState::Queued,
            priority: new.priority,
            run_at_ms: new.run_at_ms.unwrap_or(now),
            used: 0,
            max: new.attempts_max,
            losses: 0,
            failure: None,
            changed_at_ms: now,
            timed: new.run_at_ms.is_some_and(|at| at > now),
            held: None,
            attempts: Vec::new(),
        };
        self.jobs.insert(new.id.clone(), job);
        Answer::Enqueued(new.id.clone(), true).into()
    }

    fn claim(&mut self, now: i64, asked: &ClaimRequest, answer: &Answer) -> Result<(), String> {
        let Answer::Claimed(claims) = answer else {
            return Err("expected a list of claims".to_owned());
        };
        self.jobs.values_mut().for_each(|job| job.admit(now));
        let due = self.jobs.values().filter(|job| job.is_due()).count();
        let slots = usize::try_from(asked.slots).unwrap_or(0);
        let (count, most) = (claims.len(), due.min(slots));
        let least = if self.claims_most { most } else { most.min(1) };
        if !(least..=most).contains(&count) {
            return Err(format!(
                "{due} are due, {slots} are free, {count} were given"
            ));
        }
        for claim in claims {
            self.claim_one(now, asked, claim)
                .map_err(|why| format!("{}: {why}", claim.job.id))?;
        }
        Ok(())
    }

    fn claim_one(&mut self, now: i64, asked: &ClaimRequest, claim: &Claim) -> Result<(), String> {
        let id = &claim.job.id;
        let job = self.jobs.get_mut(id).filter(|job| job.is_due());
        let job = job.ok_or("it was not to be claimed")?;
        let last = self.fences.insert(id.clone(), claim.fence.0);
        if last.is_some_and(|last| claim.fence.0 <= last) {
            return Err("its fence did not grow".to_owned());
        }
        let found = job.state;
        let attempt = AttemptId::of(id, claim.fence);
        let starts = found.claim_starts_attempt();
        if starts {
            job.state = JobState::Running;
            let leased = AttemptState::Leased;
            let started = (attempt.clone(), claim.fence.0, leased, false);
            job.attempts.push(started);
        }
        job.held = Some((asked.node.clone(), now + asked.lease_ms));
        job.changed_at_ms = now;
        let told = (claim.found, claim.job.state, claim.attempt.as_ref());
        let expected = (found, job.state, starts.then_some(&attempt));
        if told != expected {
            return Err(format!("expected {expected:?}"));
        }
        Ok(())
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

    fn start(&mut self, lease: &Lease, attempt: &AttemptId) -> Expected {
        let Some(job) = self.demand(lease) else {
            return Refusal::Stale.into();
        };
        match job.attempt(lease, attempt) {
            None => Refusal::NotFound.into(),
            Some(attempt) if attempt.2 != AttemptState::Leased => Refusal::Illegal.into(),
            Some(attempt) => {
                attempt.2 = AttemptState::Running;
                Answer::Changed.into()
            }
        }
    }

    fn end(&mut self, lease: &Lease, attempt: &AttemptId, end: &AttemptEnd) -> Expected {
        let Some(job) = self.demand(lease) else {
            return Refusal::Stale.into();
        };
        match job.attempt(lease, attempt) {
            None => Refusal::NotFound.into(),
            Some(attempt) if !is_open(attempt.2) || is_open(end.state) => Refusal::Illegal.into(),
            Some(attempt) => {
                (attempt.2, attempt.3) = (end.state, end.counts_as_attempt);
                job.used += i64::from(end.counts_as_attempt);
                Answer::Changed.into()
            }
        }
    }

    fn advance(&mut self, now: i64, lease: &Lease, to: JobState, how: Advance) -> Expected {
        let Some(job) = self.demand(lease) else {
            return Refusal::Stale.into();
        };
        if job.state.to(to).is_err() {
            return Refusal::Illegal.into();
        }
        let again = matches!(to, JobState::Backoff | JobState::Queued);
        let poison = how.failure == Some(FailureClass::WorkerCrash) && job.used >= job.max;
        let to = if again && poison {
            JobState::Failed
        } else {
            to
        };
        let works = matches!(
            to,
            JobState::Running | JobState::Verifying | JobState::Landing
        );
        if !(how.keep_lease && works) {
            job.release(if to == JobState::Cancelled {
                AttemptState::Cancelled
            } else {
                AttemptState::Failed
            });
        }
        (job.state, job.failure, job.changed_at_ms) = (to, how.failure, now);
        job.run_at_ms = how.run_at_ms.unwrap_or(now);
        // A claimable job is let in at once if its time has come; others wait to be asked.
        job.timed = how
            .run_at_ms
            .is_some_and(|at| at > now || !to.is_claimable());
        Expected::Moved(to)
    }

    /// Both or neither.
    fn finish(
        &mut self,
        now: i64,
        lease: &Lease,
        attempt: &AttemptId,
        end: &AttemptEnd,
        (to, how): (JobState, Advance),
    ) -> Expected {
        let before = self.jobs.get(&lease.job).cloned();
        let ended = self.end(lease, attempt, end);
        if ended != Expected::from(Answer::Changed) {
            return ended;
        }
        let moved = self.advance(now, lease, to, how);
        if let (Expected::Exactly(_), Some(before)) = (&moved, before) {
            self.jobs.insert(lease.job.clone(), before);
        }
        moved
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
        job.max = (job.max + extra).max(job.used + 1);
        (job.losses, job.failure) = (0, None);
        (job.run_at_ms, job.changed_at_ms, job.timed) = (now, now, false);
        Expected::Moved(JobState::Queued)
    }

    fn reconcile(
        &mut self,
        now: i64,
        restarted: Option<&NodeId>,
        answer: &Answer,
    ) -> Result<(), String> {
        let mut expected = Vec::new();
        for (id, job) in &mut self.jobs {
            let Some((node, until)) = &mut job.held else {
                continue;
            };
            *until = (*until).min(now + LEASE_MS);
            if *until > now && restarted != Some(node) {
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
    /// A claim lets into the line what has come due; it stays there though the clock is put back.
    fn admit(&mut self, now: i64) {
        let may_wait = matches!(self.state, JobState::WaitingQuota | JobState::WaitingBudget);
        let waits = self.state == JobState::Backoff || may_wait && self.timed;
        let in_time = self.run_at_ms <= now && self.held.is_none();
        if waits && in_time {
            (self.state, self.changed_at_ms) = (JobState::Queued, now);
        }
        if self.state.is_claimable() && in_time {
            self.timed = false;
        }
    }

    /// Whether it stands in the line.
    fn is_due(&self) -> bool {
        self.state.is_claimable() && self.held.is_none() && !self.timed
    }

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
