//! Schedules of calls and of commands.

use super::super::stand::{Engine, FIX, Setup, project};
use super::{checked_by, hourly};
use anyhow::Context as _;
use skep_api::{CallRequest, FiringView, JobView, ScheduleRequest, ShellRequest};
use skep_testkit::{SourceRepository, TestStore, on_both_engines};
use skep_types::{FailureClass, FiringState, JobKind, MicroUsd};

on_both_engines!(
    a_precheck_comes_before_a_call,
    each_run_is_a_call,
    each_run_is_a_command,
);

const ANSWERS: &str = r#"
version = 1
[[conversation]]
name = "ask"
when = { first_user_text = { contains = "Is it so" } }
[[conversation.turn]]
reply = { blocks = [{ text = "It is." }] }
"#;

fn asking() -> ScheduleRequest {
    ScheduleRequest {
        name: "hourly".to_owned(),
        when: "0 * * * *".to_owned(),
        call: Some(CallRequest {
            prompt: "Is it so?".to_owned(),
            model: Some("stub-large".to_owned()),
            ..CallRequest::default()
        }),
        ..ScheduleRequest::default()
    }
}

/// A command that sees the project's repository.
fn running(project: &SourceRepository, script: &str) -> ScheduleRequest {
    let words = ["/bin/sh", "-c", script];
    ScheduleRequest {
        job: None,
        shell: Some(ShellRequest {
            command: words.map(str::to_owned).to_vec(),
            repo: Some(project.text_path()),
            ..ShellRequest::default()
        }),
        ..hourly(project)
    }
}

async fn job_of(engine: &Engine, fired: &FiringView) -> anyhow::Result<JobView> {
    let job = fired.job.clone().context("it has a job")?;
    Ok(engine.director.job(job.as_str()).await?)
}

async fn each_run_is_a_call(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start_on_still_clock(&store, &Setup::new().script(ANSWERS)).await?;
    let added = engine.director.add_schedule(asking()).await?;
    let call = added.call.context("it is of a call")?;
    assert_eq!(call.owner.as_deref(), Some("ada"));
    assert_eq!((added.job, added.shell), (None, None));
    let mut seen = Vec::new();
    for run in 1..=2 {
        engine.pass(&store, 1);
        let job = engine
            .until_schedule("the run has ended", |view| {
                let last = view.last.as_ref();
                let is_new = last.is_some_and(|last| !seen.contains(&last.slot_at));
                is_new && last.is_some_and(|last| last.state == FiringState::Succeeded)
            })
            .await?;
        let fired = job.last.context("there is a firing")?;
        let job = job_of(&engine, &fired).await?;
        assert_eq!((job.kind, job.owner.as_str()), (JobKind::Call, "ada"));
        let answer = job.call.and_then(|call| call.answer).context("an answer")?;
        assert_eq!(answer.text, "It is.", "run {run}");
        seen.push(fired.slot_at);
    }
    assert_eq!(engine.jobs().await?.len(), 2);
    let gone = engine.director.remove_schedule("hourly").await?;
    assert_eq!((gone.job, gone.call, gone.shell), (None, None, None));
    engine.verify_ledger().await?;
    engine.stop().await
}

async fn each_run_is_a_command(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start_on_still_clock(&store, &Setup::with_fixer(FIX)).await?;
    let script = "grep -q 'a + b' bees/calc.py && git rev-parse HEAD";
    engine
        .director
        .add_schedule(running(&project, script))
        .await?;
    engine.pass(&store, 1);
    let failed = engine.until_firing(FiringState::Failed).await?;
    assert_eq!(failed.failure_class, Some(FailureClass::ToolFailure));
    // Each run sees the repository as it is then.
    project.write("bees/calc.py", "def add(a, b):\n    return a + b\n")?;
    project.commit("fix: add adds")?;
    engine.pass(&store, 1);
    let fired = engine.until_firing(FiringState::Succeeded).await?;
    let job = job_of(&engine, &fired).await?;
    assert_eq!(job.kind, JobKind::Shell);
    assert_eq!(job.base_commit, Some(project.tip("main")?));
    let run = job.shell.and_then(|shell| shell.run).context("a run")?;
    assert_eq!(Some(run.tail.trim()), job.base_commit.as_deref());
    engine.verify_ledger().await?;
    engine.stop().await
}

async fn a_precheck_comes_before_a_call(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start_on_still_clock(&store, &Setup::new().script(ANSWERS)).await?;
    // It has a folder to itself: a call is of no repository.
    let nothing = checked_by("ls -A; test -z \"$(ls -A)\" && exit 75", asking());
    engine.director.add_schedule(nothing).await?;
    engine.pass(&store, 1);
    let skipped = engine.until_firing(FiringState::SkippedPrecheck).await?;
    assert_eq!((skipped.precheck_exit_code, skipped.job), (Some(75), None));
    assert_eq!(engine.jobs().await?, [], "no model was asked");
    engine.director.remove_schedule("hourly").await?;
    engine
        .director
        .add_schedule(checked_by("true", asking()))
        .await?;
    engine.pass(&store, 1);
    let fired = engine.until_firing(FiringState::Succeeded).await?;
    assert_eq!(fired.precheck_exit_code, Some(0));
    let job = job_of(&engine, &fired).await?;
    assert!(job.cost_micro_usd > MicroUsd::ZERO);
    engine.stop().await
}
