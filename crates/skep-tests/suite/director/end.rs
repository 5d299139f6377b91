//! Jobs that are ended from outside: cancelled by a person, or left by an engine that stops.

use super::stand::{
    Engine, FIX, Setup, assert_landed, assert_no_process, assert_untouched, contradicted, project,
    request,
};
use skep_testkit::{SourceRepository, TestStore, on_both_engines, processes_marked};
use skep_types::{AttemptState, DeliveryState, Gate, JobState, LandingState};

on_both_engines!(
    a_cancelled_check_gives_its_slot_back,
    a_cancelled_job_dies_with_all_it_started,
    a_job_that_waits_is_cancelled_at_once,
    a_stopped_engine_leaves_its_check_to_the_next,
    a_stopped_engine_leaves_its_work_to_the_next,
);

/// How long the processes of a cancelled job may take to die, in seconds: what is promised.
const KILL_S: i64 = 5;

fn mark_of(project: &SourceRepository) -> String {
    format!("mark-{}", project.beside().display())
}

async fn a_cancelled_job_dies_with_all_it_started(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = mark_of(&project);
    let steps = format!(
        "sed -i 's/a - b/a + b/' bees/calc.py; save 'fix: add adds'
        setsid sh -c 'sleep 600; : {mark}' > /dev/null 2>&1 &
        (setsid sh -c 'trap \"\" TERM HUP; sleep 600; : {mark}' > /dev/null 2>&1 & ) &
        echo half > $(dirname $SKEP_CONTRACT_FILE)/notes
        echo said so far
        meet here
        sleep 600"
    );
    let engine = Engine::start(&store, &Setup::with_fixer(&steps)).await?;
    let job = engine.dispatch(request(&project)).await?;
    let view = engine.working(&job.id, 1).await?;
    engine.meet(&view, "here").await?;
    let running = processes_marked(&mark)?;
    assert!(
        running.len() >= 3,
        "the worker and two that it let go: {running:?}"
    );

    let cancelled = engine.director.cancel(job.id.as_str()).await?;
    assert_eq!(cancelled.state, JobState::Cancelled);
    for process in running {
        let command = process.command.clone();
        anyhow::ensure!(process.ended(KILL_S).await?, "still runs: {command}");
    }
    assert_no_process(&mark)?;
    let view = engine.at_rest(&job.id).await?;
    assert_eq!(view.state, JobState::Cancelled);
    assert_eq!(view.attempts[0].state, AttemptState::Cancelled);
    assert_eq!(view.landing.state, LandingState::None);
    assert_eq!(view.delivery.state, DeliveryState::Delivered);
    // What it had done by then is kept, and believed by nobody.
    let view = engine.until(&job.id, "what is left is kept", |view| {
        view.attempts[0].leftover.is_some()
    });
    let view = view.await?;
    let leftover = view.attempts[0]
        .leftover
        .clone()
        .unwrap_or_else(|| unreachable!());
    let place = engine.home.root().join(leftover.place.unwrap_or_default());
    assert_eq!(std::fs::read_to_string(place.join("notes"))?, "half\n");
    assert!(engine.log(&job.id).await?.contains("said so far"));
    let diff = engine.director.job_diff(job.id.as_str()).await?;
    assert!(diff.diff.contains("+    return a + b"), "{}", diff.diff);
    let keys = engine.keys().await?;
    assert!(
        keys.iter().all(|key| key.revoked_at_ms.is_some()),
        "{keys:?}"
    );
    let again = engine.director.cancel(job.id.as_str()).await;
    let code = again.map_err(|error| error.body().code);
    assert_eq!(code.err().as_deref(), Some("job_ended"));
    assert_untouched(&project)?;
    engine.verify_ledger().await?;
    let home = engine.home.clone();
    engine.stop().await?;
    assert_eq!(std::fs::read_dir(home.attempts())?.count(), 0);
    Ok(())
}

async fn a_job_that_waits_is_cancelled_at_once(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer("contract BLOCKED ''")).await?;
    let mut asked = request(&project);
    asked.checks = vec!["true".to_owned()];
    asked.gate = Some(Gate::G0);
    let view = engine.run(asked).await?;
    assert_eq!(view.state, JobState::WaitingHuman);
    engine.director.cancel(&format!("#{}", view.number)).await?;
    let view = engine.at_rest(&view.id).await?;
    assert_eq!(view.state, JobState::Cancelled);
    assert_untouched(&project)?;
    engine.stop().await
}

