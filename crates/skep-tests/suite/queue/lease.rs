//! Leases: kept by heartbeats, lost by silence, taken back by reconciliation.

use super::{Hive, KEEP, LEASE_MS, attempt_of};
use skep_db::Tx;
use skep_queue::{AdvanceError, AttemptError, limits};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{AttemptState, FailureClass, JobState};

const HOUR_MS: i64 = 60 * 60 * 1_000;

on_both_engines!(
    a_heartbeat_extends_all_leases_of_its_node,
    a_job_that_engines_die_over_is_set_aside,
    a_lapsed_lease_is_held_until_it_is_taken_back,
    a_lease_ends_though_the_clock_is_put_back,
    a_lost_attempt_does_not_count,
    a_restarted_node_loses_every_lease_it_held,
    heartbeats_and_reconciliations_at_once_agree,
    one_reconciliation_is_bounded,
    what_is_due_stays_due_though_the_clock_is_put_back,
    what_is_held_is_not_taken_back,
    what_a_node_holds_and_does_not_work_on_is_given_back,
);

async fn a_heartbeat_extends_all_leases_of_its_node(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (mine, other) = (hive.node(), hive.node());
    for _ in 0..3 {
        hive.enqueue_any().await?;
    }
    let claims = hive.claim(&mine, 2).await?;
    let others = hive.claim_one(&other).await?;
    store.clock.advance_ms(LEASE_MS - 1);
    let mut kept = hive.heartbeat(&mine).await?;
    kept.sort();
    let mut expected: Vec<_> = claims.iter().map(|claim| claim.job.id.clone()).collect();
    expected.sort();
    assert_eq!(kept, expected);
    let now = skep_stdx::Clock::now_ms(&store.clock);
    let until = |job: skep_queue::Job| job.held.map(|held| held.until_ms - now);
    assert_eq!(until(hive.job(&kept[0]).await?), Some(LEASE_MS));
    assert_eq!(until(hive.job(&others.job.id).await?), Some(1));
    store.clock.advance_ms(1);
    let lost = hive.reconcile(None).await?.lost;
    assert_eq!(lost.len(), 1);
    assert_eq!((&lost[0].job, &lost[0].node), (&others.job.id, &other));
    assert_eq!(hive.heartbeat(&mine).await?.len(), 2);
    assert_eq!(hive.heartbeat(&other).await?, []);
    Ok(())
}

async fn what_a_node_holds_and_does_not_work_on_is_given_back(
    store: TestStore,
) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    for _ in 0..3 {
        hive.enqueue_any().await?;
    }
    let (mine, other) = (hive.node(), hive.node());
    let claims = hive.claim(&mine, 2).await?;
    let others = hive.claim_one(&other).await?.job.id;
    let [at_work, idle] = claims.as_slice() else {
        anyhow::bail!("two were claimed: {claims:?}");
    };
    let (node, known) = (mine.clone(), [at_work.job.id.clone()]);
    let give_back =
        async move |tx: &mut Tx<'_>| skep_queue::give_back_idle(tx, &node, &known).await;
    let given = hive.db.write("give back", give_back).await?.lost;
    let given: Vec<_> = given.into_iter().map(|lost| lost.job).collect();
    assert_eq!(given, std::slice::from_ref(&idle.job.id));
    assert_eq!(hive.heartbeat(&other).await?, [others]);
    let again = hive.claim_one(&mine).await?;
    assert_eq!(again.job.id, idle.job.id);
    assert!(again.fence > idle.fence);
    assert_eq!(again.job.attempts_used, 0);
    Ok(())
}

async fn a_lapsed_lease_is_held_until_it_is_taken_back(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (id, node) = (hive.enqueue_any().await?, hive.node());
    hive.claim_one(&node).await?;
    // The machine slept for an hour; nobody has noticed.
    store.clock.advance_ms(HOUR_MS);
    let kept = hive.heartbeat(&node).await?;
    assert_eq!(kept.first(), Some(&id));
    assert_eq!(hive.reconcile(None).await?.lost, []);
    store.clock.advance_ms(LEASE_MS);
    let lost = hive.reconcile(None).await?.lost;
    assert_eq!(lost.first().map(|lost| &lost.job), Some(&id));
    assert_eq!(hive.heartbeat(&node).await?, []);
    Ok(())
}

