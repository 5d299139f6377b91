//! Alarms: what somebody must look at, raised once, cleared when it is over.
//!
//! One alarm of a kind about a subject is open at a time. Acknowledging says that a person has seen
//! it; it stays open until what it is about is over, or the person clears what cannot clear itself.

use crate::event::{AlarmAcknowledged, AlarmCleared, AlarmRaised, record};
use crate::limits::LIST_ROWS_MAX;
use skep_db::{Db, DbError, Row, Tx, params};
use skep_types::AlarmKind;

/// One alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Its number.
    pub number: i64,
    /// What it is about.
    pub kind: AlarmKind,
    /// The topic, group, stage or child, as in `reports/home`.
    pub subject: String,
    /// How often it was raised while it was open.
    pub occurrences: i64,
    /// When it was raised first, in milliseconds since 1970.
    pub raised_at_ms: i64,
    /// When it was raised last.
    pub last_at_ms: i64,
    /// When a person said to have seen it.
    pub acked_at_ms: Option<i64>,
    /// When it was over.
    pub cleared_at_ms: Option<i64>,
}

/// Raises an alarm, or counts one more occurrence of the open one. True if it is new.
///
/// # Errors
/// What the store says.
pub async fn raise(tx: &mut Tx<'_>, kind: AlarmKind, subject: &str) -> Result<bool, DbError> {
    let now = tx.now_ms().await?;
    let sql = "INSERT INTO alarm (kind, subject, occurrences, raised_at_ms, last_at_ms)
        VALUES (?1, ?2, 1, ?3, ?3) ON CONFLICT (kind, subject) WHERE cleared_at_ms IS NULL
        DO UPDATE SET occurrences = alarm.occurrences + 1, last_at_ms = excluded.last_at_ms
        RETURNING number, occurrences";
    let row = tx
        .query_one(sql, params![kind.as_str(), subject, now])
        .await?;
    let is_new = row.get::<i64>("occurrences")? == 1;
    if is_new {
        let number = row.get("number")?;
        let subject = subject.to_owned();
        record(
            tx,
            ABOUT,
            &AlarmRaised {
                number,
                kind,
                subject,
            },
        )
        .await?;
    }
    Ok(is_new)
}

/// Clears the open alarm of a kind about a subject. False if there is none.
///
/// # Errors
/// What the store says.
pub async fn clear(tx: &mut Tx<'_>, kind: AlarmKind, subject: &str) -> Result<bool, DbError> {
    let now = tx.now_ms().await?;
    let sql = "UPDATE alarm SET cleared_at_ms = ?3
        WHERE kind = ?1 AND subject = ?2 AND cleared_at_ms IS NULL RETURNING number";
    let Some(row) = tx
        .query_opt(sql, params![kind.as_str(), subject, now])
        .await?
    else {
        return Ok(false);
    };
    let number = row.get("number")?;
    let subject = subject.to_owned();
    record(
        tx,
        ABOUT,
        &AlarmCleared {
            number,
            kind,
            subject,
        },
    )
    .await?;
    Ok(true)
}

/// Says that a person has seen the alarm. One that does not clear by itself, as of a refused
/// message or of restarts, is cleared with it. `None` if there is no such alarm.
///
/// # Errors
/// What the store says.
pub async fn ack(tx: &mut Tx<'_>, number: i64) -> Result<Option<Alarm>, DbError> {
    let now = tx.now_ms().await?;
    let sql = "UPDATE alarm SET acked_at_ms = ?2 WHERE number = ?1 AND acked_at_ms IS NULL";
    if tx.execute(sql, params![number, now]).await? == 1 {
        record(tx, ABOUT, &AlarmAcknowledged { number }).await?;
    }
    let Some(alarm) = alarm(tx, number).await? else {
        return Ok(None);
    };
    if alarm.cleared_at_ms.is_none() && !clears_itself(alarm.kind) {
        clear(tx, alarm.kind, &alarm.subject).await?;
    }
    self::alarm(tx, number).await
}

/// Open alarms, the newest first; with `all` those that are over too.
///
/// # Errors
/// What the store says.
pub async fn alarms(tx: &mut Tx<'_>, all: bool, limit: i64) -> Result<Vec<Alarm>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM alarm WHERE ?1 = 1 OR cleared_at_ms IS NULL
            ORDER BY number DESC LIMIT ?2"
    );
    let limit = limit.clamp(0, LIST_ROWS_MAX);
    let rows = tx.query(&sql, params![i64::from(all), limit]).await?;
    rows.iter().map(read).collect()
}

/// Raises or counts the alarm about restarts of `child`. [`crate::RestartWatch`] has told of them
/// before, on a path that does not need the store.
///
/// # Errors
/// What the store says.
pub async fn restart_counted(
    db: &Db,
    child: &str,
    restarts: crate::Restarts,
) -> Result<(), DbError> {
    if !restarts.too_many {
        return Ok(());
    }
    let child = child.to_owned();
    db.write("restarts", async move |tx: &mut Tx<'_>| {
        raise(tx, AlarmKind::RestartsTooMany, &child)
            .await
            .map(|_| ())
    })
    .await
}

/// Whether an alarm of a kind about a subject is open.
pub(crate) async fn is_open(
    tx: &mut Tx<'_>,
    kind: AlarmKind,
    subject: &str,
) -> Result<bool, DbError> {
    let sql = "SELECT number FROM alarm
        WHERE kind = ?1 AND subject = ?2 AND cleared_at_ms IS NULL";
    let row = tx.query_opt(sql, params![kind.as_str(), subject]).await?;
    Ok(row.is_some())
}

/// The subject of the ledger events of alarms.
const ABOUT: &str = skep_ledger::HOME;

const COLUMNS: &str = "number, kind, subject, occurrences, raised_at_ms, last_at_ms, acked_at_ms,
    cleared_at_ms";

const fn clears_itself(kind: AlarmKind) -> bool {
    match kind {
        AlarmKind::StageSilent | AlarmKind::GroupBehind => true,
        AlarmKind::MessageOversize | AlarmKind::RestartsTooMany => false,
    }
}

async fn alarm(tx: &mut Tx<'_>, number: i64) -> Result<Option<Alarm>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM alarm WHERE number = ?1");
    let row = tx.query_opt(&sql, params![number]).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<Alarm, DbError> {
    Ok(Alarm {
        number: row.get("number")?,
        kind: row.parse("kind")?,
        subject: row.get("subject")?,
        occurrences: row.get("occurrences")?,
        raised_at_ms: row.get("raised_at_ms")?,
        last_at_ms: row.get("last_at_ms")?,
        acked_at_ms: row.get("acked_at_ms")?,
        cleared_at_ms: row.get("cleared_at_ms")?,
    })
}
