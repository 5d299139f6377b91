//! Checks that misbehave: that never end, leave processes, reach out, or help each other.

use super::stand::{
    CHECK, Engine, FIX, Setup, assert_landed, assert_no_process, assert_untouched, contradicted,
    findings, project, request,
};
use skep_testkit::{SourceRepository, TestStore, on_both_engines};
use skep_types::{Gate, JobState};

on_both_engines!(
    a_check_cannot_prepare_the_next_one,
    a_check_leaves_no_process_behind,
    a_check_that_never_ends_is_stopped,
    a_link_in_place_of_a_test_folder_leads_nowhere,
    a_red_check_sends_it_back,
    the_lowest_gate_runs_no_check,
);

/// The project's request with other checks.
fn checked(project: &SourceRepository, checks: &[&str]) -> skep_api::DispatchRequest {
    skep_api::DispatchRequest {
        checks: checks.iter().map(|check| (*check).to_owned()).collect(),
        ..request(project)
    }
}

async fn a_red_check_sends_it_back(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer(FIX).engine(|engine| engine.rework_rounds_max = 0);
    let engine = Engine::start(&store, &setup).await?;
    let view = engine
        .run(checked(&project, &[CHECK, "exit 7", "kill -9 $$"]))
        .await?;
    assert_eq!(view.state, JobState::Failed);
    assert_eq!(Vec::from_iter(contradicted(&view)), ["check"]);
    let ends: Vec<_> = findings(&view, "check")
        .iter()
        .filter_map(|finding| finding.evidence.rsplit_once(": "))
        .map(|(_, end)| end)
        .collect();
    assert_eq!(ends, ["exit 0", "exit 7", "exit 137"]);
    assert_untouched(&project)?;
    engine.stop().await
}

async fn a_check_that_never_ends_is_stopped(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = format!("mark-{}", project.beside().display());
    let setup = Setup::with_fixer(FIX).engine(|engine| {
        engine.rework_rounds_max = 0;
        engine.check_seconds_max = 1;
    });
    let engine = Engine::start(&store, &setup).await?;
    let checks = [
        format!("sleep 600; : {mark}"),
        // One that nobody hears any more is no different.
        format!("exec > /dev/null 2>&1; sleep 600; : {mark}"),
        format!("trap '' TERM INT HUP; while :; do : {mark}; done"),
    ];
    let checks: Vec<&str> = checks.iter().map(String::as_str).collect();
    let view = engine.run(checked(&project, &checks)).await?;
    assert_eq!(view.state, JobState::Failed);
    let evidence: Vec<_> = findings(&view, "check")
        .iter()
        .map(|finding| finding.evidence.as_str())
        .collect();
    let stopped = "run by the engine: stopped at its limit of 1 s";
    assert_eq!(evidence, [stopped; 3]);
    assert_no_process(&mark)?;
    assert_eq!(engine.attempt_folders()?.len(), 0);
    assert_untouched(&project)?;
    engine.stop().await
}

async fn a_check_leaves_no_process_behind(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = format!("mark-{}", project.beside().display());
    let engine = Engine::start(&store, &Setup::with_fixer(FIX)).await?;
    let checks = [
        format!("setsid sh -c 'sleep 600; : {mark}' & exit 0"),
        format!("(setsid sh -c 'sleep 600; : {mark}' > /dev/null 2>&1 &) & wait"),
    ];
    let checks: Vec<&str> = checks.iter().map(String::as_str).collect();
    let view = engine.run(checked(&project, &checks)).await?;
    assert_landed(&view, &project, "main");
    assert_no_process(&mark)?;
    engine.stop().await
}

async fn a_check_cannot_prepare_the_next_one(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer(FIX)).await?;
    let places = "$PWD $HOME $TMPDIR $CARGO_TARGET_DIR /tmp /dev/shm";
    let leaves = format!("for place in {places}; do echo x > $place/left || exit 1; done");
    let finds = format!("for place in {places}; do test ! -e $place/left || exit 1; done");
    let view = engine.run(checked(&project, &[&leaves, &finds])).await?;
    assert_landed(&view, &project, "main");
    assert_eq!(project.status()?, "");
    engine.stop().await
}

/// A commit may hold a link where base has a folder of tests. What base has there is put back
/// before the checks run, and must not be put where the link leads.
async fn a_link_in_place_of_a_test_folder_leads_nowhere(store: TestStore) -> anyhow::Result<()> {
    let project = SourceRepository::new(&[
        ("bees.py", "def add(a, b):\n    return a - b\n"),
        ("tests/__init__.py", ""),
        ("tests/test_bees.py", "import unittest\n"),
    ])?;
    let elsewhere = project.beside().join("elsewhere");
    std::fs::create_dir(&elsewhere)?;
    std::fs::write(elsewhere.join("test_bees.py"), "precious")?;
    let steps = format!(
        r#"
rm -r tests
ln -s {elsewhere} tests
sed -i 's/a - b/a + b/' bees.py
git add --all
git commit --quiet --message 'fix: add adds'
contract DONE "$(ran 'python3 -m unittest -q' 0 0 0)"
"#,
        elsewhere = elsewhere.display(),
    );
    let setup = Setup::with_fixer(&steps).engine(|engine| engine.rework_rounds_max = 0);
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(checked(
        &project,
        &["python3 -m unittest discover -s tests", "true"],
    ));
    let view = view.await?;
    assert_eq!(view.state, JobState::Failed, "{view:#?}");
    let left: Vec<_> = std::fs::read_dir(&elsewhere)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    assert_eq!(left, ["test_bees.py"], "nothing was added there");
    let text = std::fs::read_to_string(elsewhere.join("test_bees.py"))?;
    assert_eq!(text, "precious", "the engine wrote outside the checkout");
    assert!(contradicted(&view).contains("tests_changed"), "{view:#?}");
    assert_untouched(&project)?;
    engine.stop().await
}

async fn the_lowest_gate_runs_no_check(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer(FIX)).await?;
    let mut asked = checked(&project, &["exit 1"]);
    asked.gate = Some(Gate::G0);
    let view = engine.run(asked).await?;
    assert_landed(&view, &project, "main");
    assert_eq!(findings(&view, "check").len(), 0);
    let kinds = engine.kinds(&view.id).await?;
    assert!(!kinds.iter().any(|kind| kind == "check_run"), "{kinds:?}");
    // A claim is held against git all the same.
    assert_eq!(findings(&view, "files_changed").len(), 1);
    engine.stop().await
}
