//! What a node makes of an answer.

use super::{Belief, World};
use crate::simulate::message::{Answer, Refusal, Request};
use crate::simulate::step::LeaseName;
use skep_types::AttemptState;

impl World {
    /// What a node makes of an answer.
    pub(super) fn hear(
        &mut self,
        place: usize,
        request: &Request,
        answer: &Answer,
        claimed: Vec<LeaseName>,
    ) {
        let issued = &self.issued;
        let beliefs = &mut self.nodes[place].beliefs;
        match answer {
            Answer::Claimed(claims) => {
                beliefs.extend(claims.iter().zip(claimed).map(|(claim, name)| Belief {
                    name,
                    job: claim.job.id.clone(),
                    state: claim.job.state,
                    attempt: claim.attempt.as_ref().map(|_| AttemptState::Leased),
                }));
            }
            Answer::Held(held) => {
                let Request::Heartbeat { jobs, .. } = request else {
                    return;
                };
                beliefs.retain(|b| held.contains(&b.job) || !jobs.contains(&b.job));
            }
            // Whoever is refused stops the work and lets its lease lapse; of several that end at
            // once each has ended or is refused.
            Answer::Finished(_)
            | Answer::Refused(Refusal::Stale | Refusal::Illegal | Refusal::NotFound) => {
                let leases = request.leases();
                beliefs.retain(|b| {
                    issued
                        .get(&b.name)
                        .is_none_or(|i| !leases.contains(&&i.lease))
                });
            }
            Answer::Changed | Answer::Moved(_) => {
                let Some(lease) = request.leases().pop() else {
                    return;
                };
                let mine = |b: &&mut Belief| issued.get(&b.name).map(|i| &i.lease) == Some(lease);
                let Some(belief) = beliefs.iter_mut().find(mine) else {
                    return;
                };
                if let Request::Start { .. } = request {
                    belief.attempt = Some(AttemptState::Running);
                } else if let Request::End { end, .. } | Request::Finish { end, .. } = request {
                    belief.attempt = Some(end.state);
                }
                if let Answer::Moved(job) = answer {
                    belief.state = job.state;
                    if job.held.is_none() {
                        let name = belief.name;
                        beliefs.retain(|b| b.name != name);
                    }
                }
            }
            Answer::Enqueued(..)
            | Answer::EnqueuedAll(_)
            | Answer::Woken(_)
            | Answer::Cancelled(_)
            | Answer::Switched(_)
            | Answer::TakenBack(_)
            | Answer::Refused(_) => {}
        }
    }
}
