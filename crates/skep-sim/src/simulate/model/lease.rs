//! Changes under a lease, in the model.

use super::{Expected, Model, is_open};
use crate::simulate::message::{Answer, Refusal};
use skep_queue::{Advance, AttemptEnd, Finish, Job, Lease};
use skep_types::{AttemptId, AttemptState, FailureClass, JobId, JobState};

impl Model {
    pub(super) fn start(&mut self, lease: &Lease, attempt: &AttemptId) -> Expected {
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

    pub(super) fn end(&mut self, lease: &Lease, attempt: &AttemptId, end: &AttemptEnd) -> Expected {
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

    pub(super) fn advance(
        &mut self,
        now: i64,
        lease: &Lease,
        to: JobState,
        how: Advance,
    ) -> Expected {
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
    pub(super) fn finish(
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

    /// Each by itself; one that ended is gone when it is named again.
    pub(super) fn finish_all(
        &mut self,
        now: i64,
        finishes: &[Finish],
        answer: &Answer,
    ) -> Result<(), String> {
        let Answer::Finished(answers) = answer else {
            return Err("expected an answer for each".to_owned());
        };
        let expected: Vec<_> = finishes.iter().map(|f| self.end_with(now, f)).collect();
        let told = |answer: &Result<Job, Refusal>| match answer {
            Ok(job) => Ok((job.id.clone(), job.state)),
            Err(refusal) => Err(refusal.clone()),
        };
        if answers.iter().map(told).eq(expected.iter().cloned()) {
            return Ok(());
        }
        Err(format!("expected {expected:?}"))
    }

    fn end_with(&mut self, now: i64, finish: &Finish) -> Result<(JobId, JobState), Refusal> {
        let (to, end) = (finish.to, &finish.attempt);
        let job = self.demand(&finish.lease).ok_or(Refusal::Stale)?;
        if job.state.to(to).is_err() || !to.is_terminal() || is_open(end.state) {
            return Err(Refusal::Illegal);
        }
        if let Some(attempt) = job.attempts.iter_mut().find(|a| is_open(a.2)) {
            (attempt.2, attempt.3) = (end.state, end.counts_as_attempt);
            job.used += i64::from(end.counts_as_attempt);
        }
        job.held = None;
        (job.state, job.failure, job.timed) = (to, finish.failure, false);
        (job.run_at_ms, job.changed_at_ms) = (now, now);
        Ok((finish.lease.job.clone(), to))
    }
}
