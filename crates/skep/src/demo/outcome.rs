//! What happened, read off the job documents: a claim that was caught, a wall that held, a budget
//! that was not passed.

use serde::Serialize;
use skep_api::{JobView, LedgerView};
use skep_types::{FindingOutcome, JobState, LandingState, MicroUsd, Verdict};

/// The document of `skep demo --json`.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// Whether everything happened that was to happen.
    pub(crate) ok: bool,
    /// The repository.
    pub(crate) repo: String,
    /// Every job, reviews included.
    pub(crate) jobs: Vec<JobView>,
    /// What was caught.
    pub(crate) caught: Caught,
    /// The ledger at the end.
    pub(crate) ledger: LedgerSummary,
    /// How long it took, in milliseconds.
    pub(crate) wall_ms: i64,
}

/// What was caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Caught {
    /// Claims of green tests that the engine found red.
    pub(crate) false_claims: usize,
    /// Attempts whose write outside their scope the kernel refused.
    pub(crate) scope_escapes: usize,
    /// Jobs that stopped below their budget instead of passing it.
    pub(crate) budget_stops: usize,
}

/// The ledger in two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct LedgerSummary {
    /// Events on the chain.
    pub(crate) events: i64,
    /// Whether the whole chain holds.
    pub(crate) verified: bool,
}

impl Outcome {
    /// Reads the outcome off the documents.
    pub(crate) fn of(repo: String, jobs: Vec<JobView>, ledger: &LedgerView, wall_ms: i64) -> Self {
        let caught = Caught {
            false_claims: jobs.iter().map(false_claims).sum(),
            scope_escapes: jobs.iter().map(scope_escapes).sum(),
            budget_stops: jobs.iter().filter(|job| budget_held(job)).count(),
        };
        let builders = jobs.iter().filter(|job| job.target_branch.is_some());
        let landed = builders
            .filter(|job| job.state == JobState::Done && job.landing.state == LandingState::Landed);
        let reviewed = jobs.iter().any(|job| {
            job.reviews
                .iter()
                .any(|review| review.verdict.as_deref() == Some("pass"))
        });
        let everything = Caught {
            false_claims: 1,
            scope_escapes: 1,
            budget_stops: 1,
        };
        Self {
            ok: caught == everything && landed.count() == 2 && reviewed && ledger.ok,
            repo,
            jobs,
            caught,
            ledger: LedgerSummary {
                events: ledger.events,
                verified: ledger.ok,
            },
            wall_ms,
        }
    }

    /// What everything cost at list price.
    pub(crate) fn cost(&self) -> MicroUsd {
        self.jobs.iter().map(|job| job.cost_micro_usd).sum()
    }
}

/// Verdicts that contradict a claim about tests.
fn false_claims(job: &JobView) -> usize {
    let contradicted = job.verdicts.iter().filter(|verdict| {
        verdict.result == Verdict::Invalid
            && verdict.findings.iter().any(|finding| {
                finding.rule == "tests_run" && finding.outcome == FindingOutcome::Contradicted
            })
    });
    contradicted.count()
}

/// Attempts that met a wall and whose change nevertheless stayed inside the scope.
fn scope_escapes(job: &JobView) -> usize {
    let stayed_inside = job.verdicts.last().is_some_and(|verdict| {
        verdict
            .findings
            .iter()
            .any(|finding| finding.rule == "scope" && finding.outcome == FindingOutcome::Confirmed)
    });
    let met_a_wall = job
        .attempts
        .iter()
        .filter(|attempt| attempt.refusals > 0)
        .count();
    if stayed_inside { met_a_wall } else { 0 }
}

/// Whether the job stopped for want of money with its limit unpassed.
fn budget_held(job: &JobView) -> bool {
    let spent = job.cost_micro_usd.saturating_add(job.unconfirmed_micro_usd);
    job.state == JobState::WaitingBudget && job.budget_micro_usd.is_some_and(|limit| spent <= limit)
}
