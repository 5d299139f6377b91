//! Workers that leave no contract, or none that can be read, or one that does not say DONE.

use super::stand::{
    Engine, FIX, Setup, assert_landed, assert_untouched, contradicted, project, request,
};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{AttemptState, FailureClass, Gate, JobState, LandingState, Verdict};

on_both_engines!(
    a_worker_without_a_contract_fails,
    a_worker_that_claims_nothing_of_much_is_told_in_short,
    a_worker_that_crashes_is_tried_again_later,
    a_worker_that_says_it_is_not_done_is_believed,
    a_worker_that_takes_too_long_is_stopped,
);

/// A worker, the class of its job's failure, and words of the reason.
type Case = (&'static str, FailureClass, &'static str);

const WITHOUT: &[Case] = &[
    (
        "exit 0",
        FailureClass::EmptySuccess,
        "result contract is missing",
    ),
    (
        "echo 'All done!' > $SKEP_CONTRACT_FILE",
        FailureClass::InvalidOutput,
        "result contract is not JSON",
    ),
    (
        "echo '{}' > $SKEP_CONTRACT_FILE",
        FailureClass::InvalidOutput,
        "missing field `status`",
    ),
    (
        "head -c 300000 /dev/zero | tr '\\0' ' ' > $SKEP_CONTRACT_FILE",
        FailureClass::InvalidOutput,
        "the limit is 262144",
    ),
    (
        "ln -s /etc/passwd $SKEP_CONTRACT_FILE",
        FailureClass::EmptySuccess,
        "result contract is missing",
    ),
    (
        "mkfifo $SKEP_CONTRACT_FILE",
        FailureClass::EmptySuccess,
        "result contract is missing",
    ),
    (
        r#"printf '{"status":"%s"}' $(head -c 200000 /dev/zero | tr '\0' x) > $SKEP_CONTRACT_FILE"#,
        FailureClass::InvalidOutput,
        "result contract has the wrong shape",
    ),
    // A zero byte is no text that every store takes.
    (
        r#"printf '{"status":"\\u0000"}' > $SKEP_CONTRACT_FILE"#,
        FailureClass::InvalidOutput,
        "result contract has the wrong shape",
    ),
    (
        "printf '\\000{' > $SKEP_CONTRACT_FILE",
        FailureClass::InvalidOutput,
        "result contract is not JSON",
    ),
    (
        "exit 3",
        FailureClass::ToolFailure,
        "result contract is missing",
    ),
    (
        "sed -i 's/a - b/a + b/' bees/calc.py; save 'fix: add adds'",
        FailureClass::EmptySuccess,
        "result contract is missing",
    ),
];

async fn a_worker_without_a_contract_fails(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mut setup = Setup::new();
    for (number, (steps, ..)) in WITHOUT.iter().enumerate() {
        setup = setup.worker(&number.to_string(), steps);
    }
    let engine = Engine::start(&store, &setup).await?;
    for (number, (steps, class, reason)) in WITHOUT.iter().enumerate() {
        let mut request = request(&project);
        request.worker = Some(number.to_string());
        let view = engine.run(request).await?;
        assert_eq!(view.state, JobState::Failed, "{steps}: {view:#?}");
        assert_eq!(view.failure_class, Some(*class), "{steps}");
        let said = view.state_reason.as_deref().unwrap_or_default();
        assert!(said.contains(reason), "{steps}: {said}");
        assert!(
            said.len() < 1_000,
            "{steps}: it repeats what the worker wrote"
        );
        let verdict = view.verdict.as_ref().map(|verdict| verdict.result);
        assert_eq!(verdict, Some(Verdict::Missing), "{steps}");
        assert_eq!(Vec::from_iter(contradicted(&view)), ["contract"], "{steps}");
        assert_eq!(view.attempts.len(), 1, "{steps}");
        assert_eq!(view.attempts[0].failure_class, Some(*class), "{steps}");
        assert_eq!(view.landing.state, LandingState::None, "{steps}");
    }
    assert_untouched(&project)?;
    engine.verify_ledger().await?;
    engine.stop().await
}

