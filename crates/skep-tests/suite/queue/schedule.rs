//! Schedules: each slot once, whatever the clock, the engines and the restarts do.

use super::Hive;
use skep_db::{DbError, Tx};
use skep_ledger::SealedEvent;
use skep_queue::schedule::{
    self, Begun, Checked, Firing, JobEnd, NewSchedule, Schedule, ScheduleError, Settled, Start,
    Step, Timing,
};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{
    CatchUp, FailureClass, FiringCause, FiringState, JobId, JobState, NodeId, Overlap, ScheduleId,
    ScheduleState,
};
use std::collections::BTreeSet;

on_both_engines!(
    a_clock_set_back_fires_nothing_twice,
    a_clock_set_far_back_does_not_silence_a_schedule,
    a_clock_set_forward_is_caught_up,
    a_late_check_changes_nothing,
    a_name_is_free_again,
    a_paused_schedule_catches_nothing_up,
    a_run_on_a_persons_word_takes_no_slot,
    a_step_that_is_not_committed_has_not_happened,
    a_transaction_of_its_own_for_each_step_of_a_catch_up,
    five_failures_pause_and_a_resume_resets,
    history_comes_in_pieces_and_is_forgotten_in_time,
    missed_slots_are_on_record,
    overlap_policies_meet_real_rows,
    out_of_bounds_is_refused,
    two_engines_fire_a_slot_once,
);

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
/// What no policy is about.
const ENOUGH: i64 = 64;

impl Hive {
    fn new_schedule(&self, name: &str, timing: &str) -> anyhow::Result<NewSchedule> {
        Ok(NewSchedule {
            id: ScheduleId::new(&self.clock, &*self.ids),
            name: name.to_owned(),
            owner: "ada".to_owned(),
            timing: Timing::parse(timing, "UTC")?,
            jitter_ms: 0,
            overlap: Overlap::Allow,
            overlap_max: ENOUGH,
            catch_up: CatchUp::Last,
            catch_up_max: 3,
            catch_up_window_ms: 24 * HOUR_MS,
            failures_max: 5,
        })
    }

