//! Verification: a contract against evidence the agent cannot write, and what follows from it.

use crate::attempt::parse_oid;
use crate::check::{CheckPlan, run_checks};
use crate::claims;
use crate::context::Context;
use crate::engine::{StepFailure, advance, finish};
use crate::error::DirectorError;
use crate::event::{self, CheckRun, VerdictFound};
use crate::evidence::{Change, Commit, Evidence, compare_texts};
use crate::record::{self, CheckRow, Dispatch, ResultRow, VerdictRow};
use crate::review;
use crate::runner_files::{Guarded, guarded};
use crate::running::Signal;
use skep_db::{DbError, Tx};
use skep_queue::{Claim, Lease};
use skep_sandbox::{ChangeStatus, ChangedFile, Oid};
use skep_types::{
    AttemptId, ContractStatus, FailureClass, Finding, FindingOutcome, Gate, JobState,
    ResultContract, Scope, Verdict,
};
use std::path::Path;
use tokio::sync::watch;

/// What follows a verification under the same claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// The result is to be landed.
    Land,
    /// The job has left this claim.
    Left,
}

/// Where a verified result goes next. Pure, so that every combination can be tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    Land,
    Done,
    Review,
    Rework,
    AskHuman(String),
    Fail(FailureClass, String),
}

/// Decides from the verdict, the contract's own status, and how many rounds were used.
pub(crate) fn decide(
    verdict: Verdict,
    status: ContractStatus,
    findings: &[Finding],
    dispatch: &Dispatch,
    invalid_rounds: i64,
) -> Next {
    let rounds_left = invalid_rounds <= dispatch.rework_rounds_max;
    match (verdict, status) {
        (Verdict::Missing, _) => Next::Fail(
            FailureClass::InvalidOutput,
            "there is no readable contract".to_owned(),
        ),
        (Verdict::Invalid, _) if rounds_left => Next::Rework,
        (Verdict::Invalid, _) => {
            let rules: Vec<&str> = findings
                .iter()
                .filter(|f| f.outcome == FindingOutcome::Contradicted)
                .map(|f| f.rule.as_str())
                .collect();
            let reason = format!("the result stayed INVALID: {}", rules.join(", "));
            Next::Fail(claims::failure_class(findings), reason)
        }
        (Verdict::Valid, ContractStatus::Blocked) => {
            Next::AskHuman("the worker is blocked; see `blocked_on` of its contract".to_owned())
        }
        (Verdict::Valid, ContractStatus::Partial) => Next::Fail(
            FailureClass::PrematureCompletion,
            "the worker says the work is done in part only".to_owned(),
        ),
        (Verdict::Valid, ContractStatus::Failed) => Next::Fail(
            FailureClass::ToolFailure,
            "the worker says the work failed".to_owned(),
        ),
        (Verdict::Valid, ContractStatus::Done) if dispatch.gate >= Gate::G2 => Next::Review,
        (Verdict::Valid, ContractStatus::Done) if dispatch.target_branch.is_some() => Next::Land,
        (Verdict::Valid, ContractStatus::Done) => Next::Done,
    }
}

