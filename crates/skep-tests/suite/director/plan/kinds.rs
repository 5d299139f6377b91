//! Plans with calls and commands in them, beside agents.

use super::super::stand::{Engine, FIX, Setup, assert_no_process, project, request};
use super::{MAKER, after, ended, job_of, node, plan, run, states};
use anyhow::Context as _;
use skep_api::{CallRequest, DispatchRequest, PlanEdge, PlanNode, RetryRequest, ShellRequest};
use skep_testkit::{Meeting, SourceRepository, TestStore, on_both_engines};
use skep_types::{EdgeWhen, FailureClass, JobKind, JobState, MicroUsd, Role, Tier};

on_both_engines!(
    a_cancelled_plan_ends_its_calls_and_commands,
    a_command_reads_what_its_parent_left,
    a_command_sees_what_landed_before_it,
    a_failed_call_skips_what_waits_for_it_until_it_is_retried,
    what_a_node_cannot_be_is_refused,
);

/// A model that answers, one question only when it is asked again.
const ANSWERS: &str = r#"
version = 1
[[conversation]]
name = "ask"
when = { first_user_text = { contains = "Is it so" } }
[[conversation.turn]]
reply = { blocks = [{ text = "It is." }] }

[[conversation]]
name = "barred"
when = { first_user_text = { contains = "Who goes there" } }
[[conversation.turn]]
fault = { times = 1, status = 401, error = "authentication_error", message = "who are you" }
reply = { blocks = [{ text = "A friend." }] }
"#;

fn call(name: &str, after: &[PlanEdge], prompt: &str) -> PlanNode {
    PlanNode {
        name: name.to_owned(),
        after: after.to_vec(),
        call: Some(CallRequest {
            prompt: prompt.to_owned(),
            model: Some("stub-large".to_owned()),
            ..CallRequest::default()
        }),
        ..PlanNode::default()
    }
}

/// A command; in the repository if one is given, where it may write below `bees`.
fn command(
    name: &str,
    after: &[PlanEdge],
    project: Option<&SourceRepository>,
    script: &str,
) -> PlanNode {
    let words = ["/bin/sh", "-c", script];
    let scope = project.map(|_| "bees/**".to_owned());
    PlanNode {
        name: name.to_owned(),
        after: after.to_vec(),
        shell: Some(ShellRequest {
            command: words.map(str::to_owned).to_vec(),
            repo: project.map(SourceRepository::text_path),
            scope: scope.into_iter().collect(),
            ..ShellRequest::default()
        }),
        ..PlanNode::default()
    }
}

fn any_end(name: &str) -> PlanEdge {
    PlanEdge {
        when: Some(EdgeWhen::AnyEnd),
        ..after(name)
    }
}

async fn a_command_sees_what_landed_before_it(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer(FIX).script(ANSWERS)).await?;
    let fix = DispatchRequest {
        worker: Some("fixer".to_owned()),
        ..request(&project)
    };
    let sees = "grep -q 'a + b' bees/calc.py && echo x > bees/made && git rev-parse HEAD";
    let before = "grep -q 'a - b' bees/calc.py";
    let mut asked = plan(vec![
        call("ask", &[], "Is it so?"),
        // A command writes to nothing that lands: its scope is in nobody's way.
        command("before", &[], Some(&project), before),
        node("fix", &[after("ask"), after("before")], fix),
        command("left", &[after("fix")], Some(&project), sees),
        command("right", &[after("fix")], Some(&project), sees),
        command("loose", &[after("left")], None, "ls -A | wc -l"),
    ]);
    asked.owner = Some("keeper".to_owned());
    asked.project = Some("apiary".to_owned());
    let preview = engine.director.check_plan(&asked).await?;
    let shown: Vec<_> = preview
        .nodes
        .iter()
        .map(|node| (node.kind, node.level, node.title.as_str()))
        .collect();
    assert_eq!(shown[0], (JobKind::Call, 0, "Is it so?"));
    assert_eq!(shown[5], (JobKind::Shell, 3, "/bin/sh -c ls -A | wc -l"));

    let made = engine.director.run_plan(&asked).await?;
    let waiting = job_of(&engine, &made, "left").await?;
    assert_eq!(waiting.base_commit, None, "pinned when it is released");
    let view = ended(&engine, &made).await?;
    assert_eq!(
        states(&view),
        "ask done, before done, fix done, left done, right done, loose done"
    );
    let fix = job_of(&engine, &view, "fix").await?;
    for name in ["left", "right"] {
        let seen = job_of(&engine, &view, name).await?;
        assert_eq!(seen.base_commit, fix.landing.commit, "{name}");
        let run = seen.shell.and_then(|shell| shell.run).context("a run")?;
        assert_eq!(Some(run.tail.trim()), seen.base_commit.as_deref());
        let kinds = engine.kinds(&seen.id).await?;
        let pinned = kinds.iter().filter(|kind| *kind == "base_pinned").count();
        assert_eq!(pinned, 1, "{kinds:?}");
    }
    for node in &view.nodes {
        let job = job_of(&engine, &view, &node.name).await?;
        assert_eq!(
            (job.owner.as_str(), job.project.as_str()),
            ("keeper", "apiary")
        );
        assert_eq!(job.parent, view.id, "{}", node.name);
    }
    let ask = job_of(&engine, &view, "ask").await?;
    let answer = ask.call.and_then(|call| call.answer).context("an answer")?;
    assert_eq!(answer.text, "It is.");
    assert!(view.nodes[0].cost_micro_usd > MicroUsd::ZERO);
    let sum = view.nodes.iter().map(|node| node.cost_micro_usd.0).sum();
    assert_eq!(view.cost_micro_usd, MicroUsd(sum));
    engine.verify_ledger().await?;
    engine.stop().await
}

