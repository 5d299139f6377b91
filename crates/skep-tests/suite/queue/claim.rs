//! Who gets which job, and when.

use super::{Hive, KEEP, attempt_of};
use skep_db::{Tx, Value, params};
use skep_queue::{Advance, NewJob};
use skep_testkit::{Backend, TestStore, on_both_engines};
use skep_types::{AttemptState, FailureClass, Fence, JobId, JobState};
use std::collections::HashSet;

on_both_engines!(
    a_backoff_is_claimed_when_it_is_due,
    a_claim_starts_an_attempt,
    a_claim_takes_no_more_than_it_has_room_for,
    a_job_left_in_the_middle_gets_a_lease_only,
    the_fence_grows_with_every_claim,
    the_first_come_first,
    two_claimers_never_get_one_job,
    what_a_claim_looks_for_is_found_by_index,
    what_waits_is_not_claimed,
);

async fn a_claim_starts_an_attempt(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (id, node) = (hive.enqueue_any().await?, hive.node());
    store.clock.advance_ms(5);
    let claim = hive.claim_one(&node).await?;
    assert_eq!((&claim.job.id, claim.fence), (&id, Fence(1)));
    assert_eq!(claim.found, JobState::Queued);
    assert_eq!(claim.job, hive.job(&id).await?, "the answer is the row");
    let now = skep_stdx::Clock::now_ms(&store.clock);
    let held = claim.job.held.as_ref().map(|h| (&h.node, h.until_ms));
    assert_eq!(claim.job.state, JobState::Running);
    assert_eq!(held, Some((&node, now + super::LEASE_MS)));
    let attempts = hive.attempts(&id).await?;
    let [attempt] = attempts.as_slice() else {
        anyhow::bail!("one claim, one attempt: {attempts:?}");
    };
    assert_eq!(Some(&attempt.id), claim.attempt.as_ref());
    assert_eq!(
        (
            attempt.state,
            attempt.fence,
            &attempt.node,
            attempt.leased_at_ms
        ),
        (AttemptState::Leased, Fence(1), &node, now)
    );
    assert!(hive.is_current(&claim.lease()).await?);
    assert_eq!(hive.kinds_of(&id).await?, ["job_queued", "job_claimed"]);
    assert!(hive.claim(&node, 9).await?.is_empty(), "it is claimed");
    Ok(())
}

async fn the_first_come_first(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let now = skep_stdx::Clock::now_ms(&store.clock);
    let mut ids = Vec::new();
    // (priority, when it was due), in the order in which they are to be claimed. The last but one
    // has waited for longer than its priority holds it back.
    let minute = skep_queue::limits::AGEING_MS_PER_POINT;
    let order = [
        (9, -1),
        (1, -30),
        (1, -20),
        (1, -20),
        (-1, -minute - 5),
        (0, -4),
    ];
    for (priority, due) in order {
        let new = NewJob {
            priority,
            run_at_ms: Some(now + due),
            ..hive.new_job()
        };
        ids.push(new);
    }
    let expected: Vec<JobId> = ids.iter().map(|new| new.id.clone()).collect();
    // The two that are alike are told apart by their numbers, so they go in order.
    for i in [5, 2, 3, 0, 4, 1] {
        hive.enqueue(ids[i].clone()).await?;
    }
    let node = hive.node();
    let mut claimed = Vec::new();
    for slots in [2, 1, 3] {
        let claims = hive.claim(&node, slots).await?;
        claimed.extend(claims.into_iter().map(|claim| claim.job.id));
    }
    assert_eq!(claimed, expected);
    Ok(())
}

async fn a_claim_takes_no_more_than_it_has_room_for(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    for _ in 0..5 {
        hive.enqueue_any().await?;
    }
    let node = hive.node();
    for (slots, expected) in [(0, 0), (-1, 0), (1, 1), (2, 2), (9, 2)] {
        let claims = hive.claim(&node, slots).await?;
        assert_eq!(claims.len(), expected, "{slots} slots");
    }
    Ok(())
}

