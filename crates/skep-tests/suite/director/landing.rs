//! The way of a result to its branch.

use super::stand::{
    CHECK, Engine, FIX, Setup, assert_landed, assert_untouched, findings, project, request,
};
use skep_api::{DispatchRequest, JobView, RetryRequest};
use skep_testkit::{SourceRepository, TestStore, on_both_engines};
use skep_types::{FailureClass, Gate, JobState, LandingState, Verdict};

on_both_engines!(
    a_branch_in_another_work_tree_is_brought_in_line,
    a_branch_that_is_not_checked_out_is_moved_alone,
    a_branch_that_is_not_there_yet_is_made,
    a_conflict_waits_for_a_person,
    a_dirty_work_tree_waits_until_it_is_clean,
    a_file_in_the_way_is_not_overwritten,
    a_merge_that_stays_red_ends_the_job,
    a_target_that_moved_is_merged_once,
    all_that_are_ready_at_once_land,
    two_apart_land_side_by_side,
    two_on_one_scope_are_refused,
);

/// Mends it after the test has said so.
const WAITS: &str = "meet here\nmeet go\n";

fn waits() -> Setup {
    Setup::with_fixer(&format!("{WAITS}{FIX}"))
}

/// Dispatches the job, does `meanwhile` once its worker is at it, and lets it come to rest.
async fn run_while(
    engine: &Engine,
    request: DispatchRequest,
    meanwhile: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<JobView> {
    let job = engine.dispatch(request).await?;
    let view = engine.working(&job.id, 1).await?;
    engine.meet(&view, "here").await?;
    meanwhile()?;
    engine.meet(&view, "go").await?;
    engine.at_rest(&job.id).await
}

async fn two_on_one_scope_are_refused(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &waits()).await?;
    let scoped = |glob: &str| DispatchRequest {
        scope: vec![glob.to_owned()],
        ..request(&project)
    };
    let first = engine.dispatch(scoped("bees/**")).await?;
    for glob in ["bees/calc.py", "**", "b*/*.py", "bees"] {
        let refused = engine.dispatch(scoped(glob)).await;
        let Err(error) = refused.map_err(|error| error.body()) else {
            anyhow::bail!("{glob} overlaps");
        };
        assert_eq!(
            (error.code.as_str(), error.exit),
            ("scope_overlap", 3),
            "{glob}"
        );
        assert!(error.message.contains("job 1"), "{}", error.message);
        assert!(
            error
                .hint
                .is_some_and(|hint| hint.contains("skep job show 1"))
        );
    }
    assert_eq!(engine.jobs().await?.len(), 1, "a refusal leaves no row");
    // A job that has ended holds nothing any more.
    engine.director.cancel(first.id.as_str()).await?;
    engine.dispatch(scoped("bees/calc.py")).await?;
    // And one that ended cannot come back over a scope that was given away since.
    let back = engine
        .director
        .retry(first.id.as_str(), RetryRequest::default());
    let Err(error) = back.await.map_err(|error| error.body()) else {
        anyhow::bail!("two live builders have one scope");
    };
    assert_eq!(error.code, "scope_overlap");
    engine.stop().await
}

