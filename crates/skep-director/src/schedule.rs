//! Schedules: what comes due is dispatched, what has ended is counted. A reconciler: it takes no
//! input, can be repeated, and runs on a timer and on a poke.
//!
//! A run's slot and its job commit together, so a firing without a job or a job without a firing
//! does not exist, whenever the engine dies. What is prepared before the commit leaves nothing
//! behind. Idle, it only reads.
//!
//! The rules are `skep_queue::schedule`'s; here is what a run does: a request, dispatched as if a
//! person had sent it, perhaps after a pre-check.

mod change;
mod fire;
mod precheck;
mod view;

pub(crate) use change::{add, pause, remove, resume, run_now};
pub use view::preview;
pub(crate) use view::{firings, list, next, show};

use crate::context::Context;
use crate::error::{DirectorError, describe};
use crate::limits::{
    CLOCK_BACK_MS, DRAIN_MS, PRECHECKS_MAX, SCHEDULE_IDLE_MS, SCHEDULE_PAUSE_MS, SCHEDULE_SETTLE_MS,
};
use crate::running::Signal;
use precheck::Prechecks;
use skep_db::{DbError, Tx};
use skep_queue::schedule::{self, Firing, JobEnd, Schedule, ScheduleError, TimingError};
use skep_types::{FiringState, JobState, NodeRole, ScheduleId};
use std::sync::Arc;
use std::time::Duration;

/// Fires, checks and settles until the engine stops, each as far as the node's roles go: an engine
/// fires and settles, a worker runs pre-checks.
pub(crate) async fn run(context: Arc<Context>) {
    let fires = context.has_role(NodeRole::Engine);
    let works = context.has_role(NodeRole::Worker);
    if !fires && !works {
        return;
    }
    let mut changed = context.db.listen(schedule::TOPIC);
    let mut stop = context.running.stopping();
    let prechecks = Prechecks::new(PRECHECKS_MAX);
    if let Err(error) = begin(&context).await {
        tracing::error!(error = describe(&error), "schedules were not put in order");
    }
    while !*stop.borrow_and_update() {
        changed.mark_unchanged();
        let room = Some(&prechecks).filter(|_| works);
        let wait_ms = match reconcile(&context, fires, room).await {
            Ok(wait_ms) => wait_ms,
            Err(error) => {
                tracing::error!(error = describe(&error), "schedules were not looked after");
                SCHEDULE_SETTLE_MS
            }
        };
        let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
        tokio::select! {
            _ = changed.changed() => {}
            _ = stop.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    prechecks
        .end(Signal::Stopping, Duration::from_millis(DRAIN_MS))
        .await;
}

/// One look without an engine: pre-checks that are due stay due.
pub(crate) async fn reconcile_once(context: &Arc<Context>) -> Result<i64, DirectorError> {
    reconcile(context, true, None).await
}

/// What one look at the store finds to do.
struct Look {
    now_ms: i64,
    open: Vec<Firing>,
    /// Firings whose job has ended.
    ended: Vec<(Firing, JobEnd)>,
    /// Schedules whose time has come.
    due: Vec<ScheduleId>,
    /// Schedules that have accounted for more time than has passed.
    ahead: Vec<Schedule>,
}

impl Look {
    /// Leaves what is for an engine to do.
    fn keep_checks(&mut self) {
        self.ended.clear();
        self.due.clear();
        self.ahead.clear();
        self.open.retain(|f| f.state == FiringState::Checking);
    }
}

/// Does everything that there is to do. The answer is how long to sleep, in milliseconds.
async fn reconcile(
    context: &Arc<Context>,
    fires: bool,
    prechecks: Option<&Prechecks>,
) -> Result<i64, DirectorError> {
    let mut look = look(context).await?;
    if !fires {
        look.keep_checks();
    }
    let mut failures = 0;
    let mut note = |id: &ScheduleId, outcome: Result<(), DirectorError>| {
        if let Err(error) = outcome {
            failures += 1;
            tracing::error!(schedule = %id, error = describe(&error), "a schedule was not looked after");
        }
    };
    // What goes wrong with one schedule is not the others' loss.
    for (firing, end) in look.ended {
        let id = firing.schedule.clone();
        note(&id, settle(context, firing, end).await);
    }
    for schedule in look.ahead {
        let id = schedule.id.clone();
        note(&id, follow_clock(context, schedule).await);
    }
    for id in &look.due {
        note(id, fire::fire_due(context, id).await);
    }
    for firing in &look.open {
        let outcome = match (firing.state, prechecks) {
            (FiringState::Waiting, _) => fire::start_waiting(context, firing).await,
            (FiringState::Checking, Some(prechecks)) => {
                precheck::begin(context, prechecks, firing, look.now_ms).await
            }
            _ => Ok(()),
        };
        note(&firing.schedule, outcome);
    }
    let (now_ms, due_ms, open) = context
        .db
        .read("next schedule", async |tx: &mut Tx<'_>| {
            let open = !schedule::open_firings(tx).await?.is_empty();
            let due_ms = schedule::next_due_ms(tx).await?;
            Ok::<_, DbError>((tx.now_ms().await?, due_ms, open))
        })
        .await?;
    let idle_ms = if open {
        SCHEDULE_SETTLE_MS
    } else {
        SCHEDULE_IDLE_MS
    };
    if failures > 0 {
        return Ok(SCHEDULE_SETTLE_MS);
    }
    let until_due_ms = due_ms.filter(|_| fires).map_or(idle_ms, |due| due - now_ms);
    Ok(until_due_ms.clamp(SCHEDULE_PAUSE_MS, idle_ms))
}

async fn look(context: &Context) -> Result<Look, DirectorError> {
    context
        .db
        .read("due schedules", async |tx: &mut Tx<'_>| {
            let now_ms = tx.now_ms().await?;
            let open = schedule::open_firings(tx).await?;
            let mut ended = Vec::new();
            for firing in &open {
                if let Some(end) = end_of(tx, firing, now_ms).await? {
                    ended.push((firing.clone(), end));
                }
            }
            let due = schedule::due_schedules(tx, now_ms).await?;
            Ok(Look {
                now_ms,
                open,
                ended,
                due: due.into_iter().map(|schedule| schedule.id).collect(),
                ahead: schedule::schedules_ahead(tx, now_ms + CLOCK_BACK_MS).await?,
            })
        })
        .await
}