async fn a_lease_ends_though_the_clock_is_put_back(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    for _ in 0..2 {
        hive.enqueue_any().await?;
    }
    let (dead, alive) = (hive.node(), hive.node());
    let of_dead = hive.claim_one(&dead).await?.job.id;
    let of_alive = hive.claim_one(&alive).await?.job.id;
    store.clock.advance_ms(-HOUR_MS);
    assert_eq!(hive.bound_leases().await?, 2);
    assert_eq!(hive.bound_leases().await?, 0);
    store.clock.advance_ms(LEASE_MS - 1);
    assert_eq!(hive.heartbeat(&alive).await?, [of_alive]);
    store.clock.advance_ms(1);
    let lost = hive.reconcile(None).await?.lost;
    let lost: Vec<_> = lost.into_iter().map(|lost| lost.job).collect();
    assert_eq!(lost, [of_dead]);
    Ok(())
}

async fn what_is_due_stays_due_though_the_clock_is_put_back(
    store: TestStore,
) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.enqueue_any().await?;
    store.clock.advance_ms(-HOUR_MS);
    assert_eq!(hive.claim_one(&hive.node()).await?.job.id, id);
    Ok(())
}

async fn a_lost_attempt_does_not_count(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (id, node) = (hive.enqueue_any().await?, hive.node());
    let claim = hive.claim_one(&node).await?;
    let (lease, attempt) = (claim.lease(), attempt_of(&claim)?);
    hive.started(&lease, &attempt).await?;
    store.clock.advance_ms(LEASE_MS);
    let reconciled = hive.reconcile(None).await?;
    let [lost] = reconciled.lost.as_slice() else {
        anyhow::bail!("one lease was lost: {reconciled:?}");
    };
    assert_eq!(
        (&lost.job, &lost.node, &lost.attempt),
        (&id, &node, &Some(attempt.clone()))
    );
    assert_eq!((lost.from, lost.to), (JobState::Running, JobState::Queued));
    let job = hive.job(&id).await?;
    assert_eq!(
        (job.state, job.attempts_used, job.losses),
        (JobState::Queued, 0, 1)
    );
    assert_eq!(
        (job.held, job.failure),
        (None, Some(FailureClass::LeaseLost))
    );
    let found = hive.attempts(&id).await?;
    assert_eq!(
        (found[0].state, found[0].counted),
        (AttemptState::Lost, false)
    );
    assert_eq!(found[0].failure, Some(FailureClass::LeaseLost));
    // What the dead engine still sends is refused.
    let late = hive.ended(&lease, &attempt, super::succeeded()).await;
    assert!(
        matches!(late, Err(AttemptError::Stale { current: None })),
        "{late:?}"
    );
    let late = hive.advance(&lease, JobState::Verifying).await;
    assert!(
        matches!(late, Err(AdvanceError::Stale { current: None })),
        "{late:?}"
    );
    assert!(hive.reconcile(None).await?.lost.is_empty());
    Ok(())
}

async fn what_is_held_is_not_taken_back(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let node = hive.node();
    hive.enqueue_any().await?;
    let claim = hive.claim_one(&node).await?;
    store.clock.advance_ms(LEASE_MS - 1);
    assert!(hive.reconcile(None).await?.lost.is_empty());
    assert!(hive.reconcile(Some(&hive.node())).await?.lost.is_empty());
    assert!(hive.is_current(&claim.lease()).await?);
    Ok(())
}