async fn two_apart_land_side_by_side(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let documents = r#"
echo 'They add.' >> README.md
save 'docs: what bees do'
contract DONE "$(ran true 0 0 0)"
"#;
    let setup = waits().worker("writer", &format!("{WAITS}{documents}"));
    let engine = Engine::start(&store, &setup).await?;
    let mut code = request(&project);
    code.worker = Some("fixer".to_owned());
    code.scope = vec!["bees/**".to_owned()];
    let mut text = request(&project);
    text.worker = Some("writer".to_owned());
    text.scope = vec!["README.md".to_owned()];
    text.checks = vec!["true".to_owned()];
    let first = engine.dispatch(code).await?;
    let second = engine.dispatch(text).await?;
    let (first_view, second_view) = (
        engine.working(&first.id, 1).await?,
        engine.working(&second.id, 1).await?,
    );
    engine.meet(&first_view, "here").await?;
    engine.meet(&second_view, "here").await?;
    // Both are at it at the same time. The first goes on alone, so that the second has to merge.
    engine.meet(&first_view, "go").await?;
    let first = engine.at_rest(&first.id).await?;
    assert_landed(&first, &project, "main");
    engine.meet(&second_view, "go").await?;
    let second = engine.at_rest(&second.id).await?;
    assert_landed(&second, &project, "main");
    assert_eq!(
        project.subjects("main")?,
        [
            "base",
            "fix: add adds",
            "docs: what bees do",
            "Merge job 2: Make `add` add."
        ]
    );
    let message = project.git(&["log", "-1", "--format=%B", "main"])?;
    assert!(
        message.contains(&format!("Skep-Job: {}", second.id)),
        "{message}"
    );
    assert!(project.read("bees/calc.py")?.contains("a + b"));
    assert!(project.read("README.md")?.contains("They add."));
    assert_eq!(project.status()?, "");
    // A merge is a commit that nobody has checked yet.
    let events = engine.events(&second.id).await?;
    let purposes: Vec<_> = events
        .iter()
        .filter(|event| event.kind == "check_run")
        .filter_map(|event| event.payload["purpose"].as_str())
        .collect();
    assert_eq!(purposes, ["check", "merge_check"]);
    engine.verify_ledger().await?;
    engine.stop().await
}

/// While one result lands, its target's work tree is behind for a moment. To the others that must
/// not look like changes of its user.
async fn all_that_are_ready_at_once_land(store: TestStore) -> anyhow::Result<()> {
    const JOBS: usize = 4;
    let project = project()?;
    let mut setup = Setup::new();
    for number in 0..JOBS {
        // Enough to be on the way into the work tree for a while.
        let steps = format!(
            "{WAITS}
            head -c 8000000 /dev/zero | tr '\\0' 'x' > note-{number}.txt
            save 'feat: note {number}'
            contract DONE \"$(ran true 0 0 0)\""
        );
        setup = setup.worker(&format!("noter-{number}"), &steps);
    }
    let engine = Engine::start(&store, &setup).await?;
    let mut views = Vec::new();
    for number in 0..JOBS {
        let job = engine.dispatch(DispatchRequest {
            worker: Some(format!("noter-{number}")),
            scope: vec![format!("note-{number}.txt")],
            checks: vec!["true".to_owned()],
            gate: Some(Gate::G0),
            ..request(&project)
        });
        views.push(engine.working(&job.await?.id, 1).await?);
    }
    for view in &views {
        engine.meet(view, "here").await?;
    }
    for view in &views {
        engine.meet(view, "go").await?;
    }
    for view in &views {
        let view = engine.at_rest(&view.id).await?;
        assert_eq!(view.state, JobState::Done, "{:?}", view.state_reason);
    }
    for number in 0..JOBS {
        let note = project.path().join(format!("note-{number}.txt"));
        assert_eq!(note.metadata()?.len(), 8_000_000);
    }
    let subjects = project.subjects("main")?;
    let notes = subjects.iter().filter(|s| s.starts_with("feat: note"));
    assert_eq!(notes.count(), JOBS, "{subjects:?}");
    assert_eq!(project.status()?, "");
    engine.verify_ledger().await?;
    engine.stop().await
}

async fn a_target_that_moved_is_merged_once(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &waits()).await?;
    let view = run_while(&engine, request(&project), || {
        project.write("README.md", "# Bees and wasps\n")?;
        project.commit("docs: wasps").map(drop)
    });
    let view = view.await?;
    assert_landed(&view, &project, "main");
    let merges = project.git(&["rev-list", "--merges", "--count", "main"])?;
    assert_eq!(merges, "1");
    assert!(project.read("bees/calc.py")?.contains("a + b"));
    assert_eq!(project.read("README.md")?, "# Bees and wasps\n");
    assert_eq!(project.status()?, "");
    engine.stop().await
}

