//! The end of a job, by a person or by itself, and the way back.

use super::{Hive, LEASE_MS, attempt_of, crashed, succeeded};
use skep_db::{DbError, Tx};
use skep_queue::{Advance, AdvanceError, CancelError, NewJob, RetryError, WakeError};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{AttemptState, FailureClass, JobId, JobState};

on_both_engines!(
    a_cancel_that_is_not_committed_has_not_happened,
    a_cancelled_job_can_do_nothing_more,
    a_done_job_is_not_run_again,
    a_retry_brings_the_job_back_as_it_was,
    a_retry_gives_an_attempt_that_is_not_used,
    an_ended_job_cannot_be_cancelled,
    an_ended_job_is_kept_apart_and_still_read,
    every_waiting_job_can_be_cancelled,
    nobody_can_end_or_retry_what_is_not_there,
    only_a_claim_makes_a_job_run,
);

async fn an_ended_job_is_kept_apart_and_still_read(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (id, node) = (hive.enqueue_any().await?, hive.node());
    assert_eq!(hive.places(&id).await?, (1, 0));
    let claim = hive.claim_one(&node).await?;
    hive.ended(&claim.lease(), &attempt_of(&claim)?, succeeded())
        .await?;
    store.clock.advance_ms(7);
    let done = hive.advance(&claim.lease(), JobState::Done).await?;
    assert_eq!(hive.places(&id).await?, (0, 1));
    let now = skep_stdx::Clock::now_ms(&store.clock);
    assert_eq!((done.state, done.ended_at_ms), (JobState::Done, Some(now)));
    assert_eq!(done, hive.job(&id).await?, "the answer is the row");
    let number = done.number;
    let by_number = hive
        .db
        .read("number", async move |tx: &mut Tx<'_>| {
            skep_queue::job_by_number(tx, number).await
        })
        .await?;
    assert_eq!(by_number, Some(done));
    assert_eq!(hive.attempts(&id).await?.len(), 1);
    let late = hive.advance(&claim.lease(), JobState::Done).await;
    assert!(
        matches!(late, Err(AdvanceError::Stale { current: None })),
        "{late:?}"
    );
    Ok(())
}

async fn a_cancelled_job_can_do_nothing_more(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (id, node) = (hive.enqueue_any().await?, hive.node());
    let claim = hive.claim_one(&node).await?;
    hive.started(&claim.lease(), &attempt_of(&claim)?).await?;
    let cancelled = hive.cancel(&id).await?;
    assert_eq!(cancelled.from, JobState::Running);
    assert_eq!(
        (cancelled.node, &cancelled.attempt),
        (Some(node.clone()), &claim.attempt)
    );
    assert_eq!(cancelled.job, hive.job(&id).await?);
    assert_eq!(hive.attempts(&id).await?[0].state, AttemptState::Cancelled);
    assert!(!hive.is_current(&claim.lease()).await?);
    assert_eq!(
        hive.heartbeat(&node).await?,
        [],
        "how the node learns of it"
    );
    assert!(hive.claim(&node, 1).await?.is_empty());
    Ok(())
}

async fn every_waiting_job_can_be_cancelled(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let node = hive.node();
    let queued = hive.enqueue_any().await?;
    let cancelled = hive.cancel(&queued).await?;
    assert_eq!((cancelled.node, cancelled.attempt), (None, None));
    for state in [
        JobState::WaitingHuman,
        JobState::Backoff,
        JobState::Verifying,
    ] {
        let id = hive.enqueue_any().await?;
        let lease = hive.claim_one(&node).await?.lease();
        hive.advance(&lease, state).await?;
        assert_eq!(hive.cancel(&id).await?.from, state);
        assert_eq!(hive.places(&id).await?, (0, 1), "{state}");
    }
    Ok(())
}

async fn an_ended_job_cannot_be_cancelled(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let node = hive.node();
    for state in [JobState::Done, JobState::Failed, JobState::Cancelled] {
        let id = hive.enqueue_any().await?;
        let lease = hive.claim_one(&node).await?.lease();
        hive.advance(&lease, state).await?;
        let before = hive.events_of(&id).await?;
        let refused = hive.cancel(&id).await;
        assert!(
            matches!(refused, Err(CancelError::Ended { state: found }) if found == state),
            "{refused:?}"
        );
        assert_eq!(hive.events_of(&id).await?, before);
    }
    Ok(())
}

