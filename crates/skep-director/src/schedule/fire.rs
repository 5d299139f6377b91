//! Firing: a due slot becomes a job, a pre-check, or a line that says why it became neither.

use super::refused;
use crate::context::Context;
use crate::dispatch::Prepared;
use crate::error::{DirectorError, describe};
use crate::limits::{SCHEDULE_STEPS_MAX, SCHEDULE_TRIES_MAX};
use crate::record::{self, Template};
use crate::reference;
use crate::running::Signal;
use skep_db::{DbError, Tx};
use skep_queue::limits::SCHEDULE_REASON_BYTES_MAX;
use skep_queue::schedule::{
    self, Admission, Begun, Firing, Schedule, ScheduleError, Standing, Start, Step,
};
use skep_types::{FailureClass, FiringState, JobId, ScheduleId, ScheduleState};

/// A schedule with all that decides what its next step is.
pub(super) struct Snapshot {
    pub(super) schedule: Schedule,
    pub(super) now_ms: i64,
    pub(super) standing: Standing,
    pub(super) template: Option<Template>,
}

/// The start of a run and, for a job, what is written with it.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) start: Start,
    pub(super) job: Option<Prepared>,
}

/// What is taken from a schedule in one transaction.
#[derive(Debug, Clone)]
enum Take {
    Planned(Step),
    Waiting { slot_ms: i64 },
    Now,
}

/// Takes every slot of a schedule that is due, one transaction each.
pub(super) async fn fire_due(context: &Context, id: &ScheduleId) -> Result<(), DirectorError> {
    for _ in 0..SCHEDULE_STEPS_MAX {
        let Some(found) = snapshot(context, id).await? else {
            return Ok(());
        };
        if found.schedule.state != ScheduleState::Active {
            return Ok(());
        }
        let rules = match found.schedule.rules() {
            Ok(rules) => rules,
            Err(error) => return halt(context, &found.schedule, &describe(&error)).await,
        };
        let step = schedule::plan(&rules, found.schedule.cursor_ms, found.now_ms);
        if step.fire.is_none() && step.missed.is_none() {
            return follow_due(context, &found.schedule, step.due_ms).await;
        }
        let admission = schedule::admit(
            found.schedule.overlap,
            found.schedule.overlap_max,
            found.standing.active,
            found.standing.waiting,
        );
        let starts = matches!(admission, Admission::Start | Admission::Replace);
        let ready = if step.fire.is_some() && starts {
            Some(ready(context, &found).await?)
        } else {
            None
        };
        take(context, &found.schedule, Take::Planned(step), ready).await?;
    }
    Ok(())
}

/// Starts a run that waited, if nothing of its schedule is under way any more.
pub(super) async fn start_waiting(context: &Context, firing: &Firing) -> Result<(), DirectorError> {
    let Some(found) = snapshot(context, &firing.schedule).await? else {
        return Ok(());
    };
    if found.standing.active > 0 {
        return Ok(());
    }
    let ready = ready(context, &found).await?;
    let slot_ms = firing.slot_ms;
    take(
        context,
        &found.schedule,
        Take::Waiting { slot_ms },
        Some(ready),
    )
    .await?;
    Ok(())
}

/// Begins a run on a person's word.
pub(super) async fn fire_now(context: &Context, id: &ScheduleId) -> Result<Begun, DirectorError> {
    for _ in 0..SCHEDULE_TRIES_MAX {
        let found = snapshot(context, id).await?;
        let found = found.ok_or_else(|| refused(ScheduleError::NotFound, id.as_str()))?;
        let ready = ready(context, &found).await?;
        // A person who asks for a run is told why there is none; nothing is counted.
        if let Start::Refused { reason, .. } = &ready.start {
            return Err(DirectorError::conflict(
                "schedule_not_started",
                format!("the run cannot begin: {reason}"),
                "`skep schedule show NAME` prints what a run does",
            ));
        }
        if let Some(begun) = take(context, &found.schedule, Take::Now, Some(ready)).await? {
            return Ok(begun);
        }
    }
    Err(refused(ScheduleError::Moved, id.as_str()))
}

pub(super) async fn snapshot(
    context: &Context,
    id: &ScheduleId,
) -> Result<Option<Snapshot>, DirectorError> {
    let id = id.clone();
    let found = context
        .db
        .read("schedule", async move |tx: &mut Tx<'_>| {
            let Some(schedule) = schedule::schedule(tx, &id).await? else {
                return Ok::<_, DbError>(None);
            };
            Ok(Some(Snapshot {
                schedule,
                now_ms: tx.now_ms().await?,
                standing: schedule::standing(tx, &id).await?,
                template: record::template(tx, &id).await?,
            }))
        })
        .await?;
    Ok(found)
}

/// Prepares the start of a run. What is wrong with the request is the firing's failure; what is
/// wrong with the store is ours.
async fn ready(context: &Context, found: &Snapshot) -> Result<Ready, DirectorError> {
    let Some(template) = &found.template else {
        return Ok(Ready {
            start: refusal(&DirectorError::incomplete("the schedule has no request")),
            job: None,
        });
    };
    if template.precheck.is_some() {
        return Ok(Ready {
            start: Start::Check,
            job: None,
        });
    }
    prepared(context, template).await
}

/// Prepares the job of a template.
pub(super) async fn prepared(
    context: &Context,
    template: &Template,
) -> Result<Ready, DirectorError> {
    match template.wish.prepare_now(context).await {
        Ok(prepared) => Ok(Ready {
            start: Start::Job(prepared.job().clone()),
            job: Some(prepared),
        }),
        Err(error @ DirectorError::Db(_)) => Err(error),
        Err(error) => Ok(Ready {
            start: refusal(&error),
            job: None,
        }),
    }
}

