//! `skep schedule`: make schedules, look at them, stop and start them.

use super::{Session, run};
use crate::cli::Run;
use crate::cli::schedule::{Schedule, ScheduleAdd, ScheduleHistory, ScheduleNext, TimingArguments};
use crate::config::Secrets;
use crate::engine::OpenHome;
use crate::failure::{Exit, Failure};
use crate::output::{Tone, cut, one_line, table_columns};
use crate::reach::{Door, Reach};
use crate::table::{Align, Cell, Table};
use clap::Parser;
use skep_api::{
    DispatchRequest, FiringView, Page, PauseRequest, PrecheckRequest, PreviewView, ScheduleRequest,
    ScheduleSummary, ScheduleView,
};
use skep_queue::schedule::interval_text;
use skep_stdx::{Clock as _, SystemClock};
use skep_types::{FiringState, ScheduleState};

/// The width of the labels on the left, in columns.
const LABEL_COLUMNS: usize = 13;
/// The widest name in the list, in columns.
const NAME_COLUMNS_MAX: usize = 24;

/// What stands behind the `--` of `skep schedule add`.
#[derive(Debug, Parser)]
#[command(name = "skep schedule add NAME ... --", no_binary_name = true)]
struct JobArguments {
    #[command(flatten)]
    run: Run,
}

/// Runs one of the commands.
pub(crate) async fn schedule(session: &Session, command: &Schedule) -> Result<Exit, Failure> {
    match command {
        Schedule::Add(arguments) => add(session, arguments).await?,
        Schedule::List => list(session).await?,
        Schedule::Show(named) => {
            let found = session.reach().await?.schedule(&named.name).await?;
            show(session, &found)?;
        }
        Schedule::Next(arguments) => next(session, arguments).await?,
        Schedule::Pause(arguments) => {
            let request = PauseRequest {
                reason: arguments.reason.clone(),
            };
            let reach = session.reach().await?;
            let changed = reach.pause_schedule(&arguments.name, request).await?;
            print_changed(session, &reach, &changed, "is paused")?;
        }
        Schedule::Resume(named) => {
            let reach = session.reach().await?;
            let changed = reach.resume_schedule(&named.name).await?;
            print_changed(session, &reach, &changed, "fires again")?;
        }
        Schedule::Run(named) => run_now(session, &named.name).await?,
        Schedule::Remove(named) => {
            let reach = session.reach().await?;
            let changed = reach.remove_schedule(&named.name).await?;
            print_changed(
                session,
                &reach,
                &changed,
                "is gone; its history stays under its id",
            )?;
        }
        Schedule::History(arguments) => history(session, arguments).await?,
    }
    Ok(Exit::Done)
}

async fn add(session: &Session, arguments: &ScheduleAdd) -> Result<(), Failure> {
    let request = request(arguments)?;
    let home = session.home()?;
    let config = session.config(&home)?;
    session.announce(&config, &home);
    let reach = match Door::find(&home).await? {
        Door::Holder(client) => Reach::Holder(client),
        Door::Lock(lock) => {
            let open = OpenHome::open(&home, lock, &config, Secrets::Left).await?;
            Reach::Direct(Box::new(open))
        }
    };
    let added = reach.add_schedule(request).await?;
    for warning in &added.warnings {
        session.printer.warning(warning);
    }
    print_changed(session, &reach, &added, "is added")
}

fn request(arguments: &ScheduleAdd) -> Result<ScheduleRequest, Failure> {
    let (when, zone) = timing(&arguments.timing)?;
    Ok(ScheduleRequest {
        name: arguments.name.clone(),
        when,
        zone,
        jitter_s: arguments.jitter,
        overlap: arguments.overlap,
        overlap_max: arguments.overlap_max,
        catch_up: arguments.catch_up,
        catch_up_max: arguments.catch_up_max,
        catch_up_window_s: arguments.catch_up_window,
        pause_after: arguments.pause_after,
        precheck: arguments.precheck.clone().map(|command| PrecheckRequest {
            command,
            nothing_to_do: arguments.precheck_nothing,
            seconds_max: arguments.precheck_limit,
        }),
        owner: arguments.owner.clone(),
        job: job(&arguments.run)?,
    })
}

