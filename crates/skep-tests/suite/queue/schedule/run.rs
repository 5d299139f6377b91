//! Runs that meet, that wait, that are asked for, and that are checked first.

use super::{HOUR_MS, MINUTE_MS};
use crate::queue::Hive;
use anyhow::Context as _;
use skep_db::Tx;
use skep_queue::schedule::{self, Checked, Firing, ScheduleError, Start};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{
    FiringCause, FiringState, JobId, JobState, NodeId, Overlap, ScheduleId, ScheduleState,
};

on_both_engines!(
    a_late_check_changes_nothing,
    a_run_on_a_persons_word_takes_no_slot,
    overlap_policies_meet_real_rows,
);

async fn overlap_policies_meet_real_rows(store: TestStore) -> anyhow::Result<()> {
    use FiringState::{Cancelled, Running, SkippedOverlap, Waiting};
    let hive = Hive::open(&store).await?;
    for (policy, limit, expected) in [
        (Overlap::Skip, 1, [Running, SkippedOverlap, SkippedOverlap]),
        (Overlap::QueueOne, 1, [Running, Waiting, SkippedOverlap]),
        (Overlap::Allow, 2, [Running, Running, SkippedOverlap]),
        (Overlap::CancelRunning, 1, [Cancelled, Cancelled, Running]),
    ] {
        let id = hive.hourly(policy, limit).await?;
        let mut replaced = Vec::new();
        for _ in 0..3 {
            store.clock.advance_ms(HOUR_MS);
            let (version, step) = hive.step(&id).await?;
            let begun = hive.take(&id, version, &step).await?;
            replaced.extend(begun.context("nobody else is there")?.replaced);
        }
        let history = hive.history(&id).await?;
        let states: Vec<_> = history.iter().map(|firing| firing.state).collect();
        assert_eq!(states, expected, "{policy}");
        let cancelled: Vec<_> = history
            .iter()
            .filter(|firing| firing.state == Cancelled)
            .filter_map(|firing| firing.job.clone())
            .collect();
        assert_eq!(replaced, cancelled, "{policy}");
        if policy == Overlap::QueueOne {
            waits_for_the_end(&hive, &id, &history).await?;
        }
        hive.remove_schedule(&id).await?;
    }
    Ok(())
}

/// The run that waits starts when the earlier one has ended, and not before.
async fn waits_for_the_end(hive: &Hive, id: &ScheduleId, history: &[Firing]) -> anyhow::Result<()> {
    let begin = async || {
        let version = hive.schedule(id).await?.version;
        let (id, slot_ms) = (id.clone(), history[1].slot_ms);
        let start = Start::Job(JobId::new(&hive.clock, &*hive.ids));
        let begun = hive
            .db
            .write("begin", async move |tx: &mut Tx<'_>| {
                schedule::begin_waiting(tx, &id, version, slot_ms, &start).await
            })
            .await?;
        anyhow::Ok(begun)
    };
    assert_eq!(begin().await?, None);
    let settled = hive.end_run(&history[0], JobState::Done).await?;
    assert_eq!(settled.state, FiringState::Succeeded);
    let begun = begin().await?.context("its way is free")?;
    let firing = begun.firing.context("it began")?;
    assert_eq!(firing.state, FiringState::Running);
    assert_eq!(begin().await?, None, "it began once");
    Ok(())
}

async fn a_run_on_a_persons_word_takes_no_slot(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.hourly(Overlap::Skip, 1).await?;
    let fire_now = async || {
        let version = hive
            .schedule(&id)
            .await
            .map_err(|_| ScheduleError::NotFound)?
            .version;
        let (id, start) = (id.clone(), Start::Job(JobId::new(&hive.clock, &*hive.ids)));
        hive.db
            .write("now", async move |tx: &mut Tx<'_>| {
                schedule::fire_now(tx, &id, version, &start).await
            })
            .await
    };
    // Exactly on a slot: the slot stays the schedule's own.
    store.clock.advance_ms(HOUR_MS);
    let manual = fire_now().await?.firing.context("it began")?;
    assert_eq!(
        (manual.cause, manual.slot_ms % 1_000),
        (FiringCause::Manual, 1)
    );
    let busy = fire_now().await;
    assert!(matches!(busy, Err(ScheduleError::Busy)), "{busy:?}");
    let begun = hive.fire(&id).await?;
    assert_eq!(begun[0].state, FiringState::SkippedOverlap);
    hive.end_run(&manual, JobState::Done).await?;
    hive.pause_schedule(&id).await?;
    fire_now().await?;
    assert_eq!(hive.schedule(&id).await?.state, ScheduleState::Paused);
    Ok(())
}

async fn a_late_check_changes_nothing(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.hourly(Overlap::Skip, 1).await?;
    store.clock.advance_ms(HOUR_MS);
    let (version, step) = hive.step(&id).await?;
    let of = id.clone();
    let begun = hive
        .db
        .write("take", async move |tx: &mut Tx<'_>| {
            schedule::fire_planned(tx, &of, version, &step, Some(&Start::Check)).await
        })
        .await?;
    let slot_ms = begun.and_then(|b| b.firing).context("it began")?.slot_ms;
    let claim = async |node: NodeId| {
        let id = id.clone();
        hive.db
            .write("claim", async move |tx: &mut Tx<'_>| {
                schedule::claim_check(tx, &id, slot_ms, &node, MINUTE_MS).await
            })
            .await
    };
    let end = async |fence: i64, exit_code: i64, start: Option<Start>| {
        let (id, ended) = (
            id.clone(),
            Checked {
                start,
                exit_code: Some(exit_code),
                log: Some("logs/x".to_owned()),
                duration_ms: 5,
            },
        );
        hive.db
            .write("checked", async move |tx: &mut Tx<'_>| {
                schedule::checked(tx, &id, slot_ms, fence, &ended).await
            })
            .await
    };
    let first = claim(hive.node()).await?;
    assert_eq!(first, Some(1));
    assert_eq!(claim(hive.node()).await?, None, "it is held");
    store.clock.advance_ms(2 * MINUTE_MS);
    let node = hive.node();
    assert_eq!(
        claim(node.clone()).await?,
        Some(2),
        "its holder took too long"
    );
    let job = Start::Job(JobId::new(&hive.clock, &*hive.ids));
    assert!(!end(1, 0, Some(job)).await?, "the late one changes nothing");
    // A restarted node gives up what it held, and takes it again.
    let release = async move |tx: &mut Tx<'_>| schedule::release_checks(tx, &node).await;
    assert_eq!(hive.db.write("release", release).await?, 1);
    assert_eq!(claim(hive.node()).await?, Some(3));
    assert!(end(3, 75, None).await?);
    assert!(!end(3, 75, None).await?, "it ended once");
    let history = hive.history(&id).await?;
    assert_eq!(history[0].state, FiringState::SkippedPrecheck);
    assert_eq!(
        (history[0].precheck_exit_code, history[0].fence),
        (Some(75), 3)
    );
    assert_eq!(hive.schedule(&id).await?.failures, 0);
    Ok(())
}
