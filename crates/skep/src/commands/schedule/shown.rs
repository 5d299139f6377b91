//! Schedules and their runs for people: tables that fit the output, and one schedule in full.

use crate::commands::job::age;
use crate::failure::Failure;
use crate::output::{Printer, Tone, cut, one_line, table_columns};
use crate::table::{Align, Cell, Table};
use skep_api::{FiringView, PreviewView, ScheduleSummary, ScheduleView};
use skep_queue::schedule::interval_text;
use skep_stdx::{Clock as _, SystemClock};
use skep_types::{FiringState, ScheduleState};

/// The width of the labels on the left, in columns.
const LABEL_COLUMNS: usize = 13;
/// The widest name in the list, in columns.
const NAME_COLUMNS_MAX: usize = 24;

/// Prints a list of schedules.
pub(super) fn list(printer: &Printer, items: &[ScheduleSummary]) -> Result<(), Failure> {
    let now_ms = SystemClock.now_ms();
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("STATE", Align::Left),
        ("NEXT", Align::Left),
        ("LAST", Align::Left),
        ("MISSED", Align::Right),
        ("WHEN", Align::Flexible),
    ]);
    for found in items {
        table.row(vec![
            cut(&found.name, NAME_COLUMNS_MAX).into(),
            Cell::toned(found.state.as_str(), tone_of(found.state)),
            next_cell(found).into(),
            last_cell(found.last.as_ref(), now_ms),
            found.missed.to_string().into(),
            format!("{} {}", found.when, found.zone).into(),
        ]);
    }
    print(printer, &table)
}

/// Prints a list of firings.
pub(super) fn history(printer: &Printer, items: &[FiringView]) -> Result<(), Failure> {
    let mut table = Table::new(&[
        ("TIME (UTC)", Align::Left),
        ("CAUSE", Align::Left),
        ("STATE", Align::Left),
        ("JOB", Align::Right),
        ("TOOK", Align::Right),
        ("REASON", Align::Flexible),
    ]);
    for firing in items {
        let number = firing.job_number.map(|number| number.to_string());
        let took = firing
            .ended_at
            .filter(|_| firing.state != FiringState::Missed)
            .map(|ended| interval_text(ended - firing.begun_at));
        table.row(vec![
            utc(firing.slot_at).into(),
            firing.cause.as_str().into(),
            Cell::toned(firing.state.as_str(), tone_of_firing(firing.state)),
            number.unwrap_or_default().into(),
            took.unwrap_or_default().into(),
            reason(firing).into(),
        ]);
    }
    print(printer, &table)
}

/// Prints the next times of a timing.
pub(super) fn preview(printer: &Printer, preview: &PreviewView) -> Result<(), Failure> {
    let heading = format!("{} in {}", preview.when, preview.zone);
    printer.line(&printer.painted(&heading, Tone::Strong))?;
    if preview.slots.is_empty() {
        printer.note("no time is left in the calendar");
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
    print(printer, &table)
}

/// Prints everything known about a schedule.
pub(super) fn schedule(printer: &Printer, found: &ScheduleView) -> Result<(), Failure> {
    let now_ms = SystemClock.now_ms();
    let state = found.state.as_str().replace('_', " ");
    let headline = format!("Schedule {} is {state}", found.name);
    printer.line(&printer.painted(&headline, tone_of(found.state)))?;
    let mut lines = rules(found);
    lines.extend(standing(found, now_ms));
    for (label, text) in lines {
        let Some(text) = text else { continue };
        let line = format!("{label:<LABEL_COLUMNS$} {}", one_line(&text));
        printer.line(&cut(&line, table_columns()))?;
    }
    Ok(())
}

/// A label and what stands beside it; a line without a text is left out.
type Line = (&'static str, Option<String>);

fn rules(found: &ScheduleView) -> Vec<Line> {
    let (job, call, shell) = (
        found.job.as_ref(),
        found.call.as_ref(),
        found.shell.as_ref(),
    );
    let in_shell = shell.and_then(|shell| shell.repo.clone());
    let precheck = found.precheck.as_ref();
    vec![
        ("why", found.state_reason.clone()),
        ("owner", Some(found.owner.clone())),
        ("when", Some(format!("{} in {}", found.when, found.zone))),
        (
            "jitter",
            (found.jitter_s > 0).then(|| interval_text(found.jitter_s * 1_000)),
        ),
        ("overlap", Some(found.overlap.to_string())),
        ("catch-up", Some(found.catch_up.to_string())),
        ("pre-check", precheck.map(|check| check.command.clone())),
        ("job", job.map(|job| job.instruction.clone())),
        ("call", call.map(|call| call.prompt.clone())),
        ("model", call.and_then(|call| call.model.clone())),
        ("shell", shell.map(|shell| shell.command.join(" "))),
        (
            "repository",
            job.and_then(|job| job.repo.clone()).or(in_shell),
        ),
    ]
}

fn standing(found: &ScheduleView, now_ms: i64) -> Vec<Line> {
    let next = found.next.as_ref();
    let since = |at: i64| format!("{} ago", age(now_ms - at));
    let pauses = if found.pause_after > 0 {
        format!(
            "{} in a row; pauses after {}",
            found.failures, found.pause_after
        )
    } else {
        format!("{} in a row; never pauses itself", found.failures)
    };
    let mut lines = vec![
        ("next run", next.map(|next| next.local.clone())),
        ("clock", next.and_then(|next| next.note.clone())),
        (
            "last run",
            found.last.as_ref().map(|last| firing_text(last, now_ms)),
        ),
        ("last success", found.last_success_at.map(since)),
        ("last failure", found.last_failure_at.map(since)),
        ("failures", Some(pauses)),
        ("missed", Some(found.missed.to_string())),
    ];
    let open = found.open.iter();
    lines.extend(open.map(|firing| ("under way", Some(firing_text(firing, now_ms)))));
    lines
}

fn print(printer: &Printer, table: &Table<'_>) -> Result<(), Failure> {
    for line in table.lines(printer, table_columns()) {
        printer.line(&line)?;
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
                age(now_ms - last.ended_at.unwrap_or(last.begun_at))
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
        age(now_ms - firing.ended_at.unwrap_or(firing.begun_at)),
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
