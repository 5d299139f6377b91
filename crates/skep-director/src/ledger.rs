//! The ledger as its readers see it.

use crate::context::Context;
use crate::error::DirectorError;
use crate::limits::PAGE_MAX;
use skep_api::{EventView, KeyChangeView, LedgerView};
use skep_db::Tx;
use skep_ledger::{Anchor, KeyChange, SealedEvent};

/// Sealed events, oldest first.
pub(crate) async fn events(
    context: &Context,
    after_seq: i64,
    subject: Option<&str>,
    limit: i64,
) -> Result<Vec<EventView>, DirectorError> {
    let (subject, limit) = (subject.map(str::to_owned), limit.clamp(1, PAGE_MAX));
    let events = context
        .db
        .read("events", async move |tx: &mut Tx<'_>| match &subject {
            Some(subject) => skep_ledger::tail_of(tx, subject, after_seq, limit).await,
            None => skep_ledger::tail(tx, after_seq, limit).await,
        })
        .await
        .map_err(|e| DirectorError::outside("read the ledger", e))?;
    Ok(events.into_iter().map(view).collect())
}

/// The newest sealed events, oldest first.
pub(crate) async fn newest_events(
    context: &Context,
    subject: Option<&str>,
    limit: i64,
) -> Result<Vec<EventView>, DirectorError> {
    let (subject, limit) = (subject.map(str::to_owned), limit.clamp(1, PAGE_MAX));
    let events = context
        .db
        .read("newest_events", async move |tx: &mut Tx<'_>| {
            skep_ledger::newest(tx, subject.as_deref(), limit).await
        })
        .await
        .map_err(|e| DirectorError::outside("read the ledger", e))?;
    Ok(events.into_iter().map(view).collect())
}

fn view(event: SealedEvent) -> EventView {
    EventView {
        seq: event.seq,
        at: event.at_ms,
        kind: event.kind,
        version: event.version,
        subject: event.subject,
        payload: serde_json::from_slice(&event.payload).unwrap_or(serde_json::Value::Null),
        hash: event.hash.to_string(),
    }
}

/// Recomputes the whole chain.
pub(crate) async fn verify_ledger(
    context: &Context,
    anchors: Vec<Anchor>,
) -> Result<LedgerView, DirectorError> {
    let report = skep_ledger::verify_with(&context.db, context.ledger_public_key, anchors)
        .await
        .map_err(|e| DirectorError::outside("verify the ledger", e))?;
    let end = Anchor {
        seq: report.head_seq,
        hash: report.head_hash,
    };
    let bad = report.first_bad;
    Ok(LedgerView {
        ok: bad.is_none(),
        events: report.events,
        purged: report.purged,
        unsealed: report.unsealed,
        head: report.head_hash.to_string(),
        anchor: end.to_string(),
        key_changes: report.key_changes.iter().map(key_change).collect(),
        first_bad_seq: bad.as_ref().map(|bad| bad.seq),
        fault: bad.as_ref().map(|bad| bad.fault.as_str().to_owned()),
        hint: bad.as_ref().map(|bad| bad.fault.hint().to_owned()),
        reason: bad.map(|bad| bad.reason),
    })
}

/// How a change of the ledger's key is shown.
pub fn key_change(change: &KeyChange) -> KeyChangeView {
    let record = &change.record;
    let old = Anchor {
        seq: record.old_seq,
        hash: record.old_hash,
    };
    KeyChangeView {
        seq: change.seq,
        reason: record.reason.as_str().to_owned(),
        old_head: old.to_string(),
        old_key: record.old_key.map(|key| key.to_string()),
        new_key: record.new_key.to_string(),
    }
}
