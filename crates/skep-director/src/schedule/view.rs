//! Schedules and firings as documents, read in one snapshot each.

use super::refused;
use crate::context::Context;
use crate::dispatch::Wish;
use crate::error::DirectorError;
use crate::limits::{PAGE_DEFAULT, PREVIEW_DEFAULT, PREVIEW_MAX};
use crate::record::{self, Template};
use skep_api::{
    FiringView, Page, PrecheckRequest, PreviewView, ScheduleSummary, ScheduleView, SlotView,
};
use skep_db::{DbError, Tx};
use skep_queue::schedule::{self, Due, Firing, Rules, Schedule, ScheduleError, TimingError, Zone};
use skep_types::{CatchUp, ScheduleId, ScheduleState, SlotShift};

/// The next times of a timing that no schedule has: needs no home. An interval counts from `now_ms`.
pub fn preview(
    when: &str,
    zone: &str,
    now_ms: i64,
    count: Option<i64>,
) -> Result<PreviewView, DirectorError> {
    let timing = schedule::Timing::parse(when, zone).map_err(|error| super::bad_timing(&error))?;
    let rules = Rules {
        seed: String::new(),
        timing,
        anchor_ms: now_ms - now_ms.rem_euclid(60_000),
        jitter_ms: 0,
        catch_up: CatchUp::Last,
        catch_up_max: 1,
        catch_up_window_ms: 0,
    };
    Ok(previewed(&rules, now_ms, count))
}

/// Every schedule that is not removed.
pub(crate) async fn list(context: &Context) -> Result<Page<ScheduleSummary>, DirectorError> {
    let items = context
        .db
        .read("schedules", async |tx: &mut Tx<'_>| {
            let mut items = Vec::new();
            for found in schedule::schedules(tx).await? {
                items.push(summary(tx, found).await?);
            }
            Ok::<_, DbError>(items)
        })
        .await?;
    Ok(Page {
        items,
        next_cursor: None,
    })
}

/// One schedule with everything known of it.
pub(crate) async fn show(context: &Context, name: &str) -> Result<ScheduleView, DirectorError> {
    let name = name.to_owned();
    context
        .db
        .read("schedule", async move |tx: &mut Tx<'_>| {
            let found = resolve_in(tx, &name).await?;
            Ok(view(tx, found).await?)
        })
        .await
}

/// The next times of a schedule, whether it is paused or not.
pub(crate) async fn next(
    context: &Context,
    name: &str,
    count: Option<i64>,
) -> Result<PreviewView, DirectorError> {
    let found = resolve(context, name).await?;
    let now_ms = context
        .db
        .read("time", async |tx: &mut Tx<'_>| tx.now_ms().await)
        .await?;
    let rules = rules(&found).map_err(|error| super::bad_timing(&error))?;
    let from = if found.state == ScheduleState::Active {
        found.cursor_ms
    } else {
        now_ms
    };
    Ok(previewed(&rules, from, count))
}

/// What became of a schedule's times, newest first.
pub(crate) async fn firings(
    context: &Context,
    name: &str,
    cursor: Option<&str>,
    limit: Option<i64>,
) -> Result<Page<FiringView>, DirectorError> {
    let name = name.to_owned();
    let before = cursor.map(str::parse::<i64>).transpose().map_err(|_| {
        DirectorError::usage(
            "bad_cursor",
            "the cursor is none of this list's",
            "use `next_cursor` of the page before",
        )
    })?;
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    context
        .db
        .read("firings", async move |tx: &mut Tx<'_>| {
            let found = resolve_in(tx, &name).await?;
            let page = schedule::firings(tx, &found.id, before, limit).await?;
            let mut items = Vec::new();
            for found in page.items {
                items.push(firing_view(tx, found).await?);
            }
            let next_cursor = page.next_cursor.map(|cursor| cursor.to_string());
            Ok(Page { items, next_cursor })
        })
        .await
}

/// One firing as a document.
pub(super) async fn firing(context: &Context, found: Firing) -> Result<FiringView, DirectorError> {
    let view = context
        .db
        .read("firing", async move |tx: &mut Tx<'_>| {
            firing_view(tx, found.clone()).await
        })
        .await?;
    Ok(view)
}

/// The schedule called `name`: its name, or its id, by which a removed one is found too.
pub(super) async fn resolve(context: &Context, name: &str) -> Result<Schedule, DirectorError> {
    let name = name.to_owned();
    context
        .db
        .read("schedule", async move |tx: &mut Tx<'_>| {
            resolve_in(tx, &name).await
        })
        .await
}

/// As [`resolve`], in the caller's transaction.
pub(super) async fn resolve_in(tx: &mut Tx<'_>, name: &str) -> Result<Schedule, DirectorError> {
    let found = match name.parse::<ScheduleId>() {
        Ok(id) => schedule::schedule(tx, &id).await?,
        Err(_) => schedule::schedule_by_name(tx, name).await?,
    };
    found.ok_or_else(|| refused(ScheduleError::NotFound, name))
}

