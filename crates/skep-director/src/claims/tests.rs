//! One contract, one piece of evidence, and what each departure does to the verdict.

use super::*;
use crate::check::TestCounts;
use crate::evidence::{Change, Commit, TestMarkers};
use skep_api::Waiver;
use skep_stdx::{ManualClock, SeededEntropy};
use skep_types::contract::{CommitMade, FileChanged};
use skep_types::{Gate, JobId, Scope, Tier};

fn contract() -> ResultContract {
    ResultContract {
        status: ContractStatus::Done,
        summary: "fixed".to_owned(),
        files_changed: vec![FileChanged {
            path: "src/lib.rs".to_owned(),
            added: 2,
            deleted: 1,
        }],
        commits: vec![CommitMade {
            sha: "abcdef1".to_owned(),
            subject: "fix: it".to_owned(),
        }],
        tests_run: vec![TestRun {
            command: "cargo test".to_owned(),
            passed: 3,
            failed: 0,
            skipped: 0,
            exit_code: 0,
        }],
        deviations: vec![],
        follow_ups: vec![],
        blocked_on: None,
    }
}

fn change(path: &str, is_new: bool) -> Change {
    Change {
        path: path.to_owned(),
        added: 2,
        deleted: 1,
        is_new,
    }
}

fn evidence() -> Evidence {
    Evidence {
        tip: "abcdef1234567890abcdef1234567890abcdef12".to_owned(),
        changes: vec![change("src/lib.rs", false)],
        commits: vec![Commit {
            oid: "abcdef1234567890abcdef1234567890abcdef12".to_owned(),
            subject: "fix: it".to_owned(),
        }],
        checks: vec![CheckOutcome {
            command: "cargo test".to_owned(),
            exit_code: Some(0),
            limit_s: 60,
            duration_ms: 10,
            alive: RunnerAlive::Proved,
            counts: Some(TestCounts {
                passed: 3,
                failed: 0,
                skipped: 0,
            }),
            log: String::new(),
        }],
        scope: Scope::parse(&["src/**"]).unwrap(),
        markers: (TestMarkers::default(), TestMarkers::default()),
        steering: vec![],
    }
}

fn dispatch(waived: &[&str]) -> Dispatch {
    Dispatch {
        job: JobId::new(&ManualClock::at(1), &SeededEntropy::new(1)),
        instruction: "fix it".to_owned(),
        repo: None,
        vault: None,
        base_commit: None,
        target_branch: None,
        scope: vec![],
        role: Role::Builder,
        tier: Tier::Sensitive,
        worker: "w".to_owned(),
        harness: "skep".to_owned(),
        model: None,
        command: vec![],
        checks: vec![],
        gate: Gate::G1,
        budget: None,
        waivers: waived
            .iter()
            .map(|rule| Waiver {
                finding: (*rule).to_owned(),
                reason: "agreed".to_owned(),
            })
            .collect(),
        reviewer: None,
        reviews: None,
        reviewed_commit: None,
        rework_rounds_max: 2,
        base_from: None,
        artifacts: Vec::new(),
        timeout_ms: None,
    }
}

/// Judges and names the rules that contradict; an empty list is VALID.
fn check(contract: &ResultContract, evidence: &Evidence, waived: &[&str]) -> Vec<String> {
    let (verdict, findings) = judge(contract, evidence, &dispatch(waived));
    let mut rules: Vec<String> = findings
        .iter()
        .filter(|f| f.outcome == FindingOutcome::Contradicted)
        .map(|f| f.rule.clone())
        .collect();
    rules.dedup();
    assert_eq!(verdict == Verdict::Valid, rules.is_empty(), "{findings:?}");
    rules
}

#[test]
fn an_honest_contract_is_valid() {
    assert_eq!(check(&contract(), &evidence(), &[]), [""; 0]);
}

#[test]
fn every_false_claim_is_found() {
    type Bend = fn(&mut ResultContract, &mut Evidence);
    let cases: &[(&str, Bend)] = &[
        ("files_changed", |c, _| c.files_changed.clear()),
        ("files_changed", |c, _| c.files_changed[0].added = 3),
        ("files_changed", |c, _| {
            c.files_changed[0].path = "src/other.rs".to_owned();
        }),
        ("commits", |c, _| c.commits.clear()),
        ("commits", |c, _| c.commits[0].sha = "1234567".to_owned()),
        ("commits", |c, _| {
            c.commits[0].subject = "feat: more".to_owned();
        }),
        ("tests_run", |c, _| c.tests_run[0].passed = 4),
        ("tests_run", |c, _| c.tests_run.clear()),
        ("check", |c, e| {
            e.checks[0].exit_code = Some(101);
            c.tests_run[0].exit_code = 101;
        }),
        ("runner_files", |_, e| {
            e.steering = vec!["Cargo.toml".to_owned()];
        }),
        ("runner_alive", |_, e| {
            e.checks[0].alive = RunnerAlive::Blind;
        }),
    ];
    for (rule, bend) in cases {
        let (mut contract, mut evidence) = (contract(), evidence());
        bend(&mut contract, &mut evidence);
        assert_eq!(check(&contract, &evidence, &[]), [*rule]);
    }
}

#[test]
fn a_red_check_contradicts_a_claim_of_green() {
    let mut evidence = evidence();
    evidence.checks[0].exit_code = Some(101);
    assert_eq!(check(&contract(), &evidence, &[]), ["check", "tests_run"]);
}

#[test]
fn a_change_outside_the_scope_is_a_scope_violation() {
    let (mut contract, mut evidence) = (contract(), evidence());
    contract.files_changed[0].path = "Cargo.toml".to_owned();
    evidence.changes[0].path = "Cargo.toml".to_owned();
    let (_, findings) = judge(&contract, &evidence, &dispatch(&[]));
    assert_eq!(failure_class(&findings), FailureClass::ScopeViolation);
}

#[test]
fn guarded_files_need_a_waiver_and_new_tests_do_not() {
    for (path, is_new, rule) in [
        ("src/conftest.py", true, Some("runner_files")),
        ("src/build.rs", false, Some("runner_files")),
        ("src/tests/a.rs", false, Some("tests_changed")),
        ("src/tests/a.rs", true, None),
    ] {
        let (mut contract, mut evidence) = (contract(), evidence());
        contract.files_changed[0].path = path.to_owned();
        evidence.changes[0] = change(path, is_new);
        let rules: Vec<&str> = rule.into_iter().collect();
        assert_eq!(check(&contract, &evidence, &[]), rules, "{path}");
        assert_eq!(
            check(&contract, &evidence, &rules),
            [""; 0],
            "{path} waived"
        );
    }
}

#[test]
fn done_with_no_change_is_an_empty_success() {
    let (mut contract, mut evidence) = (contract(), evidence());
    contract.files_changed.clear();
    contract.commits.clear();
    evidence.changes.clear();
    evidence.commits.clear();
    let (verdict, findings) = judge(&contract, &evidence, &dispatch(&[]));
    assert_eq!(verdict, Verdict::Invalid);
    assert_eq!(failure_class(&findings), FailureClass::EmptySuccess);
}

#[test]
fn a_test_run_nobody_repeated_counts_for_nothing() {
    let mut contract = contract();
    contract.tests_run[0].command = "make check".to_owned();
    let (verdict, findings) = judge(&contract, &evidence(), &dispatch(&[]));
    assert_eq!(verdict, Verdict::Valid);
    let run = findings.iter().find(|f| f.rule == "tests_run").unwrap();
    assert_eq!(run.outcome, FindingOutcome::Unproved);
}
