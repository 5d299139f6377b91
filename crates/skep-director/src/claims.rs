//! Holds a contract against the evidence. Pure: the same contract, evidence and dispatch record
//! always give the same verdict, and every claim leaves a finding with its evidence beside it.

use crate::check::{CheckOutcome, RunnerAlive};
use crate::evidence::Evidence;
use crate::record::Dispatch;
use crate::runner_files::{Guarded, guarded};
use skep_queue::graph::Artifact;
use skep_types::contract::TestRun;
use skep_types::{
    ContractStatus, FailureClass, Finding, FindingOutcome, ResultContract, Role, Verdict,
};

/// Judges a result. A finding that contradicts makes it INVALID unless a waiver covers its rule.
pub(crate) fn judge(
    contract: &ResultContract,
    evidence: &Evidence,
    dispatch: &Dispatch,
) -> (Verdict, Vec<Finding>) {
    let mut findings = Vec::new();
    files_changed(contract, evidence, &mut findings);
    commits(contract, evidence, &mut findings);
    scope(evidence, &mut findings);
    guarded_files(evidence, &mut findings);
    work_done(contract, evidence, dispatch, &mut findings);
    for check in &evidence.checks {
        check_passed(check, &mut findings);
    }
    for run in &contract.tests_run {
        test_run(run, &evidence.checks, &mut findings);
    }
    for finding in &mut findings {
        if finding.outcome == FindingOutcome::Contradicted
            && let Some(reason) = dispatch.waiver(&finding.rule)
        {
            finding.outcome = FindingOutcome::Waived;
            finding.evidence = format!("{}; waived at dispatch: {reason}", finding.evidence);
        }
    }
    let contradicted = findings
        .iter()
        .any(|f| f.outcome == FindingOutcome::Contradicted);
    (
        if contradicted {
            Verdict::Invalid
        } else {
            Verdict::Valid
        },
        findings,
    )
}

/// A finding for each artifact that the job was to leave and that is not there.
pub(crate) fn missing_artifacts(dispatch: &Dispatch, left: &[Artifact]) -> Vec<Finding> {
    let is_there = |name: &String| left.iter().any(|found| found.artifact.name == *name);
    let missing = dispatch.artifacts.iter().filter(|name| !is_there(name));
    missing
        .map(|name| Finding {
            rule: "artifact_missing".to_owned(),
            claim: format!("the artifact `{name}` was left"),
            evidence: "the folder of artifacts holds no such file".to_owned(),
            outcome: FindingOutcome::Contradicted,
        })
        .collect()
}

/// The failure class of a result that stays INVALID.
pub(crate) fn failure_class(findings: &[Finding]) -> FailureClass {
    let contradicted = |rule: &str| {
        findings
            .iter()
            .any(|f| f.rule == rule && f.outcome == FindingOutcome::Contradicted)
    };
    if contradicted("scope") {
        FailureClass::ScopeViolation
    } else if contradicted("work_done") {
        FailureClass::EmptySuccess
    } else {
        FailureClass::InvalidOutput
    }
}

fn finding(rule: &str, claim: String, evidence: String, holds: bool) -> Finding {
    let outcome = if holds {
        FindingOutcome::Confirmed
    } else {
        FindingOutcome::Contradicted
    };
    Finding {
        rule: rule.to_owned(),
        claim,
        evidence,
        outcome,
    }
}

fn files_changed(contract: &ResultContract, evidence: &Evidence, findings: &mut Vec<Finding>) {
    for claimed in &contract.files_changed {
        let claim = format!(
            "{} changed (+{} -{})",
            claimed.path, claimed.added, claimed.deleted
        );
        let found = evidence
            .changes
            .iter()
            .find(|change| change.path == claimed.path);
        let (text, holds) = match found {
            None => ("git shows no change there".to_owned(), false),
            Some(change) => (
                format!("git diff: +{} -{}", change.added, change.deleted),
                (claimed.added, claimed.deleted) == (change.added, change.deleted),
            ),
        };
        findings.push(finding("files_changed", claim, text, holds));
    }
    for change in &evidence.changes {
        if !contract
            .files_changed
            .iter()
            .any(|claimed| claimed.path == change.path)
        {
            let claim = format!("{} is not listed", change.path);
            let text = "git diff shows that it changed".to_owned();
            findings.push(finding("files_changed", claim, text, false));
        }
    }
}

fn commits(contract: &ResultContract, evidence: &Evidence, findings: &mut Vec<Finding>) {
    for claimed in &contract.commits {
        let claim = format!("commit {} `{}`", claimed.sha, claimed.subject);
        let found = evidence
            .commits
            .iter()
            .find(|commit| claimed.sha.len() >= 7 && commit.oid.starts_with(&claimed.sha));
        let (text, holds) = match found {
            None => ("no such commit between base and tip".to_owned(), false),
            Some(commit) => (
                format!("subject `{}`", commit.subject),
                commit.subject == claimed.subject,
            ),
        };
        findings.push(finding("commits", claim, text, holds));
    }
    for commit in &evidence.commits {
        if !contract
            .commits
            .iter()
            .any(|claimed| commit.oid.starts_with(&claimed.sha))
        {
            let claim = format!("commit {} is not listed", &commit.oid);
            let text = format!("git log shows it: `{}`", commit.subject);
            findings.push(finding("commits", claim, text, false));
        }
    }
}

