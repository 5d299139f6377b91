//! The end of a call: its reservation becomes spending, unconfirmed spending, or nothing.
//!
//! Invariant: every reservation ends exactly once, whoever ends it and however often it is tried:
//! the call's row is locked and its state decides. A call whose end nobody saw keeps its whole
//! reservation as unconfirmed, so a crash never makes money free.

use crate::event::{
    ModelCallReleased, ModelCallSettled, ModelCallUnconfirmed, ModelSubstituted,
    ReservationExceeded,
};
use crate::limits::{MODEL_ACTUAL_BYTES_MAX, RECONCILE_CALLS_MAX};
use crate::reservation::{Change, WindowKey, change};
use skep_db::{DbError, Row, Tx, params};
use skep_ledger::append;
use skep_types::{CallId, MicroUsd, NodeId, TokenCounts};
use std::collections::BTreeMap;

/// How one call ended.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) call: CallId,
    pub(crate) http_status: Option<i64>,
    /// What the provider reported, complete or not.
    pub(crate) tokens: TokenCounts,
    pub(crate) model_actual: Option<String>,
    /// Another model answered than the one that was asked for.
    pub(crate) substituted: bool,
    pub(crate) outcome: Outcome,
}

/// What becomes of the reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The usage is known and cost this.
    Settled(MicroUsd),
    /// The usage is not known, for this reason.
    Unconfirmed(&'static str),
    /// Nothing was used, for this reason.
    Released(&'static str),
}

impl Outcome {
    const fn state(self) -> &'static str {
        match self {
            Self::Settled(_) => "settled",
            Self::Unconfirmed(_) => "unconfirmed",
            Self::Released(_) => "released",
        }
    }
}

/// What [`reconcile`] found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Calls that nobody was watching any more.
    pub calls: usize,
    /// What they had reserved, now unconfirmed.
    pub unconfirmed: MicroUsd,
}

/// Ends a call. `false` if it had ended before; nothing is changed then.
pub(crate) async fn end(tx: &mut Tx<'_>, ending: &Ending) -> Result<bool, DbError> {
    let call = ending.call.as_str();
    let sql = "SELECT state, key_id, job_id, model_requested, reserved_micro_usd
        FROM model_call WHERE id = ?1 /*lock*/";
    let Some(row) = tx.query_opt(sql, params![call]).await? else {
        return Ok(false);
    };
    let state: String = row.get("state")?;
    // What was given up as unknown may still become known; nothing else ends twice.
    let was_unconfirmed = state == "unconfirmed";
    let settles = matches!(ending.outcome, Outcome::Settled(_));
    if state != "reserved" && !(was_unconfirmed && settles) {
        return Ok(false);
    }
    write_call(tx, ending).await?;
    move_reservations(tx, ending, was_unconfirmed).await?;
    record(tx, ending, &row).await?;
    Ok(true)
}

/// Turns the reservations of calls that nobody watches any more into unconfirmed spending.
///
/// With `only_holder`, as when the one holder of a home starts: of every call that another process
/// made. Without: of calls past the longest time a call may take, on any node.
pub async fn reconcile(
    tx: &mut Tx<'_>,
    only_holder: Option<&NodeId>,
) -> Result<Reconciled, DbError> {
    let now = tx.now_ms().await?;
    let sql = "SELECT id, key_id, job_id, reserved_micro_usd FROM model_call
        WHERE state = 'reserved' AND (deadline_at <= ?1 OR (?2 <> '' AND holder <> ?2))
        ORDER BY id LIMIT ?3 /*lock*/";
    let holder = only_holder.map_or("", NodeId::as_str);
    let lost = tx
        .query(sql, params![now, holder, RECONCILE_CALLS_MAX])
        .await?;
    let mut changes: BTreeMap<WindowKey, Change> = BTreeMap::new();
    let mut found = Reconciled::default();
    for row in &lost {
        let call: CallId = row.parse("id")?;
        let reserved = MicroUsd(row.get("reserved_micro_usd")?);
        for (window, amount) in reservations(tx, &call).await? {
            let change = changes.entry(window).or_default();
            change.reserved -= amount;
            change.unconfirmed += amount;
        }
        give_up(tx, row, &call, reserved).await?;
        found.calls += 1;
        found.unconfirmed = found.unconfirmed.saturating_add(reserved);
    }
    // One change per window, in the order in which admission locks them.
    for (window, by) in &changes {
        change(tx, window, *by).await?;
    }
    Ok(found)
}

