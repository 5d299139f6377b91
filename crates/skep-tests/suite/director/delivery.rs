//! Delivery is a machine of its own: what holds it up is seen, tried again, and undoes nothing.

use super::stand::{Engine, FIX, Setup, assert_landed, project, request};
use skep_db::{DbError, Tx};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{DeliveryState, JobState};

on_both_engines!(
    a_report_from_before_there_were_topics_is_delivered,
    a_report_that_cannot_be_written_waits_and_undoes_nothing,
);

async fn a_report_that_cannot_be_written_waits_and_undoes_nothing(
    store: TestStore,
) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &Setup::with_fixer(FIX)).await?;
    // A file where the folder of reports was.
    let reports = engine.home.reports();
    std::fs::remove_dir(&reports)?;
    std::fs::write(&reports, "in the way")?;
    let job = engine.dispatch(request(&project)).await?;
    let ended = |state: JobState| state.is_terminal();
    let view = engine
        .until(&job.id, "it ends", |view| ended(view.state))
        .await?;
    assert_eq!(view.state, JobState::Done);
    assert_landed(&view, &project, "main");
    assert_ne!(view.delivery.state, DeliveryState::Delivered);
    assert_eq!(view.delivery.place, None);
    let topic = engine.director.topic("reports").await?;
    assert_eq!(
        (topic.produced, topic.groups[0].lag),
        (1, 1),
        "the backlog is seen"
    );
    std::fs::remove_file(&reports)?;
    std::fs::create_dir(&reports)?;
    let view = engine.at_rest(&job.id).await?;
    let place = view.delivery.place.clone().unwrap_or_default();
    let report: skep_api::JobView = serde_json::from_slice(&std::fs::read(place)?)?;
    assert_eq!(report, view);
    let topic = engine.director.topic("reports").await?;
    assert_eq!((topic.groups[0].lag, topic.groups[0].delivered), (0, 1));
    assert_eq!(
        topic.groups[0].blocked, 0,
        "an outage makes no dead letters"
    );
    engine.verify_ledger().await?;
    engine.stop().await
}

async fn a_report_from_before_there_were_topics_is_delivered(
    store: TestStore,
) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer(FIX);
    let engine = Engine::start(&store, &setup).await?;
    let job = engine.run(request(&project)).await?;
    let place = job.delivery.place.clone().unwrap_or_default();
    std::fs::remove_file(&place)?;
    // As the step that brought topics leaves a report that was under way.
    let sql = "UPDATE delivery SET message = NULL, place = NULL";
    let forget = async move |tx: &mut Tx<'_>| tx.execute(sql, &[]).await;
    let forgotten: Result<u64, DbError> = engine.db.write("forget", forget).await;
    assert_eq!(forgotten?, 1);
    engine.stop().await?;
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.at_rest(&job.id).await?;
    assert_eq!(view.delivery.place.as_deref(), Some(place.as_str()));
    assert!(std::fs::exists(&place)?);
    engine.stop().await
}
