//! From what an actor asks, by the names of earlier steps, to a request that is complete.

use super::dice::mixed;
use super::message::Request;
use super::queue::LEASE_MS;
use super::step::{Ask, Ending, JobName, Name, StepId, Wanted};
use super::world::{Issued, NODES, Node, World};
use skep_queue::flow::Debounce;
use skep_queue::{AttemptEnd, ClaimRequest, Finish, NewJob};
use skep_stdx::SeededEntropy;
use skep_types::{AttemptState, FailureClass, JobId, JobKind, Purpose, Tier};
use std::sync::Arc;

impl World {
    /// The request that `ask` makes, and the node that sends it; `None` if it names what is not
    /// there, or its node does nothing now.
    pub(super) fn request(&self, id: StepId, ask: Ask) -> Option<(Request, Option<usize>)> {
        let active = |node: usize| {
            let found = &self.nodes[node];
            (found.alive && !found.paused).then_some(found)
        };
        Some(match ask {
            Ask::Enqueue(wanted) => (Request::Enqueue(self.new_job(id, 0, wanted)), None),
            Ask::EnqueueAll(wanted) => {
                let wanted = wanted.iter().flatten().enumerate();
                let new = wanted.map(|(place, wanted)| self.new_job(id, place, *wanted));
                (Request::EnqueueAll(new.collect()), None)
            }
            Ask::Claim { node, slots } => {
                let asking = active(node)?;
                let request = self.claim(asking, i64::try_from(slots).ok()?);
                (Request::Claim(request), Some(node))
            }
            Ask::Heartbeat { node } => {
                let asking = active(node)?;
                let request = Request::Heartbeat {
                    node: asking.id.clone(),
                    jobs: asking.beliefs.iter().map(|b| b.job.clone()).collect(),
                };
                (request, Some(node))
            }
            Ask::GiveBack { node } => {
                let asking = active(node)?;
                let request = Request::GiveBack {
                    node: asking.id.clone(),
                    at_work: asking.beliefs.iter().map(|b| b.job.clone()).collect(),
                };
                (request, Some(node))
            }
            Ask::Reconcile { node } => {
                active(node)?;
                (Request::Reconcile { restarted: None }, Some(node))
            }
            Ask::Start { lease }
            | Ask::End { lease, .. }
            | Ask::Advance { lease, .. }
            | Ask::Finish { lease, .. } => {
                let issued = self.issued.get(&lease)?;
                let sender = Some(issued.node).filter(|node| *node < NODES);
                (under(issued, ask)?, sender)
            }
            Ask::FinishAll { node, endings } => {
                let endings = endings.iter().flatten();
                let finishes: Vec<_> = endings.filter_map(|e| self.finish(e)).collect();
                // All that it names may be gone.
                finishes.first()?;
                (Request::FinishAll(finishes), Some(node))
            }
            Ask::PauseQueue { queue } => (Request::PauseQueue(queue.to_owned()), None),
            Ask::ResumeQueue { queue } => (Request::ResumeQueue(queue.to_owned()), None),
            Ask::Wake { job, from, to } => {
                let job = self.known(job)?;
                (Request::Wake { job, from, to }, None)
            }
            Ask::Cancel { job } => {
                let job = self.known(job)?;
                (Request::Cancel { job }, None)
            }
            Ask::Retry { job, extra } => {
                let job = self.known(job)?;
                (Request::Retry { job, extra }, None)
            }
        })
    }

    fn claim(&self, asking: &Node, slots: i64) -> ClaimRequest {
        ClaimRequest {
            node: asking.id.clone(),
            slots,
            lease_ms: LEASE_MS,
            policy: Arc::clone(&self.policy),
            memory: Arc::clone(&asking.memory),
        }
    }

    /// A job that a client was told of.
    fn known(&self, name: JobName) -> Option<JobId> {
        let job = self.jobs.get(&name)?;
        self.acknowledged.contains(job).then(|| job.clone())
    }

    fn new_job(&self, id: StepId, place: usize, wanted: Wanted) -> NewJob {
        let Wanted {
            key,
            priority,
            delay_ms,
            attempts_max,
            place: stands,
            name,
        } = wanted;
        let mut flow = stands.flow();
        match name {
            Some(Name::Singleton) => flow.singleton = Some("sync".to_owned()),
            Some(Name::Debounce {
                quiet_ms,
                wait_max_ms,
            }) => {
                flow.debounce = Some(Debounce {
                    name: "push".to_owned(),
                    quiet_ms: quiet_ms.into(),
                    wait_max_ms: wait_max_ms.into(),
                });
            }
            None => {}
        }
        NewJob {
            id: JobId::new(&self.queue.clock, &self.entropy(id, place)),
            kind: JobKind::Agent,
            purpose: Purpose::Requested,
            owner: "ada".to_owned(),
            project: stands.project().to_owned(),
            tier: Tier::Sensitive,
            priority,
            run_at_ms: (delay_ms > 0).then(|| self.now() + delay_ms),
            attempts_max: attempts_max.into(),
            parent: None,
            // Histories share a store, so the key of each is its own.
            idempotency_key: key.map(|key| format!("{}-{key}", self.seed)),
            idempotency_digest: priority.to_le_bytes().to_vec(),
            flow,
        }
    }

    fn finish(&self, ending: &Ending) -> Option<Finish> {
        let issued = self.issued.get(&ending.lease)?;
        Some(Finish {
            lease: issued.lease.clone(),
            to: ending.to,
            failure: ending.failure,
            attempt: attempt_end(ending.state, ending.failure, ending.counts),
        })
    }

    /// Ids that depend on seed and step alone, so that dropping a step changes no other.
    fn entropy(&self, id: StepId, place: usize) -> SeededEntropy {
        let place = u64::try_from(place).unwrap_or(0);
        SeededEntropy::new(mixed(self.seed ^ (u64::from(id) << 32) ^ (place << 56)))
    }
}

/// The request that shows the lease of a claim.
fn under(issued: &Issued, ask: Ask) -> Option<Request> {
    let (lease, attempt) = (issued.lease.clone(), issued.attempt.clone());
    Some(match ask {
        Ask::Start { .. } => Request::Start { lease, attempt },
        Ask::End {
            state,
            failure,
            counts,
            ..
        } => Request::End {
            lease,
            attempt,
            end: attempt_end(state, failure, counts),
        },
        Ask::Advance { to, how, .. } => Request::Advance { lease, to, how },
        Ask::Finish {
            state,
            failure,
            to,
            how,
            ..
        } => Request::Finish {
            lease,
            attempt,
            end: attempt_end(state, failure, true),
            to,
            how,
        },
        Ask::Enqueue(_)
        | Ask::EnqueueAll(_)
        | Ask::Claim { .. }
        | Ask::Heartbeat { .. }
        | Ask::FinishAll { .. }
        | Ask::Wake { .. }
        | Ask::Cancel { .. }
        | Ask::Retry { .. }
        | Ask::PauseQueue { .. }
        | Ask::ResumeQueue { .. }
        | Ask::Reconcile { .. }
        | Ask::GiveBack { .. } => return None,
    })
}

const fn attempt_end(
    state: AttemptState,
    failure_class: Option<FailureClass>,
    counts_as_attempt: bool,
) -> AttemptEnd {
    AttemptEnd {
        state,
        failure_class,
        model_actual: None,
        session_id: None,
        counts_as_attempt,
    }
}
