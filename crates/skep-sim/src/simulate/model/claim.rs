//! Claims, in the model.

use super::{Model, ModelJob};
use crate::simulate::message::Answer;
use skep_queue::{Claim, ClaimRequest};
use skep_types::{AttemptId, AttemptState, JobState};

impl Model {
    pub(super) fn claim(
        &mut self,
        now: i64,
        asked: &ClaimRequest,
        answer: &Answer,
    ) -> Result<(), String> {
        let Answer::Claimed(claims) = answer else {
            return Err("expected a list of claims".to_owned());
        };
        self.jobs.values_mut().for_each(|job| job.admit(now));
        let due = self.jobs.values().filter(|job| self.may_go(job)).count();
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

    /// Whether a claim may give the job.
    fn may_go(&self, job: &ModelJob) -> bool {
        job.is_due() && !self.is_paused(&job.turn)
    }

    fn claim_one(&mut self, now: i64, asked: &ClaimRequest, claim: &Claim) -> Result<(), String> {
        let id = &claim.job.id;
        let found = self.jobs.get(id).filter(|job| self.may_go(job));
        found.ok_or("it was not to be claimed")?;
        let job = self.jobs.get_mut(id).ok_or("it is gone")?;
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
}
