//! Requests that cannot be carried out, and the same request twice.

use super::stand::{Engine, FIX, Setup, assert_landed, project, request};
use skep_api::{DispatchRequest, Waiver};
use skep_testkit::{SourceRepository, TestStore, on_both_engines, worker_script};
use skep_types::{Gate, JobKind, Role, Tier};

on_both_engines!(
    a_bad_request_is_refused_and_leaves_nothing,
    a_missing_job_is_not_found,
    of_two_at_once_one_is_taken,
    the_same_key_gives_the_same_job,
);

/// What is wrong, and the code and exit code of the answer.
struct Case {
    change: fn(&mut DispatchRequest),
    code: &'static str,
    exit: u8,
}

const fn case(code: &'static str, exit: u8, change: fn(&mut DispatchRequest)) -> Case {
    Case { change, code, exit }
}

const CASES: &[Case] = &[
    case("bad_text", 2, |r| r.instruction = "a\0b".to_owned()),
    case("bad_text", 2, |r| r.checks = vec!["a\0b".to_owned()]),
    case("bad_text", 2, |r| r.owner = Some("a\0b".to_owned())),
    case("bad_text", 2, |r| r.owner = Some("x".repeat(300))),
    case("bad_text", 2, |r| r.project = Some("x".repeat(300))),
    case("bad_text", 2, |r| r.project = Some("a\0b".to_owned())),
    case("bad_text", 2, |r| r.idempotency_key = Some("x".repeat(300))),
    case("bad_text", 2, |r| {
        r.idempotency_key = Some("a\0b".to_owned());
    }),
    case("bad_text", 2, |r| r.waive_tests = Some("x".repeat(100_000))),
    case("bad_text", 2, |r| r.waive_tests = Some("a\0b".to_owned())),
    case("tier_refused", 3, |r| {
        r.worker = Some("far".to_owned());
        r.tier = Some(Tier::Sacred);
    }),
    case("consent_missing", 3, |r| r.worker = Some("far".to_owned())),
    case("tier_refused", 3, |r| {
        r.reviewer = Some("far-critic".to_owned());
        r.tier = Some(Tier::Sacred);
    }),
    case("consent_missing", 3, |r| {
        r.reviewer = Some("far-critic".to_owned());
    }),
    case("instruction_empty", 2, |r| r.instruction.clear()),
    case("instruction_empty", 2, |r| {
        r.instruction = " \n\t".to_owned();
    }),
    case("instruction_too_large", 2, |r| {
        r.instruction = "x".repeat(10 << 20);
    }),
    case("repo_missing", 2, |r| r.repo = None),
    case("not_a_repository", 2, |r| r.repo = Some("/usr".to_owned())),
    case("not_a_repository", 2, |r| {
        r.repo = Some("/no/such/folder".to_owned());
    }),
    case("not_a_repository", 2, |r| {
        r.repo = r.repo.as_ref().map(|repo| format!("{repo}/README.md"));
    }),
    case("base_not_found", 2, |r| {
        r.base = Some("no-such-commit".to_owned());
    }),
    case("base_not_found", 2, |r| r.base = Some("0".repeat(40))),
    case("base_not_found", 2, |r| r.base = Some("--all".to_owned())),
    case("base_not_found", 2, |r| {
        r.base = Some("main:README.md".to_owned());
    }),
    case("base_not_found", 2, |r| {
        r.target_branch = Some("not-there".to_owned());
    }),
    case("bad_target", 2, |r| {
        r.target_branch = Some("a..b".to_owned());
    }),
    case("bad_target", 2, |r| r.target_branch = Some("-x".to_owned())),
    case("bad_target", 2, |r| {
        r.target_branch = Some("HEAD".to_owned());
    }),
    case("bad_target", 2, |r| {
        r.target_branch = Some("refs/heads/main".to_owned());
    }),
    case("bad_target", 2, |r| {
        r.target_branch = Some("@{-1}".to_owned());
    }),
    case("bad_scope", 2, |r| r.scope = vec!["../x".to_owned()]),
    case("bad_scope", 2, |r| r.scope = vec!["/etc/**".to_owned()]),
    case("bad_scope", 2, |r| r.scope = vec!["src/../../x".to_owned()]),
    case("bad_scope", 2, |r| r.scope = vec!["~/x".to_owned()]),
    case("bad_scope", 2, |r| r.scope = vec![".git/**".to_owned()]),
    case("bad_scope", 2, |r| r.scope = vec![String::new()]),
    case("too_many_globs", 2, |r| {
        r.scope = vec!["src/**".to_owned(); 1_000];
    }),
    case("unknown_worker", 2, |r| {
        r.worker = Some("nobody".to_owned());
    }),
    case("worker_missing", 2, |r| r.worker = None),
    case("unknown_model", 2, |r| r.model = Some("nothing".to_owned())),
    case("unknown_harness", 2, |r| {
        r.harness = Some("magic".to_owned());
    }),
    case("command_missing", 2, |r| r.worker = Some("idle".to_owned())),
    case("model_missing", 2, |r| r.worker = Some("mute".to_owned())),
    case("gate_unavailable", 2, |r| r.gate = Some(Gate::G3)),
    case("reviewer_missing", 2, |r| r.gate = Some(Gate::G2)),
    case("unknown_worker", 2, |r| {
        r.reviewer = Some("nobody".to_owned());
    }),
    case("reviewer_unsuitable", 2, |r| {
        r.reviewer = Some("other".to_owned());
    }),
    case("reviewer_unsuitable", 2, |r| {
        r.reviewer = Some("kin".to_owned());
    }),
    case("kind_unavailable", 2, |r| r.kind = Some(JobKind::Pipeline)),
    case("checks_missing", 2, |r| r.checks.clear()),
    case("bad_check", 2, |r| r.checks = vec![" ".to_owned()]),
    case("bad_check", 2, |r| r.checks = vec!["x".repeat(5_000)]),
    case("bad_check", 2, |r| r.checks = vec!["true".to_owned(); 17]),
    case("too_many_globs", 2, |r| {
        let waiver = Waiver {
            finding: "scope".to_owned(),
            reason: "why not".to_owned(),
        };
        r.waivers = vec![waiver; 17];
    }),
];

