//! The guard beside a running worker: looks at what was seen of it, and climbs the ladder when its
//! time or its signs of life are up. What to do is decided by [`crate::liveness`].

use super::Worker;
use crate::error::{DirectorError, describe};
use crate::event::{self, WorkerInterrupted, WorkerKilled};
use crate::liveness::{Life, Limits, Reason, Step, decide};
use skep_db::{DbError, Tx};
use skep_ledger::Payload;
use skep_sandbox::Interrupter;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What is seen of one worker, by whoever reads its output, for whoever watches it.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    started: Instant,
    life: Arc<Mutex<Life>>,
}

impl Pulse {
    /// Of a worker that starts now.
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            life: Arc::default(),
        }
    }

    /// Notes something about the worker, at the time it is now.
    pub(crate) fn note<T>(&self, what: impl FnOnce(&mut Life, i64) -> T) -> T {
        let now_ms = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        what(&mut life, now_ms)
    }

    async fn wait_until(&self, ms: i64) {
        let after = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        tokio::time::sleep_until(self.started + after).await;
    }
}

impl Worker<'_> {
    pub(super) fn limits(&self) -> Limits {
        let engine = &self.context.engine;
        let ms = |seconds: u64| i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
        Limits {
            progress_ms: ms(engine.progress_seconds_max),
            wall_ms: self
                .dispatch
                .timeout_ms
                .unwrap_or(ms(engine.attempt_seconds_max)),
            grace_ms: ms(engine.interrupt_grace_seconds),
        }
    }

    /// Returns when the worker is to be killed, and why; it has been asked to end before.
    pub(super) async fn guard(&self, pulse: &Pulse, interrupter: &Interrupter) -> Reason {
        let limits = self.limits();
        loop {
            match pulse.note(|life, now_ms| decide(now_ms, life, &limits)) {
                Step::Wait { until_ms } => pulse.wait_until(until_ms).await,
                Step::Interrupt(Reason::Stalled) if self.calls_models(pulse, &limits).await => {}
                Step::Interrupt(reason) => {
                    self.record_step(pulse, reason, |record| WorkerInterrupted {
                        job: record.job,
                        attempt: record.attempt,
                        fence: record.fence,
                        reason: record.reason,
                        idle_ms: record.idle_ms,
                        open_calls: record.open_calls,
                    })
                    .await;
                    interrupter.interrupt();
                    pulse.note(|life, now_ms| life.asked(now_ms, reason));
                }
                Step::Kill(reason) => {
                    self.record_step(pulse, reason, |record| record).await;
                    return reason;
                }
            }
        }
    }

    /// A worker that prints nothing may still be at work with a model: the gateway sees that.
    async fn calls_models(&self, pulse: &Pulse, limits: &Limits) -> bool {
        let attempt = self.attempt.clone();
        let activity = self
            .context
            .impatient_db()
            .read("attempt activity", async move |tx: &mut Tx<'_>| {
                skep_gateway::attempt_activity(tx, &attempt).await
            })
            .await;
        match activity {
            Ok(activity) if activity.open_ms.is_some() => {
                pulse.note(Life::seen);
                true
            }
            Ok(activity) => activity
                .idle_ms
                .filter(|idle_ms| *idle_ms < limits.progress_ms)
                .map(|idle_ms| pulse.note(|life, now_ms| life.seen(now_ms - idle_ms)))
                .is_some(),
            Err(error) => {
                let error: &DbError = &error;
                tracing::error!(error = describe(error), "a silent worker is left alone");
                pulse.note(Life::seen);
                true
            }
        }
    }

    /// Puts a step of the ladder on record. A store that does not answer does not hold it up.
    async fn record_step<P: Payload + Clone + Send + Sync + 'static>(
        &self,
        pulse: &Pulse,
        reason: Reason,
        payload: impl FnOnce(WorkerKilled) -> P,
    ) {
        let (idle_ms, open_calls) =
            pulse.note(|life, now_ms| (life.idle_ms(now_ms), life.open_calls()));
        let record = payload(WorkerKilled {
            job: self.lease.job.clone(),
            attempt: self.attempt.clone(),
            fence: self.lease.fence,
            reason: reason.class().as_str(),
            idle_ms,
            open_calls,
        });
        let lease = self.lease.clone();
        let written = self
            .context
            .impatient_db()
            .write("liveness", async move |tx: &mut Tx<'_>| {
                skep_authority::demand(tx, &lease.job, lease.fence)
                    .await
                    .map_err(|e| DirectorError::outside("show the current fence", e))?;
                event::append(tx, lease.job.as_str(), &record).await
            })
            .await;
        if let Err(error) = written {
            tracing::error!(
                error = describe(&error),
                "a step against a worker was not recorded"
            );
        }
    }
}
