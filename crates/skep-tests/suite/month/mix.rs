//! What a month is made of: published figures first, assumptions after them.

use skep_types::{FailureClass, JobKind};

/// Jobs of the published month, and its days.
pub(super) const JOBS: i64 = 5_079;
pub(super) const DAYS: i64 = 37;
/// How many jobs of a thousand succeed, as published for about 5,112 jobs.
pub(super) const SUCCESS_PER_MILLE: i64 = 928;
/// Concurrent jobs.
pub(super) const SLOTS: i64 = 20;
/// Limits of a provider that were met, in ten days: 1.4 a day.
pub(super) const LIMITS_IN_TEN_DAYS: i64 = 14;
/// How long one stalled the work that met it, in milliseconds: 10 to 15 minutes.
pub(super) const STALL_MS: (i64, i64) = (600_000, 900_000);

/// One kind of job.
pub(super) struct Sort {
    /// What people call it.
    pub(super) name: &'static str,
    /// What the queue calls it.
    pub(super) kind: JobKind,
    /// What works on it.
    pub(super) backend: &'static str,
    /// How many there were among the published 5,252.
    pub(super) published: i64,
    /// The shortest and the longest work, in seconds. Assumed around the published examples: a
    /// refactoring took Claude Code 6 minutes, Codex 9, OpenCode 4.
    pub(super) seconds: (i64, i64),
}

/// Every kind, in the published order. The last stands for the 32 that the published table does
/// not list.
pub(super) const SORTS: [Sort; 9] = [
    sort("plain call", JobKind::Call, "gateway", 2_922, (1, 30)),
    sort(
        "Claude Code",
        JobKind::Agent,
        "claude-code",
        626,
        (90, 1_200),
    ),
    sort("Codex", JobKind::Agent, "codex", 471, (120, 1_800)),
    sort("OpenCode", JobKind::Agent, "opencode", 459, (60, 900)),
    sort("shell", JobKind::Shell, "shell", 449, (1, 120)),
    sort(
        "Claude persona",
        JobKind::Agent,
        "claude-persona",
        167,
        (60, 900),
    ),
    sort("Gemini", JobKind::Agent, "gemini", 79, (20, 300)),
    sort("pipeline", JobKind::Pipeline, "pipeline", 47, (900, 5_400)),
    sort("not listed", JobKind::Call, "not-listed", 32, (1, 60)),
];

/// The kind that the published limits stalled.
pub(super) const LIMITED: usize = 1;

/// Failures that another try may outlive, and those it does not. Assumed: no table was published.
pub(super) const PASSING: [FailureClass; 4] = [
    FailureClass::ProviderOutage,
    FailureClass::WorkerCrash,
    FailureClass::Stalled,
    FailureClass::SessionLost,
];
pub(super) const LASTING: [FailureClass; 6] = [
    FailureClass::ToolFailure,
    FailureClass::InvalidOutput,
    FailureClass::ContextOverflow,
    FailureClass::EmptySuccess,
    FailureClass::PrematureCompletion,
    FailureClass::Unknown,
];

/// How many jobs of a thousand that end well need more than one try. Assumed.
pub(super) const RETRIED_PER_MILLE: i64 = 90;
/// Tries that count, at most.
pub(super) const ATTEMPTS_MAX: i64 = 4;
/// Days between two restarts of the engine in the middle of its work. Assumed.
pub(super) const RESTART_DAYS: i64 = 2;

/// How much comes in each hour of a day. Assumed: a working day, and a batch at night.
pub(super) const HOURS: [i64; 24] = [
    2, 2, 2, 12, 3, 2, 3, 5, 8, 10, 10, 9, 7, 8, 9, 9, 8, 7, 6, 6, 5, 4, 3, 2,
];

const fn sort(
    name: &'static str,
    kind: JobKind,
    backend: &'static str,
    published: i64,
    seconds: (i64, i64),
) -> Sort {
    Sort {
        name,
        kind,
        backend,
        published,
        seconds,
    }
}

/// How many jobs of each kind make up `jobs`: in proportion, what is left over to the greatest
/// remainders.
pub(super) fn shares(jobs: i64) -> Vec<i64> {
    let all: i64 = SORTS.iter().map(|sort| sort.published).sum();
    let mut shares: Vec<i64> = SORTS.iter().map(|s| s.published * jobs / all).collect();
    let mut order: Vec<usize> = (0..SORTS.len()).collect();
    order.sort_by_key(|place| std::cmp::Reverse(SORTS[*place].published * jobs % all));
    let left = jobs - shares.iter().sum::<i64>();
    for place in order.iter().take(usize::try_from(left).unwrap_or(0)) {
        shares[*place] += 1;
    }
    shares
}
