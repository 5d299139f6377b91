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

    /// All or none. Those without a key come first, which tells only in what refuses all.
    pub(super) fn enqueue_all(&mut self, now: i64, new: &[NewJob]) -> Expected {
        let before = self.clone();
        let mut made = BTreeMap::new();
        let is_plain = |job: &NewJob| job.idempotency_key.is_none();
        let plain = || new.iter().enumerate().filter(|(_, job)| is_plain(job));
        let keyed = new.iter().enumerate().filter(|(_, job)| !is_plain(job));
        if plain().any(|(_, job)| !is_valid(job)) {
            return Refusal::Invalid.into();
        }
        for (place, job) in plain().chain(keyed) {
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
        if self.jobs.contains_key(&new.id) {
            return Err(Refusal::Taken);
        }
        if let Some(key) = &new.idempotency_key {
            let kept = (new.idempotency_digest.clone(), new.id.clone());
            self.keys.insert(key.clone(), kept);
        }
        let job = ModelJob {
            turn: Turn::from(new),
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
        Ok((new.id.clone(), true))
    }
}

/// The only bound that is overstepped here.
const fn is_valid(new: &NewJob) -> bool {
    new.attempts_max >= 1
}