/// An engine with one slot, in which a check runs that does not end by itself.
async fn a_cancelled_check_gives_its_slot_back(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = mark_of(&project);
    let setup = Setup::with_fixer(FIX).engine(|engine| engine.slots = 1);
    let engine = Engine::start(&store, &setup).await?;
    let mut endless = request(&project);
    endless.checks = vec![format!("sleep 600; : {mark}")];
    let first = engine.dispatch(endless).await?;
    engine
        .until(&first.id, "its check runs", |view| {
            view.state == JobState::Verifying
        })
        .await?;
    engine.director.cancel(first.id.as_str()).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    engine.stop().await?;
    assert_no_process(&mark)
}

/// Waits for the test in its first attempt, and does the work in any other.
fn interrupted(mark: &str) -> String {
    format!(
        "setsid sh -c 'sleep 600; : {mark}' > /dev/null 2>&1 &
        until [ -p $TMPDIR/hold ] || [ -p $TMPDIR/go ]; do sleep 0.01; done
        if [ -p $TMPDIR/hold ]; then meet hold; sleep 600; fi
        meet go
        {FIX}"
    )
}

async fn a_stopped_engine_leaves_its_work_to_the_next(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = mark_of(&project);
    let setup = Setup::with_fixer(&interrupted(&mark));
    let engine = Engine::start(&store, &setup).await?;
    let job = engine.dispatch(request(&project)).await?;
    let view = engine.working(&job.id, 1).await?;
    engine.meet(&view, "hold").await?;
    let director = engine.director.clone();
    engine.stop().await?;
    assert_no_process(&mark)?;
    let view = director.job(job.id.as_str()).await?;
    assert_eq!(view.state, JobState::Queued, "{view:#?}");
    assert_eq!(view.attempts[0].state, AttemptState::Lost);
    drop(director);

    let engine = Engine::start(&store, &setup).await?;
    let view = engine.working(&job.id, 2).await?;
    engine.meet(&view, "go").await?;
    let view = engine.at_rest(&job.id).await?;
    assert_landed(&view, &project, "main");
    let states: Vec<_> = view.attempts.iter().map(|a| a.state).collect();
    assert_eq!(states, [AttemptState::Lost, AttemptState::Succeeded]);
    assert!(view.attempts[0].fence < view.attempts[1].fence);
    let events = engine.events(&job.id).await?;
    let counted: Vec<_> = events
        .iter()
        .filter(|event| event.kind == "attempt_ended")
        .map(|event| event.payload["counted"].as_bool())
        .collect();
    assert_eq!(counted, [Some(false), Some(true)]);
    assert_eq!(project.subjects("main")?, ["base", "fix: add adds"]);
    assert_no_process(&mark)?;
    engine.verify_ledger().await?;
    engine.stop().await
}

async fn a_stopped_engine_leaves_its_check_to_the_next(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = mark_of(&project);
    let patient = Setup::with_fixer(FIX).engine(|engine| engine.rework_rounds_max = 0);
    let engine = Engine::start(&store, &patient).await?;
    let mut endless = request(&project);
    endless.checks = vec![format!("sleep 600; : {mark}")];
    let job = engine.dispatch(endless).await?;
    engine
        .until(&job.id, "it is verified", |view| {
            view.state == JobState::Verifying
        })
        .await?;
    let director = engine.director.clone();
    engine.stop().await?;
    assert_no_process(&mark)?;
    let view = director.job(job.id.as_str()).await?;
    assert_eq!(view.state, JobState::Verifying);
    assert_eq!(view.attempts[0].state, AttemptState::Succeeded);
    drop(director);

    // The next engine has less patience, and that gives a verdict.
    let hasty = patient.engine(|engine| engine.check_seconds_max = 1);
    let engine = Engine::start(&store, &hasty).await?;
    let view = engine.at_rest(&job.id).await?;
    assert_eq!(view.state, JobState::Failed);
    assert_eq!(view.attempts.len(), 1, "no worker ran again: {view:#?}");
    assert_eq!(Vec::from_iter(contradicted(&view)), ["check"]);
    assert_no_process(&mark)?;
    assert_untouched(&project)?;
    engine.stop().await
}
