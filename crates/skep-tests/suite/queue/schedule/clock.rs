//! Time that passes, stands still, jumps, or is seen by two engines at once.

use super::{ENOUGH, HOUR_MS, MINUTE_MS};
use crate::queue::Hive;
use anyhow::Context as _;
use skep_db::{DbError, Tx};
use skep_queue::schedule::{self, Start};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{CatchUp, FiringCause, FiringState, JobId, Overlap};
use std::collections::BTreeSet;

on_both_engines!(
    a_clock_set_back_fires_nothing_twice,
    a_clock_set_far_back_does_not_silence_a_schedule,
    a_clock_set_forward_is_caught_up,
    a_step_that_is_not_committed_has_not_happened,
    a_transaction_of_its_own_for_each_step_of_a_catch_up,
    missed_slots_are_on_record,
    two_engines_fire_a_slot_once,
);

async fn a_clock_set_back_fires_nothing_twice(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.hourly(Overlap::Allow, ENOUGH).await?;
    store.clock.advance_ms(2 * HOUR_MS + 1);
    hive.fire(&id).await?;
    assert_eq!(hive.hours(&id).await?, [2]);
    // An hour back, whether the schedule has noticed it or not.
    store.clock.advance_ms(-HOUR_MS);
    assert_eq!(hive.fire(&id).await?, []);
    assert!(hive.follow_clock(&id).await?);
    for _ in 0..4 {
        store.clock.advance_ms(HOUR_MS / 2);
        hive.fire(&id).await?;
    }
    // The second hour came again and was not fired again; the third came once.
    assert_eq!(hive.hours(&id).await?, [2, 3]);
    // What was fired before the clock went back is not missed because it came again unseen.
    store.clock.advance_ms(-2 * HOUR_MS);
    assert!(hive.follow_clock(&id).await?);
    store.clock.advance_ms(4 * HOUR_MS);
    hive.fire(&id).await?;
    assert_eq!(hive.hours(&id).await?, [2, 3, 5]);
    let kinds = hive.schedule_kinds(&id).await?;
    let fired = kinds.iter().filter(|kind| *kind == "schedule_fired");
    assert_eq!(fired.count(), 3, "{kinds:?}");
    // The first hour, and the fourth.
    assert_eq!(hive.schedule(&id).await?.missed, 2);
    Ok(())
}

async fn a_clock_set_far_back_does_not_silence_a_schedule(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.hourly(Overlap::Allow, ENOUGH).await?;
    // The clock was a year ahead for a moment.
    store.clock.advance_ms(365 * 24 * HOUR_MS);
    hive.fire(&id).await?;
    store.clock.advance_ms(-365 * 24 * HOUR_MS);
    let ahead = hive
        .db
        .read("ahead", async |tx: &mut Tx<'_>| {
            let now = tx.now_ms().await?;
            schedule::schedules_ahead(tx, now).await
        })
        .await?;
    assert_eq!(ahead.len(), 1);
    assert!(hive.follow_clock(&id).await?);
    store.clock.advance_ms(HOUR_MS);
    let begun = hive.fire(&id).await?;
    assert_eq!(begun.len(), 1);
    assert_eq!(begun[0].cause, FiringCause::Slot);
    Ok(())
}

async fn a_clock_set_forward_is_caught_up(store: TestStore) -> anyhow::Result<()> {
    for (policy, fired) in [
        (CatchUp::None, &[][..]),
        (CatchUp::Last, &[5][..]),
        (CatchUp::All, &[3, 4, 5][..]),
    ] {
        let hive = Hive::open(&store).await?;
        let mut new = hive.new_schedule(policy.as_str(), "0 * * * *")?;
        new.catch_up = policy;
        let id = hive.add(new).await?.id;
        store.clock.advance_ms(5 * HOUR_MS + 30 * MINUTE_MS);
        let begun = hive.fire(&id).await?;
        assert_eq!(hive.hours(&id).await?, fired, "{policy}");
        assert!(begun.iter().all(|f| f.cause == FiringCause::CatchUp));
        let missed = hive.schedule(&id).await?.missed;
        assert_eq!(missed, 5 - i64::try_from(fired.len())?, "{policy}");
        store.clock.advance_ms(-30 * MINUTE_MS);
    }
    Ok(())
}