fn timing(arguments: &TimingArguments) -> Result<(String, Option<String>), Failure> {
    let when = match (&arguments.cron, &arguments.every) {
        (Some(line), _) => line.clone(),
        (None, Some(length)) => format!("every {length}"),
        (None, None) => {
            return Err(Failure::usage(
                "timing_missing",
                "it is not said when the schedule fires",
                "give `--cron \"0 7 * * 1-5\"` or `--every 15m`",
            ));
        }
    };
    Ok((when, arguments.tz.clone()))
}

/// The job behind the `--`, read as `skep run` reads it.
fn job(words: &[String]) -> Result<DispatchRequest, Failure> {
    let arguments = JobArguments::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let first = one_line(text.split("\n\n").next().unwrap_or_default());
        let message = first.strip_prefix("error: ").unwrap_or(&first);
        Failure::usage(
            "usage",
            format!("after the `--`: {message}"),
            "what follows `--` is what `skep run` takes, without global options; see `skep run --help`",
        )
    })?;
    if arguments.run.detach {
        return Err(Failure::usage(
            "usage",
            "after the `--`: a run of a schedule is always detached",
            "leave --detach out",
        ));
    }
    run::request(&arguments.run)
}

async fn list(session: &Session) -> Result<(), Failure> {
    let page = match session.reach().await {
        Ok(reach) => reach.schedules().await?,
        // A home that nobody has made holds no schedules, which is what a list says best.
        Err(Failure::Shown(body)) if body.code == "home_not_found" => Page {
            items: Vec::new(),
            next_cursor: None,
        },
        Err(failure) => return Err(failure),
    };
    if session.printer.json() {
        return session.printer.document(&page);
    }
    if page.items.is_empty() {
        session.printer.note("no schedules");
        return Ok(());
    }
    let now_ms = SystemClock.now_ms();
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("STATE", Align::Left),
        ("NEXT", Align::Left),
        ("LAST", Align::Left),
        ("MISSED", Align::Right),
        ("WHEN", Align::Flexible),
    ]);
    for found in &page.items {
        table.row(vec![
            cut(&found.name, NAME_COLUMNS_MAX).into(),
            Cell::toned(found.state.as_str(), tone_of(found.state)),
            next_cell(found).into(),
            last_cell(found.last.as_ref(), now_ms),
            found.missed.to_string().into(),
            format!("{} {}", found.when, found.zone).into(),
        ]);
    }
    for line in table.lines(&session.printer, table_columns()) {
        session.printer.line(&line)?;
    }
    for found in page
        .items
        .iter()
        .filter(|found| found.state == ScheduleState::AutoPaused)
    {
        session.printer.warning(&format!(
            "{} paused itself: {}; `skep schedule history {0}` shows why, `skep schedule resume {0}` \
             starts it again",
            found.name,
            found.state_reason.as_deref().unwrap_or("too many failures"),
        ));
    }
    Ok(())
}

async fn next(session: &Session, arguments: &ScheduleNext) -> Result<(), Failure> {
    let preview = match &arguments.name {
        Some(name) => {
            let reach = session.reach().await?;
            reach.schedule_next(name, arguments.count).await?
        }
        None => {
            let (when, zone) = timing(&arguments.timing)?;
            let zone = zone.as_deref().unwrap_or("UTC");
            let from = arguments.from.unwrap_or_else(|| SystemClock.now_ms());
            skep_director::preview(&when, zone, from, Some(arguments.count))?
        }
    };
    if session.printer.json() {
        return session.printer.document(&preview);
    }
    print_preview(session, &preview)
}