/// Workers of every kind that a request can go wrong with.
fn crew() -> Setup {
    Setup::with_fixer(FIX)
        .worker("other", FIX)
        .configured(
            "kin",
            Role::Observer,
            Some("stub-large"),
            "exec",
            worker_script("exit 0"),
        )
        .configured(
            "far",
            Role::Builder,
            Some("far-large"),
            "exec",
            worker_script(FIX),
        )
        .configured(
            "far-critic",
            Role::Observer,
            Some("far-large"),
            "exec",
            worker_script("exit 0"),
        )
        .configured("idle", Role::Builder, None, "exec", Vec::new())
        .configured("mute", Role::Builder, None, "skep", Vec::new())
}

async fn a_bad_request_is_refused_and_leaves_nothing(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &crew()).await?;
    let good = DispatchRequest {
        worker: Some("fixer".to_owned()),
        ..request(&project)
    };
    for (number, case) in CASES.iter().enumerate() {
        let mut bad = good.clone();
        (case.change)(&mut bad);
        check(&engine, bad, case, number).await?;
    }
    let unborn = SourceRepository::unborn()?;
    let bad = DispatchRequest {
        repo: Some(unborn.text_path()),
        ..good.clone()
    };
    check(&engine, bad, &case("base_not_found", 2, |_| {}), 100).await?;
    project.git(&["checkout", "--quiet", "--detach"])?;
    check(
        &engine,
        good.clone(),
        &case("target_missing", 2, |_| {}),
        101,
    )
    .await?;
    project.git(&["checkout", "--quiet", "main"])?;
    assert_eq!(engine.jobs().await?, [], "no row was written");
    let mut events = engine.director.events(0, None, 100).await?;
    events.retain(|event| event.kind != "node_joined");
    assert_eq!(events, []);
    // And the request as it should be is carried out.
    let view = engine.run(good).await?;
    assert_landed(&view, &project, "main");
    engine.stop().await
}

