//! Plans: nodes in order, each from what landed before it, with artifacts from one to the next.

mod kinds;

use super::stand::{CHECK, Engine, FIX, Setup, assert_landed, assert_no_process, project, request};
use anyhow::Context as _;
use skep_api::{DispatchRequest, JobView, PlanEdge, PlanNode, PlanRequest, PlanView};
use skep_testkit::{SourceRepository, TestStore, on_both_engines};
use skep_types::{AttemptState, EdgeWhen, FailureClass, JobKind, JobState, Tier};

on_both_engines!(
    a_cancelled_plan_ends_with_everything_in_it,
    a_child_reads_what_its_parent_left,
    a_node_starts_from_what_landed_before_it,
    a_plan_that_cannot_be_run_is_refused_and_leaves_nothing,
    a_promised_artifact_that_is_not_there_is_a_finding,
    a_retry_takes_up_a_failed_plan,
    an_artifact_of_a_higher_tier_does_not_reach_a_lower_one,
    the_same_key_gives_the_same_plan,
    what_is_no_artifact_refuses_the_result,
);

/// Notes its instruction's first line in a file of its own, on top of what landed before.
const NOTE: &str = r#"
base() { git rev-parse HEAD~1; }
line=$(head -n 1 "$SKEP_INSTRUCTION_FILE")
grep -q 'a + b' bees/calc.py || exit 3
echo "$line" >> NOTES.md
save "note: $line"
contract DONE "$(ran true 0 0 0)"
"#;

fn node(name: &str, after: &[PlanEdge], work: DispatchRequest) -> PlanNode {
    PlanNode {
        name: name.to_owned(),
        after: after.to_vec(),
        work: Some(work),
        ..PlanNode::default()
    }
}

fn after(name: &str) -> PlanEdge {
    PlanEdge {
        node: Some(name.to_owned()),
        ..PlanEdge::default()
    }
}

fn plan(nodes: Vec<PlanNode>) -> PlanRequest {
    PlanRequest {
        title: "A plan".to_owned(),
        nodes,
        ..PlanRequest::default()
    }
}

fn work(project: &SourceRepository, worker: &str, instruction: &str) -> DispatchRequest {
    DispatchRequest {
        instruction: instruction.to_owned(),
        repo: Some(project.text_path()),
        worker: Some(worker.to_owned()),
        checks: vec!["true".to_owned()],
        ..DispatchRequest::default()
    }
}

/// Runs a plan until it has ended and was reported.
async fn run(engine: &Engine, request: &PlanRequest) -> anyhow::Result<PlanView> {
    let view = engine.director.run_plan(request).await?;
    ended(engine, &view).await
}

async fn ended(engine: &Engine, view: &PlanView) -> anyhow::Result<PlanView> {
    let id = view.id.clone().context("it has an id")?;
    engine.at_rest(&id).await?;
    Ok(engine.director.plan(id.as_str()).await?)
}

async fn job_of(engine: &Engine, view: &PlanView, name: &str) -> anyhow::Result<JobView> {
    let node = view.nodes.iter().find(|node| node.name == name);
    let job = node.and_then(|node| node.job.clone());
    let job = job.with_context(|| format!("there is no node {name}: {view:#?}"))?;
    Ok(engine.director.job(job.as_str()).await?)
}

fn states(view: &PlanView) -> String {
    let words = view
        .nodes
        .iter()
        .map(|node| format!("{} {}", node.name, node.state));
    words.collect::<Vec<_>>().join(", ")
}