/// Verifies the newest result of the claimed job.
pub(crate) async fn run(
    context: &Context,
    claim: &Claim,
    signal: &watch::Receiver<Signal>,
) -> Result<After, StepFailure> {
    let lease = Lease {
        job: claim.job.id.clone(),
        fence: claim.fence,
    };
    let job = lease.job.clone();
    let (dispatch, result, verdicts, left) = context
        .db
        .read("verify", async move |tx: &mut Tx<'_>| {
            let dispatch = record::dispatch(tx, &job).await?;
            Ok::<_, DbError>((
                dispatch,
                record::latest_result(tx, &job).await?,
                record::verdicts(tx, &job).await?,
                skep_queue::graph::artifacts(tx, std::slice::from_ref(&job)).await?,
            ))
        })
        .await?;
    let Some(result) = result else {
        return Err(DirectorError::incomplete("there is no result to verify").into());
    };
    if dispatch.reviews.is_some() {
        return review::receive(context, &lease, &dispatch, &result).await;
    }
    let Some(contract) = result
        .contract
        .as_deref()
        .and_then(|text| serde_json::from_str::<ResultContract>(text).ok())
    else {
        return Err(DirectorError::incomplete("there is no contract to verify").into());
    };
    let evidence = gather(context, &lease, &dispatch, &result, signal).await?;
    skep_stdx::crash::point("verify.gathered");
    let (mut verdict, mut findings) = claims::judge(&contract, &evidence, &dispatch);
    // A check that ran out of disk says nothing about the result.
    if verdict != Verdict::Valid
        && let Some(shortage) = crate::room::shortage(&context.home)
    {
        return Err(shortage.refusal().into());
    }
    let missing = claims::missing_artifacts(&dispatch, &left);
    if contract.status == ContractStatus::Done && !missing.is_empty() {
        verdict = Verdict::Invalid;
        findings.extend(missing);
    }
    let rounds =
        invalid_rounds(&verdicts, &result.attempt) + i64::from(verdict == Verdict::Invalid);
    let next = decide(verdict, contract.status, &findings, &dispatch, rounds);
    let found = VerdictRow {
        attempt: result.attempt.clone(),
        job: lease.job.clone(),
        fence: lease.fence,
        result: verdict,
        commit: Some(evidence.tip.clone()),
        findings,
    };
    conclude(context, lease, dispatch, found, next).await
}

/// How many results before that of `attempt` were found INVALID.
fn invalid_rounds(verdicts: &[VerdictRow], attempt: &AttemptId) -> i64 {
    let earlier = verdicts
        .iter()
        .filter(|v| v.result == Verdict::Invalid && v.attempt != *attempt);
    i64::try_from(earlier.count()).unwrap_or(i64::MAX)
}

/// Gathers the evidence: git from the engine's vault, checks run by the engine.
async fn gather(
    context: &Context,
    lease: &Lease,
    dispatch: &Dispatch,
    result: &ResultRow,
    signal: &watch::Receiver<Signal>,
) -> Result<Evidence, StepFailure> {
    let (Some(vault), Some(base), Some(tip)) =
        (&dispatch.vault, &dispatch.base_commit, &result.tip_commit)
    else {
        return Err(DirectorError::incomplete("there is no commit to verify").into());
    };
    let vault = Path::new(vault);
    let (changes, commits) = changed(vault, base, tip).await?;
    let texts = compare_texts(vault, base, tip, &changes).await;
    let guarded = guarded_paths(dispatch, &changes, &texts.steering);
    let plan = CheckPlan {
        vault,
        base,
        commit: tip,
        commands: if dispatch.gate == Gate::G0 {
            &[]
        } else {
            &dispatch.checks
        },
        guarded: &guarded,
        place: context
            .home
            .attempts()
            .join(format!("{}-{}-check", result.attempt, lease.fence)),
        logs: context.home.logs().join(lease.job.as_str()),
        log_prefix: format!("{}-{}-check", result.attempt, lease.fence),
        canaries: true,
        signal: signal.clone(),
    };
    let checks = run_checks(context, &plan).await?;
    record_checks(context, lease, "check", tip, &checks).await?;
    let scope =
        Scope::parse(&dispatch.scope).map_err(|e| DirectorError::outside("read the scope", e))?;
    Ok(Evidence {
        tip: tip.clone(),
        changes,
        commits,
        checks,
        scope,
        markers: texts.markers,
        steering: texts.steering,
    })
}

/// What lies between base and tip: files and commits.
async fn changed(
    vault: &Path,
    base: &str,
    tip: &str,
) -> Result<(Vec<Change>, Vec<Commit>), DirectorError> {
    let failed = |e| DirectorError::outside("read the change from the vault", e);
    let (base, tip) = (parse_oid(base)?, parse_oid(tip)?);
    let files = skep_sandbox::changed_files(vault, &base, &tip)
        .await
        .map_err(failed)?;
    let commits = skep_sandbox::commits(vault, &base, &tip)
        .await
        .map_err(failed)?;
    let change = |file: ChangedFile| Change {
        is_new: file.status == ChangeStatus::Added,
        path: file.path,
        added: file.added,
        deleted: file.deleted,
    };
    let commit = |(oid, subject): (Oid, String)| Commit {
        oid: oid.to_string(),
        subject,
    };
    Ok((
        files.into_iter().map(change).collect(),
        commits.into_iter().map(commit).collect(),
    ))
}

