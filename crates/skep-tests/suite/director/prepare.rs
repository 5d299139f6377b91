//! The commands that prepare a repository, which no fence holds.

use super::stand::{
    Engine, FIX, Setup, assert_landed, assert_no_process, assert_untouched, project, request,
};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{FailureClass, JobState};

on_both_engines!(
    a_preparation_is_there_for_the_worker,
    a_preparation_sees_no_work_of_an_agent,
    a_preparation_that_fails_ends_the_job,
    a_preparation_that_is_cancelled_ends,
);

async fn a_preparation_is_there_for_the_worker(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let steps = format!("test -e prepared && rm prepared\n{FIX}");
    let setup = Setup::with_fixer(&steps).prepare("touch prepared");
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    assert!(!project.path().join("prepared").exists());
    engine.stop().await
}

async fn a_preparation_that_fails_ends_the_job(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer(FIX).prepare("echo 'no such crate' >&2; exit 3");
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.state, JobState::Failed);
    assert_eq!(view.failure_class, Some(FailureClass::ToolFailure));
    let reason = view.state_reason.as_deref().unwrap_or_default();
    assert!(reason.contains("no such crate"), "{reason}");
    assert_untouched(&project)?;
    engine.stop().await
}

/// A round of rework starts from what the agent committed. Nothing of that may run where no fence
/// is: here it would write outside its attempt.
async fn a_preparation_sees_no_work_of_an_agent(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let outside = project.beside().join("outside");
    let steps = format!(
        r#"
if grep -q '## Findings' "$SKEP_INSTRUCTION_FILE"; then
    test -e prepared && rm prepared
    git rm --quiet dependencies.sh
    {FIX}
else
    rm prepared
    echo 'touch {outside}' > dependencies.sh
    save 'feat: dependencies'
    contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
fi"#,
        outside = outside.display(),
    );
    let setup = Setup::with_fixer(&steps)
        .prepare("touch prepared; if test -e dependencies.sh; then sh dependencies.sh; fi");
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert!(
        !outside.exists(),
        "what an agent wrote ran outside of every fence"
    );
    assert_landed(&view, &project, "main");
    assert_eq!(view.attempts.len(), 2);
    engine.stop().await
}

async fn a_preparation_that_is_cancelled_ends(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = format!("mark-{}", project.beside().display());
    // The pipe is where the test sees that it runs.
    let pipe = project.beside().join("pipe");
    let command = format!(
        "if test -p {pipe}; then echo here > {pipe}; sh -c 'sleep 600; : {mark}'; fi",
        pipe = pipe.display()
    );
    let meeting = skep_testkit::Meeting::in_folder(project.beside(), "pipe")?;
    let setup = Setup::with_fixer(FIX)
        .prepare(&command)
        .engine(|engine| engine.slots = 1);
    let engine = Engine::start(&store, &setup).await?;
    let job = engine.dispatch(request(&project)).await?;
    meeting.wait().await?;
    engine.director.cancel(job.id.as_str()).await?;
    std::fs::remove_file(&pipe)?;
    // Its slot is free for the next one.
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    engine.stop().await?;
    assert_no_process(&mark)
}