async fn a_node_starts_from_what_landed_before_it(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer(FIX).worker("noter", NOTE);
    let engine = Engine::start(&store, &setup).await?;
    let fix = DispatchRequest {
        worker: Some("fixer".to_owned()),
        ..request(&project)
    };
    let asked = plan(vec![
        node("note", &[after("fix")], work(&project, "noter", "one")),
        node("fix", &[], fix),
        // Both write everywhere, as does the first: they wait for one another.
        node("more", &[after("note")], work(&project, "noter", "two")),
    ]);
    let preview = engine.director.check_plan(&asked).await?;
    assert_eq!((preview.state, &preview.id), (JobState::Draft, &None));
    assert_eq!(states(&preview), "fix draft, note draft, more draft");
    let made = engine.director.run_plan(&asked).await?;
    assert_eq!(made.state, JobState::WaitingChildren);
    let waiting = job_of(&engine, &made, "note").await?;
    assert_eq!(waiting.base_commit, None, "pinned when it is released");
    let reason = waiting.state_reason.context("it says why it waits")?;
    assert!(reason.starts_with("waits for fix (job "), "{reason}");
    let view = ended(&engine, &made).await?;
    assert_eq!(states(&view), "fix done, note done, more done");
    assert_eq!((view.state, &view.state_reason), (JobState::Done, &None));
    let [fix, note, more] = [
        job_of(&engine, &view, "fix").await?,
        job_of(&engine, &view, "note").await?,
        job_of(&engine, &view, "more").await?,
    ];
    assert_eq!(note.base_commit, fix.landing.commit);
    assert_eq!(more.base_commit, note.landing.commit);
    assert_landed(&more, &project, "main");
    assert_eq!(project.read("NOTES.md")?, "one\ntwo\n");
    let whole = engine
        .director
        .job(view.id.context("an id")?.as_str())
        .await?;
    assert_eq!((whole.kind, whole.attempts.len()), (JobKind::Pipeline, 0));
    let kinds = engine.kinds(&note.id).await?;
    let pinned = kinds.iter().filter(|kind| *kind == "base_pinned").count();
    assert_eq!(pinned, 1, "{kinds:?}");
    engine.verify_ledger().await?;
    engine.stop().await
}

/// Leaves a report, and its key in it, which must not get out.
const MAKER: &str = r#"
sed -i 's/a - b/a + b/' bees/calc.py
save 'fix: add adds'
printf 'seen: 42\nkey: %s\n' "$SKEP_API_KEY" > "$SKEP_ARTIFACTS_DIR/report.txt"
printf 'secret words' > "$TMPDIR/transcript.txt"
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
"#;

const READER: &str = r#"
base() { git rev-parse HEAD~1; }
folder="$SKEP_INPUT_ARTIFACTS_DIR/maker"
[ "$folder" = /skep/in/artifacts/maker ] || exit 3
[ "$(ls "$folder")" = report.txt ] || exit 4
if echo more >> "$folder/report.txt"; then exit 5; fi
if touch "$folder/other.txt"; then exit 6; fi
grep -q "$folder/report.txt" "$SKEP_INSTRUCTION_FILE" || exit 7
cp "$folder/report.txt" REPORT.md
save 'read: report'
contract DONE "$(ran true 0 0 0)"
"#;

fn maker_and_reader(project: &SourceRepository) -> PlanRequest {
    let fix = DispatchRequest {
        worker: Some("maker".to_owned()),
        ..request(project)
    };
    let mut maker = node("maker", &[], fix);
    maker.artifacts.push("report.txt".to_owned());
    let edge = PlanEdge {
        artifact: Some("report.txt".to_owned()),
        ..after("maker")
    };
    plan(vec![
        maker,
        node(
            "reader",
            &[edge],
            work(project, "reader", "Read the report."),
        ),
    ])
}

async fn a_child_reads_what_its_parent_left(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::new().worker("maker", MAKER).worker("reader", READER);
    let engine = Engine::start(&store, &setup).await?;
    let view = run(&engine, &maker_and_reader(&project)).await?;
    let log = engine
        .log(&job_of(&engine, &view, "reader").await?.id)
        .await?;
    assert_eq!(states(&view), "maker done, reader done", "{log}");
    assert_eq!(project.read("REPORT.md")?, "seen: 42\nkey: [redacted]\n");
    let [artifact] = view.nodes[0].artifacts.as_slice() else {
        anyhow::bail!("{view:#?}")
    };
    let kept = engine
        .home
        .artifacts()
        .join(&artifact.digest[..2])
        .join(&artifact.digest);
    assert_eq!(
        std::fs::read_to_string(kept)?,
        "seen: 42\nkey: [redacted]\n"
    );
    assert_eq!(artifact.bytes, 25);
    engine.stop().await
}

