//! Dead letters: jobs that ended without success, with their evidence; poison is set aside.

use super::stand::{Engine, Setup, project, request};
use skep_api::{CallRequest, DeadListQuery, DrainRequest, ShellRequest};
use skep_director::DirectorError;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{FailureClass, JobId, JobState, Role};

on_both_engines!(
    a_drain_keeps_the_order_and_its_limit,
    a_job_that_fails_the_same_way_is_quarantined,
    a_replay_that_succeeds_leaves_no_letter,
    evidence_is_kept,
    letters_are_counted_by_class,
);

/// A model that knows nobody at first.
const BARRED_ONCE: &str = r#"
version = 1
[[conversation]]
name = "barred"
[[conversation.turn]]
fault = { times = 1, status = 401, error = "authentication_error", message = "who are you" }
reply = { blocks = [{ text = "welcome" }] }
"#;

fn fails(code: i32) -> ShellRequest {
    ShellRequest {
        command: ["/bin/sh", "-c", &format!("echo so; exit {code}")]
            .map(str::to_owned)
            .to_vec(),
        ..ShellRequest::default()
    }
}

/// Runs a command that fails; the job.
async fn dead(engine: &Engine) -> anyhow::Result<JobId> {
    let job = engine.director.dispatch_shell(fails(7)).await?;
    let view = engine.at_rest(&job.id).await?;
    assert_eq!(view.state, JobState::Failed, "{view:#?}");
    Ok(job.id)
}

fn code<T>(refused: Result<T, DirectorError>) -> Option<(String, u8)> {
    refused
        .map_err(|error| error.body())
        .err()
        .map(|body| (body.code, body.exit))
}

async fn numbers(engine: &Engine) -> anyhow::Result<Vec<i64>> {
    let page = engine.director.dead(&DeadListQuery::default()).await?;
    Ok(page.items.into_iter().map(|letter| letter.number).collect())
}

async fn a_job_that_fails_the_same_way_is_quarantined(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start(&store, &Setup::new()).await?;
    let job = dead(&engine).await?;
    for (attempts, state) in [(2, JobState::Failed), (3, JobState::Quarantined)] {
        engine.director.replay(job.as_str()).await?;
        let view = engine.until(&job, "it has died again", |view| {
            view.attempts.len() == attempts && view.state.is_terminal()
        });
        let view = view.await?;
        assert_eq!(view.state, state, "{view:#?}");
        assert_eq!(view.failure_class, Some(FailureClass::ToolFailure));
    }
    let letter = engine.director.dead_letter(job.as_str()).await?.letter;
    assert_eq!(
        (
            letter.state,
            letter.class,
            letter.deaths,
            letter.in_a_row,
            letter.replays
        ),
        (JobState::Quarantined, FailureClass::ToolFailure, 3, 3, 2)
    );
    // No replay and no drain touches it; a person who names it may.
    let refused = code(engine.director.replay(job.as_str()).await);
    assert_eq!(refused, Some(("job_quarantined".to_owned(), 3)));
    let drained = engine.director.drain(DrainRequest::default()).await?;
    assert_eq!(
        (drained.replayed, drained.passed_over),
        (Vec::new(), vec![1])
    );
    engine
        .director
        .retry(job.as_str(), skep_api::RetryRequest::default())
        .await?;
    let view = engine.until(&job, "it has died once more", |view| {
        view.attempts.len() == 4 && view.state.is_terminal()
    });
    assert_eq!(
        view.await?.state,
        JobState::Quarantined,
        "what it did before still counts"
    );
    engine.verify_ledger().await?;
    engine.stop().await
}

async fn a_replay_that_succeeds_leaves_no_letter(store: TestStore) -> anyhow::Result<()> {
    let setup = Setup::new()
        .own_loop("asker", Role::Observer, "stub-large")
        .script(BARRED_ONCE);
    let engine = Engine::start(&store, &setup).await?;
    let call = CallRequest {
        prompt: "let me in".to_owned(),
        model: Some("stub-large".to_owned()),
        ..CallRequest::default()
    };
    let job = engine.director.dispatch_call(call).await?;
    let view = engine.at_rest(&job.id).await?;
    assert_eq!(view.failure_class, Some(FailureClass::Auth), "{view:#?}");
    assert_eq!(numbers(&engine).await?, [view.number]);
    engine.director.replay(job.id.as_str()).await?;
    let view = engine.until(&job.id, "it is answered", |view| {
        view.state == JobState::Done
    });
    assert_eq!(view.await?.attempts.len(), 2);
    assert!(numbers(&engine).await?.is_empty());
    for refused in [
        code(engine.director.dead_letter(job.id.as_str()).await),
        code(engine.director.replay(job.id.as_str()).await),
        code(engine.director.dismiss(job.id.as_str()).await),
    ] {
        assert_eq!(refused, Some(("not_found".to_owned(), 4)));
    }
    engine.stop().await
}

