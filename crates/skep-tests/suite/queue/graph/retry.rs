//! Retrying a failed parent takes back the skips that it alone has caused.

use super::Garden;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::JobState;

on_both_engines!(
    a_child_that_has_begun_is_left_alone,
    a_skipped_job_can_be_started_all_the_same,
    a_waiting_child_waits_for_the_new_end,
    skips_of_the_retried_job_alone_are_taken_back,
    two_causes_take_two_retries,
);

async fn skips_of_the_retried_job_alone_are_taken_back(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden
        .plant(&[
            ("a", &[]),
            ("b", &["a"]),
            ("c", &["b"]),
            ("d", &["c", "x"]),
            ("x", &[]),
            ("e", &["c?"]),
        ])
        .await?;
    garden.end("x", JobState::Failed).await?;
    garden.end("a", JobState::Failed).await?;
    garden
        .assert_states("b skipped, c skipped, d skipped, e queued")
        .await?;
    garden.hive.retry(garden.id("a"), 0).await?;
    garden
        .assert_states("a queued, b blocked, c blocked, d skipped, e queued, x failed")
        .await?;
    let kinds = garden.hive.kinds_of(garden.id("b")).await?;
    assert_eq!(kinds.last().map(String::as_str), Some("job_reopened"));
    for (name, next) in [("a", "b"), ("b", "c")] {
        garden.end(name, JobState::Done).await?;
        garden.assert_states(&format!("{next} queued")).await?;
    }
    garden.end("c", JobState::Done).await?;
    garden.assert_states("c done, d skipped").await
}

async fn two_causes_take_two_retries(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden
        .plant(&[("a", &[]), ("b", &[]), ("c", &["a", "b"]), ("d", &["c"])])
        .await?;
    garden.end("a", JobState::Failed).await?;
    garden.end("b", JobState::Cancelled).await?;
    garden.hive.retry(garden.id("a"), 0).await?;
    garden.assert_states("c skipped, d skipped").await?;
    garden.hive.retry(garden.id("b"), 0).await?;
    garden.assert_states("c blocked, d blocked").await?;
    for name in ["b", "a", "c", "d"] {
        garden.end(name, JobState::Done).await?;
    }
    Ok(())
}

async fn a_waiting_child_waits_for_the_new_end(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden
        .plant(&[("a", &[]), ("b", &[]), ("c", &["a?", "b"])])
        .await?;
    garden.end("a", JobState::Failed).await?;
    garden.hive.retry(garden.id("a"), 0).await?;
    garden.end("b", JobState::Done).await?;
    garden.assert_states("c blocked").await?;
    garden.end("a", JobState::Failed).await?;
    garden.assert_states("c queued").await
}

async fn a_child_that_has_begun_is_left_alone(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden
        .plant(&[("a", &[]), ("b", &["a?"]), ("c", &["a?"])])
        .await?;
    garden.end("a", JobState::Failed).await?;
    garden.end("b", JobState::Done).await?;
    garden.hive.retry(garden.id("a"), 0).await?;
    garden.assert_states("a queued, b done, c running").await?;
    garden.end("a", JobState::Failed).await?;
    garden.end("c", JobState::Done).await
}

async fn a_skipped_job_can_be_started_all_the_same(store: TestStore) -> anyhow::Result<()> {
    let mut garden = Garden::open(&store).await?;
    garden
        .plant(&[("a", &[]), ("b", &["a"]), ("c", &["b"])])
        .await?;
    garden.end("a", JobState::Failed).await?;
    garden.hive.retry(garden.id("b"), 0).await?;
    garden
        .assert_states("a failed, b queued, c blocked")
        .await?;
    garden.end("b", JobState::Done).await?;
    garden.assert_states("c queued").await
}
