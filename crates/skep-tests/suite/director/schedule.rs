//! Schedules with real jobs: what comes due is dispatched once, checked first where that was asked
//! for, and counted when it has ended.

mod kinds;

use super::stand::{
    Engine, FIX, Setup, assert_landed, assert_no_process, assert_untouched, project, request,
};
use anyhow::Context as _;
use skep_api::{
    CallRequest, DispatchRequest, FiringView, PauseRequest, PrecheckRequest, ScheduleRequest,
    ScheduleView, ShellRequest,
};
use skep_db::{DbError, Tx};
use skep_director::DirectorError;
use skep_testkit::{SourceRepository, TestStore, on_both_engines};
use skep_types::{FailureClass, FiringCause, FiringState, JobState, Overlap, Role, ScheduleState};
use std::time::Duration;

on_both_engines!(
    a_due_slot_becomes_a_job_that_lands,
    a_precheck_decides_before_a_worker_starts,
    a_precheck_outlives_its_engine,
    a_request_that_no_longer_works_pauses_the_schedule,
    a_run_that_waits_starts_after_the_other,
    a_job_of_the_same_name_is_an_overlap,
    a_scope_that_is_taken_is_an_overlap,
    a_timing_that_cannot_be_read_halts_its_schedule_alone,
    idle_writes_nothing,
    one_look_at_a_time_or_two_make_one_job,
    the_earlier_run_is_cancelled,
    what_cannot_work_is_refused_at_once,
);

const HOUR_MS: i64 = 3_600_000;
/// The longest wait for anything, in seconds. Generous: a test that gets here has failed.
const WAIT_S: u64 = 60;

/// An hourly schedule of the project's repair.
fn hourly(project: &SourceRepository) -> ScheduleRequest {
    ScheduleRequest {
        name: "hourly".to_owned(),
        when: "0 * * * *".to_owned(),
        job: Some(request(project)),
        ..ScheduleRequest::default()
    }
}

/// What an agent does in each run.
fn job(request: &mut ScheduleRequest) -> &mut DispatchRequest {
    request.job.get_or_insert_default()
}

/// The same for an observer, whose jobs need no room.
fn looking(project: &SourceRepository) -> ScheduleRequest {
    ScheduleRequest {
        job: Some(DispatchRequest {
            instruction: "Look around.".to_owned(),
            role: Some(Role::Observer),
            checks: Vec::new(),
            ..request(project)
        }),
        ..hourly(project)
    }
}

fn checked_by(command: &str, request: ScheduleRequest) -> ScheduleRequest {
    ScheduleRequest {
        precheck: Some(PrecheckRequest {
            command: command.to_owned(),
            ..PrecheckRequest::default()
        }),
        ..request
    }
}

impl Engine {
    /// Lets `hours` pass, and the engine look at the clock.
    fn pass(&self, store: &TestStore, hours: i64) {
        store.clock.advance_ms(hours * HOUR_MS);
        self.db.wake(skep_queue::schedule::TOPIC);
    }

    /// The schedule as soon as `holds` does, looked at whenever the ledger has grown.
    async fn until_schedule(
        &self,
        what: &str,
        holds: impl Fn(&ScheduleView) -> bool,
    ) -> anyhow::Result<ScheduleView> {
        let mut grown = self.director.listen();
        let waited = tokio::time::timeout(Duration::from_secs(WAIT_S), async {
            loop {
                grown.mark_unchanged();
                let view = self.director.schedule("hourly").await?;
                if holds(&view) {
                    return anyhow::Ok(view);
                }
                grown.changed().await?;
            }
        });
        match waited.await {
            Ok(view) => view,
            Err(_) => {
                let view = self.director.schedule("hourly").await?;
                anyhow::bail!("not within {WAIT_S} s: {what}; the schedule is\n{view:#?}")
            }
        }
    }

