//! Moving jobs on: only along the state machine, only with the current fence.

use super::{Hive, KEEP, LEASE_MS, attempt_of, crashed};
use skep_queue::event::TransitionRefused;
use skep_queue::{Advance, AdvanceError, RefusalReason, WakeError};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{FailureClass, JobState};

on_both_engines!(
    a_finish_and_a_cancel_at_once_have_one_winner,
    a_job_out_of_attempts_fails,
    a_lease_is_kept_only_where_a_slot_works,
    a_stale_fence_is_refused_and_recorded,
    a_waiting_job_is_woken_from_where_it_waits,
    an_illegal_transition_is_refused_and_recorded,
);

async fn refusals(hive: &Hive, id: &skep_types::JobId) -> anyhow::Result<Vec<TransitionRefused>> {
    let events = hive.events_of(id).await?;
    events
        .iter()
        .filter(|event| event.kind == "transition_refused")
        .map(|event| Ok(serde_json::from_slice(&event.payload)?))
        .collect()
}

async fn a_stale_fence_is_refused_and_recorded(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.enqueue_any().await?;
    let stale = hive.claim_one(&hive.node()).await?.lease();
    store.clock.advance_ms(LEASE_MS);
    hive.reconcile(None).await?;
    let current = hive.claim_one(&hive.node()).await?;
    let before = hive.job(&id).await?;
    for to in [JobState::Verifying, JobState::Done, JobState::Failed] {
        let refused = hive.advance_as(&stale, to, KEEP).await;
        assert!(
            matches!(refused, Err(AdvanceError::Stale { current: Some(f) }) if f == current.fence),
            "{refused:?}"
        );
    }
    assert_eq!(hive.job(&id).await?, before, "nothing has changed");
    let expected = |to| TransitionRefused {
        reason: RefusalReason::Stale,
        state: Some(JobState::Running),
        to: Some(to),
        fence: Some(stale.fence),
    };
    assert_eq!(
        refusals(&hive, &id).await?,
        [
            expected(JobState::Verifying),
            expected(JobState::Done),
            expected(JobState::Failed)
        ]
    );
    hive.advance_as(&current.lease(), JobState::Verifying, KEEP)
        .await?;
    Ok(())
}

async fn an_illegal_transition_is_refused_and_recorded(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.enqueue_any().await?;
    let lease = hive.claim_one(&hive.node()).await?.lease();
    for to in [
        JobState::Landing,
        JobState::Running,
        JobState::Draft,
        JobState::Skipped,
    ] {
        let refused = hive.advance_as(&lease, to, KEEP).await;
        assert!(
            matches!(refused, Err(AdvanceError::Illegal(_))),
            "{to}: {refused:?}"
        );
    }
    assert_eq!(hive.job(&id).await?.state, JobState::Running);
    let found = refusals(&hive, &id).await?;
    assert_eq!(found.len(), 4);
    assert_eq!(
        (found[0].reason, found[0].to),
        (RefusalReason::Illegal, Some(JobState::Landing))
    );
    assert!(hive.is_current(&lease).await?, "the claim goes on");
    Ok(())
}

async fn a_lease_is_kept_only_where_a_slot_works(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let node = hive.node();
    for (path, kept) in [
        (&[JobState::Verifying][..], true),
        (&[JobState::Verifying, JobState::Landing], true),
        (&[JobState::Verifying, JobState::InReview], false),
        (&[JobState::Verifying, JobState::Rework], false),
        (&[JobState::WaitingQuota], false),
        (&[JobState::Queued], false),
        (&[JobState::Done], false),
    ] {
        let id = hive.enqueue_any().await?;
        let lease = hive.claim_one(&node).await?.lease();
        for to in path {
            hive.advance_as(&lease, *to, KEEP).await?;
        }
        assert_eq!(hive.is_current(&lease).await?, kept, "{path:?}");
        assert_eq!(hive.job(&id).await?.held.is_some(), kept, "{path:?}");
        if hive.places(&id).await?.0 == 1 {
            hive.cancel(&id).await?;
        }
    }
    Ok(())
}

