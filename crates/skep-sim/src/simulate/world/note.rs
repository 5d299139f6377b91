//! What a bystander who sees every answer learns from it, and the rules that an answer alone can
//! break.

use super::{Issued, Named, World, leases_of};
use crate::simulate::message::{Answer, Request};
use crate::simulate::room::{Running, Turn};
use crate::simulate::rule::{Rule, Violation, holds};
use crate::simulate::step::{LeaseName, StepId};
use skep_queue::{ClaimRequest, EVERY_QUEUE, Job, NewJob};
use skep_stdx::Clock as _;
use skep_types::{AttemptId, JobId, JobState};

impl World {
    /// What the bystander learns, and the rules that an answer alone can break.
    pub(super) fn note(
        &mut self,
        id: StepId,
        request: &Request,
        answer: &Answer,
    ) -> Result<Vec<LeaseName>, Violation> {
        let mut claimed = Vec::new();
        let refusals = answer.refusals(request);
        for (lease, refusal) in request.leases().into_iter().zip(&refusals) {
            if refusal.is_some() {
                continue;
            }
            let holder = self.holders.get(&lease.job);
            let held = holder.and_then(|name| self.issued.get(name));
            holds(
                held.is_some_and(|held| held.lease == *lease),
                Rule::OldFenceRefused,
                || format!("{lease:?} was accepted; the holder is {held:?}: {request:?}"),
            )?;
        }
        match (request, answer) {
            (Request::Enqueue(new), Answer::Enqueued(job, made)) => {
                self.note_job(new, job, *made)?;
            }
            (Request::EnqueueAll(new), Answer::EnqueuedAll(jobs)) => {
                for (new, (job, made)) in new.iter().zip(jobs) {
                    self.note_job(new, job, *made)?;
                }
            }
            (Request::Claim(asked), Answer::Claimed(claims)) => {
                self.pace.bound(&asked.policy, self.queue.clock.now_ms());
                for claim in claims {
                    claimed.push(self.note_claim(id, asked, claim)?);
                }
            }
            (_, Answer::Moved(job)) => self.note_moved(request, job)?,
            (_, Answer::Finished(answers)) => {
                for job in answers.iter().flatten() {
                    self.note_moved(request, job)?;
                }
            }
            (Request::Wake { job, to, .. }, Answer::Woken(true)) => {
                self.seen.insert(job.clone(), *to);
            }
            (Request::PauseQueue(queue), Answer::Switched(_)) => {
                self.paused.insert(queue.clone());
            }
            (Request::ResumeQueue(queue), Answer::Switched(_)) => {
                self.paused.remove(queue);
            }
            (Request::Cancel { job }, Answer::Cancelled(_)) => {
                self.seen.insert(job.clone(), JobState::Cancelled);
                self.holders.remove(job);
            }
            (_, Answer::TakenBack(lost)) => {
                for lost in lost {
                    self.seen.insert(lost.job.clone(), lost.to);
                    self.holders.remove(&lost.job);
                }
            }
            _ => {}
        }
        Ok(claimed)
    }

    fn note_job(&mut self, new: &NewJob, job: &JobId, made: bool) -> Result<(), Violation> {
        self.note_name(new, job, made)?;
        self.acknowledged.insert(job.clone());
        self.seen.entry(job.clone()).or_insert(JobState::Queued);
        let Some(key) = &new.idempotency_key else {
            return Ok(());
        };
        let asked = (new.idempotency_digest.clone(), job.clone());
        let kept = self.keys.entry(key.clone());
        let kept = kept.or_insert_with(|| asked.clone());
        holds(*kept == asked, Rule::OneJobPerKey, || {
            format!("{key} is {kept:?} and {asked:?}")
        })
    }