/// The changed files that checks take from the base, because their change is not waived.
fn guarded_paths(dispatch: &Dispatch, changes: &[Change], steering: &[String]) -> Vec<String> {
    let runner_guarded = dispatch.waiver("runner_files").is_none();
    let tests_guarded = dispatch.waiver("tests_changed").is_none();
    let changed = changes.iter().filter(|change| match guarded(&change.path) {
        Some(Guarded::Runner) => runner_guarded,
        Some(Guarded::Test) => !change.is_new && tests_guarded,
        None => false,
    });
    changed
        .map(|change| &change.path)
        .chain(steering.iter().filter(|_| runner_guarded))
        .cloned()
        .collect()
}

/// Puts check runs on record, under the claim's fence.
pub(crate) async fn record_checks(
    context: &Context,
    lease: &Lease,
    purpose: &'static str,
    commit: &str,
    checks: &[crate::check::CheckOutcome],
) -> Result<(), DirectorError> {
    let rows: Vec<CheckRow> = (1..)
        .zip(checks)
        .map(|(place, check)| CheckRow {
            job: lease.job.clone(),
            fence: lease.fence,
            place,
            purpose: purpose.to_owned(),
            commit: commit.to_owned(),
            command: check.command.clone(),
            exit_code: check.exit_code,
            duration_ms: check.duration_ms,
            log: check.log.clone(),
        })
        .collect();
    context
        .db
        .write("check runs", async move |tx: &mut Tx<'_>| {
            for row in &rows {
                record::put_check_run(tx, row).await?;
                let run = CheckRun {
                    job: row.job.clone(),
                    fence: row.fence,
                    place: row.place,
                    purpose,
                    commit: row.commit.clone(),
                    exit_code: row.exit_code,
                    duration_ms: row.duration_ms,
                };
                event::append(tx, row.job.as_str(), &run).await?;
            }
            Ok(())
        })
        .await
}

/// Writes the verdict and moves the job, in one transaction.
async fn conclude(
    context: &Context,
    lease: Lease,
    dispatch: Dispatch,
    found: VerdictRow,
    next: Next,
) -> Result<After, StepFailure> {
    let request = if next == Next::Review {
        Some(review::request(context, &dispatch, &found).await?)
    } else {
        None
    };
    let after = if next == Next::Land {
        After::Land
    } else {
        After::Left
    };
    context
        .db
        .write("verdict", async move |tx: &mut Tx<'_>| {
            record_verdict(tx, &found).await?;
            match &next {
                Next::Land => {
                    crate::landing::pend(tx, &dispatch).await?;
                    advance(tx, &lease, JobState::Landing, true, None).await
                }
                Next::Done => finish(tx, &lease, JobState::Done, None, None).await,
                Next::Review => {
                    if let Some(request) = &request {
                        request.put(tx).await?;
                    }
                    advance(tx, &lease, JobState::InReview, false, None).await
                }
                Next::Rework => advance(tx, &lease, JobState::Rework, false, None).await,
                Next::AskHuman(reason) => {
                    record::put_reason(tx, &lease.job, reason).await?;
                    advance(tx, &lease, JobState::WaitingHuman, false, None).await
                }
                Next::Fail(class, reason) => {
                    finish(tx, &lease, JobState::Failed, Some(*class), Some(reason)).await
                }
            }
        })
        .await?;
    skep_stdx::crash::point("verify.concluded");
    Ok(after)
}