async fn summary(tx: &mut Tx<'_>, found: Schedule) -> Result<ScheduleSummary, DbError> {
    let last = newest(tx, &found).await?;
    Ok(ScheduleSummary {
        next: next_slot(&found),
        last,
        id: found.id,
        name: found.name,
        state: found.state,
        state_reason: found.pause_reason,
        owner: found.owner,
        when: found.timing,
        zone: found.zone,
        last_success_at: found.last_success_ms,
        last_failure_at: found.last_failure_ms,
        failures: found.failures,
        missed: found.missed,
    })
}

async fn view(tx: &mut Tx<'_>, found: Schedule) -> Result<ScheduleView, DbError> {
    let template = record::template(tx, &found.id).await?;
    let mut open = Vec::new();
    for firing in schedule::open_firings_of(tx, &found.id).await? {
        open.push(firing_view(tx, firing).await?);
    }
    let (wish, precheck) = match template {
        Some(Template { wish, precheck, .. }) => (Some(wish), precheck),
        None => (None, None),
    };
    let (job, call, shell) = match wish {
        Some(Wish::Agent(request)) => (Some(*request), None, None),
        Some(Wish::Call(request)) => (None, Some(*request), None),
        Some(Wish::Shell(request)) => (None, None, Some(*request)),
        None => (None, None, None),
    };
    Ok(ScheduleView {
        next: next_slot(&found),
        last: newest(tx, &found).await?,
        id: found.id,
        name: found.name,
        state: found.state,
        state_reason: found.pause_reason,
        owner: found.owner,
        when: found.timing,
        zone: found.zone,
        jitter_s: found.jitter_ms / 1_000,
        overlap: found.overlap,
        overlap_max: found.overlap_max,
        catch_up: found.catch_up,
        catch_up_max: found.catch_up_max,
        catch_up_window_s: found.catch_up_window_ms / 1_000,
        pause_after: found.failures_max,
        precheck: precheck.map(|check| PrecheckRequest {
            command: check.command,
            nothing_to_do: Some(check.nothing_to_do),
            seconds_max: Some(check.seconds_max),
        }),
        job,
        call,
        shell,
        open,
        last_success_at: found.last_success_ms,
        last_success_job: found.last_success_job,
        last_failure_at: found.last_failure_ms,
        last_failure_job: found.last_failure_job,
        failures: found.failures,
        missed: found.missed,
        created_at: found.created_at_ms,
        warnings: Vec::new(),
    })
}

async fn newest(tx: &mut Tx<'_>, found: &Schedule) -> Result<Option<FiringView>, DbError> {
    let page = schedule::firings(tx, &found.id, None, 1).await?;
    match page.items.into_iter().next() {
        Some(firing) => Ok(Some(firing_view(tx, firing).await?)),
        None => Ok(None),
    }
}

async fn firing_view(tx: &mut Tx<'_>, firing: Firing) -> Result<FiringView, DbError> {
    let job = match &firing.job {
        Some(job) => skep_queue::job(tx, job).await?,
        None => None,
    };
    Ok(FiringView {
        slot_at: firing.slot_ms,
        cause: firing.cause,
        state: firing.state,
        job_number: job.as_ref().map(|job| job.number),
        job_state: job.as_ref().map(|job| job.state),
        job: firing.job,
        begun_at: firing.begun_at_ms,
        ended_at: firing.ended_at_ms,
        failure_class: firing.failure,
        reason: firing.reason,
        precheck_exit_code: firing.precheck_exit_code,
        precheck_log: firing.precheck_log,
        missed_from: firing.missed_from_ms,
        missed_count: firing.missed_count,
    })
}

fn rules(found: &Schedule) -> Result<Rules, TimingError> {
    found.rules()
}

fn next_slot(found: &Schedule) -> Option<SlotView> {
    if found.state != ScheduleState::Active {
        return None;
    }
    let rules = found.rules().ok()?;
    let due = schedule::next_due(&rules, found.cursor_ms)?;
    Some(slot_view(&rules, due))
}

fn previewed(rules: &Rules, after_ms: i64, count: Option<i64>) -> PreviewView {
    let count = count.unwrap_or(PREVIEW_DEFAULT).clamp(1, PREVIEW_MAX);
    let count = usize::try_from(count).unwrap_or(1);
    PreviewView {
        when: rules.timing.text(),
        zone: rules.timing.zone().name().to_owned(),
        slots: schedule::preview(rules, after_ms, count)
            .into_iter()
            .map(|due| slot_view(rules, due))
            .collect(),
    }
}

fn slot_view(rules: &Rules, due: Due) -> SlotView {
    let zone = rules.timing.zone();
    let utc = Zone::parse("UTC").map_or_else(|_| String::new(), |utc| utc.local_text(due.due_ms));
    let local = due
        .slot
        .local
        .map(|local| local.strftime("%H:%M").to_string());
    let note = due.slot.shift.zip(local).map(|(shift, local)| match shift {
        SlotShift::Gap => format!("{local} does not exist: the end of the gap"),
        SlotShift::Twice => format!("{local} comes twice: the first time"),
    });
    SlotView {
        slot_at: due.slot.at_ms,
        due_at: due.due_ms,
        local: zone.local_text(due.due_ms),
        utc,
        shift: due.slot.shift,
        note,
    }
}
