//! Workers that leave no contract, or none that can be read, or one that does not say DONE.

use super::stand::{Engine, Setup, assert_untouched, contradicted, project, request};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{AttemptState, FailureClass, JobState, LandingState, Verdict};

on_both_engines!(
    a_worker_without_a_contract_fails,
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
        request.checks.clear();
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

async fn a_worker_that_crashes_is_tried_again_later(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer("kill -9 $$")).await?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.state, JobState::Backoff);
    assert_eq!(view.failure_class, Some(FailureClass::WorkerCrash));
    let [attempt] = view.attempts.as_slice() else {
        anyhow::bail!("{:?}", view.attempts);
    };
    assert_eq!(attempt.state, AttemptState::Failed);
    assert_eq!(attempt.failure_class, Some(FailureClass::WorkerCrash));
    let due = engine.events(&view.id).await?.pop();
    let due = due.and_then(|event| event.payload["run_at_ms"].as_i64());
    assert!(due > attempt.ended_at, "{due:?}");
    // A person need not wait for the time to come.
    let job = view.id.as_str();
    let retried = engine
        .director
        .retry(job, skep_api::RetryRequest::default())
        .await?;
    assert_eq!(retried.state, JobState::Queued);
    let view = engine.until(&view.id, "a second attempt ends", |view| {
        view.attempts.len() == 2 && view.state == JobState::Backoff
    });
    assert_eq!(view.await?.attempts[1].state, AttemptState::Failed);
    engine.stop().await
}

async fn a_worker_that_takes_too_long_is_stopped(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = format!("mark-{}", project.beside().display());
    let steps = format!("setsid sh -c 'sleep 600; : {mark}' & sh -c 'sleep 600; : {mark}'");
    let setup = Setup::with_fixer(&steps).engine(|engine| engine.attempt_seconds_max = 1);
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.failure_class, Some(FailureClass::Stalled), "{view:#?}");
    assert_eq!(view.attempts[0].failure_class, Some(FailureClass::Stalled));
    super::stand::assert_no_process(&mark)?;
    assert_untouched(&project)?;
    engine.stop().await
}