fn print_preview(session: &Session, preview: &PreviewView) -> Result<(), Failure> {
    let heading = format!("{} in {}", preview.when, preview.zone);
    session
        .printer
        .line(&session.printer.painted(&heading, Tone::Strong))?;
    if preview.slots.is_empty() {
        session.printer.note("no time is left in the calendar");
        return Ok(());
    }
    let mut table = Table::new(&[
        ("LOCAL", Align::Left),
        ("UTC", Align::Left),
        ("JITTER", Align::Right),
        ("CLOCK", Align::Flexible),
    ]);
    for slot in &preview.slots {
        let note = slot.note.as_deref().unwrap_or_default();
        let utc = slot.utc.strip_suffix(" +00:00").unwrap_or(&slot.utc);
        table.row(vec![
            slot.local.as_str().into(),
            utc.into(),
            interval_text(slot.due_at - slot.slot_at).into(),
            Cell::toned(note, Tone::Attention),
        ]);
    }
    for line in table.lines(&session.printer, table_columns()) {
        session.printer.line(&line)?;
    }
    Ok(())
}

async fn run_now(session: &Session, name: &str) -> Result<(), Failure> {
    let reach = session.reach().await?;
    let firing = reach.run_schedule(name).await?;
    if session.printer.json() {
        return session.printer.document(&firing);
    }
    let what = match (firing.state, firing.job_number) {
        (FiringState::Running, Some(number)) => format!("job {number} is queued"),
        (FiringState::Waiting, _) => "the run waits for the end of an earlier one".to_owned(),
        (FiringState::Checking, _) => "the pre-check comes first".to_owned(),
        (state, _) => format!("the run is {}", state.as_str().replace('_', " ")),
    };
    session.printer.line(&what)?;
    if !reach.has_holder() {
        session
            .printer
            .note("nobody runs this home: it waits for the next `skep up` or `skep run`");
    }
    Ok(())
}

async fn history(session: &Session, arguments: &ScheduleHistory) -> Result<(), Failure> {
    let reach = session.reach().await?;
    let page = reach
        .firings(
            &arguments.name,
            arguments.page.cursor.as_deref(),
            arguments.page.limit,
        )
        .await?;
    if session.printer.json() {
        return session.printer.document(&page);
    }
    if page.items.is_empty() {
        session.printer.note("no time of it has come yet");
        return Ok(());
    }
    let mut table = Table::new(&[
        ("TIME (UTC)", Align::Left),
        ("CAUSE", Align::Left),
        ("STATE", Align::Left),
        ("JOB", Align::Right),
        ("TOOK", Align::Right),
        ("REASON", Align::Flexible),
    ]);
    for firing in &page.items {
        let took = firing
            .ended_at
            .filter(|_| firing.state != FiringState::Missed);
        table.row(vec![
            utc(firing.slot_at).into(),
            firing.cause.as_str().into(),
            Cell::toned(firing.state.as_str(), tone_of_firing(firing.state)),
            firing
                .job_number
                .map_or_else(String::new, |number| number.to_string())
                .into(),
            took.map_or_else(String::new, |ended| interval_text(ended - firing.begun_at))
                .into(),
            reason(firing).into(),
        ]);
    }
    for line in table.lines(&session.printer, table_columns()) {
        session.printer.line(&line)?;
    }
    if let Some(cursor) = &page.next_cursor {
        session
            .printer
            .note(&format!("more with `--cursor {cursor}`"));
    }
    Ok(())
}

fn print_changed(
    session: &Session,
    reach: &Reach,
    changed: &ScheduleView,
    what: &str,
) -> Result<(), Failure> {
    if session.printer.json() {
        return session.printer.document(changed);
    }
    session.printer.line(&format!(
        "schedule {} {what} ({})",
        changed.name, changed.id
    ))?;
    if let Some(next) = &changed.next {
        session.printer.line(&format!("next run {}", next.local))?;
    }
    if changed.state == ScheduleState::Active && !reach.has_holder() {
        session
            .printer
            .note("nobody runs this home: it fires while `skep up` runs");
    }
    Ok(())
}