async fn two_claimers_never_get_one_job(store: TestStore) -> anyhow::Result<()> {
    const JOBS: usize = 60;
    let hive = Hive::open(&store).await?;
    for _ in 0..JOBS {
        hive.enqueue_any().await?;
    }
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (hive, node) = (hive.clone(), hive.node());
            skep_stdx::spawn("claimer", async move {
                let mut mine = Vec::new();
                loop {
                    let claims = hive.claim(&node, 1 + n % 4).await?;
                    if claims.is_empty() {
                        return Ok::<_, anyhow::Error>(mine);
                    }
                    mine.extend(claims);
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    // A claimer that met only locked rows stops early; what it left is claimed now.
    while let Some(claim) = hive.claim(&hive.node(), 1).await?.pop() {
        all.push(claim);
    }
    let ids: HashSet<_> = all.iter().map(|claim| claim.job.id.clone()).collect();
    let attempts: HashSet<_> = all.iter().map(|claim| claim.attempt.clone()).collect();
    assert_eq!((all.len(), ids.len(), attempts.len()), (JOBS, JOBS, JOBS));
    assert!(all.iter().all(|claim| claim.fence == Fence(1)));
    Ok(())
}

async fn the_fence_grows_with_every_claim(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (id, node) = (hive.enqueue_any().await?, hive.node());
    let mut fences = Vec::new();
    // Lost, set back, waiting for a limit, cancelled and retried: each gives up the claim.
    for end in 0..5 {
        let claim = hive.claim_one(&node).await?;
        fences.push(claim.fence);
        let lease = claim.lease();
        match end {
            0 => {
                store.clock.advance_ms(super::LEASE_MS);
                assert_eq!(hive.reconcile(None).await?.lost.len(), 1);
            }
            1 => drop(hive.advance(&lease, JobState::Queued).await?),
            2 => {
                hive.advance(&lease, JobState::WaitingQuota).await?;
                assert!(
                    hive.wake(&id, JobState::WaitingQuota, JobState::Queued)
                        .await?
                );
            }
            3 => {
                hive.cancel(&id).await?;
                hive.retry(&id, 0).await?;
            }
            _ => {}
        }
        assert_eq!(hive.is_current(&lease).await?, end == 4, "end {end}");
    }
    assert!(fences.is_sorted_by(|a, b| a < b), "{fences:?}");
    Ok(())
}

async fn a_backoff_is_claimed_when_it_is_due(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (id, node) = (hive.enqueue_any().await?, hive.node());
    let claim = hive.claim_one(&node).await?;
    let due = skep_stdx::Clock::now_ms(&store.clock) + 1_000;
    let how = Advance {
        failure: Some(FailureClass::RateLimit),
        run_at_ms: Some(due),
        ..Advance::default()
    };
    let job = hive
        .advance_as(&claim.lease(), JobState::Backoff, how)
        .await?;
    assert_eq!((job.state, job.run_at_ms), (JobState::Backoff, due));
    assert_eq!(job.failure, Some(FailureClass::RateLimit));
    store.clock.advance_ms(999);
    assert!(
        hive.claim(&node, 1).await?.is_empty(),
        "a millisecond early"
    );
    store.clock.advance_ms(1);
    let again = hive.claim_one(&node).await?;
    assert_eq!(
        (again.found, again.job.state),
        (JobState::Queued, JobState::Running)
    );
    assert!(again.fence > claim.fence);
    assert_ne!(attempt_of(&again)?, attempt_of(&claim)?);
    let kinds = hive.kinds_of(&id).await?;
    assert_eq!(
        kinds[2..],
        [
            "attempt_ended",
            "job_advanced",
            "job_advanced",
            "job_claimed"
        ]
    );
    Ok(())
}

async fn a_job_left_in_the_middle_gets_a_lease_only(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    hive.enqueue_any().await?;
    let (dead, node) = (hive.node(), hive.node());
    let claim = hive.claim_one(&dead).await?;
    let lease = claim.lease();
    hive.ended(&lease, &attempt_of(&claim)?, super::succeeded())
        .await?;
    for state in [JobState::Verifying, JobState::Landing] {
        let lease = if state == JobState::Verifying {
            lease.clone()
        } else {
            hive.claim_one(&dead).await?.lease()
        };
        hive.advance_as(&lease, state, KEEP).await?;
        assert!(hive.claim(&node, 1).await?.is_empty(), "{state} is held");
        store.clock.advance_ms(super::LEASE_MS);
        hive.reconcile(None).await?;
        let claim = hive.claim_one(&node).await?;
        assert_eq!((claim.found, claim.job.state), (state, state));
        assert_eq!(claim.attempt, None);
        assert!(claim.fence > lease.fence);
        // Given back for the next round; a lease alone is lost without an attempt.
        store.clock.advance_ms(super::LEASE_MS);
        let lost = hive.reconcile(None).await?.lost;
        assert_eq!(
            (lost[0].from, lost[0].to, &lost[0].attempt),
            (state, state, &None)
        );
    }
    Ok(())
}

async fn what_waits_is_not_claimed(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let node = hive.node();
    let later = NewJob {
        run_at_ms: Some(skep_stdx::Clock::now_ms(&store.clock) + 1),
        ..hive.new_job()
    };
    hive.enqueue(later).await?;
    for state in [
        JobState::WaitingQuota,
        JobState::WaitingBudget,
        JobState::WaitingHuman,
        JobState::WaitingChildren,
        JobState::WaitingCallback,
        JobState::Paused,
        JobState::Done,
        JobState::Failed,
        JobState::Cancelled,
        JobState::Quarantined,
    ] {
        hive.enqueue_any().await?;
        let claim = hive.claim_one(&node).await?;
        hive.advance(&claim.lease(), state).await?;
        assert!(hive.claim(&node, 9).await?.is_empty(), "{state}");
    }
    store.clock.advance_ms(1);
    assert_eq!(hive.claim(&node, 9).await?.len(), 1, "its time has come");
    Ok(())
}

async fn what_a_claim_looks_for_is_found_by_index(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let statements: [(&str, Vec<Value>, &str); 4] = [
        (
            skep_queue::CLAIMABLE,
            params!["", i64::MIN, 20].to_vec(),
            "job_line",
        ),
        (skep_queue::FRONT, params![1].to_vec(), "job_line"),
        (skep_queue::NEXT_LANE, params![""].to_vec(), "job_line"),
        (skep_queue::DUE, params![1, 20].to_vec(), "job_later"),
    ];
    for (sql, values, index) in statements {
        let text = plan(&hive, store.backend, sql, values).await?;
        assert!(text.contains(index), "{text}");
        // The order comes from the index: nothing is sorted, so the claim stops at its limit.
        let sorts = text.contains("TEMP B-TREE") || text.contains("Sort");
        assert!(!sorts, "{text}");
    }
    Ok(())
}

async fn plan(
    hive: &Hive,
    backend: Backend,
    sql: &'static str,
    values: Vec<Value>,
) -> anyhow::Result<String> {
    let (explain, column) = match backend {
        Backend::Sqlite => ("EXPLAIN QUERY PLAN", "detail"),
        Backend::Postgres => ("EXPLAIN", "QUERY PLAN"),
    };
    let rows = hive
        .db
        .write("plan", async move |tx: &mut Tx<'_>| {
            if backend == Backend::Postgres {
                // A table this small would be read whole; the question is what is possible.
                tx.batch("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
                    .await?;
            }
            tx.query(&format!("{explain} {sql}"), &values).await
        })
        .await?;
    let lines: Vec<String> = rows
        .iter()
        .map(|row| row.get(column))
        .collect::<Result<_, _>>()?;
    Ok(lines.join("\n"))
}
