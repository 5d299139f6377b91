//! The rules that hold in every history, and how a broken one is reported.

use std::fmt;

/// A rule; its text stands in the module doc of `simulate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A job that was acknowledged is there, live or ended.
    NothingLost,
    /// What was refused, or died before its commit, left no job; of several that are asked for at
    /// once none is made if one is refused.
    NothingLeft,
    /// A job is in exactly one of the two tables, by whether it has ended.
    OneTable,
    /// A job is completed at most once.
    CompletedOnce,
    /// One idempotency key is one request and one job.
    OneJobPerKey,
    /// A singleton is one job as long as it lives, a debounce as long as it has not started.
    OneJobPerName,
    /// Nobody gets a job that another holds, and only nodes hold jobs.
    OneHolder,
    /// The fence of a job only grows.
    FenceGrows,
    /// Nothing of a paused queue is given out.
    PausedWaits,
    /// Nothing is given out beyond a limit; a limit that is lowered stops nothing that runs.
    WithinLimits,
    /// Nothing starts faster than a rate allows, and a clock that was put back costs one period.
    WithinRates,
    /// A queue is paused until it is resumed, and only then.
    PauseStands,
    /// A write with a fence that is not current is refused.
    OldFenceRefused,
    /// A fence is current exactly as long as its lease is held.
    FenceNeedsLease,
    /// An attempt is open only under the lease that it was claimed with.
    AttemptNeedsLease,
    /// The events of a job follow from one another and give its row.
    EventsGiveRow,
    /// The ledger verifies.
    LedgerVerifies,
    /// A lease that nobody renews is free after one lease, whatever the clock did.
    LeaseEnds,
    /// When faults end, every live job ends.
    NothingStuck,
    /// Every answer and every row is what the model says.
    AsTheModel,
    /// The store carries out every request.
    StoreAnswers,
}

/// A rule that was broken, and how.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What was seen.
    pub detail: String,
}

impl Violation {
    /// What broke; a failure of the store itself breaks a rule too.
    pub(crate) fn from_error(error: anyhow::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(violation) => violation,
            Err(error) => Self::of(Rule::StoreAnswers, format!("{error:#}")),
        }
    }

    pub(crate) fn of(rule: Rule, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { rule, detail }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.detail)
    }
}

impl std::error::Error for Violation {}

/// `Ok` if it holds, else the violation of `rule` with a detail.
pub(crate) fn holds(
    held: bool,
    rule: Rule,
    detail: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if held {
        Ok(())
    } else {
        Err(Violation::of(rule, detail()))
    }
}
