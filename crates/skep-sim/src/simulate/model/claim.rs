//! Claims, in the model.

use super::{Model, ModelJob};
use crate::simulate::message::Answer;
use crate::simulate::room::{Lane, Running};
use skep_queue::limits::AGEING_MS_PER_POINT;
use skep_queue::{Claim, ClaimRequest, FlowPolicy};
use skep_types::{AttemptId, AttemptState, JobState};
use std::collections::BTreeMap;

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
        let slots = usize::try_from(asked.slots).unwrap_or(0);
        if self.weighs(&asked.policy) {
            self.pace.bound(&asked.policy, now);
        }
        if claims.len() > slots {
            return Err(format!("only {slots} are free"));
        }
        let heard = self.heard();
        // Lanes of one key may hear different limits; whoever hears the least can only have gone
        // first. For every other limit the order makes no difference.
        let mut in_turn: Vec<&Claim> = claims.iter().collect();
        in_turn.sort_by_key(|claim| {
            let job = self.jobs.get(&claim.job.id)?;
            heard.get(&job.turn.lane()).copied()
        });
        for claim in in_turn {
            self.claim_one(now, asked, claim, &heard)
                .map_err(|why| format!("{}: {why}", claim.job.id))?;
        }
        if claims.len() == slots || !(self.claims_most || claims.is_empty()) {
            return Ok(());
        }
        let running = self.running();
        let mut jobs = self.jobs.iter();
        match jobs.find(|(_, job)| self.may_go(now, job, (&running, &heard), &asked.policy)) {
            Some((id, _)) => Err(format!("{slots} are free, and {id} may go as well")),
            None => Ok(()),
        }
    }

    fn running(&self) -> Running {
        let held = self.jobs.values().filter(|job| job.held.is_some());
        Running::of(held.map(|job| &job.turn))
    }

    /// How many of its key each lane lets run: what the first in its line says.
    fn heard(&self) -> BTreeMap<Lane, i64> {
        let mut line: Vec<&ModelJob> = self.jobs.values().filter(|job| job.is_due()).collect();
        line.sort_by_key(|job| (order_ms(job), job.number));
        let mut heard = BTreeMap::new();
        for job in line {
            if let Some((_, max)) = job.turn.key() {
                heard.entry(job.turn.lane()).or_insert(max);
            }
        }
        heard
    }

    /// Whether a claim weighs lanes against each other, and so looks at rates.
    fn weighs(&self, policy: &FlowPolicy) -> bool {
        let mut line = self.jobs.values().filter(|job| job.is_due());
        let Some(first) = line.next() else {
            return false;
        };
        let is_alone = line.all(|job| job.turn.lane() == first.turn.lane());
        !(is_alone && self.paused.is_empty() && first.turn.is_free(policy))
    }

    /// Whether a claim may give the job.
    fn may_go(
        &self,
        now: i64,
        job: &ModelJob,
        (running, heard): (&Running, &BTreeMap<Lane, i64>),
        policy: &FlowPolicy,
    ) -> bool {
        let key_max = heard.get(&job.turn.lane()).copied();
        job.is_due()
            && !self.is_paused(&job.turn)
            && running.has_room(&job.turn, policy, key_max)
            && self.pace.allows(&job.turn, policy, now)
    }

    fn claim_one(
        &mut self,
        now: i64,
        asked: &ClaimRequest,
        claim: &Claim,
        heard: &BTreeMap<Lane, i64>,
    ) -> Result<(), String> {
        let id = &claim.job.id;
        let running = self.running();
        let may_go = |job: &&ModelJob| self.may_go(now, job, (&running, heard), &asked.policy);
        let found = self.jobs.get(id).filter(may_go);
        found.ok_or("it was not to be claimed")?;
        let job = self.jobs.get_mut(id).ok_or("it is gone")?;
        self.pace.start(&job.turn, &asked.policy, now);
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

/// The place in the line, as the queue has it.
const fn order_ms(job: &ModelJob) -> i64 {
    job.run_at_ms - job.priority * AGEING_MS_PER_POINT
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
