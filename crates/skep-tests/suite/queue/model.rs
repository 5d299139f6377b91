//! The queue as a few lists in memory: what every operation must answer and leave behind.

use skep_queue::Advance;
use skep_queue::limits::AGEING_MS_PER_POINT;
use skep_types::{AttemptState, FailureClass, JobState};

/// One operation. Jobs, nodes and leases are named by their place in the order of their making.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Enqueue {
        priority: i64,
        delay_ms: i64,
        attempts_max: i64,
    },
    Claim {
        node: usize,
        slots: usize,
    },
    Heartbeat {
        node: usize,
    },
    Start {
        lease: usize,
    },
    End {
        lease: usize,
        state: AttemptState,
        failure: Option<FailureClass>,
        counts: bool,
    },
    Advance {
        lease: usize,
        to: JobState,
        how: Advance,
    },
    Wake {
        job: usize,
        from: JobState,
        to: JobState,
    },
    Cancel {
        job: usize,
    },
    Retry {
        job: usize,
        extra: i64,
    },
    Reconcile {
        restarted: Option<usize>,
    },
    Tick {
        ms: i64,
    },
}

/// What the test can see of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelJob {
    pub(super) state: JobState,
    pub(super) priority: i64,
    pub(super) run_at_ms: i64,
    pub(super) used: i64,
    pub(super) max: i64,
    pub(super) losses: i64,
    pub(super) failure: Option<FailureClass>,
    /// The node and the end of the lease.
    pub(super) held: Option<(usize, i64)>,
    /// Fence, state, and whether it counted.
    pub(super) attempts: Vec<(i64, AttemptState, bool)>,
    /// The last number of the fence that was given out.
    fence: i64,
    /// Whether a wait is over at `run_at_ms`.
    timed: bool,
}

/// The whole queue.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) now: i64,
    pub(super) jobs: Vec<ModelJob>,
    /// Job and fence of every claim.
    pub(super) leases: Vec<(usize, i64)>,
}

impl Model {
    pub(super) fn new(now: i64) -> Self {
        Self {
            now,
            jobs: Vec::new(),
            leases: Vec::new(),
        }
    }

    /// Runs one operation; the answer is the text that the real queue's answer must have.
    pub(super) fn run(&mut self, operation: Operation) -> String {
        match operation {
            Operation::Enqueue {
                priority,
                delay_ms,
                attempts_max,
            } => self.enqueue(priority, delay_ms, attempts_max),
            Operation::Claim { node, slots } => self.claim(node, slots),
            Operation::Heartbeat { node } => self.heartbeat(node),
            Operation::Start { lease } => self.start(lease),
            Operation::End {
                lease,
                state,
                failure: _,
                counts,
            } => self.end(lease, state, counts),
            Operation::Advance { lease, to, how } => self.advance(lease, to, how),
            Operation::Wake { job, from, to } => self.wake(job, from, to),
            Operation::Cancel { job } => self.cancel(job),
            Operation::Retry { job, extra } => self.retry(job, extra),
            Operation::Reconcile { restarted } => self.reconcile(restarted),
            Operation::Tick { ms } => {
                self.now += ms;
                String::new()
            }
        }
    }

    fn enqueue(&mut self, priority: i64, delay_ms: i64, max: i64) -> String {
        self.jobs.push(ModelJob {
            state: JobState::Queued,
            priority,
            run_at_ms: self.now + delay_ms,
            used: 0,
            max,
            losses: 0,
            failure: None,
            held: None,
            attempts: Vec::new(),
            fence: 0,
            timed: false,
        });
        "queued".to_owned()
    }

    fn claim(&mut self, node: usize, slots: usize) -> String {
        for job in &mut self.jobs {
            let may_be_timed =
                matches!(job.state, JobState::WaitingQuota | JobState::WaitingBudget);
            let waits = job.state == JobState::Backoff || may_be_timed && job.timed;
            if slots > 0 && waits && job.run_at_ms <= self.now {
                job.state = JobState::Queued;
            }
        }
        let mut due: Vec<usize> = (0..self.jobs.len())
            .filter(|&i| {
                let job = &self.jobs[i];
                job.state.is_claimable() && job.held.is_none() && job.run_at_ms <= self.now
            })
            .collect();
        due.sort_by_key(|&i| {
            let job = &self.jobs[i];
            (job.run_at_ms - job.priority * AGEING_MS_PER_POINT, i)
        });
        let mut answer = Vec::new();
        for i in due.into_iter().take(slots) {
            let job = &mut self.jobs[i];
            let found = job.state;
            job.fence += 1;
            job.held = Some((node, self.now + super::LEASE_MS));
            if found.claim_starts_attempt() {
                job.state = JobState::Running;
                job.attempts.push((job.fence, AttemptState::Leased, false));
            }
            self.leases.push((i, job.fence));
            answer.push(format!("{i} {found} {}", job.fence));
        }
        answer.join(", ")
    }