/// Words of a contract that is honest about what was not done.
const HONEST: &[(&str, JobState, Option<FailureClass>)] = &[
    (
        "PARTIAL",
        JobState::Failed,
        Some(FailureClass::PrematureCompletion),
    ),
    ("FAILED", JobState::Failed, Some(FailureClass::ToolFailure)),
    ("BLOCKED", JobState::WaitingHuman, None),
];

async fn a_worker_that_says_it_is_not_done_is_believed(store: TestStore) -> anyhow::Result<()> {
    let mut setup = Setup::new();
    for (status, ..) in HONEST {
        setup = setup.worker(status, &format!("contract {status} ''"));
    }
    let engine = Engine::start(&store, &setup).await?;
    for (status, state, class) in HONEST {
        let project = project()?;
        let mut request = request(&project);
        request.worker = Some((*status).to_owned());
        request.checks = vec!["true".to_owned()];
        request.gate = Some(Gate::G0);
        let view = engine.run(request).await?;
        assert_eq!(
            (view.state, view.failure_class),
            (*state, *class),
            "{status}"
        );
        let verdict = view.verdict.as_ref().map(|verdict| verdict.result);
        assert_eq!(
            verdict,
            Some(Verdict::Valid),
            "{status} is no lie: {view:#?}"
        );
        assert!(view.state_reason.is_some(), "{status}");
        assert_untouched(&project)?;
    }
    engine.stop().await
}

/// Every file that a contract leaves out is a finding; all of them together would be longer than
/// an instruction can be.
async fn a_worker_that_claims_nothing_of_much_is_told_in_short(
    store: TestStore,
) -> anyhow::Result<()> {
    let project = project()?;
    let steps = format!(
        r#"
if grep -q '^- and [0-9]* more$' "$SKEP_INSTRUCTION_FILE"; then
    git rm -r --quiet much
    {FIX}
else
    mkdir much
    for number in $(seq 2000); do
        echo x > much/a-file-with-quite-a-long-name-and-the-number-$number.txt
    done
    save 'feat: much'
    contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
    sed -i 's|"files_changed":\[.*\],"commits"|"files_changed":[],"commits"|' "$SKEP_CONTRACT_FILE"
fi"#
    );
    let engine = Engine::start(&store, &Setup::with_fixer(&steps)).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    assert_eq!(view.attempts.len(), 2);
    let found = view
        .verdicts
        .first()
        .map_or(0, |first| first.findings.len());
    assert!(found > 2000, "nothing is left out on record: {found}");
    engine.stop().await
}

async fn a_worker_that_crashes_is_tried_again_later(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer("kill -9 $$")).await?;
    let job = engine.dispatch(request(&project)).await?;
    let view = engine.until(&job.id, "it is tried again", |view| {
        view.attempts.len() == 2 && view.attempts[1].state == AttemptState::Failed
    });
    for attempt in view.await?.attempts {
        assert_eq!(attempt.state, AttemptState::Failed);
        assert_eq!(attempt.failure_class, Some(FailureClass::WorkerCrash));
    }
    let events = engine.events(&job.id).await?;
    let set_aside = events.iter().find(|event| event.payload["to"] == "backoff");
    let set_aside = set_aside.ok_or_else(|| anyhow::anyhow!("{events:?}"))?;
    let due = set_aside.payload["run_at_ms"].as_i64();
    assert!(due >= Some(set_aside.at), "{set_aside:?}");
    assert_eq!(set_aside.payload["failure"], "worker_crash");
    let claimed = events.iter().filter(|event| event.kind == "job_claimed");
    let second = claimed.map(|event| event.at).nth(1);
    assert!(second >= due, "{second:?} is before {due:?}");
    engine.director.cancel(job.id.as_str()).await?;
    assert_untouched(&project)?;
    engine.stop().await
}

async fn a_worker_that_takes_too_long_is_stopped(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = format!("mark-{}", project.beside().display());
    let steps = format!("setsid sh -c 'sleep 600; : {mark}' & sh -c 'sleep 600; : {mark}'");
    let setup = Setup::with_fixer(&steps).engine(|engine| engine.attempt_seconds_max = 1);
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    let class = Some(FailureClass::WallClock);
    assert_eq!(view.failure_class, class, "{view:#?}");
    assert_eq!(view.attempts[0].failure_class, class);
    super::stand::assert_no_process(&mark)?;
    assert_untouched(&project)?;
    engine.stop().await
}
