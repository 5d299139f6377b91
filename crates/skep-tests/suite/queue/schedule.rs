//! Schedules: each slot once, whatever the clock, the engines and the restarts do.

mod change;
mod clock;
mod run;

use super::Hive;
use skep_db::{DbError, Tx};
use skep_ledger::SealedEvent;
use skep_queue::schedule::{
    self, Begun, Firing, JobEnd, NewSchedule, Schedule, ScheduleError, Settled, Start, Step, Timing,
};
use skep_types::{CatchUp, FailureClass, JobId, JobState, Overlap, ScheduleId};

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