async fn a_promised_artifact_that_is_not_there_is_a_finding(
    store: TestStore,
) -> anyhow::Result<()> {
    let project = project()?;
    let forgetful = FIX.replace("save 'fix: add adds'", "save 'fix: add adds' || true");
    let setup = Setup::new()
        .worker("maker", &forgetful)
        .worker("reader", READER)
        .engine(|engine| engine.rework_rounds_max = 1);
    let engine = Engine::start(&store, &setup).await?;
    let view = run(&engine, &maker_and_reader(&project)).await?;
    assert_eq!(states(&view), "maker failed, reader skipped");
    assert_eq!(view.state, JobState::Failed);
    assert_eq!(
        view.state_reason.as_deref(),
        Some("of 2 nodes: 1 failed, 1 skipped")
    );
    let maker = job_of(&engine, &view, "maker").await?;
    assert_eq!(maker.attempts.len(), 2, "it was sent back once");
    assert!(super::stand::contradicted(&maker).contains("artifact_missing"));
    let reader = job_of(&engine, &view, "reader").await?;
    let expected = format!("maker (job {}) is failed", maker.number);
    assert_eq!(reader.state_reason, Some(expected));
    let whole = engine
        .director
        .job(&view.number.unwrap_or(0).to_string())
        .await?;
    assert_eq!(whole.failure_class, Some(FailureClass::DependencyFailed));
    engine.stop().await
}

async fn what_is_no_artifact_refuses_the_result(store: TestStore) -> anyhow::Result<()> {
    let cases = [
        (
            "ln -s /etc/hostname \"$SKEP_ARTIFACTS_DIR/link\"",
            "`link` is not a plain file",
        ),
        (
            "mkdir \"$SKEP_ARTIFACTS_DIR/folder\"",
            "`folder` is not a plain file",
        ),
        (
            "echo x > \"$SKEP_ARTIFACTS_DIR/a b\"",
            "`a b` is no name of an artifact",
        ),
        (
            "head -c 16777217 /dev/zero > \"$SKEP_ARTIFACTS_DIR/big\"",
            "`big` is larger than 16777216 bytes",
        ),
        (
            "for n in $(seq 33); do : > \"$SKEP_ARTIFACTS_DIR/$n\"; done",
            "more than 32 artifacts",
        ),
        (
            "rmdir \"$SKEP_ARTIFACTS_DIR\"; : > \"$SKEP_ARTIFACTS_DIR\"",
            "out/artifacts is no folder",
        ),
    ];
    let project = project()?;
    let mut setup = Setup::new();
    for (number, (command, _)) in cases.iter().enumerate() {
        let steps = format!("{command}\n{FIX}");
        setup = setup.worker(&format!("worker-{number}"), &steps);
    }
    let engine = Engine::start(&store, &setup).await?;
    for (number, (_, reason)) in cases.iter().enumerate() {
        let asked = DispatchRequest {
            worker: Some(format!("worker-{number}")),
            ..request(&project)
        };
        let view = engine.run(asked).await?;
        let said = view.state_reason.unwrap_or_default();
        assert_eq!(view.state, JobState::Failed, "{reason}: {said}");
        assert!(said.contains(reason), "{reason}: {said}");
        assert_eq!(view.failure_class, Some(FailureClass::InvalidOutput));
        assert_eq!(view.artifacts, []);
    }
    engine.stop().await
}

async fn an_artifact_of_a_higher_tier_does_not_reach_a_lower_one(
    store: TestStore,
) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::new().worker("maker", MAKER).worker("reader", READER);
    let engine = Engine::start(&store, &setup).await?;
    let mut asked = maker_and_reader(&project);
    if let Some(work) = &mut asked.nodes[1].work {
        work.tier = Some(Tier::Convenience);
    }
    let view = run(&engine, &asked).await?;
    assert_eq!(states(&view), "maker done, reader failed");
    let reader = job_of(&engine, &view, "reader").await?;
    let said = reader.state_reason.unwrap_or_default();
    assert!(said.contains("left data of the tier sensitive"), "{said}");
    engine.stop().await
}

/// Fails the first time and leaves a mark, by which the second time succeeds.
const SECOND_TIME: &str = r#"
if [ -e mark.txt ]; then
    sed -i 's/a - b/a + b/' bees/calc.py
    save 'fix: add adds'
    contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
else
    touch mark.txt
    save 'mark'
    contract FAILED ""
fi
"#;