async fn a_conflict_waits_for_a_person(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &waits()).await?;
    let theirs = "def add(a, b):\n    return sum((a, b))\n\n\ndef double(a):\n    return a * 2\n";
    let view = run_while(&engine, request(&project), || {
        project.write("bees/calc.py", theirs)?;
        project.commit("fix: add adds, by hand").map(drop)
    });
    let view = view.await?;
    assert_eq!(view.state, JobState::WaitingHuman);
    assert_eq!(view.landing.state, LandingState::Conflict);
    let reason = view.state_reason.as_deref().unwrap_or_default();
    assert!(reason.contains("bees/calc.py"), "{reason}");
    assert_eq!(view.landing.reason, view.state_reason);
    assert_eq!(
        project.subjects("main")?,
        ["base", "fix: add adds, by hand"]
    );
    assert_eq!(project.read("bees/calc.py")?, theirs);
    assert_eq!(project.status()?, "");
    // Whoever undoes the change in the way gets the result landed.
    project.git(&["reset", "--quiet", "--hard", "HEAD~1"])?;
    engine
        .director
        .retry(view.id.as_str(), RetryRequest::default())
        .await?;
    let view = engine.until(&view.id, "it lands", |view| view.state.is_terminal());
    assert_landed(&view.await?, &project, "main");
    engine.stop().await
}

/// The change and the target are each right alone and wrong together.
async fn a_merge_that_stays_red_ends_the_job(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let steps = format!(
        "if ! git log --format=%s | grep -q '^fix'; then {WAITS} fi
        echo x >> README.md
        save 'fix: more'
        contract DONE \"$(ran true 0 0 0)\""
    );
    let setup = Setup::with_fixer(&steps).engine(|engine| engine.rework_rounds_max = 1);
    let engine = Engine::start(&store, &setup).await?;
    let mut request = request(&project);
    request.checks = vec!["! grep -q x README.md || test ! -e meanwhile".to_owned()];
    let view = run_while(&engine, request, || {
        project.write("meanwhile", "")?;
        project.commit("feat: meanwhile").map(drop)
    });
    let view = view.await?;
    assert_eq!(view.state, JobState::Failed, "{view:#?}");
    assert_eq!(view.failure_class, Some(FailureClass::InvalidOutput));
    let results: Vec<_> = view.verdicts.iter().map(|v| v.result).collect();
    assert_eq!(results, [Verdict::Invalid; 2], "one round of rework");
    let [finding] = findings(&view, "merge_check")[..] else {
        anyhow::bail!("{:#?}", view.verdict);
    };
    assert!(finding.evidence.starts_with("exit 1"), "{finding:?}");
    assert_eq!(project.subjects("main")?, ["base", "feat: meanwhile"]);
    assert_eq!(view.landing.state, LandingState::Refused);
    engine.stop().await
}

async fn a_dirty_work_tree_waits_until_it_is_clean(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer(FIX)).await?;
    project.write("README.md", "# Bees, in the middle of a sentence")?;
    let job = engine.dispatch(request(&project)).await?;
    let [warning] = job.warnings.as_slice() else {
        anyhow::bail!("{:?}", job.warnings);
    };
    assert!(warning.contains("uncommitted changes"), "{warning}");
    let view = engine.at_rest(&job.id).await?;
    assert_eq!(view.state, JobState::WaitingHuman);
    assert_eq!(view.landing.state, LandingState::Pending);
    let reason = view.state_reason.as_deref().unwrap_or_default();
    assert!(reason.contains("uncommitted changes"), "{reason}");
    assert_eq!(project.subjects("main")?, ["base"]);
    assert_eq!(
        project.read("README.md")?,
        "# Bees, in the middle of a sentence"
    );
    assert!(project.read("bees/calc.py")?.contains("a - b"));
    // Again while it is still dirty: nothing changes.
    engine
        .director
        .retry(job.id.as_str(), RetryRequest::default())
        .await?;
    let view = engine.at_rest(&job.id).await?;
    assert_eq!(view.state, JobState::WaitingHuman);

    project.git(&["checkout", "--quiet", "README.md"])?;
    engine
        .director
        .retry(job.id.as_str(), RetryRequest::default())
        .await?;
    let view = engine.until(&job.id, "it lands", |view| view.state.is_terminal());
    let view = view.await?;
    assert_landed(&view, &project, "main");
    assert_eq!(view.attempts.len(), 1, "no worker ran again");
    assert_eq!(project.subjects("main")?, ["base", "fix: add adds"]);
    assert!(project.read("bees/calc.py")?.contains("a + b"));
    assert_eq!(project.status()?, "");
    engine.stop().await
}