    /// The newest firing once it is in `state`.
    async fn until_firing(&self, state: FiringState) -> anyhow::Result<FiringView> {
        let is_there =
            |view: &ScheduleView| view.last.as_ref().is_some_and(|last| last.state == state);
        let what = format!("the newest firing is {state}");
        let view = self.until_schedule(&what, is_there).await?;
        view.last.context("there is a firing")
    }

    async fn history(&self) -> anyhow::Result<Vec<FiringView>> {
        Ok(self.director.firings("hourly", None, None).await?.items)
    }
}

async fn a_due_slot_becomes_a_job_that_lands(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start_on_still_clock(&store, &Setup::with_fixer(FIX)).await?;
    let added = engine.director.add_schedule(hourly(&project)).await?;
    assert_eq!((added.owner.as_str(), added.next.is_some()), ("ada", true));
    assert!(engine.jobs().await?.is_empty(), "nothing is due yet");
    engine.pass(&store, 1);
    let fired = engine.until_firing(FiringState::Succeeded).await?;
    assert_eq!(
        (fired.cause, fired.job_state),
        (FiringCause::Slot, Some(JobState::Done))
    );
    let job = fired.job.context("it has a job")?;
    let view = engine.director.job(job.as_str()).await?;
    assert_landed(&view, &project, "main");
    assert_eq!(
        (view.owner.as_str(), &view.schedule),
        ("ada", &Some(added.id))
    );
    // The proof of the last run, and when the next one is.
    let shown = engine.director.schedule("hourly").await?;
    assert_eq!(shown.last_success_job, Some(job));
    assert!(shown.last_success_at.is_some() && shown.open.is_empty());
    let next = shown.next.clone().context("it is due again")?;
    assert_eq!(next.slot_at, fired.slot_at + HOUR_MS);
    let kinds = engine.schedule_kinds(&shown).await?;
    assert_eq!(
        kinds,
        ["schedule_added", "schedule_fired", "schedule_firing_ended"]
    );
    engine.verify_ledger().await?;
    engine.stop().await
}

impl Engine {
    async fn schedule_kinds(&self, view: &ScheduleView) -> anyhow::Result<Vec<String>> {
        self.seal().await?;
        let events = self.director.events(0, Some(view.id.as_str()), 500).await?;
        Ok(events.into_iter().map(|event| event.kind).collect())
    }
}

async fn a_precheck_decides_before_a_worker_starts(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start_on_still_clock(&store, &Setup::with_fixer(FIX)).await?;
    // It sees the commit, and the user's own repository it can neither see nor change.
    let outside = project.text_path();
    let nothing =
        format!("test -f bees/calc.py && ! touch {outside}/bees.txt && echo seen && exit 75");
    let slow = ScheduleRequest {
        precheck: Some(PrecheckRequest {
            command: "while :; do :; done".to_owned(),
            seconds_max: Some(1),
            nothing_to_do: None,
        }),
        ..hourly(&project)
    };
    let own_code = ScheduleRequest {
        precheck: Some(PrecheckRequest {
            command: "exit 9".to_owned(),
            seconds_max: None,
            nothing_to_do: Some(9),
        }),
        ..hourly(&project)
    };
    let refused = Some(FailureClass::ToolFailure);
    for (request, state, exit_code, failure) in [
        (
            checked_by(&nothing, hourly(&project)),
            FiringState::SkippedPrecheck,
            Some(75),
            None,
        ),
        (own_code, FiringState::SkippedPrecheck, Some(9), None),
        (
            checked_by("exit 3", hourly(&project)),
            FiringState::Failed,
            Some(3),
            refused,
        ),
        (slow, FiringState::Failed, None, refused),
    ] {
        engine.director.add_schedule(request).await?;
        engine.pass(&store, 1);
        let fired = engine.until_firing(state).await?;
        assert_eq!(fired.precheck_exit_code, exit_code, "{fired:?}");
        assert_eq!(
            (fired.failure_class, &fired.job),
            (failure, &None),
            "{fired:?}"
        );
        let log = fired.precheck_log.context("its output is kept")?;
        let log = std::fs::read_to_string(engine.home.root().join(log))?;
        assert_eq!(log.contains("seen"), exit_code == Some(75), "{log}");
        let shown = engine.director.schedule("hourly").await?;
        assert_eq!(shown.failures, i64::from(state == FiringState::Failed));
        engine.director.remove_schedule("hourly").await?;
    }
    assert!(engine.jobs().await?.is_empty(), "no worker was started");
    assert_untouched(&project)?;
    // And a yes.
    let yes = checked_by("test -f bees/calc.py", hourly(&project));
    engine.director.add_schedule(yes).await?;
    engine.pass(&store, 1);
    let fired = engine.until_firing(FiringState::Succeeded).await?;
    assert_eq!(fired.precheck_exit_code, Some(0));
    let job = fired.job.context("it has a job")?;
    let view = engine.director.job(job.as_str()).await?;
    assert_landed(&view, &project, "main");
    assert!(engine.attempt_folders()?.is_empty());
    engine.stop().await
}