async fn check(
    engine: &Engine,
    request: DispatchRequest,
    case: &Case,
    number: usize,
) -> anyhow::Result<()> {
    let Err(error) = engine.dispatch(request).await.map_err(|error| error.body()) else {
        anyhow::bail!("{number}: {} was expected", case.code);
    };
    let found = (error.code.as_str(), error.exit);
    assert_eq!(found, (case.code, case.exit), "{number}: {error:?}");
    assert!(
        !error.message.is_empty() && error.message.len() < 1_000,
        "{error:?}"
    );
    assert!(
        error.hint.is_some_and(|hint| !hint.is_empty()),
        "{number}: no hint"
    );
    Ok(())
}

async fn a_missing_job_is_not_found(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start(&store, &crew()).await?;
    for name in [
        "7",
        "#7",
        "job_01m7w92j2t00vfrh55der18ghp",
        "",
        "../x",
        "-1",
        "9999999999999999999999",
    ] {
        let answers = [
            engine.director.job(name).await.map(drop),
            engine.director.job_log(name, None).await.map(drop),
            engine.director.job_diff(name).await.map(drop),
            engine.director.cancel(name).await.map(drop),
            engine
                .director
                .retry(name, skep_api::RetryRequest::default())
                .await
                .map(drop),
        ];
        for answer in answers {
            let body = answer.map_err(|error| error.body());
            let found = body
                .as_ref()
                .map_err(|body| (body.code.as_str(), body.exit));
            assert_eq!(found, Err(("not_found", 4)), "{name}: {body:?}");
        }
    }
    engine.stop().await
}

async fn the_same_key_gives_the_same_job(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &crew()).await?;
    let keyed = DispatchRequest {
        worker: Some("fixer".to_owned()),
        idempotency_key: Some("once".to_owned()),
        ..request(&project)
    };
    let first = engine.dispatch(keyed.clone()).await?;
    let second = engine.dispatch(keyed.clone()).await?;
    assert_eq!((&first.id, first.number), (&second.id, second.number));
    let view = engine.at_rest(&first.id).await?;
    assert_landed(&view, &project, "main");
    // Also when it has ended, and the branch has moved since.
    let third = engine.dispatch(keyed.clone()).await?;
    assert_eq!(third.id, first.id);
    let other = DispatchRequest {
        instruction: "Something else.".to_owned(),
        ..keyed
    };
    let refused = engine.dispatch(other).await.map_err(|error| error.body());
    let Err(error) = refused else {
        anyhow::bail!("one key, two requests");
    };
    assert_eq!(
        (error.code.as_str(), error.exit),
        ("idempotency_conflict", 1)
    );
    assert_eq!(engine.jobs().await?.len(), 1);
    assert_eq!(project.subjects("main")?, ["base", "fix: add adds"]);
    engine.stop().await
}

/// Builders on one scope, asked for at the same instant.
async fn of_two_at_once_one_is_taken(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer("meet never")).await?;
    for round in 1..=5 {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (director, asked) = (engine.director.clone(), request(&project));
                skep_stdx::spawn("dispatch", async move {
                    let taken = director.dispatch(asked).await;
                    taken.map_err(|error| error.body().code)
                })
            })
            .collect();
        let mut taken = Vec::new();
        for task in tasks {
            match task.await? {
                Ok(job) => taken.push(job.id),
                Err(code) => assert_eq!(code, "scope_overlap"),
            }
        }
        let [job] = taken.as_slice() else {
            anyhow::bail!("{} builders hold one scope", taken.len());
        };
        assert_eq!(engine.jobs().await?.len(), round, "a refusal left a row");
        let view = engine.director.job(job.as_str()).await?;
        assert_eq!(view.tier, Tier::Sensitive, "data without a label");
        engine.director.cancel(job.as_str()).await?;
    }
    engine.stop().await
}
