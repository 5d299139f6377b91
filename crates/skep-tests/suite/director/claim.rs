//! Claims that are not true.

use super::stand::{
    Engine, Setup, assert_landed, assert_untouched, contradicted, findings, project, request,
    rules_of,
};
use skep_api::JobView;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{
    AttemptState, DeliveryState, FailureClass, FindingOutcome, JobState, LandingState, Verdict,
};

on_both_engines!(
    a_false_claim_is_found_and_repaired,
    a_false_claim_that_stays_ends_the_job,
    a_waived_test_run_is_shown,
    each_false_claim_has_its_finding,
);

/// Says that the tests pass without having mended anything.
const LIES: &str = r#"
echo '# looked at' >> README.md
save 'fix: add adds'
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
"#;

/// Mends it only when it was told what was found.
const LIES_FIRST: &str = r#"
cat "$SKEP_INSTRUCTION_FILE"
if grep -q '## Findings on your last result' "$SKEP_INSTRUCTION_FILE"; then
    sed -i 's/a - b/a + b/' bees/calc.py
    save 'fix: add adds after all'
else
    echo '# looked at' >> README.md
    save 'fix: add adds'
fi
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
"#;

async fn a_false_claim_is_found_and_repaired(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer(LIES_FIRST)).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    let results: Vec<_> = view.verdicts.iter().map(|v| v.result).collect();
    assert_eq!(results, [Verdict::Invalid, Verdict::Valid]);
    let first = rules_of(view.verdicts.first(), FindingOutcome::Contradicted);
    assert_eq!(Vec::from_iter(first), ["check", "tests_run"]);
    assert_eq!(contradicted(&view).len(), 0);
    assert_eq!(view.attempts.len(), 2, "{:?}", view.attempts);
    assert!(
        view.attempts[0].fence < view.attempts[1].fence,
        "{:?}",
        view.attempts
    );
    // The worker printed what it was told.
    let told = engine.log(&view.id).await?;
    for words in [
        "Make `add` add.",
        "`python3 -m unittest -q` exits 0",
        "run by the engine: 1 passed, 1 failed, 0 skipped, exit 1",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let subjects = project.subjects("main")?;
    assert_eq!(
        subjects,
        ["base", "fix: add adds", "fix: add adds after all"]
    );
    engine.verify_ledger().await?;
    engine.stop().await
}

async fn a_false_claim_that_stays_ends_the_job(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer(LIES)).await?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.state, JobState::Failed);
    assert_eq!(view.failure_class, Some(FailureClass::InvalidOutput));
    let reason = view.state_reason.as_deref().unwrap_or_default();
    assert!(reason.contains("INVALID: check, tests_run"), "{reason}");
    let results: Vec<_> = view.verdicts.iter().map(|v| v.result).collect();
    assert_eq!(results, [Verdict::Invalid; 3]);
    let states: Vec<_> = view.attempts.iter().map(|a| a.state).collect();
    assert_eq!(
        states,
        [AttemptState::Succeeded; 3],
        "they did end by themselves"
    );
    assert_eq!(view.landing.state, LandingState::None);
    assert_eq!(view.delivery.state, DeliveryState::Delivered);
    assert_untouched(&project)?;
    let kinds = engine.kinds(&view.id).await?;
    assert!(
        !kinds.iter().any(|kind| kind.starts_with("landing")),
        "{kinds:?}"
    );
    engine.stop().await
}

/// One result with a false claim: the rules that are contradicted, and words of a finding.
struct Case {
    steps: &'static str,
    rules: &'static [&'static str],
    evidence: &'static str,
}