async fn missed_slots_are_on_record(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.hourly(Overlap::Allow, ENOUGH).await?;
    let start = hive.schedule(&id).await?.created_at_ms;
    store.clock.advance_ms(4 * HOUR_MS + 10 * MINUTE_MS);
    hive.fire(&id).await?;
    let history = hive.history(&id).await?;
    let states: Vec<_> = history.iter().map(|firing| firing.state).collect();
    assert_eq!(states, [FiringState::Missed, FiringState::Running]);
    assert_eq!(history[0].missed_count, 3);
    assert_eq!(history[0].missed_from_ms, Some(start + HOUR_MS));
    assert_eq!(history[0].slot_ms, start + 3 * HOUR_MS);
    let events = hive.schedule_events(&id).await?;
    let event = events.iter().find(|event| event.kind == "schedule_missed");
    let payload: schedule::event::ScheduleMissed =
        serde_json::from_slice(&event.context("it is on record")?.payload)?;
    assert_eq!(
        (payload.count, payload.last_slot_ms),
        (3, start + 3 * HOUR_MS)
    );
    Ok(())
}

async fn two_engines_fire_a_slot_once(store: TestStore) -> anyhow::Result<()> {
    let one = Hive::open(&store).await?;
    let mut other = one.clone();
    if store.sqlite_file().is_none() {
        // A second process on the same server.
        other = Hive::open_with_ids(&store, 99).await?;
    }
    let id = one.hourly(Overlap::Allow, ENOUGH).await?;
    let mut jobs = BTreeSet::new();
    for _ in 0..25 {
        store.clock.advance_ms(HOUR_MS);
        // Both look before either writes.
        let (first, second) = (one.step(&id).await?, other.step(&id).await?);
        let (first, second) = tokio::join!(
            one.take(&id, first.0, &first.1),
            other.take(&id, second.0, &second.1)
        );
        let begun: Vec<_> = [first?, second?].into_iter().flatten().collect();
        assert_eq!(begun.len(), 1, "one of the two takes it");
        for begun in begun {
            jobs.insert(begun.firing.and_then(|firing| firing.job));
        }
    }
    assert_eq!(one.history(&id).await?.len(), 25);
    assert_eq!(jobs.len(), 25);
    Ok(())
}

async fn a_step_that_is_not_committed_has_not_happened(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.hourly(Overlap::Allow, ENOUGH).await?;
    store.clock.advance_ms(3 * HOUR_MS);
    let before = hive.schedule(&id).await?;
    let (version, step) = hive.step(&id).await?;
    let (taken, start) = (id.clone(), Start::Job(JobId::new(&hive.clock, &*hive.ids)));
    let torn: Result<(), DbError> = hive
        .db
        .write("torn", async move |tx: &mut Tx<'_>| {
            schedule::fire_planned(tx, &taken, version, &step, Some(&start)).await?;
            Err(DbError::Column {
                column: "the job".to_owned(),
                found: "no room",
            })
        })
        .await;
    assert!(torn.is_err());
    assert_eq!(hive.schedule(&id).await?, before);
    assert_eq!(hive.history(&id).await?, []);
    assert_eq!(hive.schedule_kinds(&id).await?, ["schedule_added"]);
    Ok(())
}

async fn a_transaction_of_its_own_for_each_step_of_a_catch_up(
    store: TestStore,
) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let mut new = hive.new_schedule("all", "0 * * * *")?;
    new.catch_up = CatchUp::All;
    let id = hive.add(new).await?.id;
    store.clock.advance_ms(6 * HOUR_MS + MINUTE_MS);
    // The engine dies after the first of three; the next one, an hour later, does the rest.
    let (version, step) = hive.step(&id).await?;
    hive.take(&id, version, &step).await?;
    assert_eq!(hive.hours(&id).await?, [4]);
    drop(hive);
    let hive = Hive::open_with_ids(&store, 7).await?;
    store.clock.advance_ms(HOUR_MS);
    hive.fire(&id).await?;
    assert_eq!(hive.hours(&id).await?, [4, 5, 6, 7]);
    assert_eq!(hive.schedule(&id).await?.missed, 3);
    Ok(())
}
