//! The state of a job from its ledger events alone, and whether each event follows from those
//! before it: legal moves only, a fence that grows, writes only with the fence that is held.

use anyhow::{Context as _, Result, bail, ensure};
use skep_ledger::{Payload, SealedEvent};
use skep_queue::event::{
    AttemptEnded, AttemptStarted, JobAdvanced, JobCancelled, JobClaimed, JobFinished, JobPutOff,
    JobQueued, JobRetried, LeaseLost, TransitionRefused,
};
use skep_queue::{Attempt, Job};
use skep_types::{AttemptId, AttemptState, FailureClass, Fence, JobState, NodeId};

/// What the events of one job say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
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

/// The events of one job, told one after the other.
#[derive(Debug, Clone)]
pub struct Telling {
    story: Story,
    /// The last fence that was given out, held or not.
    fence: Fence,
    /// How often the job became `done`.
    pub(crate) completions: u32,
}

impl Story {
    /// What the rows say; the same as the events, or one of them lies.
    pub fn of_rows(job: &Job, attempts: &[Attempt]) -> Self {
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
}

impl Telling {
    /// Begins with a job's first event.
    pub fn begin(event: &SealedEvent) -> Result<Self> {
        ensure!(
            event.kind == JobQueued::KIND,
            "a job begins with job_queued, not {}",
            event.kind
        );
        let queued: JobQueued = payload(event)?;
        Ok(Self {
            story: Story {
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
                changed_at_ms: event.at_ms,
            },
            fence: Fence(0),
            completions: 0,
        })
    }

    /// The whole story of one job.
    pub fn of_events(events: &[SealedEvent]) -> Result<Self> {
        let (first, rest) = events.split_first().context("a job without an event")?;
        let mut telling = Self::begin(first)?;
        for event in rest {
            telling.go_on(event)?;
        }
        Ok(telling)
    }

    /// The job's number.
    pub(crate) const fn number(&self) -> i64 {
        self.story.number
    }

    /// What was told so far.
    pub fn story(&self) -> &Story {
        &self.story
    }

    /// The next event of this job.
    pub fn go_on(&mut self, event: &SealedEvent) -> Result<()> {
        let at_ms = event.at_ms;
        match event.kind.as_str() {
            JobClaimed::KIND => self.claimed(payload(event)?, at_ms),
            JobAdvanced::KIND => self.advanced(&payload(event)?, at_ms),
            JobFinished::KIND => self.finished(&payload(event)?, at_ms),
            JobPutOff::KIND => {
                let put_off: JobPutOff = payload(event)?;
                ensure!(self.fence == Fence(0), "it had started");
                let story = &mut self.story;
                (story.run_at_ms, story.changed_at_ms) = (put_off.run_at_ms, at_ms);
                Ok(())
            }
            JobCancelled::KIND => {
                let cancelled: JobCancelled = payload(event)?;
                let story = &mut self.story;
                ensure!(cancelled.node == story.node, "another node held it");
                (story.node, story.failure) = (None, None);
                self.go(cancelled.from, JobState::Cancelled, at_ms)
            }
            JobRetried::KIND => {
                let retried: JobRetried = payload(event)?;
                let story = &mut self.story;
                (story.max, story.losses, story.failure) = (retried.attempts_max, 0, None);
                story.run_at_ms = at_ms;
                self.go(retried.from, JobState::Queued, at_ms)
            }
            LeaseLost::KIND => self.lost(payload(event)?, at_ms),
            AttemptStarted::KIND => {
                let started: AttemptStarted = payload(event)?;
                ensure!(self.story.node.is_some(), "it was started without a lease");
                let attempt = self.attempt(&started.attempt, started.fence)?;
                ensure!(attempt.2 == AttemptState::Leased, "it was not leased");
                attempt.2 = AttemptState::Running;
                Ok(())
            }
            AttemptEnded::KIND => {
                let ended: AttemptEnded = payload(event)?;
                ensure!(
                    ended.fence == self.fence,
                    "an attempt of an old claim ended"
                );
                let attempt = self.attempt(&ended.attempt, ended.fence)?;
                let open = matches!(attempt.2, AttemptState::Leased | AttemptState::Running);
                ensure!(open, "an attempt ended twice");
                (attempt.2, attempt.3) = (ended.state, ended.counted);
                self.story.used += i64::from(ended.counted);
                Ok(())
            }
            TransitionRefused::KIND => {
                let refused: TransitionRefused = payload(event)?;
                let state = Some(self.story.state);
                ensure!(refused.state == state, "it was in another state");
                Ok(())
            }
            other => bail!("{other} is no event of a job"),
        }
    }