async fn a_failed_call_skips_what_waits_for_it_until_it_is_retried(
    store: TestStore,
) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::new().script(ANSWERS)).await?;
    let asked = plan(vec![
        call("gate", &[], "Who goes there?"),
        command("work", &[after("gate")], Some(&project), "true"),
        call("then", &[after("work")], "Is it so?"),
        command("clean", &[any_end("then")], None, "true"),
    ]);
    let view = run(&engine, &asked).await?;
    assert_eq!(
        states(&view),
        "gate failed, work skipped, then skipped, clean done"
    );
    assert_eq!(view.state, JobState::Failed);
    let gate = view.nodes[0].number.unwrap_or(0);
    let expected = format!("gate (job {gate}) is failed");
    assert_eq!(view.nodes[1].state_reason, Some(expected));
    let whole = view.id.clone().context("an id")?;
    let job = engine.director.job(whole.as_str()).await?;
    assert_eq!(job.failure_class, Some(FailureClass::DependencyFailed));
    // No account is named: what has none of its own belongs to that of the plan.
    for node in &view.nodes {
        let named = job_of(&engine, &view, &node.name).await?.project;
        assert_eq!(named, job.project, "{}", node.name);
    }

    let retried = engine
        .director
        .retry(whole.as_str(), RetryRequest::default());
    assert!(!retried.await?.state.is_terminal());
    engine
        .until(&whole, "the plan is done", |job| {
            job.state == JobState::Done
        })
        .await?;
    let view = engine.director.plan(whole.as_str()).await?;
    assert_eq!(states(&view), "gate done, work done, then done, clean done");
    engine.verify_ledger().await?;
    engine.stop().await
}

async fn a_cancelled_plan_ends_its_calls_and_commands(store: TestStore) -> anyhow::Result<()> {
    let place = SourceRepository::new(&[("README.md", "x\n")])?;
    let mark = format!("mark-{}", place.beside().display());
    let engine = Engine::start(&store, &Setup::new().script(ANSWERS)).await?;
    let steps = format!(
        "until [ -p $TMPDIR/here ]; do sleep 0.01; done; echo here > $TMPDIR/here; sleep 600; : {mark}"
    );
    let asked = plan(vec![
        command("work", &[], None, &steps),
        call("ask", &[after("work")], "Is it so?"),
        command("clean", &[any_end("work"), after("ask")], None, "true"),
    ]);
    let view = engine.director.run_plan(&asked).await?;
    let work = job_of(&engine, &view, "work").await?;
    let working = engine.working(&work.id, 1).await?;
    let folder = engine.home.attempts().join(working.attempts[0].id.as_str());
    Meeting::at(&folder, "here")?.wait().await?;
    let whole = view.id.context("an id")?;
    let cancelled = engine.director.cancel(whole.as_str()).await?;
    assert_eq!(cancelled.state, JobState::Cancelled);
    let view = engine.director.plan(whole.as_str()).await?;
    assert_eq!(states(&view), "work cancelled, ask skipped, clean skipped");
    engine.at_rest(&work.id).await?;
    engine.stop().await?;
    assert_no_process(&mark)
}

