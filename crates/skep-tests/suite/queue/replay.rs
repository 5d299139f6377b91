//! The state of a job from its ledger events alone.

use skep_ledger::{Payload, SealedEvent};
use skep_queue::event::{
    AttemptEnded, AttemptStarted, JobAdvanced, JobCancelled, JobClaimed, JobFinished, JobPutOff,
    JobQueued, JobRetried, LeaseLost, TransitionRefused,
};
use skep_queue::{Attempt, Job};
use skep_types::{AttemptId, AttemptState, FailureClass, Fence, JobState, NodeId};

/// What the events of one job say about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replayed {
    number: i64,
    state: JobState,
    priority: i64,
    run_at_ms: i64,
    used: i64,
    max: i64,
    losses: i64,
    failure: Option<FailureClass>,
    node: Option<NodeId>,
    attempts: Vec<(AttemptId, Fence, AttemptState, bool)>,
    changed_at_ms: i64,
}

impl Replayed {
    /// What the rows say; the same as the events, or one of them lies.
    pub(super) fn of_rows(job: &Job, attempts: &[Attempt]) -> Self {
        Self {
            number: job.number,
            state: job.state,
            priority: job.priority,
            run_at_ms: job.run_at_ms,
            used: job.attempts_used,
            max: job.attempts_max,
            losses: job.losses,
            failure: job.failure,
            node: job.held.as_ref().map(|held| held.node.clone()),
            attempts: attempts
                .iter()
                .map(|a| (a.id.clone(), a.fence, a.state, a.counted))
                .collect(),
            changed_at_ms: job.changed_at_ms,
        }
    }

    /// Folds the events of one job. Fails where one does not follow from those before it.
    pub(super) fn of_events(events: &[SealedEvent]) -> anyhow::Result<Self> {
        let mut events = events.iter();
        let first = events.next().filter(|event| event.kind == JobQueued::KIND);
        let first = first.ok_or_else(|| anyhow::anyhow!("a job begins with job_queued"))?;
        let queued: JobQueued = payload(first)?;
        let mut replayed = Self {
            number: queued.number,
            state: JobState::Queued,
            priority: queued.priority,
            run_at_ms: queued.run_at_ms,
            used: 0,
            max: queued.attempts_max,
            losses: 0,
            failure: None,
            node: None,
            attempts: Vec::new(),
            changed_at_ms: first.at_ms,
        };
        for event in events {
            replayed.apply(event)?;
        }
        Ok(replayed)
    }

    fn apply(&mut self, event: &SealedEvent) -> anyhow::Result<()> {
        match event.kind.as_str() {
            JobClaimed::KIND => self.claimed(payload(event)?, event.at_ms),
            JobAdvanced::KIND => {
                let advanced: JobAdvanced = payload(event)?;
                self.go(advanced.from, advanced.to, event.at_ms)?;
                self.failure = advanced.failure;
                self.run_at_ms = advanced.run_at_ms;
                if !advanced.lease_kept {
                    self.node = None;
                }
                Ok(())
            }
            JobFinished::KIND => self.finished(&payload(event)?, event.at_ms),
            JobPutOff::KIND => {
                let put_off: JobPutOff = payload(event)?;
                anyhow::ensure!(self.attempts.is_empty(), "it had started");
                (self.run_at_ms, self.changed_at_ms) = (put_off.run_at_ms, event.at_ms);
                Ok(())
            }
            JobCancelled::KIND => {
                let cancelled: JobCancelled = payload(event)?;
                anyhow::ensure!(cancelled.node == self.node, "another node held it");
                (self.node, self.failure) = (None, None);
                self.go(cancelled.from, JobState::Cancelled, event.at_ms)
            }
            JobRetried::KIND => {
                let retried: JobRetried = payload(event)?;
                (self.max, self.losses, self.failure) = (retried.attempts_max, 0, None);
                self.run_at_ms = event.at_ms;
                self.go(retried.from, JobState::Queued, event.at_ms)
            }
            LeaseLost::KIND => self.lost(payload(event)?, event.at_ms),
            AttemptStarted::KIND => {
                let started: AttemptStarted = payload(event)?;
                let attempt = self.attempt(&started.attempt, started.fence)?;
                anyhow::ensure!(attempt.2 == AttemptState::Leased, "it was not leased");
                attempt.2 = AttemptState::Running;
                Ok(())
            }
            AttemptEnded::KIND => {
                let ended: AttemptEnded = payload(event)?;
                let attempt = self.attempt(&ended.attempt, ended.fence)?;
                (attempt.2, attempt.3) = (ended.state, ended.counted);
                self.used += i64::from(ended.counted);
                Ok(())
            }
            TransitionRefused::KIND => {
                let refused: TransitionRefused = payload(event)?;
                anyhow::ensure!(refused.state == Some(self.state), "it was in another state");
                Ok(())
            }
            other => anyhow::bail!("{other} is no event of a job"),
        }
    }