    fn claimed(&mut self, claimed: JobClaimed, at_ms: i64) -> Result<()> {
        ensure!(
            self.story.node.is_none(),
            "it was claimed while it was held"
        );
        ensure!(claimed.fence > self.fence, "the fence did not grow");
        self.fence = claimed.fence;
        if claimed.from != claimed.to {
            self.go(claimed.from, claimed.to, at_ms)?;
        }
        self.story.changed_at_ms = at_ms;
        self.story.node = Some(claimed.node);
        if let Some(attempt) = claimed.attempt {
            let leased = AttemptState::Leased;
            let attempt = (attempt, claimed.fence, leased, false);
            self.story.attempts.push(attempt);
        }
        Ok(())
    }

    fn advanced(&mut self, advanced: &JobAdvanced, at_ms: i64) -> Result<()> {
        if let Some(fence) = advanced.fence {
            ensure!(self.story.node.is_some(), "it was moved without a lease");
            ensure!(fence == self.fence, "it was moved with an old fence");
        }
        self.go(advanced.from, advanced.to, at_ms)?;
        self.story.failure = advanced.failure;
        self.story.run_at_ms = advanced.run_at_ms;
        if !advanced.lease_kept {
            self.story.node = None;
        }
        Ok(())
    }

    fn finished(&mut self, finished: &JobFinished, at_ms: i64) -> Result<()> {
        let story = &mut self.story;
        ensure!(story.node.take().is_some(), "nobody held it");
        ensure!(finished.fence == self.fence, "it ended with an old fence");
        if let Some(state) = finished.attempt {
            let last = story.attempts.last_mut().context("it had no attempt")?;
            ensure!(last.1 == finished.fence, "another claim's attempt");
            (last.2, last.3) = (state, finished.counted);
            story.used += i64::from(finished.counted);
        }
        (story.failure, story.run_at_ms) = (finished.failure, at_ms);
        self.go(finished.from, finished.to, at_ms)
    }

    fn lost(&mut self, lost: LeaseLost, at_ms: i64) -> Result<()> {
        ensure!(self.story.node == Some(lost.node), "another node held it");
        self.story.node = None;
        if lost.from != lost.to {
            self.go(lost.from, lost.to, at_ms)?;
        }
        let story = &mut self.story;
        (story.losses, story.failure) = (lost.losses, Some(FailureClass::LeaseLost));
        (story.run_at_ms, story.changed_at_ms) = (at_ms, at_ms);
        Ok(())
    }

    fn go(&mut self, from: JobState, to: JobState, at_ms: i64) -> Result<()> {
        let state = self.story.state;
        ensure!(state == from, "it was {state}, not {from}");
        self.story.state = from.to(to)?;
        self.story.changed_at_ms = at_ms;
        self.completions += u32::from(to == JobState::Done);
        Ok(())
    }

    fn attempt(
        &mut self,
        id: &AttemptId,
        fence: Fence,
    ) -> Result<&mut (AttemptId, Fence, AttemptState, bool)> {
        let attempts = &mut self.story.attempts;
        let found = attempts.iter_mut().find(|a| a.0 == *id && a.1 == fence);
        found.with_context(|| format!("no claim made attempt {id}"))
    }
}

fn payload<P: Payload + serde::de::DeserializeOwned>(event: &SealedEvent) -> Result<P> {
    ensure!(
        event.version == P::VERSION,
        "{} of another version",
        event.kind
    );
    Ok(serde_json::from_slice(&event.payload)?)
}
