//! Workers that show no sign of life, or take too long: asked to end, killed, taken up again.

use super::stand::{Engine, FIX, Setup, assert_landed, assert_no_process, project, request};
use skep_api::{DispatchRequest, JobView};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{FailureClass, Gate, JobState, Role};

on_both_engines!(
    a_call_under_way_is_a_sign_of_life,
    a_job_has_a_limit_of_its_own,
    a_silent_worker_is_asked_and_then_killed,
    a_tool_with_a_limit_of_its_own_suspends_the_clock,
    a_worker_that_ends_when_asked_is_judged_by_what_it_left,
    a_worker_that_talks_is_left_alone,
);

/// An engine that is soon impatient.
fn impatient(setup: Setup) -> Setup {
    setup.engine(|engine| {
        engine.progress_seconds_max = 1;
        engine.interrupt_grace_seconds = 1;
    })
}

/// The steps that were taken against the job's workers, with their reasons.
async fn steps(engine: &Engine, view: &JobView) -> anyhow::Result<Vec<(String, String)>> {
    let events = engine.events(&view.id).await?;
    let steps = events
        .into_iter()
        .filter(|event| ["worker_interrupted", "worker_killed"].contains(&event.kind.as_str()));
    Ok(steps
        .map(|event| {
            let reason = event.payload["reason"].as_str().unwrap_or_default();
            (event.kind, reason.to_owned())
        })
        .collect())
}

fn step(kind: &str, reason: &str) -> (String, String) {
    (kind.to_owned(), reason.to_owned())
}

async fn a_silent_worker_is_asked_and_then_killed(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = format!("mark-{}", project.beside().display());
    let worker = format!(
        "trap '' INT TERM HUP
        (setsid sh -c 'trap \"\" INT; sleep 600; : {mark}' > /dev/null 2>&1 &) &
        echo half > \"$(dirname \"$SKEP_CONTRACT_FILE\")/notes\"
        sh -c 'trap \"\" INT; sleep 600; : {mark}'"
    );
    let engine = Engine::start(&store, &impatient(Setup::with_fixer(&worker))).await?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.state, JobState::Backoff, "it goes back to the queue");
    assert_eq!(view.failure_class, Some(FailureClass::Stalled), "{view:#?}");
    assert_eq!(view.attempts[0].failure_class, Some(FailureClass::Stalled));
    assert_eq!(
        steps(&engine, &view).await?,
        [
            step("worker_interrupted", "stalled"),
            step("worker_killed", "stalled")
        ]
    );
    assert_no_process(&mark)?;
    // What it had written is kept as evidence.
    let leftover = view.attempts[0].leftover.clone();
    let leftover = leftover.ok_or_else(|| anyhow::anyhow!("nothing was kept: {view:#?}"))?;
    assert_eq!((leftover.files, leftover.bytes), (1, 5));
    let place = engine.home.root().join(leftover.place.unwrap_or_default());
    assert_eq!(std::fs::read_to_string(place.join("notes"))?, "half\n");
    engine.director.cancel(view.id.as_str()).await?;
    engine.stop().await
}

async fn a_worker_that_ends_when_asked_is_judged_by_what_it_left(
    store: TestStore,
) -> anyhow::Result<()> {
    let project = project()?;
    let worker = format!("ending() {{ {FIX} exit 0; }}\ntrap ending INT\nsleep 600 & wait");
    let engine = Engine::start(&store, &impatient(Setup::with_fixer(&worker))).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    assert_eq!(
        steps(&engine, &view).await?,
        [step("worker_interrupted", "stalled")]
    );
    engine.stop().await
}

async fn a_worker_that_talks_is_left_alone(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let worker = format!(
        "for n in 1 2 3 4 5; do sleep 0.2; echo at work; sleep 0.2; echo still >&2; done\n{FIX}"
    );
    let engine = Engine::start(&store, &impatient(Setup::with_fixer(&worker))).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    assert_eq!(steps(&engine, &view).await?, []);
    engine.stop().await
}

async fn a_job_has_a_limit_of_its_own(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let worker = "while :; do echo at work; sleep 0.1; done";
    let setup = Setup::with_fixer(worker).engine(|engine| engine.interrupt_grace_seconds = 5);
    let engine = Engine::start(&store, &setup).await?;
    let limited = DispatchRequest {
        timeout_seconds: Some(1),
        ..request(&project)
    };
    let view = engine.run(limited).await?;
    assert_eq!(
        view.failure_class,
        Some(FailureClass::WallClock),
        "{view:#?}"
    );
    // The shell ends when it is asked to, so that nobody has to be killed.
    assert_eq!(
        steps(&engine, &view).await?,
        [step("worker_interrupted", "wall_clock")]
    );
    engine.director.cancel(view.id.as_str()).await?;
    let bad = DispatchRequest {
        timeout_seconds: Some(0),
        ..request(&project)
    };
    let refused = engine
        .dispatch(bad)
        .await
        .map_err(|error| error.body().code);
    assert_eq!(refused.err().as_deref(), Some("bad_timeout"));
    engine.stop().await
}

/// A model that first does `turn`, and then says that it is blocked.
fn blocked_after(turn: &str) -> String {
    format!(
        r#"
version = 1
[[conversation]]
name = "worker"
[[conversation.turn]]
{turn}
[[conversation.turn]]
reply = {{ blocks = [{{ tool = "finish", input = {{ status = "BLOCKED", summary = "waits", blocked_on = "a word", files_changed = [], tests_run = [] }} }}] }}
"#
    )
}

async fn own_loop(store: &TestStore, turn: &str) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::new()
        .own_loop("fixer", Role::Builder, "stub-large")
        .script(&blocked_after(turn));
    let engine = Engine::start(store, &impatient(setup)).await?;
    let unchecked = DispatchRequest {
        checks: Vec::new(),
        gate: Some(Gate::G0),
        ..request(&project)
    };
    let view = engine.run(unchecked).await?;
    assert_eq!(view.state, JobState::WaitingHuman, "{view:#?}");
    assert_eq!(steps(&engine, &view).await?, []);
    engine.stop().await
}

async fn a_tool_with_a_limit_of_its_own_suspends_the_clock(store: TestStore) -> anyhow::Result<()> {
    let turn = r#"reply = { blocks = [{ tool = "run", input = { command = "sleep 3", timeout_s = 60 } }] }"#;
    own_loop(&store, turn).await
}

async fn a_call_under_way_is_a_sign_of_life(store: TestStore) -> anyhow::Result<()> {
    let turn = "delay_ms = 3000\nreply = { blocks = [{ tool = \"list\", input = {} }] }";
    own_loop(&store, turn).await
}