    fn claimed(&mut self, claimed: JobClaimed, at_ms: i64) -> anyhow::Result<()> {
        anyhow::ensure!(self.node.is_none(), "it was claimed while it was held");
        let last = self.attempts.last().map_or(Fence(0), |attempt| attempt.1);
        anyhow::ensure!(claimed.fence > last, "the fence did not grow");
        if claimed.from != claimed.to {
            self.go(claimed.from, claimed.to, at_ms)?;
        }
        self.changed_at_ms = at_ms;
        self.node = Some(claimed.node);
        if let Some(attempt) = claimed.attempt {
            let leased = AttemptState::Leased;
            self.attempts.push((attempt, claimed.fence, leased, false));
        }
        Ok(())
    }

    fn finished(&mut self, finished: &JobFinished, at_ms: i64) -> anyhow::Result<()> {
        anyhow::ensure!(self.node.take().is_some(), "nobody held it");
        if let Some(state) = finished.attempt {
            let last = self.attempts.last_mut();
            let last = last.ok_or_else(|| anyhow::anyhow!("it had no attempt"))?;
            anyhow::ensure!(last.1 == finished.fence, "another claim's attempt");
            (last.2, last.3) = (state, finished.counted);
            self.used += i64::from(finished.counted);
        }
        (self.failure, self.run_at_ms) = (finished.failure, at_ms);
        self.go(finished.from, finished.to, at_ms)
    }

    fn lost(&mut self, lost: LeaseLost, at_ms: i64) -> anyhow::Result<()> {
        anyhow::ensure!(self.node == Some(lost.node), "another node held it");
        self.node = None;
        if lost.from != lost.to {
            self.go(lost.from, lost.to, at_ms)?;
        }
        (self.losses, self.failure) = (lost.losses, Some(FailureClass::LeaseLost));
        (self.run_at_ms, self.changed_at_ms) = (at_ms, at_ms);
        Ok(())
    }

    fn go(&mut self, from: JobState, to: JobState, at_ms: i64) -> anyhow::Result<()> {
        anyhow::ensure!(self.state == from, "it was {}, not {from}", self.state);
        self.state = from.to(to)?;
        self.changed_at_ms = at_ms;
        Ok(())
    }

    fn attempt(
        &mut self,
        id: &AttemptId,
        fence: Fence,
    ) -> anyhow::Result<&mut (AttemptId, Fence, AttemptState, bool)> {
        let found = self
            .attempts
            .iter_mut()
            .find(|a| a.0 == *id && a.1 == fence);
        found.ok_or_else(|| anyhow::anyhow!("no claim made attempt {id}"))
    }
}

fn payload<P: Payload + serde::de::DeserializeOwned>(event: &SealedEvent) -> anyhow::Result<P> {
    anyhow::ensure!(
        event.version == P::VERSION,
        "{} of another version",
        event.kind
    );
    Ok(serde_json::from_slice(&event.payload)?)
}