const CASES: &[Case] = &[
    Case {
        steps: r#"
sed -i 's/a - b/a + b/' bees/calc.py
save 'fix: add adds'
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
sed -i 's|"files_changed":\[|&{"path":"bees/imagined.py","added":9,"deleted":0},|' "$SKEP_CONTRACT_FILE"
"#,
        rules: &["files_changed"],
        evidence: "git shows no change there",
    },
    Case {
        steps: r#"
sed -i 's/a - b/a + b/' bees/calc.py
save 'fix: add adds'
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
sed -i 's|"added":1|"added":40|' "$SKEP_CONTRACT_FILE"
"#,
        rules: &["files_changed"],
        evidence: "git diff: +1 -1",
    },
    Case {
        steps: r#"
sed -i 's/a - b/a + b/' bees/calc.py
echo '# more' >> README.md
save 'fix: add adds'
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
sed -i 's|{"path":"README.md","added":1,"deleted":0},||' "$SKEP_CONTRACT_FILE"
"#,
        rules: &["files_changed"],
        evidence: "git diff shows that it changed",
    },
    Case {
        steps: r#"
sed -i 's/a - b/a + b/' bees/calc.py
save 'fix: add adds'
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
sed -i 's|"commits":\[|&{"sha":"0123456789abcdef0123456789abcdef01234567","subject":"docs: more"},|' "$SKEP_CONTRACT_FILE"
"#,
        rules: &["commits"],
        evidence: "no such commit between base and tip",
    },
    Case {
        steps: r#"
sed -i 's/a - b/a + b/' bees/calc.py
save 'fix: add adds'
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
sed -i 's|"subject":"fix: add adds"|"subject":"fix: everything"|' "$SKEP_CONTRACT_FILE"
"#,
        rules: &["commits"],
        evidence: "subject `fix: add adds`",
    },
    Case {
        steps: r#"
sed -i 's/a - b/a + b/' bees/calc.py
save 'fix: add adds'
echo '# more' >> README.md
save 'docs: hidden'
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
sed -i 's|,{"sha":"[0-9a-f]*","subject":"docs: hidden"}||' "$SKEP_CONTRACT_FILE"
"#,
        rules: &["commits"],
        evidence: "git log shows it: `docs: hidden`",
    },
    Case {
        steps: r#"
sed -i 's/a - b/a + b/' bees/calc.py
save 'fix: add adds'
contract DONE "$(ran 'python3 -m unittest -q' 200 0 0)"
"#,
        rules: &["tests_run"],
        evidence: "run by the engine: 2 passed, 0 failed, 0 skipped, exit 0",
    },
    Case {
        steps: r#"
sed -i 's/a - b/a + b/' bees/calc.py
save 'fix: add adds'
contract DONE ''
"#,
        rules: &["tests_run"],
        evidence: "the contract lists no test run",
    },
    // What was not committed was not done.
    Case {
        steps: r#"
sed -i 's/a - b/a + b/' bees/calc.py
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
"#,
        rules: &["check", "tests_run", "work_done"],
        evidence: "git shows no change between base and tip",
    },
];

async fn each_false_claim_has_its_finding(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mut setup = Setup::new().engine(|engine| engine.rework_rounds_max = 0);
    for (number, case) in CASES.iter().enumerate() {
        setup = setup.worker(&number.to_string(), case.steps);
    }
    let engine = Engine::start(&store, &setup).await?;
    for (number, case) in CASES.iter().enumerate() {
        let mut request = request(&project);
        request.worker = Some(number.to_string());
        let view = engine.run(request).await?;
        check(&view, case, number);
    }
    assert_untouched(&project)?;
    engine.verify_ledger().await?;
    engine.stop().await
}

fn check(view: &JobView, case: &Case, number: usize) {
    assert_eq!(view.state, JobState::Failed, "{number}: {view:#?}");
    let rules = contradicted(view);
    assert_eq!(Vec::from_iter(rules), case.rules, "{number}: {view:#?}");
    let class = if case.rules.contains(&"work_done") {
        FailureClass::EmptySuccess
    } else {
        FailureClass::InvalidOutput
    };
    assert_eq!(view.failure_class, Some(class), "{number}");
    let said = view
        .verdict
        .iter()
        .flat_map(|v| &v.findings)
        .any(|finding| {
            finding.outcome == FindingOutcome::Contradicted
                && finding.evidence.contains(case.evidence)
        });
    assert!(said, "{number}: {:#?}", view.verdict);
}

async fn a_waived_test_run_is_shown(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let steps = "sed -i 's/a - b/a + b/' bees/calc.py; save 'fix: add adds'; contract DONE ''";
    let engine = Engine::start(&store, &Setup::with_fixer(steps)).await?;
    let mut request = request(&project);
    request.waive_tests = Some("the engine's own check is enough".to_owned());
    let view = engine.run(request).await?;
    assert_landed(&view, &project, "main");
    let [finding] = findings(&view, "tests_run")[..] else {
        anyhow::bail!("{:#?}", view.verdict);
    };
    assert_eq!(finding.outcome, FindingOutcome::Waived);
    assert!(
        finding.evidence.contains("own check is enough"),
        "{finding:?}"
    );
    let waivers: Vec<_> = view.waivers.iter().map(|w| w.finding.as_str()).collect();
    assert_eq!(waivers, ["tests_run"]);
    engine.stop().await
}