async fn a_drain_keeps_the_order_and_its_limit(store: TestStore) -> anyhow::Result<()> {
    let engine = Engine::start(&store, &Setup::new()).await?;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(dead(&engine).await?);
    }
    assert_eq!(numbers(&engine).await?, [5, 4, 3, 2, 1], "the newest first");
    engine.director.dismiss(jobs[1].as_str()).await?;
    let drained = engine
        .director
        .drain(DrainRequest {
            limit: Some(3),
            class: Some(FailureClass::ToolFailure),
        })
        .await?;
    let replayed: Vec<i64> = drained.replayed.iter().map(|job| job.number).collect();
    assert_eq!(
        replayed,
        [1, 3, 4],
        "in the order in which they were asked for"
    );
    assert!(drained.passed_over.is_empty());
    for place in [0, 2, 3] {
        let again = engine.until(&jobs[place], "it has died again", |view| {
            view.attempts.len() == 2 && view.state == JobState::Failed
        });
        again.await?;
    }
    assert_eq!(
        numbers(&engine).await?,
        [5, 4, 3, 1],
        "what is dismissed is not listed"
    );
    let claims = |events: Vec<skep_api::EventView>| {
        let claims = events
            .into_iter()
            .filter(|event| event.kind == "job_claimed");
        claims
            .map(|event| event.seq)
            .next_back()
            .unwrap_or_default()
    };
    let mut order = Vec::new();
    for place in [0, 2, 3] {
        order.push(claims(engine.events(&jobs[place]).await?));
    }
    assert!(order.is_sorted(), "{order:?}");
    let none = DrainRequest {
        class: Some(FailureClass::Auth),
        ..DrainRequest::default()
    };
    let drained = engine.director.drain(none).await?;
    assert_eq!(
        (drained.replayed, drained.passed_over),
        (Vec::new(), Vec::new())
    );
    let page = DeadListQuery {
        limit: Some(2),
        ..DeadListQuery::default()
    };
    let page = engine.director.dead(&page).await?;
    assert_eq!(
        (page.items.len(), page.next_cursor.as_deref()),
        (2, Some("4"))
    );
    engine.stop().await
}

async fn letters_are_counted_by_class(store: TestStore) -> anyhow::Result<()> {
    let setup = Setup::new().own_loop("asker", Role::Observer, "stub-large");
    let engine = Engine::start(&store, &setup).await?;
    let empty = engine.director.dead_classes().await?;
    assert_eq!((empty.letters, empty.unknown_percent), (0, 0));
    for _ in 0..3 {
        dead(&engine).await?;
    }
    let call = CallRequest {
        prompt: "nobody knows this".to_owned(),
        model: Some("stub-large".to_owned()),
        ..CallRequest::default()
    };
    let unknown = engine.director.dispatch_call(call).await?;
    engine.at_rest(&unknown.id).await?;
    let counted = engine.director.dead_classes().await?;
    assert_eq!(
        (counted.letters, counted.unknown, counted.unknown_percent),
        (4, 1, 25)
    );
    let classes: Vec<_> = counted
        .classes
        .iter()
        .map(|c| (c.class, c.letters))
        .collect();
    assert_eq!(
        classes,
        [(FailureClass::ToolFailure, 3), (FailureClass::Unknown, 1)]
    );
    engine.stop().await
}

async fn evidence_is_kept(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let steps = "echo my last words; save nothing || true
        echo half > \"$(dirname \"$SKEP_CONTRACT_FILE\")/notes\"; exit 3";
    let engine = Engine::start(&store, &Setup::with_fixer(steps)).await?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.state, JobState::Failed);
    let dead = engine
        .director
        .dead_letter(&view.number.to_string())
        .await?;
    assert_eq!(dead.letter.class, FailureClass::ToolFailure);
    assert!(dead.letter.reason.is_some());
    assert_eq!(dead.job.id, view.id);
    let kinds: Vec<&str> = dead
        .events
        .iter()
        .map(|event| event.kind.as_str())
        .collect();
    for kind in ["result_recorded", "leftover_kept", "dead_letter_written"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let leftover = dead.job.attempts[0].leftover.clone();
    let place = leftover.and_then(|left| left.place).unwrap_or_default();
    let notes = engine.home.root().join(place).join("notes");
    assert_eq!(std::fs::read_to_string(notes)?, "half\n");
    assert!(engine.log(&view.id).await?.contains("my last words"));
    engine.stop().await
}