async fn a_retry_takes_up_a_failed_plan(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer(SECOND_TIME).worker("noter", NOTE).worker(
        "cleaner",
        "echo clean > clean.txt\nsave clean\ncontract DONE \"$(ran true 0 0 0)\"",
    );
    let engine = Engine::start(&store, &setup).await?;
    let fix = DispatchRequest {
        worker: Some("fixer".to_owned()),
        checks: Vec::new(),
        gate: Some(skep_types::Gate::G0),
        scope: vec!["bees/**".to_owned(), "mark.txt".to_owned()],
        ..request(&project)
    };
    let clean = DispatchRequest {
        scope: vec!["clean.txt".to_owned()],
        ..work(&project, "cleaner", "clean")
    };
    let any_end = PlanEdge {
        when: Some(EdgeWhen::AnyEnd),
        ..after("fix")
    };
    let note = DispatchRequest {
        scope: vec!["NOTES.md".to_owned()],
        ..work(&project, "noter", "one")
    };
    let asked = plan(vec![
        node("fix", &[], fix),
        node("note", &[after("fix")], note),
        node("clean", &[any_end], clean),
    ]);
    let view = run(&engine, &asked).await?;
    assert_eq!(states(&view), "fix failed, note skipped, clean done");
    assert_eq!(view.state, JobState::Failed);
    let number = view.number.unwrap_or(0).to_string();
    let retried = engine
        .director
        .retry(&number, skep_api::RetryRequest::default());
    assert!(!retried.await?.state.is_terminal());
    let id = view.id.clone().context("an id")?;
    engine
        .until(&id, "the plan is done", |view| view.state == JobState::Done)
        .await?;
    let view = engine.director.plan(&number).await?;
    assert_eq!(states(&view), "fix done, note done, clean done");
    assert_eq!(project.read("NOTES.md")?, "one\n");
    let whole = engine.director.job(&number).await?;
    let attempts: Vec<_> = whole.attempts.iter().map(|a| a.state).collect();
    assert_eq!(
        attempts,
        [AttemptState::Parked],
        "it waits without an attempt"
    );
    engine.stop().await
}

async fn a_cancelled_plan_ends_with_everything_in_it(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = format!("mark-{}", project.beside().display());
    let steps = format!("meet here\nsh -c 'sleep 600; : {mark}'");
    let setup = Setup::with_fixer(&steps).worker("noter", NOTE);
    let engine = Engine::start(&store, &setup).await?;
    let fix = DispatchRequest {
        worker: Some("fixer".to_owned()),
        ..request(&project)
    };
    let any_end = PlanEdge {
        when: Some(EdgeWhen::AnyEnd),
        ..after("fix")
    };
    let asked = plan(vec![
        node("fix", &[], fix),
        node("note", &[after("fix")], work(&project, "noter", "one")),
        node(
            "more",
            &[any_end, after("note")],
            work(&project, "noter", "two"),
        ),
    ]);
    let view = engine.director.run_plan(&asked).await?;
    let number = view.number.unwrap_or(0).to_string();
    let fix = job_of(&engine, &view, "fix").await?;
    let working = engine.working(&fix.id, 1).await?;
    engine.meet(&working, "here").await?;
    let cancelled = engine.director.cancel(&number);
    assert_eq!(cancelled.await?.state, JobState::Cancelled);
    let view = engine
        .director
        .plan(view.id.context("an id")?.as_str())
        .await?;
    assert_eq!(states(&view), "fix cancelled, note skipped, more skipped");
    let again = engine.director.cancel_tree(&number);
    let refused = again.await.map_err(|error| error.body().code);
    assert_eq!(refused.map(drop), Err("job_ended".to_owned()));
    engine.stop().await?;
    assert_no_process(&mark)
}

async fn the_same_key_gives_the_same_plan(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer(FIX);
    let engine = Engine::start(&store, &setup).await?;
    let mut asked = plan(vec![node("fix", &[], request(&project))]);
    asked.idempotency_key = Some("key".to_owned());
    let first = run(&engine, &asked).await?;
    let second = engine.director.run_plan(&asked).await?;
    assert_eq!((first.id, second.state), (second.id, JobState::Done));
    asked.title = "Another plan".to_owned();
    let refused = engine.director.run_plan(&asked).await;
    let code = refused.map_err(|error| error.body().code).map(drop);
    assert_eq!(code, Err("idempotency_conflict".to_owned()));
    assert_eq!(engine.jobs().await?.len(), 2);
    engine.stop().await
}