fn scope(evidence: &Evidence, findings: &mut Vec<Finding>) {
    let outside: Vec<&str> = evidence
        .changes
        .iter()
        .map(|change| change.path.as_str())
        .filter(|path| !evidence.scope.allows(path))
        .collect();
    let text = if outside.is_empty() {
        "every changed path is inside".to_owned()
    } else {
        format!("outside: {}", outside.join(", "))
    };
    let claim = format!("changes stay inside {}", evidence.scope.globs().join(", "));
    findings.push(finding("scope", claim, text, outside.is_empty()));
}

fn guarded_files(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for change in &evidence.changes {
        let (rule, claim) = match guarded(&change.path) {
            Some(Guarded::Runner) => ("runner_files", "what steers the test runner is unchanged"),
            Some(Guarded::Test) if !change.is_new => {
                ("tests_changed", "existing tests are unchanged")
            }
            Some(Guarded::Test) | None => continue,
        };
        let text = format!(
            "git diff: {} changed; checks ran with the base version",
            change.path
        );
        findings.push(finding(rule, claim.to_owned(), text, false));
    }
    for path in &evidence.steering {
        let text = format!("git diff: {path} changes which tests there are or how they run");
        let claim = "what steers the test runner is unchanged".to_owned();
        findings.push(finding("runner_files", claim, text, false));
    }
    let (before, after) = evidence.markers;
    if before.weakened_by(after) {
        let text = format!(
            "tests {} to {}, assertions {} to {}, skips {} to {}",
            before.tests,
            after.tests,
            before.assertions,
            after.assertions,
            before.skips,
            after.skips
        );
        let claim = "the changed files test as much as before".to_owned();
        findings.push(finding("tests_weakened", claim, text, false));
    }
}

fn work_done(
    contract: &ResultContract,
    evidence: &Evidence,
    dispatch: &Dispatch,
    findings: &mut Vec<Finding>,
) {
    if contract.status != ContractStatus::Done {
        return;
    }
    let is_empty = evidence.changes.is_empty();
    match dispatch.role {
        Role::Builder => {
            let text = if is_empty {
                "git shows no change between base and tip".to_owned()
            } else {
                format!(
                    "{} files changed at {}",
                    evidence.changes.len(),
                    evidence.tip
                )
            };
            findings.push(finding("work_done", "DONE".to_owned(), text, !is_empty));
        }
        Role::Observer | Role::Director => {
            let text = if is_empty {
                "no change"
            } else {
                "git shows changes"
            }
            .to_owned();
            let claim = format!("a {} changes nothing", dispatch.role);
            findings.push(finding("role", claim, text, is_empty));
            return;
        }
    }
    if contract.tests_run.is_empty() {
        let text = "the contract lists no test run".to_owned();
        findings.push(finding(
            "tests_run",
            "DONE has a test run behind it".to_owned(),
            text,
            false,
        ));
    }
}

fn check_passed(check: &CheckOutcome, findings: &mut Vec<Finding>) {
    let claim = format!("`{}` exits 0", check.command);
    let text = match check.exit_code {
        Some(code) => format!("run by the engine in a clean checkout: exit {code}"),
        None => format!(
            "run by the engine: stopped at its limit of {} s",
            check.limit_s
        ),
    };
    findings.push(finding("check", claim, text, check.exit_code == Some(0)));
    let claim = format!("`{}` still reports failure", check.command);
    match check.alive {
        RunnerAlive::Proved => {
            let text = "a test that must fail made it fail".to_owned();
            findings.push(finding("runner_alive", claim, text, true));
        }
        RunnerAlive::Blind => {
            let text = "a test that must fail was added and it still exited 0".to_owned();
            findings.push(finding("runner_alive", claim, text, false));
        }
        RunnerAlive::NotApplicable => findings.push(Finding {
            rule: "runner_alive".to_owned(),
            claim,
            evidence: "no canary is known for this command".to_owned(),
            outcome: FindingOutcome::Unproved,
        }),
        RunnerAlive::NotTried => {}
    }
}

fn test_run(run: &TestRun, checks: &[CheckOutcome], findings: &mut Vec<Finding>) {
    let claim = format!(
        "`{}`: {} passed, {} failed, {} skipped, exit {}",
        run.command, run.passed, run.failed, run.skipped, run.exit_code
    );
    let same = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some(check) = checks
        .iter()
        .find(|check| same(&check.command) == same(&run.command))
    else {
        findings.push(Finding {
            rule: "tests_run".to_owned(),
            claim,
            evidence: "the engine did not run this command".to_owned(),
            outcome: FindingOutcome::Unproved,
        });
        return;
    };
    let exit = check
        .exit_code
        .map_or("stopped at its limit".to_owned(), |code| {
            format!("exit {code}")
        });
    let (text, counts_hold) = match check.counts {
        None => (exit, true),
        Some(counts) => (
            format!(
                "{} passed, {} failed, {} skipped, {exit}",
                counts.passed, counts.failed, counts.skipped
            ),
            (run.passed, run.failed, run.skipped) == (counts.passed, counts.failed, counts.skipped),
        ),
    };
    let holds = counts_hold && check.exit_code == Some(run.exit_code);
    findings.push(finding(
        "tests_run",
        claim,
        format!("run by the engine: {text}"),
        holds,
    ));
}

#[cfg(test)]
mod tests;
