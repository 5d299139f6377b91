//! What people do to schedules: add, pause, resume, run now, remove.

use super::{bad_timing, fire, refused, view};
use crate::context::Context;
use crate::dispatch::Wish;
use crate::error::DirectorError;
use crate::limits::{CHECK_BYTES_MAX, PRECHECK_NOTHING_TO_DO, PRECHECK_S_DEFAULT, PRECHECK_S_MAX};
use crate::record::{self, Precheck, Template};
use skep_api::{FiringView, PauseRequest, PrecheckRequest, ScheduleRequest, ScheduleView};
use skep_db::Tx;
use skep_queue::schedule::{self, NewSchedule, Schedule, ScheduleError, Timing};
use skep_types::{CatchUp, Overlap, ScheduleId, ScheduleState};

/// Failures in a row after which a schedule pauses itself, unless another number is asked for.
const PAUSE_AFTER_DEFAULT: i64 = 5;
/// Runs side by side with `allow`, unless another number is asked for.
const OVERLAP_DEFAULT: i64 = 2;
/// Times that one catch-up runs with `all`, unless another number is asked for.
const CATCH_UP_DEFAULT: i64 = 10;
/// How old such a time may be, in seconds, unless asked for otherwise: a day.
const CATCH_UP_WINDOW_S_DEFAULT: i64 = 24 * 3_600;

/// Makes a schedule of a request that could be dispatched now.
pub(crate) async fn add(
    context: &Context,
    request: ScheduleRequest,
) -> Result<ScheduleView, DirectorError> {
    let zone = request.zone.as_deref().unwrap_or("UTC");
    let timing = Timing::parse(&request.when, zone).map_err(|error| bad_timing(&error))?;
    let owner = request.owner.unwrap_or_else(|| context.owner.clone());
    let precheck = request.precheck.map(precheck).transpose()?;
    let wish = Wish::only("job", request.job, request.call, request.shell)?;
    let wish = owned(wish, &owner)?;
    let warnings = wish.prepare_now(context).await?.warnings;
    let id = ScheduleId::new(&*context.clock, &*context.entropy);
    let new = NewSchedule {
        id: id.clone(),
        name: request.name.clone(),
        owner,
        timing,
        jitter_ms: ms(request.jitter_s.unwrap_or(0)),
        overlap: request.overlap.unwrap_or(Overlap::Skip),
        overlap_max: request.overlap_max.unwrap_or(OVERLAP_DEFAULT),
        catch_up: request.catch_up.unwrap_or(CatchUp::Last),
        catch_up_max: request.catch_up_max.unwrap_or(CATCH_UP_DEFAULT),
        catch_up_window_ms: ms(request
            .catch_up_window_s
            .unwrap_or(CATCH_UP_WINDOW_S_DEFAULT)),
        failures_max: request.pause_after.unwrap_or(PAUSE_AFTER_DEFAULT),
    };
    let template = Template {
        schedule: id.clone(),
        wish,
        precheck,
    };
    let name = request.name;
    context
        .db
        .write("add a schedule", async move |tx: &mut Tx<'_>| {
            schedule::add(tx, &new)
                .await
                .map_err(|error| refused(error, &name))?;
            record::put_template(tx, &template).await?;
            Ok::<_, DirectorError>(())
        })
        .await?;
    let view = view::show(context, id.as_str()).await?;
    Ok(ScheduleView { warnings, ..view })
}

/// Stops a schedule from firing.
pub(crate) async fn pause(
    context: &Context,
    name: &str,
    request: PauseRequest,
) -> Result<ScheduleView, DirectorError> {
    change(
        context,
        name,
        async move |tx: &mut Tx<'_>, found: &Schedule| {
            schedule::pause(tx, &found.id, request.reason.as_deref()).await
        },
    )
    .await
}

/// Lets a schedule fire again.
pub(crate) async fn resume(context: &Context, name: &str) -> Result<ScheduleView, DirectorError> {
    change(context, name, async |tx: &mut Tx<'_>, found: &Schedule| {
        schedule::resume(tx, &found.id).await
    })
    .await
}