    fn note_name(&mut self, new: &NewJob, job: &JobId, made: bool) -> Result<(), Violation> {
        let name = match (&new.flow.singleton, &new.flow.debounce) {
            (Some(name), _) => Named::Singleton(name.clone()),
            (None, Some(debounce)) => Named::Debounce(debounce.name.clone()),
            (None, None) => return Ok(()),
        };
        let holder = self.named.get(&name).filter(|id| self.keeps(&name, id));
        let key = new.idempotency_key.as_ref();
        let by_key = key.is_some_and(|key| self.keys.contains_key(key));
        let right = match holder {
            Some(holder) if made => holder == job,
            Some(holder) => holder == job || by_key,
            None => made || by_key,
        };
        holds(right, Rule::OneJobPerName, || {
            format!("{job}, made: {made}, is {name:?} beside {holder:?}")
        })?;
        if made {
            self.named.insert(name, job.clone());
        }
        Ok(())
    }

    /// Whether the job that was made under a name is still the only one of that name.
    fn keeps(&self, name: &Named, job: &JobId) -> bool {
        let has_ended = self.seen.get(job).is_some_and(|state| state.is_terminal());
        let has_started = self.newest.contains_key(job);
        !has_ended && (matches!(name, Named::Singleton(_)) || !has_started)
    }

    fn note_moved(&mut self, request: &Request, job: &Job) -> Result<(), Violation> {
        self.seen.insert(job.id.clone(), job.state);
        if matches!(request, Request::Retry { .. }) {
            // The name may be another's by now; it does without.
            self.named.retain(|_, named| *named != job.id);
        }
        if job.held.is_none() {
            self.holders.remove(&job.id);
        }
        if job.state != JobState::Done {
            return Ok(());
        }
        let first = self.completed.insert(job.id.clone());
        holds(first, Rule::CompletedOnce, || {
            format!("{} was done before: {request:?}", job.id)
        })
    }

    /// The largest limit that any job brings along for the key of `turn`: which of them is heard
    /// depends on who is first in line.
    fn largest_max(&self, turn: &Turn) -> Option<i64> {
        let (name, _) = turn.key()?;
        let keys = self.turns.values().filter_map(Turn::key);
        keys.filter(|key| key.0 == name).map(|key| key.1).max()
    }

    fn note_claim(
        &mut self,
        id: StepId,
        asked: &ClaimRequest,
        claim: &skep_queue::Claim,
    ) -> Result<LeaseName, Violation> {
        let (job, now) = (&claim.job.id, self.queue.clock.now_ms());
        holds(!self.holders.contains_key(job), Rule::OneHolder, || {
            format!("{job} was given to {} while it was held", asked.node)
        })?;
        let queue = self.turns.get(job).map_or("", |turn| &turn.queue);
        let paused = self.paused.contains(queue) || self.paused.contains(EVERY_QUEUE);
        holds(!paused, Rule::PausedWaits, || {
            format!("{job} of {queue} was given out, paused: {:?}", self.paused)
        })?;
        if let Some(turn) = self.turns.get(job) {
            let held = self.holders.keys().filter_map(|id| self.turns.get(id));
            let running = Running::of(held);
            let has_room = running.has_room(turn, &asked.policy, self.largest_max(turn));
            holds(has_room, Rule::WithinLimits, || {
                format!("{job} was given out: {turn:?} beside {running:?}")
            })?;
            let in_time = self.pace.allows(turn, &asked.policy, now);
            holds(in_time, Rule::WithinRates, || {
                format!("{job} was given out: {turn:?} after {:?}", self.pace)
            })?;
            self.pace.start(turn, &asked.policy, now);
        }
        let newest = self.newest.insert(job.clone(), claim.fence.0).unwrap_or(0);
        holds(claim.fence.0 > newest, Rule::FenceGrows, || {
            format!("{job} had {newest} and was given {}", claim.fence)
        })?;
        let place = self.issued.range(leases_of(id)).count();
        let name = LeaseName { claim: id, place };
        let node = self.nodes.iter().position(|node| node.id == asked.node);
        let issued = Issued {
            lease: claim.lease(),
            // A claim without an attempt is given the id that one would have.
            attempt: AttemptId::of(job, claim.fence),
            node: node.unwrap_or(usize::MAX),
        };
        self.issued.insert(name, issued);
        self.holders.insert(job.clone(), name);
        self.seen.insert(job.clone(), claim.job.state);
        Ok(name)
    }
}