async fn a_restarted_node_loses_every_lease_it_held(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (dead, live) = (hive.node(), hive.node());
    for _ in 0..4 {
        hive.enqueue_any().await?;
    }
    let claims = hive.claim(&dead, 3).await?;
    let mine = hive.claim_one(&live).await?;
    hive.advance_as(&claims[0].lease(), JobState::Verifying, KEEP)
        .await?;
    let landing = claims[1].lease();
    hive.advance_as(&landing, JobState::Verifying, KEEP).await?;
    hive.advance_as(&landing, JobState::Landing, KEEP).await?;
    let lost = hive.reconcile(Some(&dead)).await?.lost;
    let found: Vec<_> = lost
        .iter()
        .map(|lost| (&lost.job, lost.from, lost.to))
        .collect();
    use JobState::{Landing, Queued, Running, Verifying};
    assert_eq!(
        found,
        [
            (&claims[0].job.id, Verifying, Verifying),
            (&claims[1].job.id, Landing, Landing),
            (&claims[2].job.id, Running, Queued),
        ]
    );
    for claim in &claims {
        assert!(!hive.is_current(&claim.lease()).await?);
    }
    assert!(hive.is_current(&mine.lease()).await?);
    assert_eq!(
        hive.claim(&live, 9).await?.len(),
        3,
        "all can be taken up at once"
    );
    Ok(())
}

async fn a_job_that_engines_die_over_is_set_aside(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let (id, node) = (hive.enqueue_any().await?, hive.node());
    for loss in 1..=limits::LOSSES_MAX {
        hive.claim_one(&node).await?;
        store.clock.advance_ms(LEASE_MS);
        let lost = hive.reconcile(None).await?.lost;
        let expected = if loss < limits::LOSSES_MAX {
            JobState::Queued
        } else {
            JobState::Quarantined
        };
        assert_eq!(lost[0].to, expected, "loss {loss}");
    }
    assert_eq!(hive.places(&id).await?, (0, 1));
    let job = hive.retry(&id, 0).await?;
    assert_eq!(
        (job.state, job.losses),
        (JobState::Queued, 0),
        "a person may insist"
    );
    Ok(())
}

async fn one_reconciliation_is_bounded(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let node = hive.node();
    let count = limits::RECONCILE_JOBS_MAX + 3;
    let news: Vec<_> = (0..count).map(|_| hive.new_job()).collect();
    hive.db
        .write("enqueue", async move |tx: &mut skep_db::Tx<'_>| {
            for new in &news {
                skep_queue::enqueue(tx, new).await?;
            }
            Ok::<(), skep_queue::EnqueueError>(())
        })
        .await?;
    let mut claimed = 0;
    while claimed < count {
        claimed += i64::try_from(hive.claim(&node, limits::CLAIM_JOBS_MAX).await?.len())?;
    }
    store.clock.advance_ms(LEASE_MS);
    let full = usize::try_from(limits::RECONCILE_JOBS_MAX)?;
    for expected in [full, 3, 0] {
        assert_eq!(hive.reconcile(None).await?.lost.len(), expected);
    }
    Ok(())
}

/// Whatever the interleaving, a job is either still held, by a heartbeat that came in time, or
/// queued, and never both.
async fn heartbeats_and_reconciliations_at_once_agree(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let node = hive.node();
    for _ in 0..10 {
        hive.enqueue_any().await?;
    }
    let claims = hive.claim(&node, 10).await?;
    store.clock.advance_ms(LEASE_MS - 1);
    let tasks: Vec<_> = (0..12)
        .map(|n| {
            let (hive, node) = (hive.clone(), node.clone());
            skep_stdx::spawn("beat", async move {
                if n == 6 {
                    hive.clock.advance_ms(1);
                }
                if n % 2 == 0 {
                    hive.heartbeat(&node).await.map(|kept| kept.len())
                } else {
                    hive.reconcile(None).await.map(|all| all.lost.len())
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    for claim in &claims {
        let job = hive.job(&claim.job.id).await?;
        let held = job.held.is_some();
        let expected = if held {
            JobState::Running
        } else {
            JobState::Queued
        };
        assert_eq!(job.state, expected);
        assert_eq!(hive.is_current(&claim.lease()).await?, held);
    }
    Ok(())
}