fn show(session: &Session, found: &ScheduleView) -> Result<(), Failure> {
    if session.printer.json() {
        return session.printer.document(found);
    }
    let now_ms = SystemClock.now_ms();
    let headline = format!(
        "Schedule {} is {}",
        found.name,
        found.state.as_str().replace('_', " ")
    );
    session
        .printer
        .line(&session.printer.painted(&headline, tone_of(found.state)))?;
    let lines = [
        ("why", found.state_reason.clone()),
        ("owner", Some(found.owner.clone())),
        ("when", Some(format!("{} in {}", found.when, found.zone))),
        (
            "jitter",
            (found.jitter_s > 0).then(|| interval_text(found.jitter_s * 1_000)),
        ),
        (
            "next run",
            found.next.as_ref().map(|next| next.local.clone()),
        ),
        (
            "clock",
            found.next.as_ref().and_then(|next| next.note.clone()),
        ),
        (
            "last run",
            found.last.as_ref().map(|last| firing_text(last, now_ms)),
        ),
        (
            "last success",
            found
                .last_success_at
                .map(|at| format!("{} ago", ago(at, now_ms))),
        ),
        (
            "last failure",
            found
                .last_failure_at
                .map(|at| format!("{} ago", ago(at, now_ms))),
        ),
        (
            "failures",
            Some(format!(
                "{} in a row; pauses after {}",
                found.failures, found.pause_after
            )),
        ),
        ("missed", Some(found.missed.to_string())),
        ("overlap", Some(found.overlap.to_string())),
        ("catch-up", Some(found.catch_up.to_string())),
        (
            "pre-check",
            found.precheck.as_ref().map(|check| check.command.clone()),
        ),
        ("job", found.job.as_ref().map(|job| job.instruction.clone())),
        (
            "repository",
            found.job.as_ref().and_then(|job| job.repo.clone()),
        ),
    ];
    for (label, text) in lines {
        let Some(text) = text else { continue };
        let line = format!("{label:<LABEL_COLUMNS$} {}", one_line(&text));
        session.printer.line(&cut(&line, table_columns()))?;
    }
    for firing in &found.open {
        let line = format!(
            "{:<LABEL_COLUMNS$} {}",
            "under way",
            firing_text(firing, now_ms)
        );
        session.printer.line(&line)?;
    }
    Ok(())
}

fn next_cell(found: &ScheduleSummary) -> String {
    found.next.as_ref().map_or_else(
        || "-".to_owned(),
        // Seconds are there for jitter only, and the offset stands in the zone.
        |next| next.local.chars().take(16).collect(),
    )
}

fn last_cell(last: Option<&FiringView>, now_ms: i64) -> Cell {
    match last {
        None => "-".into(),
        Some(last) => Cell::toned(
            &format!(
                "{} {} ago",
                last.state,
                ago(last.ended_at.unwrap_or(last.begun_at), now_ms)
            ),
            tone_of_firing(last.state),
        ),
    }
}

fn firing_text(firing: &FiringView, now_ms: i64) -> String {
    let job = match (firing.job_number, firing.job_state) {
        (Some(number), Some(state)) => format!(", job {number} is {state}"),
        _ => String::new(),
    };
    format!(
        "{} of {} UTC, {} ago{job}",
        firing.state.as_str().replace('_', " "),
        utc(firing.slot_at),
        ago(firing.ended_at.unwrap_or(firing.begun_at), now_ms),
    )
}

fn reason(firing: &FiringView) -> String {
    if firing.state == FiringState::Missed {
        let from = firing.missed_from.map_or_else(String::new, utc);
        return format!("{} times from {from} on", firing.missed_count);
    }
    let class = firing.failure_class.map(|class| class.to_string());
    firing.reason.clone().or(class).unwrap_or_default()
}

const fn tone_of(state: ScheduleState) -> Tone {
    match state {
        ScheduleState::Active => Tone::Good,
        ScheduleState::Paused => Tone::Attention,
        ScheduleState::AutoPaused => Tone::Bad,
        ScheduleState::Removed => Tone::Quiet,
    }
}

const fn tone_of_firing(state: FiringState) -> Tone {
    match state {
        FiringState::Succeeded => Tone::Good,
        FiringState::Failed => Tone::Bad,
        FiringState::Missed | FiringState::Cancelled => Tone::Attention,
        FiringState::SkippedOverlap | FiringState::SkippedPrecheck => Tone::Quiet,
        FiringState::Waiting | FiringState::Checking | FiringState::Running => Tone::Plain,
    }
}

fn utc(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

fn ago(at_ms: i64, now_ms: i64) -> String {
    super::job::age(now_ms - at_ms)
}