    fn heartbeat(&mut self, node: usize) -> String {
        let mut kept = Vec::new();
        for (i, job) in self.jobs.iter_mut().enumerate() {
            if job
                .held
                .is_some_and(|(n, until)| n == node && until > self.now)
            {
                job.held = Some((node, self.now + super::LEASE_MS));
                kept.push(i.to_string());
            }
        }
        kept.join(", ")
    }

    /// The job, if the lease is current; else what the refusal says.
    fn demand(&self, lease: usize) -> Result<usize, String> {
        let (i, fence) = self.leases[lease];
        let job = &self.jobs[i];
        let current = job.held.is_some().then_some(job.fence);
        if current == Some(fence) {
            Ok(i)
        } else {
            Err(format!("stale {current:?}"))
        }
    }

    fn start(&mut self, lease: usize) -> String {
        let (_, fence) = self.leases[lease];
        let i = match self.demand(lease) {
            Ok(i) => i,
            Err(stale) => return stale,
        };
        match self.jobs[i].attempts.iter_mut().find(|a| a.0 == fence) {
            None => "not found".to_owned(),
            Some(attempt) if attempt.1 != AttemptState::Leased => "illegal".to_owned(),
            Some(attempt) => {
                attempt.1 = AttemptState::Running;
                "ok".to_owned()
            }
        }
    }

    fn end(&mut self, lease: usize, state: AttemptState, counts: bool) -> String {
        let (_, fence) = self.leases[lease];
        let i = match self.demand(lease) {
            Ok(i) => i,
            Err(stale) => return stale,
        };
        let job = &mut self.jobs[i];
        match job.attempts.iter_mut().find(|a| a.0 == fence) {
            None => "not found".to_owned(),
            Some(attempt) if !is_open(attempt.1) || is_open(state) => "illegal".to_owned(),
            Some(attempt) => {
                (attempt.1, attempt.2) = (state, counts);
                job.used += i64::from(counts);
                "ok".to_owned()
            }
        }
    }

    fn advance(&mut self, lease: usize, to: JobState, how: Advance) -> String {
        let i = match self.demand(lease) {
            Ok(i) => i,
            Err(stale) => return stale,
        };
        let now = self.now;
        let job = &mut self.jobs[i];
        if job.state.to(to).is_err() {
            return "illegal".to_owned();
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
            let end = if to == JobState::Cancelled {
                AttemptState::Cancelled
            } else {
                AttemptState::Failed
            };
            job.release(end);
        }
        job.state = to;
        job.failure = how.failure;
        job.run_at_ms = how.run_at_ms.unwrap_or(now);
        job.timed = how.run_at_ms.is_some();
        to.to_string()
    }

    fn wake(&mut self, job: usize, from: JobState, to: JobState) -> String {
        if from.to(to).is_err() {
            return "illegal".to_owned();
        }
        let now = self.now;
        let job = &mut self.jobs[job];
        let waits = job.state == from && job.held.is_none() && !job.state.is_terminal();
        if waits {
            (job.state, job.failure, job.run_at_ms) = (to, None, now);
        }
        waits.to_string()
    }

    fn cancel(&mut self, job: usize) -> String {
        let job = &mut self.jobs[job];
        let from = job.state;
        if from.is_terminal() {
            return format!("ended {from}");
        }
        job.release(AttemptState::Cancelled);
        (job.state, job.failure) = (JobState::Cancelled, None);
        from.to_string()
    }

    fn retry(&mut self, job: usize, extra: i64) -> String {
        let now = self.now;
        let job = &mut self.jobs[job];
        if !job.state.is_terminal() {
            return format!("live {}", job.state);
        }
        if job.state == JobState::Done {
            return "illegal".to_owned();
        }
        job.state = JobState::Queued;
        job.max = (job.max + extra).max(job.used + 1);
        (job.losses, job.failure, job.run_at_ms) = (0, None, now);
        job.max.to_string()
    }

    fn reconcile(&mut self, restarted: Option<usize>) -> String {
        let now = self.now;
        let mut lost = Vec::new();
        for (i, job) in self.jobs.iter_mut().enumerate() {
            let gone = job.held.is_some_and(|(node, until)| {
                until <= now || restarted.is_some_and(|again| again == node)
            });
            if !gone {
                continue;
            }
            let from = job.state;
            job.release(AttemptState::Lost);
            if from == JobState::Running {
                job.state = JobState::Queued;
            }
            job.losses += 1;
            job.failure = Some(FailureClass::LeaseLost);
            job.run_at_ms = now;
            lost.push(format!("{i} {from} {}", job.state));
        }
        lost.join(", ")
    }
}

impl ModelJob {
    fn release(&mut self, end: AttemptState) {
        if self.held.take().is_none() {
            return;
        }
        for attempt in &mut self.attempts {
            if is_open(attempt.1) {
                attempt.1 = end;
            }
        }
    }
}

const fn is_open(state: AttemptState) -> bool {
    matches!(state, AttemptState::Leased | AttemptState::Running)
}
