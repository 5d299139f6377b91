//! The start and the end of a worker.

use super::{Hive, attempt_of, crashed, succeeded};
use skep_queue::event::AttemptEnded;
use skep_queue::{AttemptEnd, AttemptError, AttemptStart, limits};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{AttemptState, FailureClass, JobState};

on_both_engines!(
    a_change_out_of_order_is_refused,
    a_text_that_is_too_long_is_refused,
    an_attempt_is_read_as_it_went,
    an_attempt_of_another_claim_is_not_found,
    an_attempt_still_open_ends_with_its_lease,
    only_what_counts_is_counted,
    the_ledger_says_whether_the_model_was_the_one_asked_for,
);

async fn an_attempt_is_read_as_it_went(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.enqueue_any().await?;
    let claim = hive.claim_one(&hive.node()).await?;
    let (lease, attempt) = (claim.lease(), attempt_of(&claim)?);
    let now = skep_stdx::Clock::now_ms(&store.clock);
    store.clock.advance_ms(10);
    hive.started(&lease, &attempt).await?;
    store.clock.advance_ms(10);
    hive.ended(&lease, &attempt, succeeded()).await?;
    let found = hive.attempts(&id).await?;
    let found = &found[0];
    assert_eq!(
        (found.state, found.counted),
        (AttemptState::Succeeded, true)
    );
    assert_eq!(
        (found.leased_at_ms, found.started_at_ms, found.ended_at_ms),
        (now, Some(now + 10), Some(now + 20))
    );
    assert_eq!(found.harness.as_deref(), Some("skep"));
    assert_eq!(found.session_id.as_deref(), Some("session-1"));
    assert_eq!(found.model_requested, found.model_actual);
    assert_eq!(hive.job(&id).await?.attempts_used, 1);
    assert_eq!(
        hive.job(&id).await?.state,
        JobState::Running,
        "the job goes on"
    );
    Ok(())
}

async fn a_change_out_of_order_is_refused(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.enqueue_any().await?;
    let claim = hive.claim_one(&hive.node()).await?;
    let (lease, attempt) = (claim.lease(), attempt_of(&claim)?);
    for state in [AttemptState::Leased, AttemptState::Running] {
        let end = AttemptEnd { state, ..crashed() };
        let refused = hive.ended(&lease, &attempt, end).await;
        assert!(
            matches!(refused, Err(AttemptError::Illegal { .. })),
            "{refused:?}"
        );
    }
    hive.started(&lease, &attempt).await?;
    let again = hive.started(&lease, &attempt).await;
    assert!(
        matches!(
            again,
            Err(AttemptError::Illegal {
                from: AttemptState::Running,
                ..
            })
        ),
        "{again:?}"
    );
    hive.ended(&lease, &attempt, crashed()).await?;
    let again = hive.ended(&lease, &attempt, crashed()).await;
    assert!(
        matches!(
            again,
            Err(AttemptError::Illegal {
                from: AttemptState::Failed,
                ..
            })
        ),
        "{again:?}"
    );
    assert_eq!(hive.job(&id).await?.attempts_used, 1, "counted once");
    Ok(())
}

async fn an_attempt_of_another_claim_is_not_found(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    hive.enqueue_any().await?;
    hive.enqueue_any().await?;
    let claims = hive.claim(&hive.node(), 2).await?;
    let others = attempt_of(&claims[1])?;
    let refused = hive.started(&claims[0].lease(), &others).await;
    assert!(
        matches!(refused, Err(AttemptError::NotFound)),
        "{refused:?}"
    );
    hive.started(&claims[1].lease(), &others).await?;
    Ok(())
}

async fn only_what_counts_is_counted(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (id, node) = (hive.enqueue_any().await?, hive.node());
    for (counts_as_attempt, expected) in [(true, 1), (false, 1), (true, 2)] {
        let claim = hive.claim_one(&node).await?;
        let end = AttemptEnd {
            state: AttemptState::Parked,
            failure_class: Some(FailureClass::RateLimit),
            model_actual: None,
            session_id: None,
            counts_as_attempt,
        };
        hive.ended(&claim.lease(), &attempt_of(&claim)?, end)
            .await?;
        let job = hive.advance(&claim.lease(), JobState::Queued).await?;
        assert_eq!(job.attempts_used, expected);
    }
    let states: Vec<_> = hive.attempts(&id).await?.iter().map(|a| a.state).collect();
    assert_eq!(
        states,
        [AttemptState::Parked; 3],
        "a parked attempt stays as it is"
    );
    Ok(())
}

async fn an_attempt_still_open_ends_with_its_lease(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let node = hive.node();
    for (to, expected) in [
        (JobState::WaitingHuman, AttemptState::Failed),
        (JobState::Failed, AttemptState::Failed),
        (JobState::Cancelled, AttemptState::Cancelled),
    ] {
        let id = hive.enqueue_any().await?;
        let claim = hive.claim_one(&node).await?;
        hive.started(&claim.lease(), &attempt_of(&claim)?).await?;
        hive.advance(&claim.lease(), to).await?;
        let found = hive.attempts(&id).await?;
        assert_eq!(
            (found[0].state, found[0].counted),
            (expected, false),
            "{to}"
        );
        assert!(found[0].ended_at_ms.is_some(), "{to}");
    }
    Ok(())
}

async fn a_text_that_is_too_long_is_refused(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    hive.enqueue_any().await?;
    let claim = hive.claim_one(&hive.node()).await?;
    let long = "x".repeat(limits::SESSION_BYTES_MAX + 1);
    let start = |harness: &str, model: &str, session: &str| AttemptStart {
        harness: harness.to_owned(),
        model_requested: Some(model.to_owned()),
        session_id: Some(session.to_owned()),
    };
    for (expected, start) in [
        ("harness", start(&long, "m", "s")),
        ("model_requested", start("h", "m\0", "s")),
        ("session_id", start("h", "m", &long)),
    ] {
        let (lease, attempt) = (claim.lease(), attempt_of(&claim)?);
        let refused = hive
            .db
            .write("start", async move |tx: &mut skep_db::Tx<'_>| {
                skep_queue::attempt_started(tx, &lease, &attempt, &start).await
            })
            .await;
        match refused {
            Err(AttemptError::Invalid { field, .. }) => assert_eq!(field, expected),
            other => anyhow::bail!("{expected}: {other:?}"),
        }
    }
    Ok(())
}

async fn the_ledger_says_whether_the_model_was_the_one_asked_for(
    store: TestStore,
) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let node = hive.node();
    for (actual, expected) in [
        (Some("stub-large"), Some(true)),
        (Some("stub-small"), Some(false)),
        (None, None),
    ] {
        let id = hive.enqueue_any().await?;
        let claim = hive.claim_one(&node).await?;
        let (lease, attempt) = (claim.lease(), attempt_of(&claim)?);
        hive.started(&lease, &attempt).await?;
        let end = AttemptEnd {
            model_actual: actual.map(str::to_owned),
            session_id: None,
            ..succeeded()
        };
        hive.ended(&lease, &attempt, end).await?;
        let events = hive.events_of(&id).await?;
        let event: AttemptEnded = serde_json::from_slice(&events[3].payload)?;
        assert_eq!(event.model_as_requested, expected, "{actual:?}");
        let text = String::from_utf8(events[3].payload.clone())?;
        assert!(!text.contains("stub-"), "no name of a model: {text}");
    }
    Ok(())
}
