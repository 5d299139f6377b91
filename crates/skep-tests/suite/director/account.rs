//! What people see of jobs: lists, logs, diffs; and jobs that they start again.

use super::stand::{Engine, FIX, Setup, assert_landed, project, request};
use skep_api::{DispatchRequest, RetryRequest};
use skep_director::JobQuery;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{AttemptState, FailureClass, Gate, JobState};

on_both_engines!(
    a_failed_job_is_tried_again_by_a_person,
    a_list_has_pages_and_filters,
    a_log_and_a_diff_show_what_was_done,
);

async fn a_list_has_pages_and_filters(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer("contract BLOCKED ''");
    let engine = Engine::start(&store, &setup).await?;
    let mut ids = Vec::new();
    for number in 0..5 {
        let job = engine.dispatch(DispatchRequest {
            instruction: format!("Number {number}\nand more"),
            scope: vec![format!("part-{number}/**")],
            project: Some(if number % 2 == 0 { "even" } else { "odd" }.to_owned()),
            checks: vec!["true".to_owned()],
            gate: Some(Gate::G0),
            ..request(&project)
        });
        let job = job.await?;
        engine.at_rest(&job.id).await?;
        ids.push(job.id);
    }
    engine.director.cancel(ids[0].as_str()).await?;
    engine.at_rest(&ids[0]).await?;
    ids.reverse();
    let all: Vec<_> = engine.jobs().await?.into_iter().map(|job| job.id).collect();
    assert_eq!(all, ids, "the newest first, ended ones too");

    let mut found = Vec::new();
    let mut query = JobQuery {
        limit: Some(2),
        ..JobQuery::default()
    };
    for expected in [2, 2, 1] {
        let page = engine.director.jobs(&query).await?;
        assert_eq!(page.items.len(), expected);
        found.extend(page.items.into_iter().map(|job| job.id));
        query.cursor = page.next_cursor;
    }
    assert_eq!((found, query.cursor), (ids, None));

    for (states, project, count) in [
        (vec![JobState::WaitingHuman], None, 4),
        (vec![JobState::Cancelled], None, 1),
        (vec![JobState::Cancelled, JobState::WaitingHuman], None, 5),
        (vec![JobState::Done], None, 0),
        (Vec::new(), Some("odd"), 2),
        (vec![JobState::Cancelled], Some("even"), 1),
        (Vec::new(), Some("nobody"), 0),
    ] {
        let query = JobQuery {
            states,
            project: project.map(str::to_owned),
            ..JobQuery::default()
        };
        let page = engine.director.jobs(&query).await?;
        assert_eq!(page.items.len(), count, "{query:?}");
        assert!(
            page.items
                .iter()
                .all(|job| job.title.starts_with("Number "))
        );
    }
    let query = JobQuery {
        cursor: Some("mine".to_owned()),
        ..JobQuery::default()
    };
    let refused = engine
        .director
        .jobs(&query)
        .await
        .map_err(|error| error.body());
    let refused = refused.err().map(|error| (error.code, error.exit));
    assert_eq!(refused, Some(("bad_cursor".to_owned(), 2)));
    assert_eq!(
        engine.director.live_jobs().await?,
        0,
        "the rest waits for people"
    );
    engine.stop().await
}

async fn a_log_and_a_diff_show_what_was_done(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let steps = format!(
        r#"
echo "first line"; echo "to the other stream" >&2
head -c 400000 /dev/zero | tr '\0' 'x'
printf '\377\376 last line, without an end'
{FIX}"#
    );
    let engine = Engine::start(&store, &Setup::with_fixer(&steps)).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    let number = format!("#{}", view.number);
    let log = engine.director.job_log(&number, None).await?;
    assert!(log.cut, "it is longer than what is shown");
    assert!(log.text.ends_with("last line, without an end"));
    assert!(log.text.len() <= 3 * skep_director::limits::LOG_VIEW_BYTES_MAX);
    let attempt = view.attempts[0].id.as_str();
    assert_eq!(engine.director.job_log(&number, Some(attempt)).await?, log);
    let missing = engine.director.job_log(&number, Some("att_nobody")).await;
    let missing = missing.map_err(|error| error.body().code);
    assert_eq!(missing.err().as_deref(), Some("not_found"));

    let diff = engine.director.job_diff(view.id.as_str()).await?;
    assert_eq!(Some(&diff.base), view.base_commit.as_ref());
    assert_eq!(Some(diff.tip), view.landing.commit);
    assert!(
        diff.diff.contains("-    return a - b\n+    return a + b"),
        "{}",
        diff.diff
    );
    engine.stop().await
}

async fn a_failed_job_is_tried_again_by_a_person(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let steps = format!(
        "until [ -p $TMPDIR/fail ] || [ -p $TMPDIR/go ]; do sleep 0.01; done
        if [ -p $TMPDIR/fail ]; then meet fail; exit 3; fi
        meet go
        {FIX}"
    );
    let engine = Engine::start(&store, &Setup::with_fixer(&steps)).await?;
    let job = engine.dispatch(request(&project)).await?;
    let live = engine
        .director
        .retry(job.id.as_str(), RetryRequest::default())
        .await;
    let code = live.map_err(|error| error.body().code);
    assert_eq!(code.err().as_deref(), Some("job_live"));
    let view = engine.working(&job.id, 1).await?;
    engine.meet(&view, "fail").await?;
    let view = engine.at_rest(&job.id).await?;
    assert_eq!(view.failure_class, Some(FailureClass::ToolFailure));
    assert!(view.state_reason.is_some());

    engine
        .director
        .retry(job.id.as_str(), RetryRequest::default())
        .await?;
    let view = engine.working(&job.id, 2).await?;
    assert_eq!(view.state_reason, None, "it is at work again");
    assert_eq!(view.ended_at, None);
    engine.meet(&view, "go").await?;
    let view = engine.until(&job.id, "it lands", |view| view.state == JobState::Done);
    let view = view.await?;
    assert_landed(&view, &project, "main");
    assert_eq!(view.number, 1, "it keeps its number");
    let states: Vec<_> = view.attempts.iter().map(|a| a.state).collect();
    assert_eq!(states, [AttemptState::Failed, AttemptState::Succeeded]);
    let done = engine
        .director
        .retry(job.id.as_str(), RetryRequest::default())
        .await;
    let code = done.map_err(|error| error.body().code);
    assert_eq!(code.err().as_deref(), Some("job_not_retried"));
    engine.stop().await
}
