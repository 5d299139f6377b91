//! Alarms for people: what needs one, and that somebody has seen it.

use crate::context::Context;
use crate::error::DirectorError;
use crate::limits::{PAGE_DEFAULT, PAGE_MAX};
use skep_api::{AlarmView, Page};
use skep_db::Tx;
use skep_topic::alarm::Alarm;

/// Alarms, the newest first.
pub(crate) async fn alarms(
    context: &Context,
    all: bool,
    limit: Option<i64>,
) -> Result<Page<AlarmView>, DirectorError> {
    let limit = limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let alarms = async move |tx: &mut Tx<'_>| skep_topic::alarm::alarms(tx, all, limit).await;
    let alarms = context.db.read("alarms", alarms).await?;
    Ok(Page {
        items: alarms.into_iter().map(alarm_view).collect(),
        next_cursor: None,
    })
}

/// Says that an alarm was seen.
pub(crate) async fn ack_alarm(context: &Context, number: i64) -> Result<AlarmView, DirectorError> {
    let ack = async move |tx: &mut Tx<'_>| skep_topic::alarm::ack(tx, number).await;
    match context.db.write("alarm", ack).await? {
        Some(alarm) => Ok(alarm_view(alarm)),
        None => Err(DirectorError::NotFound {
            noun: "alarm",
            reference: number.to_string(),
        }),
    }
}

fn alarm_view(alarm: Alarm) -> AlarmView {
    AlarmView {
        number: alarm.number,
        kind: alarm.kind,
        subject: alarm.subject,
        occurrences: alarm.occurrences,
        raised_at: alarm.raised_at_ms,
        last_at: alarm.last_at_ms,
        acknowledged_at: alarm.acked_at_ms,
        cleared_at: alarm.cleared_at_ms,
    }
}