async fn a_precheck_outlives_its_engine(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = format!("mark-{}", project.beside().display());
    let setup = Setup::with_fixer(FIX);
    let engine = Engine::start_on_still_clock(&store, &setup).await?;
    let endless = ScheduleRequest {
        precheck: Some(PrecheckRequest {
            command: format!("sleep 500; : {mark}"),
            seconds_max: Some(600),
            nothing_to_do: None,
        }),
        ..hourly(&project)
    };
    engine.director.add_schedule(endless).await?;
    engine.pass(&store, 1);
    engine.until_firing(FiringState::Checking).await?;
    engine.until_claims(1).await?;
    engine.stop().await?;
    assert_no_process(&mark)?;
    // The next engine of this home takes it up at once, though its lease has not run out.
    let engine = Engine::start_on_still_clock(&store, &setup).await?;
    engine.until_claims(2).await?;
    assert_eq!(engine.history().await?.len(), 1, "it is the same firing");
    engine.director.remove_schedule("hourly").await?;
    engine.stop().await?;
    assert_no_process(&mark)
}

impl Engine {
    /// Waits until the pre-check was claimed `count` times.
    async fn until_claims(&self, count: usize) -> anyhow::Result<()> {
        let id = self.director.schedule("hourly").await?.id;
        let mut grown = self.director.listen();
        let waited = tokio::time::timeout(Duration::from_secs(WAIT_S), async {
            loop {
                grown.mark_unchanged();
                let events = self.director.events(0, Some(id.as_str()), 500).await?;
                let claims = events
                    .iter()
                    .filter(|event| event.kind == "schedule_precheck_claimed");
                if claims.count() >= count {
                    return anyhow::Ok(());
                }
                grown.changed().await?;
            }
        });
        waited.await.context("the pre-check was not claimed")?
    }
}

async fn a_request_that_no_longer_works_pauses_the_schedule(
    store: TestStore,
) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start_on_still_clock(&store, &Setup::with_fixer(FIX)).await?;
    let mut request = ScheduleRequest {
        pause_after: Some(2),
        ..hourly(&project)
    };
    job(&mut request).worker = Some("fixer".to_owned());
    engine.director.add_schedule(request).await?;
    engine.stop().await?;
    // Somebody took the worker out of the configuration.
    let engine = Engine::start_on_still_clock(&store, &Setup::new()).await?;
    engine.pass(&store, 1);
    let first = engine.until_firing(FiringState::Failed).await?;
    assert!(
        first
            .reason
            .as_deref()
            .is_some_and(|why| why.contains("fixer")),
        "{first:?}"
    );
    assert_eq!(
        engine.director.schedule("hourly").await?.state,
        ScheduleState::Active
    );
    engine.pass(&store, 1);
    let paused = engine
        .until_schedule("it pauses itself", |view| {
            view.state == ScheduleState::AutoPaused
        })
        .await?;
    assert_eq!((paused.failures, paused.next), (2, None));
    let listed = engine.director.schedules().await?.items.remove(0);
    assert_eq!(listed.state, ScheduleState::AutoPaused);
    assert_eq!(
        listed.state_reason.as_deref(),
        Some("2 runs in a row failed")
    );
    let resumed = engine.director.resume_schedule("hourly").await?;
    assert_eq!(
        (resumed.state, resumed.failures),
        (ScheduleState::Active, 0)
    );
    assert!(engine.jobs().await?.is_empty());
    engine.stop().await
}