async fn a_command_reads_what_its_parent_left(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::new().worker("maker", MAKER)).await?;
    let fix = DispatchRequest {
        worker: Some("maker".to_owned()),
        ..request(&project)
    };
    let mut maker = node("maker", &[], fix);
    maker.artifacts.push("report.txt".to_owned());
    let edge = [PlanEdge {
        artifact: Some("report.txt".to_owned()),
        ..after("maker")
    }];
    let reads = "cat \"$SKEP_INPUT_ARTIFACTS_DIR/maker/report.txt\"
        echo x > \"$SKEP_INPUT_ARTIFACTS_DIR/x\" || echo read only";
    let mut below = command("below", &edge, None, reads);
    if let Some(shell) = &mut below.shell {
        shell.tier = Some(Tier::Convenience);
    }
    let asked = plan(vec![maker, command("reads", &edge, None, reads), below]);
    let view = run(&engine, &asked).await?;
    assert_eq!(states(&view), "maker done, reads done, below failed");
    let reader = job_of(&engine, &view, "reads").await?;
    let run = reader.shell.and_then(|shell| shell.run).context("a run")?;
    assert!(run.tail.contains("seen: 42\n"), "{}", run.tail);
    assert!(run.tail.contains("read only\n"), "{}", run.tail);
    let said = view.nodes[2].state_reason.clone().unwrap_or_default();
    assert!(said.contains("left data of the tier sensitive"), "{said}");
    engine.stop().await
}

async fn what_a_node_cannot_be_is_refused(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer(FIX).own_loop("asker", Role::Observer, "stub-large");
    let engine = Engine::start(&store, &setup).await?;
    let ask = || call("a", &[], "Is it so?");
    let look = || command("a", &[], None, "true");
    let changed = |mut node: PlanNode, change: fn(&mut PlanNode)| {
        change(&mut node);
        node
    };
    let keyed = changed(ask(), |node| {
        if let Some(call) = &mut node.call {
            call.idempotency_key = Some("key".to_owned());
        }
    });
    let promising = |node| changed(node, |node| node.artifacts.push("x.txt".to_owned()));
    let both = changed(ask(), |node| node.shell = look_at_nothing());
    let three = PlanNode {
        work: Some(request(&project)),
        ..both.clone()
    };
    let nowhere = command("a", &[], None, "true");
    let nowhere = changed(nowhere, |node| {
        if let Some(shell) = &mut node.shell {
            shell.repo = Some("/no/such/folder".to_owned());
        }
    });
    let none = PlanNode {
        name: "a".to_owned(),
        ..PlanNode::default()
    };
    for (node, code, said) in [
        (
            none,
            "work_unclear",
            "none of `work`, `call` and `shell` is given",
        ),
        (both, "work_unclear", "`call` and `shell` are given at once"),
        (
            three,
            "work_unclear",
            "`work` and `call` and `shell` are given at once",
        ),
        (
            keyed,
            "bad_text",
            "a node has no idempotency key of its own",
        ),
        (
            promising(ask()),
            "bad_artifact",
            "a call leaves no artifacts",
        ),
        (
            promising(look()),
            "bad_artifact",
            "a shell leaves no artifacts",
        ),
        (call("a", &[], " "), "prompt_empty", "the prompt is empty"),
        (
            nowhere,
            "not_a_repository",
            "`/no/such/folder` is not a git work tree",
        ),
    ] {
        let asked = plan(vec![node]);
        for refused in [
            engine.director.check_plan(&asked).await,
            engine.director.run_plan(&asked).await,
        ] {
            let body = refused.map_err(|error| error.body()).err();
            let body = body.context("it is refused")?;
            assert_eq!(body.code, code, "{asked:?}");
            assert!(
                body.message.contains(&format!("node `a`: {said}")),
                "{body:?}"
            );
            assert!(body.hint.is_some_and(|hint| !hint.is_empty()));
        }
    }
    assert_eq!(engine.jobs().await?, []);
    engine.stop().await
}

fn look_at_nothing() -> Option<ShellRequest> {
    command("a", &[], None, "true").shell
}