async fn a_plan_that_cannot_be_run_is_refused_and_leaves_nothing(
    store: TestStore,
) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer(FIX)).await?;
    let one = || request(&project);
    let scoped = |glob: &str| DispatchRequest {
        scope: vec![glob.to_owned()],
        ..request(&project)
    };
    let unknown = DispatchRequest {
        worker: Some("nobody".to_owned()),
        ..request(&project)
    };
    let shell = DispatchRequest {
        kind: Some(JobKind::Shell),
        ..request(&project)
    };
    let keyed = DispatchRequest {
        idempotency_key: Some("key".to_owned()),
        ..request(&project)
    };
    let artifact = |name: &str| PlanEdge {
        artifact: Some(name.to_owned()),
        ..after("a")
    };
    let both = PlanEdge {
        job: Some("1".to_owned()),
        ..after("a")
    };
    let missing_job = PlanEdge {
        job: Some("77".to_owned()),
        ..PlanEdge::default()
    };
    let contradictory = PlanEdge {
        when: Some(EdgeWhen::AnyEnd),
        ..artifact("x")
    };
    let mut promising = node("a", &[], one());
    promising.artifacts.push("../x".to_owned());
    let untitled = PlanRequest {
        title: " ".to_owned(),
        ..plan(vec![node("a", &[], one())])
    };
    let many = (0..201)
        .map(|n| node(&format!("n{n}"), &[], one()))
        .collect();
    let cases: Vec<(PlanRequest, &str)> = vec![
        (untitled, "title_missing"),
        (plan(Vec::new()), "graph_empty"),
        (plan(many), "graph_too_wide"),
        (
            plan(vec![
                node("a", &[after("b")], one()),
                node("b", &[after("a")], one()),
            ]),
            "graph_cycle",
        ),
        (
            plan(vec![node("a", &[after("c")], one())]),
            "graph_unknown_parent",
        ),
        (plan(vec![node("a/b", &[], one())]), "graph_bad_name"),
        (
            plan(vec![node("a", &[], one()), node("a", &[], one())]),
            "graph_duplicate",
        ),
        (
            plan(vec![node("a", &[], one()), node("b", &[], one())]),
            "scope_overlap",
        ),
        (
            plan(vec![
                node("a", &[], scoped("bees/**")),
                node("b", &[], scoped("bees/calc.py")),
            ]),
            "scope_overlap",
        ),
        (plan(vec![node("a", &[], unknown)]), "unknown_worker"),
        (plan(vec![node("a", &[], shell)]), "kind_unavailable"),
        (plan(vec![node("a", &[], keyed)]), "bad_text"),
        (
            plan(vec![node("a", &[PlanEdge::default()], one())]),
            "bad_edge",
        ),
        (
            plan(vec![node("a", &[], one()), node("b", &[both], one())]),
            "bad_edge",
        ),
        (
            plan(vec![
                node("a", &[], one()),
                node("b", &[contradictory], one()),
            ]),
            "bad_edge",
        ),
        (
            plan(vec![
                node("a", &[], one()),
                node("b", &[artifact("../x")], one()),
            ]),
            "bad_edge",
        ),
        (
            plan(vec![
                node("a", &[], one()),
                node("b", &[artifact("x")], one()),
            ]),
            "artifact_not_promised",
        ),
        (plan(vec![promising]), "bad_artifact"),
        (plan(vec![node("a", &[missing_job], one())]), "not_found"),
    ];
    for (asked, code) in cases {
        let checked = engine.director.check_plan(&asked).await;
        let checked = checked.map_err(|error| error.body().code).map(drop);
        assert_eq!(checked, Err(code.to_owned()), "{asked:?}");
        let refused = engine.director.run_plan(&asked).await;
        let refused = refused.map_err(|error| error.body().code).map(drop);
        assert_eq!(refused, Err(code.to_owned()), "{asked:?}");
    }
    assert_eq!(engine.jobs().await?, []);
    let alone = engine.run(request(&project)).await?;
    assert_landed(&alone, &project, "main");
    assert_eq!(CHECK, alone.checks[0]);
    let no_plan = engine.director.plan(&alone.number.to_string()).await;
    let code = no_plan.map_err(|error| error.body().code).map(drop);
    assert_eq!(code, Err("not_a_plan".to_owned()));
    engine.stop().await
}