/// Takes a schedule away, with the words of what it did.
pub(crate) async fn remove(context: &Context, name: &str) -> Result<ScheduleView, DirectorError> {
    change(context, name, async |tx: &mut Tx<'_>, found: &Schedule| {
        let removed = schedule::remove(tx, &found.id).await?;
        record::forget_template(tx, &found.id).await?;
        Ok(removed)
    })
    .await
}

/// Begins a run now.
pub(crate) async fn run_now(context: &Context, name: &str) -> Result<FiringView, DirectorError> {
    let found = view::resolve(context, name).await?;
    if found.state == ScheduleState::Removed {
        return Err(refused(ScheduleError::NotFound, name));
    }
    let begun = fire::fire_now(context, &found.id).await?;
    match begun.firing {
        Some(firing) => view::firing(context, firing).await,
        None => Err(refused(ScheduleError::Busy, name)),
    }
}

async fn change<F>(
    context: &Context,
    name: &str,
    operation: F,
) -> Result<ScheduleView, DirectorError>
where
    F: AsyncFn(&mut Tx<'_>, &Schedule) -> Result<Schedule, ScheduleError> + Send + 'static,
{
    let name = name.to_owned();
    let changed = context
        .db
        .write("change a schedule", async move |tx: &mut Tx<'_>| {
            let found = view::resolve_in(tx, &name).await?;
            operation(tx, &found)
                .await
                .map_err(|error| refused(error, &found.name))
        })
        .await?;
    view::show(context, changed.id.as_str()).await
}

/// The request of a schedule: its owner is the schedule's, and a key would make all runs one job.
fn owned(mut wish: Wish, owner: &str) -> Result<Wish, DirectorError> {
    let job = wish.shared();
    if job.idempotency_key.is_some() {
        return Err(DirectorError::usage(
            "schedule_invalid",
            "the job of a schedule takes no idempotency key: every run would be the first one",
            "leave --idempotency-key out; no time of a schedule is run twice",
        ));
    }
    if job.flow.start_at.is_some() {
        return Err(DirectorError::usage(
            "schedule_invalid",
            "the job of a schedule takes no start of its own",
            "say when with --cron or --every, and how much later with --jitter",
        ));
    }
    if job.owner.as_deref().is_some_and(|named| named != owner) {
        return Err(DirectorError::usage(
            "schedule_invalid",
            "the job has another owner than its schedule",
            "give --owner once, before the `--`",
        ));
    }
    *job.owner = Some(owner.to_owned());
    Ok(wish)
}

fn precheck(request: PrecheckRequest) -> Result<Precheck, DirectorError> {
    let precheck = Precheck {
        command: request.command,
        nothing_to_do: request.nothing_to_do.unwrap_or(PRECHECK_NOTHING_TO_DO),
        seconds_max: request.seconds_max.unwrap_or(PRECHECK_S_DEFAULT),
    };
    let refuse =
        |message: String, hint: &str| Err(DirectorError::usage("precheck_invalid", message, hint));
    let is_text = !precheck.command.trim().is_empty()
        && precheck.command.len() <= CHECK_BYTES_MAX
        && !precheck.command.contains('\0');
    if !is_text {
        return refuse(
            format!("a pre-check is a command line of 1 to {CHECK_BYTES_MAX} bytes"),
            "put a long one into a script of the repository",
        );
    }
    if !(1..=255).contains(&precheck.nothing_to_do) {
        return refuse(
            format!(
                "{} is no exit code for `nothing to do`",
                precheck.nothing_to_do
            ),
            "give a number from 1 to 255; 0 means go",
        );
    }
    if !(1..=PRECHECK_S_MAX).contains(&precheck.seconds_max) {
        return refuse(
            format!("a pre-check cannot take {} s", precheck.seconds_max),
            "give 1 to 600 seconds: it is to be cheaper than what it saves",
        );
    }
    Ok(precheck)
}

/// Seconds as milliseconds; what is out of all bounds is refused with the bounds.
const fn ms(seconds: i64) -> i64 {
    seconds.saturating_mul(1_000)
}