async fn a_timing_that_cannot_be_read_halts_its_schedule_alone(
    store: TestStore,
) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::new().worker("looker", "exit 1");
    let engine = Engine::start_on_still_clock(&store, &setup).await?;
    engine.director.add_schedule(looking(&project)).await?;
    let foreign = ScheduleRequest {
        name: "foreign".to_owned(),
        ..looking(&project)
    };
    engine.director.add_schedule(foreign).await?;
    // As a program of next year would have left it.
    let sql = "UPDATE schedule SET zone = 'Mars/Olympus' WHERE name = 'foreign'";
    let write = async move |tx: &mut Tx<'_>| tx.execute(sql, &[]).await;
    engine.db.write::<_, DbError, _>("foreign", write).await?;
    engine.pass(&store, 1);
    engine.until_firing(FiringState::Failed).await?;
    engine.director.reconcile_schedules().await?;
    let foreign = engine.director.schedule("foreign").await?;
    assert_eq!(foreign.state, ScheduleState::AutoPaused);
    let reason = foreign.state_reason.context("it says why")?;
    assert!(reason.contains("Mars/Olympus"), "{reason}");
    engine.stop().await
}

async fn the_earlier_run_is_cancelled(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer("meet start\nsleep 500");
    let engine = Engine::start_on_still_clock(&store, &setup).await?;
    let replacing = ScheduleRequest {
        overlap: Some(Overlap::CancelRunning),
        ..hourly(&project)
    };
    engine.director.add_schedule(replacing).await?;
    engine.pass(&store, 1);
    let first = engine.until_firing(FiringState::Running).await?;
    let job = first.job.context("it has a job")?;
    engine.working(&job, 1).await?;
    engine.pass(&store, 1);
    // The new job has the scope of the one it replaces, in the transaction that ends that one.
    let is_next = |view: &ScheduleView| {
        let last = view.last.as_ref();
        last.is_some_and(|last| last.slot_at != first.slot_at)
    };
    let view = engine
        .until_schedule("the next slot is taken", is_next)
        .await?;
    let second = view.last.context("there is a firing")?;
    assert_eq!(second.state, FiringState::Running, "{second:?}");
    let history = engine.history().await?;
    assert_eq!(history[1].state, FiringState::Cancelled);
    assert_eq!(history[1].job_state, Some(JobState::Cancelled));
    assert_eq!(engine.director.schedule("hourly").await?.failures, 0);
    let second = second.job.context("it has a job")?;
    engine.director.cancel(second.as_str()).await?;
    engine.until_firing(FiringState::Cancelled).await?;
    engine.stop().await
}

async fn a_run_that_waits_starts_after_the_other(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::new().worker("looker", "meet start\nsleep 500");
    let engine = Engine::start_on_still_clock(&store, &setup).await?;
    let queueing = ScheduleRequest {
        overlap: Some(Overlap::QueueOne),
        ..looking(&project)
    };
    engine.director.add_schedule(queueing).await?;
    engine.pass(&store, 1);
    let first = engine.until_firing(FiringState::Running).await?;
    engine.pass(&store, 1);
    engine.until_firing(FiringState::Waiting).await?;
    engine.pass(&store, 1);
    engine.until_firing(FiringState::SkippedOverlap).await?;
    let job = first.job.context("it has a job")?;
    engine.director.cancel(job.as_str()).await?;
    let started = |view: &ScheduleView| {
        let [open] = view.open.as_slice() else {
            return false;
        };
        open.state == FiringState::Running && open.slot_at != first.slot_at
    };
    let view = engine
        .until_schedule("the one that waited runs", started)
        .await?;
    let second = view.open[0].job.clone().context("it has a job")?;
    engine.director.cancel(second.as_str()).await?;
    engine
        .until_schedule("all has ended", |view| view.open.is_empty())
        .await?;
    assert_eq!(engine.jobs().await?.len(), 2);
    engine.stop().await
}

