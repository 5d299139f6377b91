//! Jobs of kind `shell`: one command in a real fence, and what the engine measured of it.

use super::stand::{Engine, Setup, assert_no_process, assert_untouched, project};
use skep_api::{JobView, ShellRequest, ShellRun};
use skep_testkit::{Meeting, SourceRepository, TestStore, on_both_engines};
use skep_types::{AttemptState, FailureClass, JobKind, JobState};

on_both_engines!(
    a_command_has_a_folder_to_itself,
    a_command_is_cancelled_with_all_it_started,
    a_command_reads_a_commit_and_writes_nowhere,
    a_command_that_cannot_be_run_is_refused,
    an_end_has_one_class,
);

fn command(words: &[&str]) -> ShellRequest {
    ShellRequest {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..ShellRequest::default()
    }
}

fn script(text: &str) -> ShellRequest {
    command(&["/bin/sh", "-c", text])
}

async fn run(engine: &Engine, request: ShellRequest) -> anyhow::Result<(JobView, ShellRun)> {
    let job = engine.director.dispatch_shell(request).await?;
    let view = engine.at_rest(&job.id).await?;
    let run = view.shell.clone().and_then(|shell| shell.run);
    let run = run.ok_or_else(|| anyhow::anyhow!("there is no run: {view:#?}"))?;
    Ok((view, run))
}

async fn a_command_has_a_folder_to_itself(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start(&store, &Setup::new()).await?;
    let steps = "ls -A | wc -l; echo kept > here && cat here; echo to the other stream >&2
        env | grep -c -i -e skep_api -e token; test -e /skep/git/HEAD || echo no repository
        head -c 3 /dev/urandom > /dev/tcp/127.0.0.1/1 2>/dev/null || echo no network";
    let (view, ran) = run(&engine, script(steps)).await?;
    assert_eq!(
        (view.kind, view.state),
        (JobKind::Shell, JobState::Done),
        "{view:#?}"
    );
    assert_eq!(
        (ran.exit_code, ran.signal, ran.limit.as_deref()),
        (Some(0), None, None)
    );
    // Two streams have no order between them.
    let mut lines: Vec<&str> = ran
        .tail
        .lines()
        .filter(|line| !line.contains("/dev/tcp"))
        .collect();
    lines.sort_unstable();
    let expected = [
        "0",
        "0",
        "kept",
        "no network",
        "no repository",
        "to the other stream",
    ];
    assert_eq!(lines, expected, "{}", ran.tail);
    assert_eq!(ran.output_bytes, i64::try_from(ran.tail.len())?);
    assert_eq!(ran.output_sha256.len(), 64);
    assert_eq!(ran.isolation.as_deref(), Some("namespaces"));
    assert_eq!(engine.log(&view.id).await?, ran.tail);
    let attempt = &view.attempts[0];
    assert_eq!(attempt.state, AttemptState::Succeeded);
    assert_eq!(
        (attempt.harness.as_deref(), attempt.isolation.as_deref()),
        (Some("shell"), Some("namespaces"))
    );
    assert!(
        engine.keys().await?.is_empty(),
        "a command has no key to any model"
    );
    let events = engine.events(&view.id).await?;
    let ledger = serde_json::to_string(&events)?;
    assert!(
        !ledger.contains("stream") && !ledger.contains(&ran.output_sha256),
        "{ledger}"
    );
    assert!(events.iter().any(|event| event.kind == "fence_proved"));
    engine.verify_ledger().await?;
    // The folder goes when the end is on record already, so that a job is seen done before.
    let attempts = engine.home.attempts();
    engine.stop().await?;
    assert_eq!(std::fs::read_dir(attempts)?.count(), 0);
    Ok(())
}

async fn an_end_has_one_class(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start(&store, &Setup::new()).await?;
    let short = |request: ShellRequest| ShellRequest {
        timeout_seconds: Some(1),
        ..request
    };
    let loud = ShellRequest {
        output_bytes_max: Some(10_000),
        ..script("yes | head -c 2000000; echo the end; sleep 600")
    };
    for (request, class, code, signal, limit) in [
        (
            script("echo so; exit 7"),
            FailureClass::ToolFailure,
            Some(7),
            None,
            None,
        ),
        (
            script("kill -TERM $$"),
            FailureClass::WorkerCrash,
            None,
            Some(15),
            None,
        ),
        (
            short(script("sleep 600")),
            FailureClass::WallClock,
            None,
            None,
            Some("time"),
        ),
        // One that closes its output is no different.
        (
            short(script("exec > /dev/null 2>&1; sleep 600")),
            FailureClass::WallClock,
            None,
            None,
            Some("time"),
        ),
        (loud, FailureClass::OutputLimit, None, None, Some("output")),
    ] {
        let (view, ran) = run(&engine, request).await?;
        assert_eq!(view.state, JobState::Failed, "{view:#?}");
        assert_eq!(view.failure_class, Some(class), "{view:#?}");
        assert_eq!(
            (ran.exit_code, ran.signal, ran.limit.as_deref()),
            (code, signal, limit)
        );
        assert_eq!(
            view.attempts.len(),
            1,
            "its end is its result, whatever it is"
        );
        assert!(view.state_reason.is_some());
        if class == FailureClass::OutputLimit {
            assert_eq!(engine.log(&view.id).await?.len(), 10_000);
            assert!(ran.output_bytes > 10_000, "{ran:?}");
        }
    }
    let (view, _) = {
        let job = engine
            .director
            .dispatch_shell(command(&["/no/such/program"]))
            .await?;
        (engine.at_rest(&job.id).await?, ())
    };
    assert_eq!(view.state, JobState::Failed);
    assert_eq!(
        view.failure_class,
        Some(FailureClass::ToolFailure),
        "{view:#?}"
    );
    engine.stop().await
}