/// How the job of a firing ended, if it did. A job that is no longer on record was ended by whoever
/// took it away.
async fn end_of(tx: &mut Tx<'_>, firing: &Firing, now_ms: i64) -> Result<Option<JobEnd>, DbError> {
    let Some(job) = firing
        .job
        .as_ref()
        .filter(|_| firing.state == FiringState::Running)
    else {
        return Ok(None);
    };
    let Some(job) = skep_queue::job(tx, job).await? else {
        return Ok(Some(JobEnd {
            state: JobState::Cancelled,
            failure: None,
            at_ms: now_ms,
        }));
    };
    Ok(job.state.is_terminal().then(|| JobEnd {
        state: job.state,
        failure: job.failure,
        at_ms: job.ended_at_ms.unwrap_or(now_ms),
    }))
}

async fn settle(context: &Context, firing: Firing, end: JobEnd) -> Result<(), DirectorError> {
    let id = firing.schedule.clone();
    let settled = context
        .db
        .write("end of a run", async move |tx: &mut Tx<'_>| {
            schedule::job_ended(tx, &firing.schedule, firing.slot_ms, &end).await
        })
        .await?;
    if let Some(settled) = settled.filter(|settled| settled.auto_paused) {
        tracing::warn!(schedule = %id, failures = settled.failures, "a schedule paused itself");
    }
    Ok(())
}

async fn follow_clock(context: &Context, found: Schedule) -> Result<(), DirectorError> {
    tracing::warn!(schedule = %found.id, "the clock was set back");
    context
        .db
        .write("follow the clock", async move |tx: &mut Tx<'_>| {
            schedule::follow_clock(tx, &found.id, found.version)
                .await
                .map(drop)
        })
        .await
        .map_err(|error| refused(error, ""))
}

/// Puts in order what an earlier run of this node left: its pre-checks run again. The next times
/// are computed anew, because this program may know other rules of a time zone.
async fn begin(context: &Context) -> Result<(), DirectorError> {
    let (node, open, active) = (
        context.node.clone(),
        context
            .db
            .read("open firings", async |tx: &mut Tx<'_>| {
                schedule::open_firings(tx).await
            })
            .await?,
        context
            .db
            .read("active schedules", async |tx: &mut Tx<'_>| {
                schedule::active_schedules(tx).await
            })
            .await?,
    );
    if open
        .iter()
        .any(|firing| firing.node.as_ref() == Some(&node))
    {
        context
            .db
            .write("release pre-checks", async move |tx: &mut Tx<'_>| {
                schedule::release_checks(tx, &node).await.map(drop)
            })
            .await?;
    }
    for found in active {
        let Ok(rules) = found.rules() else {
            tracing::error!(schedule = %found.id, "this program cannot read the schedule's timing");
            continue;
        };
        let due_ms = schedule::next_due(&rules, found.cursor_ms).map(|due| due.due_ms);
        if due_ms != found.due_ms {
            context
                .db
                .write("due anew", async move |tx: &mut Tx<'_>| {
                    schedule::set_due(tx, &found.id, found.version, due_ms)
                        .await
                        .map(drop)
                })
                .await?;
        }
    }
    Ok(())
}

/// What the queue says about a schedule, as users see it.
fn refused(error: ScheduleError, name: &str) -> DirectorError {
    let (code, message) = (error.code(), error.to_string());
    let hint = error.hint().unwrap_or_default();
    match error {
        ScheduleError::Db(error) => DirectorError::Db(error),
        ScheduleError::NotFound => DirectorError::NotFound {
            noun: "schedule",
            reference: name.chars().take(64).collect(),
        },
        ScheduleError::Timing(error) => bad_timing(&error),
        ScheduleError::Invalid { .. } | ScheduleError::TooMany { .. } => {
            DirectorError::usage(code, message, hint)
        }
        ScheduleError::Exists { .. }
        | ScheduleError::State { .. }
        | ScheduleError::Busy
        | ScheduleError::Moved
        | _ => DirectorError::conflict(code, message, hint.replace("NAME", name)),
    }
}

fn bad_timing(error: &TimingError) -> DirectorError {
    DirectorError::usage(error.code(), format!("failed to {error}"), error.hint())
}