async fn a_scope_that_is_taken_is_an_overlap(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer("meet start\nsleep 500");
    let engine = Engine::start_on_still_clock(&store, &setup).await?;
    let job = engine.dispatch(request(&project)).await?;
    engine.director.add_schedule(hourly(&project)).await?;
    engine.pass(&store, 1);
    let fired = engine.until_firing(FiringState::SkippedOverlap).await?;
    let reason = fired.reason.context("it says why")?;
    assert!(reason.contains(&format!("job {}", job.number)), "{reason}");
    let shown = engine.director.schedule("hourly").await?;
    assert_eq!((shown.failures, shown.state), (0, ScheduleState::Active));
    engine.director.cancel(job.id.as_str()).await?;
    engine.at_rest(&job.id).await?;
    engine.stop().await
}

async fn a_job_of_the_same_name_is_an_overlap(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::new().worker("looker", "meet start\nsleep 500");
    let engine = Engine::start_on_still_clock(&store, &setup).await?;
    let mut alone = looking(&project);
    job(&mut alone).flow.singleton = Some("the only one".to_owned());
    let job = engine.dispatch(job(&mut alone).clone()).await?;
    engine.director.add_schedule(alone).await?;
    engine.pass(&store, 1);
    let fired = engine.until_firing(FiringState::SkippedOverlap).await?;
    assert_eq!((fired.job, fired.failure_class), (None, None));
    assert_eq!(engine.jobs().await?.len(), 1);
    engine.director.cancel(job.id.as_str()).await?;
    engine.at_rest(&job.id).await?;
    engine.stop().await
}

async fn one_look_at_a_time_or_two_make_one_job(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::new().worker("looker", "exit 1");
    let engine = Engine::start_on_still_clock(&store, &setup).await?;
    let beside = ScheduleRequest {
        overlap: Some(Overlap::Allow),
        overlap_max: Some(50),
        pause_after: Some(0),
        ..looking(&project)
    };
    engine.director.add_schedule(beside).await?;
    for hour in 1..=4 {
        // The engine's own loop and two others, all at once.
        engine.pass(&store, 1);
        let looks = tokio::join!(
            engine.director.reconcile_schedules(),
            engine.director.reconcile_schedules()
        );
        looks.0?;
        looks.1?;
        engine.until_firing(FiringState::Failed).await?;
        assert_eq!(engine.history().await?.len(), hour);
        assert_eq!(engine.jobs().await?.len(), hour);
    }
    engine.stop().await
}

async fn idle_writes_nothing(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start_on_still_clock(&store, &Setup::with_fixer(FIX)).await?;
    let mut added = Vec::new();
    for name in ["one", "two", "three"] {
        let request = ScheduleRequest {
            name: name.to_owned(),
            ..hourly(&project)
        };
        added.push(engine.director.add_schedule(request).await?);
    }
    engine
        .director
        .pause_schedule("two", PauseRequest::default())
        .await?;
    let log = store.sqlite_file().map(|file| {
        let mut name = file.clone().into_os_string();
        name.push("-wal");
        std::path::PathBuf::from(name)
    });
    let state = async || {
        engine.seal().await?;
        let events = engine.director.verify_ledger().await?.events;
        let bytes = log.as_ref().map(std::fs::metadata).transpose()?;
        let bytes = bytes.map(|log| (log.len(), log.modified().ok()));
        anyhow::Ok((events, engine.director.schedules().await?, bytes))
    };
    // The engine's own arrival is an event, and the last thing that it writes by itself.
    engine.director.started().await;
    let before = state().await?;
    for _ in 0..20 {
        store.clock.advance_ms(60_000);
        let wait_ms = engine.director.reconcile_schedules().await?;
        assert_eq!(wait_ms, 30_000);
    }
    assert_eq!(state().await?, before);
    engine.stop().await
}