async fn a_file_in_the_way_is_not_overwritten(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let steps = format!("echo theirs > notes.txt\n{FIX}");
    let engine = Engine::start(&store, &Setup::with_fixer(&steps)).await?;
    project.write("notes.txt", "mine")?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.state, JobState::WaitingHuman);
    assert_eq!(view.landing.state, LandingState::Pending);
    let reason = view.state_reason.as_deref().unwrap_or_default();
    assert!(reason.contains("notes.txt"), "{reason}");
    assert_eq!(project.read("notes.txt")?, "mine");
    assert_eq!(project.subjects("main")?, ["base"]);
    std::fs::remove_file(project.path().join("notes.txt"))?;
    engine
        .director
        .retry(view.id.as_str(), RetryRequest::default())
        .await?;
    let view = engine.until(&view.id, "it lands", |view| view.state.is_terminal());
    assert_landed(&view.await?, &project, "main");
    assert_eq!(project.read("notes.txt")?, "theirs\n");
    engine.stop().await
}

async fn a_branch_that_is_not_checked_out_is_moved_alone(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    project.git(&["branch", "release"])?;
    // What lies in the work tree is of another branch and stands in nobody's way.
    project.write("README.md", "unfinished")?;
    let engine = Engine::start(&store, &Setup::with_fixer(FIX)).await?;
    let mut request = request(&project);
    request.target_branch = Some("release".to_owned());
    let view = engine.run(request).await?;
    assert_landed(&view, &project, "release");
    assert_eq!(project.subjects("release")?, ["base", "fix: add adds"]);
    assert_eq!(project.subjects("main")?, ["base"]);
    assert!(project.read("bees/calc.py")?.contains("a - b"));
    assert_eq!(project.read("README.md")?, "unfinished");
    assert_eq!(project.git(&["symbolic-ref", "HEAD"])?, "refs/heads/main");
    engine.stop().await
}

async fn a_branch_that_is_not_there_yet_is_made(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer(FIX)).await?;
    let mut request = request(&project);
    request.base = Some("main".to_owned());
    request.target_branch = Some("fixes/add".to_owned());
    let view = engine.run(request).await?;
    assert_landed(&view, &project, "fixes/add");
    assert_eq!(project.subjects("fixes/add")?, ["base", "fix: add adds"]);
    assert_untouched(&project)?;
    engine.stop().await
}

async fn a_branch_in_another_work_tree_is_brought_in_line(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let other = project.beside().join("other");
    let place = other.to_string_lossy().into_owned();
    project.git(&["worktree", "add", "--quiet", "-b", "release", &place])?;
    let engine = Engine::start(&store, &Setup::with_fixer(FIX)).await?;
    let target = |project: &SourceRepository| DispatchRequest {
        target_branch: Some("release".to_owned()),
        checks: vec![CHECK.to_owned()],
        ..request(project)
    };
    let view = engine.run(target(&project)).await?;
    assert_landed(&view, &project, "release");
    assert!(std::fs::read_to_string(other.join("bees/calc.py"))?.contains("a + b"));
    assert_eq!(project.git(&["-C", &place, "status", "--porcelain"])?, "");
    assert_untouched(&project)?;
    engine.stop().await
}