async fn a_job_out_of_attempts_fails(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let node = hive.node();
    let crash = Some(FailureClass::WorkerCrash);
    // The failure of each attempt in turn, and where the job is after the last.
    let cases: &[(&[Option<FailureClass>], JobState)] = &[
        (&[crash], JobState::Backoff),
        (&[crash, crash], JobState::Backoff),
        (&[crash, crash, crash], JobState::Failed),
        (
            &[crash, crash, Some(FailureClass::RateLimit)],
            JobState::Backoff,
        ),
        (
            &[crash, crash, Some(FailureClass::ProviderOutage)],
            JobState::Backoff,
        ),
        (&[crash, crash, None], JobState::Backoff),
        (
            &[crash, crash, Some(FailureClass::Stalled)],
            JobState::Failed,
        ),
    ];
    for (failures, expected) in cases {
        let id = hive.enqueue_any().await?;
        let mut state = JobState::Queued;
        for failure in *failures {
            let claim = hive.claim_one(&node).await?;
            hive.ended(&claim.lease(), &attempt_of(&claim)?, crashed())
                .await?;
            let how = Advance {
                failure: *failure,
                ..Advance::default()
            };
            let job = hive
                .advance_as(&claim.lease(), JobState::Backoff, how)
                .await?;
            assert_eq!(job.failure, *failure);
            state = job.state;
        }
        assert_eq!(state, *expected, "{failures:?}");
        let ended = i64::from(expected.is_terminal());
        assert_eq!(hive.places(&id).await?, (1 - ended, ended));
        if ended == 0 {
            hive.cancel(&id).await?;
        }
    }
    Ok(())
}

async fn a_waiting_job_is_woken_from_where_it_waits(store: TestStore) -> anyhow::Result<()> {
    use JobState::{Done, InReview, Landing, Queued, Rework, Running, Verifying};
    let hive = Hive::open(&store).await?;
    let (id, node) = (hive.enqueue_any().await?, hive.node());
    let lease = hive.claim_one(&node).await?.lease();
    assert!(!hive.wake(&id, Running, Verifying).await?, "it is held");
    hive.advance_as(&lease, Verifying, KEEP).await?;
    assert!(!hive.wake(&id, Verifying, InReview).await?, "it is held");
    hive.advance(&lease, InReview).await?;
    assert!(
        !hive.wake(&id, Verifying, InReview).await?,
        "it is past that"
    );
    let illegal = hive.wake(&id, InReview, Queued).await;
    assert!(matches!(illegal, Err(WakeError::Illegal(_))), "{illegal:?}");
    assert_eq!(hive.job(&id).await?.state, InReview);
    assert!(hive.wake(&id, InReview, Rework).await?);
    assert!(
        !hive.wake(&id, InReview, Landing).await?,
        "the second opinion is late"
    );
    let claim = hive.claim_one(&node).await?;
    assert_eq!((claim.found, claim.attempt.is_some()), (Rework, true));
    hive.advance_as(&claim.lease(), Verifying, KEEP).await?;
    hive.advance(&claim.lease(), InReview).await?;
    assert!(hive.wake(&id, InReview, Done).await?);
    assert_eq!(hive.places(&id).await?, (0, 1), "woken into its end");
    assert!(!hive.wake(&id, InReview, Done).await?);
    Ok(())
}

async fn a_finish_and_a_cancel_at_once_have_one_winner(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let node = hive.node();
    for round in 0..15 {
        let id = hive.enqueue_any().await?;
        let lease = hive.claim_one(&node).await?.lease();
        let (finisher, canceller) = (hive.clone(), hive.clone());
        let cancelled_id = id.clone();
        let finish = skep_stdx::spawn("finish", async move {
            finisher
                .advance(&lease, JobState::Done)
                .await
                .map(|job| job.state)
        });
        let cancel = skep_stdx::spawn("cancel", async move {
            canceller.cancel(&cancelled_id).await.map(|c| c.job.state)
        });
        let winners: Vec<JobState> = [finish.await?.ok(), cancel.await?.ok()]
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(winners, [hive.job(&id).await?.state], "round {round}");
        assert_eq!(hive.places(&id).await?, (0, 1));
    }
    Ok(())
}
