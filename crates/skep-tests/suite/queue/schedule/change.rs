//! What people and failures do to a schedule.

use super::{ENOUGH, HOUR_MS};
use crate::queue::Hive;
use skep_db::Tx;
use skep_queue::schedule::{self, NewSchedule, ScheduleError};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{FiringState, JobState, Overlap, ScheduleState};

on_both_engines!(
    a_name_is_free_again,
    a_paused_schedule_catches_nothing_up,
    five_failures_pause_and_a_resume_resets,
    history_comes_in_pieces_and_is_forgotten_in_time,
    out_of_bounds_is_refused,
);

async fn five_failures_pause_and_a_resume_resets(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.hourly(Overlap::Skip, 1).await?;
    // A success in between starts the count anew; a cancelled run does not count at all.
    for (state, failures) in [
        (JobState::Failed, 1),
        (JobState::Done, 0),
        (JobState::Failed, 1),
        (JobState::Quarantined, 2),
        (JobState::Cancelled, 2),
        (JobState::Failed, 3),
        (JobState::Failed, 4),
    ] {
        store.clock.advance_ms(HOUR_MS);
        let begun = hive.fire(&id).await?.remove(0);
        let settled = hive.end_run(&begun, state).await?;
        assert_eq!(
            (settled.failures, settled.auto_paused),
            (failures, false),
            "{state}"
        );
    }
    store.clock.advance_ms(HOUR_MS);
    let begun = hive.fire(&id).await?.remove(0);
    assert!(hive.end_run(&begun, JobState::Failed).await?.auto_paused);
    let found = hive.schedule(&id).await?;
    assert_eq!(
        (found.state, found.failures),
        (ScheduleState::AutoPaused, 5)
    );
    assert_eq!(
        found.pause_reason.as_deref(),
        Some("5 runs in a row failed")
    );
    assert_eq!(
        (found.last_failure_job, found.last_success_job.is_some()),
        (begun.job, true)
    );
    let kinds = hive.schedule_kinds(&id).await?;
    assert_eq!(
        kinds
            .iter()
            .filter(|kind| *kind == "schedule_paused")
            .count(),
        1
    );
    // It is not due any more, however long it is left alone.
    store.clock.advance_ms(100 * HOUR_MS);
    let due = async |tx: &mut Tx<'_>| {
        let now = tx.now_ms().await?;
        schedule::due_schedules(tx, now).await
    };
    assert_eq!(hive.db.read("due", due).await?, []);
    let resumed = hive.resume_schedule(&id).await?;
    assert_eq!(
        (resumed.state, resumed.failures),
        (ScheduleState::Active, 0)
    );
    assert_eq!(hive.fire(&id).await?, [], "what passed was meant to");
    assert_eq!(hive.schedule(&id).await?.missed, 0);
    store.clock.advance_ms(HOUR_MS);
    assert_eq!(hive.fire(&id).await?.len(), 1);
    Ok(())
}

async fn a_paused_schedule_catches_nothing_up(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.hourly(Overlap::QueueOne, 1).await?;
    store.clock.advance_ms(2 * HOUR_MS);
    hive.fire(&id).await?;
    store.clock.advance_ms(HOUR_MS);
    hive.fire(&id).await?;
    let paused = hive.pause_schedule(&id).await?;
    assert_eq!(paused.pause_reason.as_deref(), Some("the hive is shut"));
    let states: Vec<_> = hive.history(&id).await?.iter().map(|f| f.state).collect();
    // What ran goes on; what waited is given up.
    assert_eq!(
        states,
        [
            FiringState::Missed,
            FiringState::Running,
            FiringState::Cancelled
        ]
    );
    let again = hive.pause_schedule(&id).await;
    assert!(
        matches!(again, Err(ScheduleError::State { .. })),
        "{again:?}"
    );
    let (version, step) = hive.step(&id).await?;
    assert_eq!(hive.take(&id, version, &step).await?, None);
    store.clock.advance_ms(10 * HOUR_MS);
    hive.resume_schedule(&id).await?;
    assert_eq!(hive.fire(&id).await?, []);
    Ok(())
}

async fn a_name_is_free_again(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.hourly(Overlap::Skip, 1).await?;
    store.clock.advance_ms(HOUR_MS);
    hive.fire(&id).await?;
    let again = hive.add(hive.new_schedule("hourly", "every 5m")?).await;
    assert!(
        matches!(again, Err(ScheduleError::Exists { .. })),
        "{again:?}"
    );
    hive.remove_schedule(&id).await?;
    let again = hive.remove_schedule(&id).await;
    assert!(matches!(again, Err(ScheduleError::NotFound)), "{again:?}");
    let second = hive.add(hive.new_schedule("hourly", "every 5m")?).await?;
    assert_ne!(second.id, id);
    assert_eq!(hive.history(&id).await?.len(), 1, "what it did stays");
    let found = hive
        .db
        .read("by name", async |tx: &mut Tx<'_>| {
            schedule::schedule_by_name(tx, "hourly").await
        })
        .await?;
    assert_eq!(found, Some(second));
    Ok(())
}

async fn history_comes_in_pieces_and_is_forgotten_in_time(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let id = hive.hourly(Overlap::Allow, ENOUGH).await?;
    for _ in 0..5 {
        store.clock.advance_ms(HOUR_MS);
        let begun = hive.fire(&id).await?;
        hive.end_run(&begun[0], JobState::Done).await?;
    }
    let mut cursor = None;
    let mut slots = Vec::new();
    loop {
        let of = id.clone();
        let page = hive
            .db
            .read("page", async move |tx: &mut Tx<'_>| {
                schedule::firings(tx, &of, cursor, 2).await
            })
            .await?;
        slots.extend(page.items.iter().map(|firing| firing.slot_ms));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(slots.len(), 5);
    assert!(slots.is_sorted_by(|newer, older| newer > older));
    store.clock.advance_ms(91 * 24 * HOUR_MS);
    hive.fire(&id).await?;
    let history = hive.history(&id).await?;
    assert!(
        history.iter().all(|firing| firing.slot_ms > slots[0]),
        "{history:?}"
    );
    assert!(hive.schedule(&id).await?.last_success_job.is_some());
    Ok(())
}

/// What is wrong with a schedule.
type Change = fn(&mut NewSchedule);

async fn out_of_bounds_is_refused(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let cases: &[(&str, Change)] = &[
        ("name", |new| new.name = "two words".to_owned()),
        ("name", |new| new.name = String::new()),
        ("owner", |new| new.owner = String::new()),
        ("jitter", |new| new.jitter_ms = -1),
        ("jitter", |new| new.jitter_ms = 13 * HOUR_MS),
        ("overlap_max", |new| new.overlap_max = 0),
        ("catch_up_max", |new| new.catch_up_max = 101),
        ("catch_up_window", |new| new.catch_up_window_ms = 0),
        ("pause_after", |new| new.failures_max = -1),
    ];
    for (expected, change) in cases {
        let mut new = hive.new_schedule("hourly", "@hourly")?;
        change(&mut new);
        let refused = hive.add(new).await;
        assert!(
            matches!(&refused, Err(ScheduleError::Invalid { field, .. }) if field == expected),
            "{expected}: {refused:?}"
        );
    }
    Ok(())
}