async fn give_up(
    tx: &mut Tx<'_>,
    row: &Row,
    call: &CallId,
    reserved: MicroUsd,
) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let sql = "UPDATE model_call SET state = 'unconfirmed', ended_at = ?2 WHERE id = ?1";
    tx.execute(sql, params![call.as_str(), now]).await?;
    let event = ModelCallUnconfirmed {
        call: call.clone(),
        unconfirmed_micro_usd: reserved,
        reason: "process_lost",
        http_status: None,
    };
    append(tx, &subject(row)?, &event).await?;
    Ok(())
}

/// Whom the events of a call are about.
fn subject(row: &Row) -> Result<String, DbError> {
    match row.get::<Option<String>>("job_id")? {
        Some(job) => Ok(job),
        None => row.get("key_id"),
    }
}

async fn write_call(tx: &mut Tx<'_>, ending: &Ending) -> Result<(), DbError> {
    let cost = match ending.outcome {
        Outcome::Settled(cost) => cost,
        Outcome::Unconfirmed(_) | Outcome::Released(_) => MicroUsd::ZERO,
    };
    let actual = ending.model_actual.as_deref();
    let actual = actual.map(|name| &name[..name.floor_char_boundary(MODEL_ACTUAL_BYTES_MAX)]);
    let sql = "UPDATE model_call SET state = ?2, cost_micro_usd = ?3, input_tokens = ?4,
            cache_read_tokens = ?5, cache_write_tokens = ?6, cache_write_1h_tokens = ?7,
            output_tokens = ?8, model_actual = ?9, http_status = ?10, ended_at = ?11
        WHERE id = ?1";
    let row = params![
        ending.call.as_str(),
        ending.outcome.state(),
        cost.0,
        ending.tokens.input,
        ending.tokens.cache_read,
        ending.tokens.cache_write,
        ending.tokens.cache_write_1h,
        ending.tokens.output,
        actual,
        ending.http_status,
        tx.now_ms().await?
    ];
    tx.execute(sql, row).await?;
    Ok(())
}

async fn reservations(tx: &mut Tx<'_>, call: &CallId) -> Result<Vec<(WindowKey, i64)>, DbError> {
    let sql = "SELECT budget_id, subject, window_start, amount_micro_usd FROM reservation
        WHERE call_id = ?1 ORDER BY budget_id, subject, window_start";
    let rows = tx.query(sql, params![call.as_str()]).await?;
    rows.iter()
        .map(|row| {
            let window = (
                row.get("budget_id")?,
                row.get("subject")?,
                row.get("window_start")?,
            );
            Ok((window, row.get("amount_micro_usd")?))
        })
        .collect()
}

async fn move_reservations(
    tx: &mut Tx<'_>,
    ending: &Ending,
    was_unconfirmed: bool,
) -> Result<(), DbError> {
    for (window, amount) in reservations(tx, &ending.call).await? {
        let mut by = Change::default();
        if was_unconfirmed {
            by.unconfirmed = -amount;
        } else {
            by.reserved = -amount;
        }
        match ending.outcome {
            Outcome::Settled(cost) => by.spent = cost.0,
            Outcome::Unconfirmed(_) => by.unconfirmed = amount,
            Outcome::Released(_) => {}
        }
        change(tx, &window, by).await?;
    }
    if !matches!(ending.outcome, Outcome::Unconfirmed(_)) {
        let sql = "DELETE FROM reservation WHERE call_id = ?1";
        tx.execute(sql, params![ending.call.as_str()]).await?;
    }
    Ok(())
}

async fn record(tx: &mut Tx<'_>, ending: &Ending, row: &Row) -> Result<(), DbError> {
    let reserved = MicroUsd(row.get("reserved_micro_usd")?);
    let (call, subject) = (ending.call.clone(), &subject(row)?);
    let http_status = ending.http_status;
    match ending.outcome {
        Outcome::Settled(cost) => {
            let event = ModelCallSettled {
                call: call.clone(),
                cost_micro_usd: cost,
                reserved_micro_usd: reserved,
                tokens: ending.tokens,
                http_status,
            };
            append(tx, subject, &event).await?;
            if cost > reserved {
                let event = ReservationExceeded {
                    call: call.clone(),
                    cost_micro_usd: cost,
                    reserved_micro_usd: reserved,
                };
                append(tx, subject, &event).await?;
            }
        }
        Outcome::Unconfirmed(reason) => {
            let event = ModelCallUnconfirmed {
                call: call.clone(),
                unconfirmed_micro_usd: reserved,
                reason,
                http_status,
            };
            append(tx, subject, &event).await?;
        }
        Outcome::Released(reason) => {
            let event = ModelCallReleased {
                call: call.clone(),
                reason,
                http_status,
            };
            append(tx, subject, &event).await?;
        }
    }
    if ending.substituted {
        let model = row.get("model_requested")?;
        append(tx, subject, &ModelSubstituted { call, model }).await?;
    }
    Ok(())
}