/// A start that is refused for `error`. What stands in the way of a scope or a landing is an
/// overlap with other work; anything else is a failure.
pub(super) fn refusal(error: &DirectorError) -> Start {
    let is_overlap = matches!(
        error,
        DirectorError::Policy {
            code: "scope_overlap",
            ..
        } | DirectorError::Conflict {
            code: "job_landing" | "job_in_line",
            ..
        }
    );
    let mut reason = describe(error);
    reason.truncate(reason.floor_char_boundary(SCHEDULE_REASON_BYTES_MAX));
    if is_overlap {
        return Start::Refused {
            state: FiringState::SkippedOverlap,
            failure: None,
            reason,
        };
    }
    Start::Refused {
        state: FiringState::Failed,
        failure: Some(FailureClass::Unknown),
        reason,
    }
}

/// Takes it with its job, or without one if the job cannot be queued. `None`: somebody else changed
/// the schedule; the caller looks again.
async fn take(
    context: &Context,
    schedule: &Schedule,
    what: Take,
    ready: Option<Ready>,
) -> Result<Option<Begun>, DirectorError> {
    skep_stdx::crash::point("schedule.prepared");
    let is_asked_for = matches!(what, Take::Now);
    let taken = match write(context, schedule, what.clone(), ready).await {
        Err(error) if is_refusal(&error) && !is_asked_for => {
            let ready = Ready {
                start: refusal(&error),
                job: None,
            };
            write(context, schedule, what, Some(ready)).await
        }
        other => other,
    }?;
    skep_stdx::crash::point("schedule.fired");
    let Some((begun, ended)) = taken else {
        return Ok(None);
    };
    for job in &ended {
        context.running.tell(job, Signal::Cancelled);
    }
    Ok(Some(begun))
}

async fn write(
    context: &Context,
    schedule: &Schedule,
    what: Take,
    ready: Option<Ready>,
) -> Result<Option<(Begun, Vec<JobId>)>, DirectorError> {
    let (id, version, name) = (schedule.id.clone(), schedule.version, schedule.name.clone());
    let _turn = context.scopes.lock().await;
    context
        .db
        .write("fire a schedule", async move |tx: &mut Tx<'_>| {
            let start = ready.as_ref().map(|ready| &ready.start);
            let begun = match (&what, start) {
                (Take::Planned(step), start) => {
                    schedule::fire_planned(tx, &id, version, step, start).await?
                }
                (Take::Waiting { slot_ms }, Some(start)) => {
                    schedule::begin_waiting(tx, &id, version, *slot_ms, start).await?
                }
                (Take::Now, Some(start)) => {
                    match schedule::fire_now(tx, &id, version, start).await {
                        Ok(begun) => Some(begun),
                        Err(ScheduleError::Moved) => None,
                        Err(error) => return Err(refused(error, &name)),
                    }
                }
                (Take::Waiting { .. } | Take::Now, None) => None,
            };
            let Some(begun) = begun else {
                return Ok(None);
            };
            let mut ended = Vec::new();
            for job in &begun.replaced {
                ended.extend(end(tx, job).await?);
            }
            let runs = begun
                .firing
                .as_ref()
                .is_some_and(|firing| firing.state == FiringState::Running);
            if let Some(job) = ready.as_ref().and_then(|ready| ready.job.as_ref())
                && runs
            {
                put_own(tx, job).await?;
            }
            Ok::<_, DirectorError>(Some((begun, ended)))
        })
        .await
}

/// Queues the job of a run. A request that the queue would answer with a job that is already there,
/// because of its singleton or debounce, makes no run.
pub(super) async fn put_own(tx: &mut Tx<'_>, job: &Prepared) -> Result<(), DirectorError> {
    let queued = job.put(tx).await?;
    if queued.id == *job.job() {
        return Ok(());
    }
    Err(DirectorError::conflict(
        "job_in_line",
        format!("job {} of the same name has not ended", queued.number),
        format!("wait for it (`skep job show {}`)", queued.number),
    ))
}

/// Ends the job of an earlier run, unless it has just ended by itself.
async fn end(tx: &mut Tx<'_>, job: &JobId) -> Result<Vec<JobId>, DirectorError> {
    let live = skep_queue::job(tx, job)
        .await?
        .filter(|job| !job.state.is_terminal());
    let Some(live) = live else {
        return Ok(Vec::new());
    };
    let (job, mut ended) = reference::end(tx, &live).await?;
    ended.push(job.id);
    Ok(ended)
}

/// Whether the job could not be queued for a reason of its own.
pub(super) const fn is_refusal(error: &DirectorError) -> bool {
    matches!(
        error,
        DirectorError::Usage { .. } | DirectorError::Policy { .. } | DirectorError::Conflict { .. }
    )
}

/// A timing that this program cannot read was written by a newer one.
async fn halt(context: &Context, schedule: &Schedule, why: &str) -> Result<(), DirectorError> {
    let (id, version) = (schedule.id.clone(), schedule.version);
    let reason = format!("failed to {why}");
    context
        .db
        .write("halt a schedule", async move |tx: &mut Tx<'_>| {
            schedule::halt(tx, &id, version, &reason).await.map(drop)
        })
        .await?;
    Ok(())
}

/// The row said that something is due and nothing is: its next time is put right.
async fn follow_due(
    context: &Context,
    schedule: &Schedule,
    due_ms: Option<i64>,
) -> Result<(), DirectorError> {
    if schedule.due_ms == due_ms {
        return Ok(());
    }
    let (id, version) = (schedule.id.clone(), schedule.version);
    context
        .db
        .write("due anew", async move |tx: &mut Tx<'_>| {
            schedule::set_due(tx, &id, version, due_ms).await.map(drop)
        })
        .await?;
    Ok(())
}