/// What is wrong with a request.
type Change = fn(&mut ScheduleRequest);

async fn what_cannot_work_is_refused_at_once(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start_on_still_clock(&store, &Setup::with_fixer(FIX)).await?;
    let cases: &[(&str, Change)] = &[
        ("cron_invalid", |r| r.when = "0 25 * * *".to_owned()),
        ("interval_invalid", |r| r.when = "every 10s".to_owned()),
        ("zone_unknown", |r| {
            r.zone = Some("Europe/Berlim".to_owned());
        }),
        ("schedule_invalid", |r| r.name = "two words".to_owned()),
        ("schedule_invalid", |r| r.jitter_s = Some(i64::MAX)),
        ("unknown_worker", |r| {
            job(r).worker = Some("nobody".to_owned());
        }),
        ("instruction_empty", |r| job(r).instruction = String::new()),
        ("repo_missing", |r| job(r).repo = None),
        ("checks_missing", |r| job(r).checks.clear()),
        ("schedule_invalid", |r| {
            job(r).idempotency_key = Some("k".to_owned());
        }),
        ("schedule_invalid", |r| {
            job(r).owner = Some("bob".to_owned());
        }),
        ("schedule_invalid", |r| job(r).flow.start_at = Some(1)),
        ("precheck_invalid", |r| {
            r.precheck = Some(PrecheckRequest::default());
        }),
        ("precheck_invalid", |r| {
            r.precheck = Some(PrecheckRequest {
                command: "true".to_owned(),
                nothing_to_do: Some(0),
                seconds_max: None,
            });
        }),
        ("precheck_invalid", |r| {
            r.precheck = Some(PrecheckRequest {
                command: "true".to_owned(),
                nothing_to_do: None,
                seconds_max: Some(601),
            });
        }),
        ("work_unclear", |r| r.job = None),
        ("work_unclear", |r| r.call = Some(CallRequest::default())),
        ("prompt_empty", |r| {
            r.job = None;
            r.call = Some(CallRequest::default());
        }),
        ("command_missing", |r| {
            r.job = None;
            r.shell = Some(ShellRequest::default());
        }),
        ("schedule_invalid", |r| {
            r.job = None;
            r.call = Some(CallRequest {
                idempotency_key: Some("k".to_owned()),
                ..CallRequest::default()
            });
        }),
        ("schedule_invalid", |r| {
            r.job = None;
            r.shell = Some(ShellRequest::default());
            if let Some(shell) = &mut r.shell {
                shell.flow.start_at = Some(1);
            }
        }),
    ];
    for (code, change) in cases {
        let mut request = hourly(&project);
        change(&mut request);
        let Err(error) = engine.director.add_schedule(request).await else {
            anyhow::bail!("{code}: it was taken");
        };
        assert_eq!(error.body().code, *code, "{error}");
        assert_eq!(error.body().exit, 2, "{error}");
    }
    assert_eq!(engine.director.schedules().await?.items, []);
    engine.director.add_schedule(hourly(&project)).await?;
    let again = engine.director.add_schedule(hourly(&project)).await;
    let code = again.err().map(|error| error.body().code);
    assert_eq!(code.as_deref(), Some("schedule_exists"));
    let missing = engine.director.schedule("nightly").await;
    assert!(
        matches!(
            &missing,
            Err(DirectorError::NotFound {
                noun: "schedule",
                ..
            })
        ),
        "{missing:?}"
    );
    engine.stop().await
}
