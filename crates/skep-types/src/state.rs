//! The state machines of a job, an attempt, a landing and a delivery.
//!
//! Pure: a transition is legal or it is not. The database guards each one by fence; these tables
//! say which ones exist at all.

use crate::text_enum::text_enum;

text_enum! {
    /// Where a job stands.
    JobState, "job state" {
        /// Written down, not yet asked for.
        Draft => "draft",
        /// Waits for a free slot.
        Queued => "queued",
        /// Waits for other jobs.
        Blocked => "blocked",
        /// A worker is at it.
        Running => "running",
        /// Waits for a provider's limit to reset.
        WaitingQuota => "waiting_quota",
        /// Waits for a budget to be raised or to renew.
        WaitingBudget => "waiting_budget",
        /// Waits for a person.
        WaitingHuman => "waiting_human",
        /// Waits for its children.
        WaitingChildren => "waiting_children",
        /// Waits for an outside answer.
        WaitingCallback => "waiting_callback",
        /// Failed for a passing reason; will be queued again at its time.
        Backoff => "backoff",
        /// Stopped by a person; continues when told to.
        Paused => "paused",
        /// The engine checks the result against the evidence.
        Verifying => "verifying",
        /// Another worker reviews the result.
        InReview => "in_review",
        /// Goes back to a worker with the findings; waits for a free slot.
        Rework => "rework",
        /// The result is being merged into its target.
        Landing => "landing",
        /// The gate passed and the landing was read back, or there was nothing to land.
        Done => "done",
        /// Ended without success.
        Failed => "failed",
        /// Ended by a person.
        Cancelled => "cancelled",
        /// Never started, because something it needs failed.
        Skipped => "skipped",
        /// Failed in a way that would hurt again; kept with its evidence.
        Quarantined => "quarantined",
    }
}

/// A transition that the state machine does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IllegalTransition {
    /// The state the job is in.
    pub from: JobState,
    /// The state that was asked for.
    pub to: JobState,
}

impl std::fmt::Display for IllegalTransition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a job cannot go from {} to {}", self.from, self.to)
    }
}

impl std::error::Error for IllegalTransition {}

impl JobState {
    /// Whether the job has ended. Only a retry by a person leaves such a state.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Done | Self::Failed | Self::Cancelled | Self::Skipped | Self::Quarantined
        )
    }

    /// Whether a claim of a job in this state starts a worker, and so an attempt.
    pub const fn claim_starts_attempt(self) -> bool {
        matches!(self, Self::Queued | Self::Rework)
    }

    /// Whether a free slot may claim a job in this state. Verifying and landing are claimable
    /// so that an engine that died in the middle leaves work that the next one picks up.
    pub const fn is_claimable(self) -> bool {
        self.claim_starts_attempt() || matches!(self, Self::Verifying | Self::Landing)
    }

    /// Checks a transition.
    pub fn to(self, to: Self) -> Result<Self, IllegalTransition> {
        if self.may_become(to) {
            Ok(to)
        } else {
            Err(IllegalTransition { from: self, to })
        }
    }

    fn may_become(self, to: Self) -> bool {
        use JobState as S;
        // Any live job can be ended by a person or set aside; any waiting job can fail.
        if !self.is_terminal() && matches!(to, S::Cancelled | S::Failed | S::Quarantined) {
            return true;
        }
        match self {
            S::Draft => matches!(to, S::Queued | S::Blocked),
            S::Blocked => matches!(to, S::Queued | S::Skipped),
            S::Queued => matches!(to, S::Running | S::Paused | S::WaitingHuman),
            S::Rework => matches!(to, S::Running | S::Paused | S::WaitingHuman),
            S::Running => matches!(
                to,
                S::Queued
                    | S::Rework
                    | S::Backoff
                    | S::Paused
                    | S::Verifying
                    | S::WaitingQuota
                    | S::WaitingBudget
                    | S::WaitingHuman
                    | S::WaitingChildren
                    | S::WaitingCallback
                    | S::Done
            ),
            S::WaitingQuota | S::WaitingBudget | S::WaitingCallback | S::Backoff | S::Paused => {
                matches!(to, S::Queued | S::Rework)
            }
            S::WaitingChildren => matches!(to, S::Queued | S::Verifying | S::Landing),
            S::WaitingHuman => matches!(to, S::Queued | S::Rework | S::Landing),
            S::Verifying => {
                matches!(
                    to,
                    S::InReview
                        | S::Rework
                        | S::Landing
                        | S::Done
                        | S::WaitingHuman
                        | S::WaitingChildren
                )
            }
            S::InReview => matches!(to, S::Rework | S::Landing | S::Done | S::WaitingHuman),
            S::Landing => matches!(to, S::Done | S::Rework | S::WaitingHuman),
            // A retry by a person starts the job again; a done job is never re-run in place.
            S::Failed | S::Cancelled | S::Quarantined => matches!(to, S::Queued),
            // It waits again when what it was skipped for is retried.
            S::Skipped => matches!(to, S::Queued | S::Blocked),
            S::Done => false,
        }
    }
}

text_enum! {
    /// Where an attempt stands.
    AttemptState, "attempt state" {
        /// Claimed, the worker not yet started.
        Leased => "leased",
        /// The worker runs.
        Running => "running",
        /// The worker was stopped at a limit and can go on.
        Parked => "parked",
        /// The worker ended and left a contract.
        Succeeded => "succeeded",
        /// The worker ended otherwise.
        Failed => "failed",
        /// The engine that held it died or lost its lease.
        Lost => "lost",
        /// Ended by a person.
        Cancelled => "cancelled",
    }
}

impl AttemptState {
    /// Whether the attempt is over.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Lost | Self::Cancelled
        )
    }
}

text_enum! {
    /// Where a result stands on its way into its target branch.
    LandingState, "landing state" {
        /// There is no target.
        None => "none",
        /// Passed the gate; waits, as for a clean work tree.
        Pending => "pending",
        /// The intent is recorded; the swap may or may not have happened.
        Landing => "landing",
        /// The commit was read back from the target.
        Landed => "landed",
        /// The target has moved in a way that git cannot merge.
        Conflict => "conflict",
        /// The landing was forbidden.
        Refused => "refused",
    }
}

text_enum! {
    /// Where a report stands on its way to its reader.
    DeliveryState, "delivery state" {
        /// Not yet tried.
        Pending => "pending",
        /// Under way.
        Delivering => "delivering",
        /// The reader has it.
        Delivered => "delivered",
        /// Cannot be delivered without help.
        Blocked => "blocked",
        /// A person said that nobody needs it.
        Dismissed => "dismissed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_live_state_can_end_and_done_is_final() {
        for state in JobState::ALL {
            if state.is_terminal() {
                continue;
            }
            assert!(state.to(JobState::Cancelled).is_ok(), "{state}");
            assert!(state.to(JobState::Failed).is_ok(), "{state}");
        }
        for to in JobState::ALL {
            assert!(JobState::Done.to(*to).is_err(), "done to {to}");
        }
    }

    #[test]
    fn nothing_reaches_done_without_a_gate() {
        let before_done: Vec<_> = JobState::ALL
            .iter()
            .filter(|s| s.to(JobState::Done).is_ok())
            .map(|s| s.as_str())
            .collect();
        assert_eq!(
            before_done,
            ["running", "verifying", "in_review", "landing"]
        );
    }

    #[test]
    fn words_read_back() {
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse::<JobState>(), Ok(*state));
        }
        let error = "finished".parse::<JobState>().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("unknown job state `finished`"),
            "{error}"
        );
    }
}