async fn a_command_reads_a_commit_and_writes_nowhere(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::new()).await?;
    let in_repo = |text: &str, scope: &[&str]| ShellRequest {
        repo: Some(project.text_path()),
        scope: scope.iter().map(|glob| (*glob).to_owned()).collect(),
        ..script(text)
    };
    let tries = "cat README.md; git log --format=%s
        echo x > README.md || echo read only
        git -c user.name=x -c user.email=x@x commit --allow-empty -m x > /dev/null 2>&1 || echo no commit
        echo x > bees/new.py && echo written";
    let (view, ran) = run(&engine, in_repo(tries, &[])).await?;
    assert_eq!(view.state, JobState::Failed, "the last write was refused");
    for words in ["# Bees\n", "base\n", "read only\n", "no commit\n"] {
        assert!(ran.tail.contains(words), "{words}: {}", ran.tail);
    }
    assert!(!ran.tail.contains("written"));
    assert_eq!(view.base_commit, Some(project.tip("main")?));

    let (view, ran) = run(&engine, in_repo(tries, &["bees/**"])).await?;
    assert_eq!(view.state, JobState::Done, "{ran:?}");
    for words in ["read only\n", "no commit\n", "written\n"] {
        assert!(ran.tail.contains(words), "{words}: {}", ran.tail);
    }
    // What it wrote is gone with its folder, and nothing of it can land.
    assert_untouched(&project)?;
    assert_eq!(view.landing.state, skep_types::LandingState::None);
    let diff = engine.director.job_diff(view.id.as_str()).await;
    assert_eq!(
        diff.map_err(|error| error.body().code).err().as_deref(),
        Some("not_found")
    );
    engine.stop().await
}

async fn a_command_is_cancelled_with_all_it_started(store: TestStore) -> anyhow::Result<()> {
    let place = SourceRepository::new(&[("README.md", "x\n")])?;
    let mark = format!("mark-{}", place.beside().display());
    let engine = Engine::start(&store, &Setup::new()).await?;
    let steps = format!(
        "echo begun; setsid sh -c 'trap \"\" TERM INT HUP; sleep 600; : {mark}' > /dev/null 2>&1 &
        until [ -p $TMPDIR/here ]; do sleep 0.01; done; echo here > $TMPDIR/here; sleep 600; : {mark}"
    );
    let job = engine.director.dispatch_shell(script(&steps)).await?;
    let view = engine.working(&job.id, 1).await?;
    let folder = engine.home.attempts().join(view.attempts[0].id.as_str());
    Meeting::at(&folder, "here")?.wait().await?;
    engine.director.cancel(job.id.as_str()).await?;
    let view = engine.at_rest(&job.id).await?;
    assert_eq!(view.state, JobState::Cancelled);
    engine.stop().await?;
    assert_no_process(&mark)?;
    Ok(())
}

async fn a_command_that_cannot_be_run_is_refused(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start(&store, &Setup::new()).await?;
    let with = |change: fn(&mut ShellRequest)| {
        let mut request = command(&["true"]);
        change(&mut request);
        request
    };
    for (code, request) in [
        ("command_missing", command(&[])),
        ("command_missing", command(&[""])),
        ("command_too_large", command(&["echo", &"x".repeat(70_000)])),
        ("bad_text", command(&["echo", "zero \0 byte"])),
        ("bad_timeout", with(|r| r.timeout_seconds = Some(-1))),
        ("bad_output_limit", with(|r| r.output_bytes_max = Some(0))),
        (
            "repo_missing",
            with(|r| r.scope = vec!["src/**".to_owned()]),
        ),
        ("repo_missing", with(|r| r.base = Some("main".to_owned()))),
        (
            "not_a_repository",
            with(|r| r.repo = Some("/no/such/folder".to_owned())),
        ),
        (
            "bad_scope",
            with(|r| {
                r.repo = Some("/tmp".to_owned());
                r.scope = vec!["../x".to_owned()];
            }),
        ),
    ] {
        let refused = engine.director.dispatch_shell(request).await;
        let Err(body) = refused.map_err(|error| error.body()) else {
            anyhow::bail!("{code} was taken");
        };
        assert_eq!(
            (body.code.as_str(), body.exit),
            (code, 2),
            "{}",
            body.message
        );
    }
    assert!(engine.jobs().await?.is_empty());
    engine.stop().await
}
