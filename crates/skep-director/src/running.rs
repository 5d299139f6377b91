//! What runs in this process: one entry for each claimed step, through which a cancel, a lost lease
//! or a stop reaches it.
//!
//! A step is known by job and fence: a job that was cancelled and claimed again has two steps for
//! a moment, and the end of the old one must not touch the new one.

use skep_types::{Fence, JobId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// What a running step is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Go on.
    Go,
    /// The job was cancelled.
    Cancelled,
    /// The claim is no longer ours: end everything, write nothing.
    LeaseLost,
    /// The engine stops: end the worker; the job starts again elsewhere or later.
    Stopping,
}

/// The steps of this process.
#[derive(Clone)]
pub(crate) struct Running(Arc<Inner>);

struct Inner {
    steps: Mutex<HashMap<(JobId, Fence), watch::Sender<Signal>>>,
    stop: watch::Sender<bool>,
    /// Changes whenever a slot becomes free.
    freed: watch::Sender<u64>,
}

impl Default for Running {
    fn default() -> Self {
        Self(Arc::new(Inner {
            steps: Mutex::default(),
            stop: watch::channel(false).0,
            freed: watch::channel(0).0,
        }))
    }
}

impl Running {
    /// Asks the engine to stop.
    pub(crate) fn stop(&self) {
        self.0.stop.send_replace(true);
    }

    /// Changes when the engine is asked to stop.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.0.stop.subscribe()
    }

    /// Changes whenever a step has ended.
    pub(crate) fn freed(&self) -> watch::Receiver<u64> {
        self.0.freed.subscribe()
    }

    /// Tells every step of `job` that runs here.
    pub(crate) fn tell(&self, job: &JobId, signal: Signal) {
        for ((of, _), step) in self.steps().iter() {
            if of == job {
                step.send_replace(signal);
            }
        }
    }

    /// Tells every step.
    pub(crate) fn tell_all(&self, signal: Signal) {
        for step in self.steps().values() {
            step.send_replace(signal);
        }
    }

    /// The jobs of all steps.
    pub(crate) fn jobs(&self) -> Vec<JobId> {
        self.steps().keys().map(|(job, _)| job.clone()).collect()
    }

    /// How many steps run.
    pub(crate) fn count(&self) -> i64 {
        i64::try_from(self.steps().len()).unwrap_or(i64::MAX)
    }

    /// Enters a step; it is there until the guard goes, even if the step panics.
    pub(crate) fn begin(&self, job: &JobId, fence: Fence) -> Entry {
        let (sender, signal) = watch::channel(Signal::Go);
        let key = (job.clone(), fence);
        self.steps().insert(key.clone(), sender);
        Entry {
            signal,
            running: self.clone(),
            key,
        }
    }

    fn steps(&self) -> std::sync::MutexGuard<'_, HashMap<(JobId, Fence), watch::Sender<Signal>>> {
        self.0.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One step that runs.
pub(crate) struct Entry {
    /// What it is told.
    pub(crate) signal: watch::Receiver<Signal>,
    running: Running,
    key: (JobId, Fence),
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.steps().remove(&self.key);
        self.running.0.freed.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_stdx::{ManualClock, SeededEntropy};

    #[test]
    fn the_end_of_an_old_step_leaves_the_new_one() {
        let running = Running::default();
        let job = JobId::new(&ManualClock::at(1), &SeededEntropy::new(1));
        let old = running.begin(&job, Fence(1));
        running.tell(&job, Signal::Cancelled);
        let new = running.begin(&job, Fence(2));
        drop(old);
        assert_eq!(running.count(), 1);
        assert_eq!(*new.signal.borrow(), Signal::Go);
        running.tell(&job, Signal::Stopping);
        assert_eq!(*new.signal.borrow(), Signal::Stopping);
    }
}