pub(crate) async fn record_verdict(
    tx: &mut Tx<'_>,
    found: &VerdictRow,
) -> Result<(), DirectorError> {
    record::put_verdict(tx, found).await?;
    let count = |outcome| {
        found
            .findings
            .iter()
            .filter(|f| f.outcome == outcome)
            .count()
    };
    let event = VerdictFound {
        job: found.job.clone(),
        attempt: found.attempt.clone(),
        fence: found.fence,
        result: found.result.as_str(),
        commit: found.commit.clone(),
        contradicted: count(FindingOutcome::Contradicted),
        waived: count(FindingOutcome::Waived),
        unproved: count(FindingOutcome::Unproved),
    };
    event::append(tx, found.job.as_str(), &event).await
}

/// Writes the verdict on an attempt that left no contract.
pub(crate) async fn record_missing(
    tx: &mut Tx<'_>,
    lease: &Lease,
    attempt: &AttemptId,
    reason: Option<&str>,
) -> Result<(), DirectorError> {
    let finding = Finding {
        rule: "contract".to_owned(),
        claim: "the worker leaves a result contract".to_owned(),
        evidence: reason.unwrap_or("there is none").to_owned(),
        outcome: FindingOutcome::Contradicted,
    };
    let found = VerdictRow {
        attempt: attempt.clone(),
        job: lease.job.clone(),
        fence: lease.fence,
        result: Verdict::Missing,
        commit: None,
        findings: vec![finding],
    };
    record_verdict(tx, &found).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dispatch(gate: Gate, target: bool) -> Dispatch {
        Dispatch {
            job: skep_types::JobId::new(
                &skep_stdx::ManualClock::at(1),
                &skep_stdx::SeededEntropy::new(1),
            ),
            instruction: String::new(),
            repo: None,
            vault: None,
            base_commit: None,
            target_branch: target.then(|| "main".to_owned()),
            scope: vec![],
            role: skep_types::Role::Builder,
            tier: skep_types::Tier::Sensitive,
            worker: String::new(),
            harness: String::new(),
            model: None,
            command: vec![],
            checks: vec![],
            gate,
            budget: None,
            waivers: vec![],
            reviewer: None,
            reviews: None,
            reviewed_commit: None,
            rework_rounds_max: 2,
            base_from: None,
            artifacts: Vec::new(),
            timeout_ms: None,
        }
    }

    /// The decision as one word.
    fn check(
        verdict: Verdict,
        status: ContractStatus,
        gate: Gate,
        target: bool,
        rounds: i64,
    ) -> String {
        match decide(verdict, status, &[], &dispatch(gate, target), rounds) {
            Next::Land => "land".to_owned(),
            Next::Done => "done".to_owned(),
            Next::Review => "review".to_owned(),
            Next::Rework => "rework".to_owned(),
            Next::AskHuman(_) => "ask".to_owned(),
            Next::Fail(class, _) => class.as_str().to_owned(),
        }
    }

    #[test]
    fn only_a_valid_done_goes_on_and_rework_is_bounded() {
        use ContractStatus as C;
        use Verdict as V;
        for (verdict, status, gate, target, rounds, expected) in [
            (V::Valid, C::Done, Gate::G1, true, 0, "land"),
            (V::Valid, C::Done, Gate::G1, false, 0, "done"),
            (V::Valid, C::Done, Gate::G2, true, 0, "review"),
            (V::Valid, C::Blocked, Gate::G1, true, 0, "ask"),
            (
                V::Valid,
                C::Partial,
                Gate::G1,
                true,
                0,
                "premature_completion",
            ),
            (V::Valid, C::Failed, Gate::G1, true, 0, "tool_failure"),
            (V::Invalid, C::Done, Gate::G1, true, 1, "rework"),
            (V::Invalid, C::Done, Gate::G2, true, 2, "rework"),
            (V::Invalid, C::Done, Gate::G1, true, 3, "invalid_output"),
            (V::Missing, C::Done, Gate::G1, true, 0, "invalid_output"),
        ] {
            assert_eq!(
                check(verdict, status, gate, target, rounds),
                expected,
                "{verdict} {status}"
            );
        }
    }
}