async fn a_retry_brings_the_job_back_as_it_was(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (id, node) = (hive.enqueue_any().await?, hive.node());
    let claim = hive.claim_one(&node).await?;
    hive.ended(&claim.lease(), &attempt_of(&claim)?, crashed())
        .await?;
    let failed = hive.advance(&claim.lease(), JobState::Failed).await?;
    store.clock.advance_ms(100);
    let job = hive.retry(&id, 2).await?;
    assert_eq!(hive.places(&id).await?, (1, 0));
    let now = skep_stdx::Clock::now_ms(&store.clock);
    let expected = skep_queue::Job {
        state: JobState::Queued,
        attempts_max: 5,
        run_at_ms: now,
        changed_at_ms: now,
        ended_at_ms: None,
        ..failed
    };
    assert_eq!(job, expected);
    let again = hive.claim_one(&node).await?;
    assert!(again.fence > claim.fence);
    assert_eq!(
        hive.attempts(&id).await?.len(),
        2,
        "the first is not forgotten"
    );
    hive.advance(&again.lease(), JobState::Failed).await?;
    for (extra, expected) in [(0, 5), (-3, 5), (1, 6)] {
        assert_eq!(
            hive.retry(&id, extra).await?.attempts_max,
            expected,
            "{extra} extra"
        );
        hive.cancel(&id).await?;
    }
    Ok(())
}

/// Without more attempts the first failure would end it at once.
async fn a_retry_gives_an_attempt_that_is_not_used(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let node = hive.node();
    let once = NewJob {
        attempts_max: 1,
        ..hive.new_job()
    };
    let id = hive.enqueue(once).await?.id;
    for expected in [2, 3] {
        let claim = hive.claim_one(&node).await?;
        let attempt = attempt_of(&claim)?;
        hive.ended(&claim.lease(), &attempt, crashed()).await?;
        let how = Advance {
            failure: Some(FailureClass::WorkerCrash),
            ..Advance::default()
        };
        let ended = hive
            .advance_as(&claim.lease(), JobState::Backoff, how)
            .await?;
        assert_eq!(ended.state, JobState::Failed);
        assert_eq!(hive.retry(&id, 0).await?.attempts_max, expected);
    }
    Ok(())
}

async fn a_done_job_is_not_run_again(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.enqueue_any().await?;
    let live = hive.retry(&id, 1).await;
    assert!(
        matches!(
            live,
            Err(RetryError::Live {
                state: JobState::Queued
            })
        ),
        "{live:?}"
    );
    let lease = hive.claim_one(&hive.node()).await?.lease();
    hive.advance(&lease, JobState::Done).await?;
    let refused = hive.retry(&id, 1).await;
    assert!(
        matches!(refused, Err(RetryError::Illegal(_))),
        "{refused:?}"
    );
    assert_eq!(hive.places(&id).await?, (0, 1));
    Ok(())
}

async fn nobody_can_end_or_retry_what_is_not_there(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let nobody: JobId = hive.new_job().id;
    assert!(matches!(
        hive.cancel(&nobody).await,
        Err(CancelError::NotFound)
    ));
    assert!(matches!(
        hive.retry(&nobody, 1).await,
        Err(RetryError::NotFound)
    ));
    assert!(
        !hive
            .wake(&nobody, JobState::Paused, JobState::Queued)
            .await?
    );
    assert_eq!(hive.ledger.events().await?, []);
    Ok(())
}

/// A transaction that dies after the cancellation leaves the claim whole, and the worker goes on.
async fn only_a_claim_makes_a_job_run(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.enqueue_any().await?;
    let woken = hive.wake(&id, JobState::Queued, JobState::Running).await;
    assert!(matches!(woken, Err(WakeError::Illegal(_))), "{woken:?}");
    assert_eq!(hive.job(&id).await?.state, JobState::Queued);
    Ok(())
}

async fn a_cancel_that_is_not_committed_has_not_happened(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (id, node) = (hive.enqueue_any().await?, hive.node());
    let claim = hive.claim_one(&node).await?;
    let (before, job) = (hive.job(&id).await?, id.clone());
    let failed = hive
        .db
        .write("half a cancel", async move |tx: &mut Tx<'_>| {
            skep_queue::cancel(tx, &job).await?;
            Err::<(), CancelError>(DbError::Closed.into())
        })
        .await;
    assert!(failed.is_err());
    assert_eq!(hive.job(&id).await?, before);
    assert_eq!(hive.attempts(&id).await?[0].state, AttemptState::Leased);
    assert_eq!(hive.kinds_of(&id).await?, ["job_queued", "job_claimed"]);
    store.clock.advance_ms(LEASE_MS - 1);
    assert_eq!(hive.heartbeat(&node).await?, [id]);
    hive.ended(&claim.lease(), &attempt_of(&claim)?, succeeded())
        .await?;
    hive.advance(&claim.lease(), JobState::Done).await?;
    Ok(())
}