    async fn add(&self, new: NewSchedule) -> Result<Schedule, ScheduleError> {
        self.db
            .write("add", async move |tx: &mut Tx<'_>| {
                schedule::add(tx, &new).await
            })
            .await
    }

    /// An hourly schedule of this overlap policy.
    async fn hourly(&self, overlap: Overlap, overlap_max: i64) -> anyhow::Result<ScheduleId> {
        let mut new = self.new_schedule("hourly", "0 * * * *")?;
        (new.overlap, new.overlap_max) = (overlap, overlap_max);
        Ok(self.add(new).await?.id)
    }

    async fn schedule(&self, id: &ScheduleId) -> anyhow::Result<Schedule> {
        let id = id.clone();
        self.db
            .read("schedule", async move |tx: &mut Tx<'_>| {
                schedule::schedule(tx, &id).await
            })
            .await?
            .ok_or_else(|| anyhow::anyhow!("there is no such schedule"))
    }

    /// The step of the schedule now, as any engine would compute it.
    async fn step(&self, id: &ScheduleId) -> anyhow::Result<(i64, Step)> {
        let found = self.schedule(id).await?;
        let now = skep_stdx::Clock::now_ms(&self.clock);
        let step = schedule::plan(&found.rules()?, found.cursor_ms, now);
        Ok((found.version, step))
    }

    async fn take(
        &self,
        id: &ScheduleId,
        version: i64,
        step: &Step,
    ) -> Result<Option<Begun>, DbError> {
        let (id, step) = (id.clone(), step.clone());
        let start = Start::Job(JobId::new(&self.clock, &*self.ids));
        self.db
            .write("take", async move |tx: &mut Tx<'_>| {
                schedule::fire_planned(tx, &id, version, &step, Some(&start)).await
            })
            .await
    }

    /// Takes every step there is; what was begun.
    async fn fire(&self, id: &ScheduleId) -> anyhow::Result<Vec<Firing>> {
        let mut begun = Vec::new();
        loop {
            let (version, step) = self.step(id).await?;
            if step.fire.is_none() && step.missed.is_none() {
                return Ok(begun);
            }
            let taken = self.take(id, version, &step).await?;
            let taken = taken.ok_or_else(|| anyhow::anyhow!("nobody else is there"))?;
            begun.extend(taken.firing);
        }
    }

    async fn end_run(&self, firing: &Firing, state: JobState) -> anyhow::Result<Settled> {
        let (id, slot_ms) = (firing.schedule.clone(), firing.slot_ms);
        let end = JobEnd {
            state,
            failure: (state == JobState::Failed).then_some(FailureClass::WorkerCrash),
            at_ms: skep_stdx::Clock::now_ms(&self.clock),
        };
        self.db
            .write("end of a run", async move |tx: &mut Tx<'_>| {
                schedule::job_ended(tx, &id, slot_ms, &end).await
            })
            .await?
            .ok_or_else(|| anyhow::anyhow!("the run was not under way"))
    }

    async fn follow_clock(&self, id: &ScheduleId) -> anyhow::Result<bool> {
        let version = self.schedule(id).await?.version;
        let id = id.clone();
        Ok(self
            .db
            .write("follow the clock", async move |tx: &mut Tx<'_>| {
                schedule::follow_clock(tx, &id, version).await
            })
            .await?)
    }

    async fn pause_schedule(&self, id: &ScheduleId) -> Result<Schedule, ScheduleError> {
        let id = id.clone();
        self.db
            .write("pause", async move |tx: &mut Tx<'_>| {
                schedule::pause(tx, &id, Some("the hive is shut")).await
            })
            .await
    }

    async fn resume_schedule(&self, id: &ScheduleId) -> Result<Schedule, ScheduleError> {
        let id = id.clone();
        self.db
            .write("resume", async move |tx: &mut Tx<'_>| {
                schedule::resume(tx, &id).await
            })
            .await
    }

    async fn remove_schedule(&self, id: &ScheduleId) -> Result<Schedule, ScheduleError> {
        let id = id.clone();
        self.db
            .write("remove", async move |tx: &mut Tx<'_>| {
                schedule::remove(tx, &id).await
            })
            .await
    }

    /// The firings of a schedule, oldest first.
    async fn history(&self, id: &ScheduleId) -> anyhow::Result<Vec<Firing>> {
        let id = id.clone();
        let mut page = self
            .db
            .read("history", async move |tx: &mut Tx<'_>| {
                schedule::firings(tx, &id, None, 500).await
            })
            .await?;
        page.items.reverse();
        Ok(page.items)
    }

    async fn schedule_events(&self, id: &ScheduleId) -> anyhow::Result<Vec<SealedEvent>> {
        let mut events = self.ledger.events().await?;
        events.retain(|event| event.subject == id.as_str());
        Ok(events)
    }

    async fn schedule_kinds(&self, id: &ScheduleId) -> anyhow::Result<Vec<String>> {
        let events = self.schedule_events(id).await?;
        Ok(events.into_iter().map(|event| event.kind).collect())
    }

    /// The hours since the schedule was added, of every slot that made a job.
    async fn hours(&self, id: &ScheduleId) -> anyhow::Result<Vec<i64>> {
        let start = self.schedule(id).await?.created_at_ms;
        let made = self.history(id).await?.into_iter();
        let made = made.filter(|firing| firing.job.is_some());
        Ok(made
            .map(|firing| (firing.slot_ms - start) / HOUR_MS)
            .collect())
    }
}

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
    let kinds = hive.schedule_kinds(&id).await?;
    let fired = kinds.iter().filter(|kind| *kind == "schedule_fired");
    assert_eq!(fired.count(), 2, "{kinds:?}");
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
        serde_json::from_slice(&event.expect("it is on record").payload)?;
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
            replaced.extend(begun.expect("nobody else is there").replaced);
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
    let begun = begin().await?.expect("its way is free");
    let firing = begun.firing.expect("it began");
    assert_eq!(firing.state, FiringState::Running);
    assert_eq!(begin().await?, None, "it began once");
    Ok(())
}

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
    let manual = fire_now().await?.firing.expect("it began");
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
    let slot_ms = begun.and_then(|b| b.firing).expect("it began").slot_ms;
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

async fn out_of_bounds_is_refused(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let cases: &[(&str, fn(&mut NewSchedule))] = &[
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
