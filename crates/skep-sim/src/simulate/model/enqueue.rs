//! Asking for jobs, in the model.

use super::{Expected, Model, ModelJob};
use crate::simulate::message::{Answer, Refusal};
use crate::simulate::room::Turn;
use skep_queue::NewJob;
use skep_types::{JobId, JobState};
use std::collections::BTreeMap;

impl Model {
    pub(super) fn enqueue(&mut self, now: i64, new: &NewJob) -> Expected {
        match self.one(now, new) {
            Ok((job, created)) => Answer::Enqueued(job, created).into(),
            Err(refusal) => refusal.into(),
        }
    }

    /// All or none. Those without a key or a name come first, which tells only in what refuses all.
    pub(super) fn enqueue_all(&mut self, now: i64, new: &[NewJob]) -> Expected {
        let before = self.clone();
        let mut made = BTreeMap::new();
        let is_plain = |job: &NewJob| {
            let flow = &job.flow;
            job.idempotency_key.is_none() && flow.singleton.is_none() && flow.debounce.is_none()
        };
        let plain = || new.iter().enumerate().filter(|(_, job)| is_plain(job));
        let others = new.iter().enumerate().filter(|(_, job)| !is_plain(job));
        if plain().any(|(_, job)| !is_valid(job)) {
            return Refusal::Invalid.into();
        }
        for (place, job) in plain().chain(others) {
            match self.one(now, job) {
                Ok(one) => made.insert(place, one),
                Err(refusal) => {
                    *self = before;
                    return refusal.into();
                }
            };
        }
        Answer::EnqueuedAll(made.into_values().collect()).into()
    }

    /// The job, and whether it was made.
    fn one(&mut self, now: i64, new: &NewJob) -> Result<(JobId, bool), Refusal> {
        if !is_valid(new) {
            return Err(Refusal::Invalid);
        }
        if let Some(key) = &new.idempotency_key
            && let Some((digest, job)) = self.keys.get(key)
        {
            return if *digest == new.idempotency_digest {
                Ok((job.clone(), false))
            } else {
                Err(Refusal::Conflict(job.clone()))
            };
        }
        let same = self.jobs.get(&new.id);
        if same.is_some_and(|job| job.state.is_terminal()) {
            return Err(Refusal::Taken);
        }
        let named = self.named(new);
        if named.is_none() && same.is_some() {
            return Err(Refusal::Taken);
        }
        if let Some(key) = &new.idempotency_key {
            let id = named.as_ref().unwrap_or(&new.id).clone();
            let kept = (new.idempotency_digest.clone(), id);
            self.keys.insert(key.clone(), kept);
        }
        if let Some(id) = named {
            self.put_off(now, new, &id);
            return Ok((id, false));
        }
        let run_at_ms = due_at(now, new);
        let job = ModelJob {
            number: self.jobs.len(),
            turn: Turn::from(new),
            singleton: new.flow.singleton.clone(),
            debounce: new.flow.debounce.as_ref().map(|d| d.name.clone()),
            created_at_ms: now,
            state: JobState::Queued,
            priority: new.priority,
            run_at_ms,
            used: 0,
            max: new.attempts_max,
            losses: 0,
            failure: None,
            changed_at_ms: now,
            timed: run_at_ms > now,
            held: None,
            attempts: Vec::new(),
        };
        self.jobs.insert(new.id.clone(), job);
        Ok((new.id.clone(), true))
    }

    /// The job that has the name that is asked for.
    fn named(&self, new: &NewJob) -> Option<JobId> {
        let singleton = new.flow.singleton.as_ref();
        let debounce = new.flow.debounce.as_ref().map(|debounce| &debounce.name);
        let has_name = |(id, job): &(&JobId, &ModelJob)| {
            let is_only = singleton.is_some() && job.singleton.as_ref() == singleton;
            let waits = debounce.is_some() && job.debounce.as_ref() == debounce;
            !job.state.is_terminal() && (is_only || waits && !self.fences.contains_key(*id))
        };
        self.jobs.iter().find(has_name).map(|(id, _)| id.clone())
    }

    /// A start is put off, and never brought forward, but not beyond the longest wait.
    fn put_off(&mut self, now: i64, new: &NewJob, id: &JobId) {
        let Some((debounce, job)) = new.flow.debounce.as_ref().zip(self.jobs.get_mut(id)) else {
            return;
        };
        let latest = job.created_at_ms + debounce.wait_max_ms;
        let run_at_ms = due_at(now, new).min(latest);
        if job.state.is_claimable() && run_at_ms > job.run_at_ms {
            (job.run_at_ms, job.changed_at_ms) = (run_at_ms, now);
            job.timed = run_at_ms > now;
        }
    }
}

/// When a new job is due: a debounced one after its time of quiet at the earliest.
fn due_at(now: i64, new: &NewJob) -> i64 {
    let asked = new.run_at_ms.unwrap_or(now);
    let debounce = new.flow.debounce.as_ref();
    debounce.map_or(asked, |debounce| asked.max(now + debounce.quiet_ms))
}

/// The only bound that is overstepped here.
const fn is_valid(new: &NewJob) -> bool {
    new.attempts_max >= 1
}
