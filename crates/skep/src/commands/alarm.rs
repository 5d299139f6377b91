//! `skep alarm`: what needs a person.

use super::Session;
use super::job::age;
use crate::cli::{Alarm, AlarmList};
use crate::failure::{Exit, Failure};
use crate::output::{Tone, table_columns};
use crate::table::{Align, Cell, Table};
use skep_api::{AlarmView, Page};
use skep_stdx::{Clock as _, SystemClock};

/// Runs one of the commands.
pub(crate) async fn alarm(session: &Session, command: &Alarm) -> Result<Exit, Failure> {
    match command {
        Alarm::List(arguments) => list(session, arguments).await?,
        Alarm::Ack(arguments) => {
            let alarm = session.reach().await?.ack_alarm(arguments.number).await?;
            if session.printer.json() {
                session.printer.document(&alarm)?;
            } else {
                let state = word(&alarm);
                session
                    .printer
                    .line(&format!("alarm {} is {state}", alarm.number))?;
                if alarm.cleared_at.is_none() {
                    session
                        .printer
                        .note("it stays open until what it is about is over");
                }
            }
        }
    }
    Ok(Exit::Done)
}

async fn list(session: &Session, arguments: &AlarmList) -> Result<(), Failure> {
    let page = match session.reach().await {
        Ok(reach) => reach.alarms(arguments.all, Some(arguments.limit)).await?,
        // A home that nobody has made has no alarms.
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
        session.printer.note("no alarms");
        return Ok(());
    }
    let table = table(&page.items, SystemClock.now_ms());
    for line in table.lines(&session.printer, table_columns()) {
        session.printer.line(&line)?;
    }
    Ok(())
}

fn table(alarms: &[AlarmView], now_ms: i64) -> Table<'_> {
    let mut table = Table::new(&[
        ("ALARM", Align::Right),
        ("STATE", Align::Left),
        ("AGE", Align::Right),
        ("TIMES", Align::Right),
        ("KIND", Align::Left),
        ("ABOUT", Align::Flexible),
    ]);
    for alarm in alarms {
        let is_over = alarm.cleared_at.is_some();
        let tone = if is_over {
            Tone::Quiet
        } else {
            Tone::Attention
        };
        table.row(vec![
            alarm.number.to_string().into(),
            Cell::toned(word(alarm), tone),
            age(now_ms - alarm.raised_at).into(),
            alarm.occurrences.to_string().into(),
            alarm.kind.as_str().into(),
            alarm.subject.as_str().into(),
        ]);
    }
    table
}

const fn word(alarm: &AlarmView) -> &'static str {
    match (alarm.cleared_at, alarm.acknowledged_at) {
        (Some(_), _) => "over",
        (None, Some(_)) => "seen",
        (None, None) => "open",
    }
}
