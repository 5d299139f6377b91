//! Stages: whatever takes something in and owes something for it. A group of readers is one by
//! itself; a producer counts its inputs and outputs with [`Stage`].

use crate::alarm;
use crate::declaration::Topic;
use crate::error::DeclareError;
use crate::event::{StageSilent, record};
use crate::health::{Known, Seen, judge};
use crate::limits::LIST_ROWS_MAX;
use crate::message::{GroupName, check_name};
use crate::read;
use skep_db::{DbError, Row, Tx, params};
use skep_types::AlarmKind;

/// A producer, or any other part that owes an output for its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    name: String,
    silent_after_ms: i64,
}

impl Stage {
    /// The stage `name`, which raises an alarm after `silent_after_ms` with input and no output.
    ///
    /// # Errors
    /// [`DeclareError::Name`].
    pub fn new(name: impl Into<String>, silent_after_ms: i64) -> Result<Self, DeclareError> {
        let name = name.into();
        check_name("stage", &name)?;
        Ok(Self {
            name,
            silent_after_ms: silent_after_ms.max(1),
        })
    }

    /// Counts what came in and what went out, in the transaction that makes it so.
    ///
    /// # Errors
    /// What the store says.
    pub async fn count(&self, tx: &mut Tx<'_>, input: i64, output: i64) -> Result<(), DbError> {
        let sql = "INSERT INTO topic_stage (name, silent_after_ms, input_total, output_total,
                seen_output, seen_blocked) VALUES (?1, ?2, ?3, ?4, 0, 0)
            ON CONFLICT (name) DO UPDATE SET silent_after_ms = excluded.silent_after_ms,
                input_total = topic_stage.input_total + excluded.input_total,
                output_total = topic_stage.output_total + excluded.output_total";
        let row = params![&self.name, self.silent_after_ms, input, output];
        tx.execute(sql, row).await.map(|_| ())
    }
}

/// A stage that was looked at, with what is to be written about it.
#[derive(Debug)]
pub(crate) struct Look {
    name: String,
    silent_after_ms: i64,
    seen: Seen,
    input: i64,
    known: Known,
    silent: bool,
    changed: bool,
    was_open: bool,
}

impl Look {
    /// Whether nothing is to be written.
    pub(crate) const fn is_idle(&self) -> bool {
        !self.changed && self.silent == self.was_open
    }

    async fn of(
        tx: &mut Tx<'_>,
        name: String,
        silent_after_ms: i64,
        input: i64,
        seen: Seen,
    ) -> Result<Self, DbError> {
        let sql = "SELECT seen_output, seen_blocked, waiting_since_ms FROM topic_stage
            WHERE name = ?1";
        let before = match tx.query_opt(sql, params![&name]).await? {
            Some(row) => Known {
                output: row.get("seen_output")?,
                blocked: row.get("seen_blocked")?,
                waiting_since_ms: row.get("waiting_since_ms")?,
            },
            None => Known::default(),
        };
        let now = tx.now_ms().await?;
        let (known, silent) = judge(before, seen, now, silent_after_ms);
        Ok(Self {
            changed: known != before,
            was_open: alarm::is_open(tx, AlarmKind::StageSilent, &name).await?,
            name,
            silent_after_ms,
            seen,
            input,
            known,
            silent,
        })
    }

    /// Keeps what is known, and raises or clears the alarm. True if an alarm was raised.
    pub(crate) async fn write(&self, tx: &mut Tx<'_>, own: bool) -> Result<bool, DbError> {
        let known = &self.known;
        // The totals of a producer are its own; those of a group are written here to be read.
        let totals = if own {
            (0, 0)
        } else {
            (self.input, self.seen.output)
        };
        let sql = "INSERT INTO topic_stage (name, silent_after_ms, input_total, output_total,
                seen_output, seen_blocked, waiting_since_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
            ON CONFLICT (name) DO UPDATE SET silent_after_ms = excluded.silent_after_ms,
                input_total = CASE WHEN ?8 = 1 THEN topic_stage.input_total ELSE excluded.input_total END,
                output_total = CASE WHEN ?8 = 1 THEN topic_stage.output_total ELSE excluded.output_total END,
                seen_output = excluded.seen_output, seen_blocked = excluded.seen_blocked,
                waiting_since_ms = excluded.waiting_since_ms";
        let row = params![
            &self.name,
            self.silent_after_ms,
            totals.0,
            totals.1,
            known.output,
            known.blocked,
            known.waiting_since_ms,
            i64::from(own),
        ];
        tx.execute(sql, row).await?;
        if !self.silent {
            alarm::clear(tx, AlarmKind::StageSilent, &self.name).await?;
            return Ok(false);
        }
        if alarm::is_open(tx, AlarmKind::StageSilent, &self.name).await? {
            return Ok(false);
        }
        let event = StageSilent {
            stage: self.name.clone(),
            waiting_since_ms: known.waiting_since_ms.unwrap_or_default(),
            silent_after_ms: self.silent_after_ms,
        };
        record(tx, &self.name, &event).await?;
        alarm::raise(tx, AlarmKind::StageSilent, &self.name).await
    }
}

/// Looks at the groups of a topic that has a declared time.
pub(crate) async fn look_at_groups(tx: &mut Tx<'_>, topic: &Topic) -> Result<Vec<Look>, DbError> {
    let mut looks = Vec::new();
    let Some(silent_after_ms) = topic.silent_after_ms else {
        return Ok(looks);
    };
    for group in topic.readers.groups() {
        let name = GroupName::new(&topic.name, &group.name);
        let counts = read::counts(tx, &name).await?;
        let seen = Seen {
            output: counts.delivered(),
            waiting: counts.unfinished(),
            blocked: counts.blocked,
            oldest_ms: read::oldest_unread_ms(tx, &name).await?,
        };
        let look = Look::of(tx, name.to_string(), silent_after_ms, counts.input(), seen).await?;
        looks.push(look);
    }
    Ok(looks)
}

/// Looks at the stages that count for themselves: an input is one until an output follows it.
pub(crate) async fn look_at_stages(tx: &mut Tx<'_>) -> Result<Vec<Look>, DbError> {
    // A group's stage has a slash in its name, and a name of its own has none.
    let sql = "SELECT name, silent_after_ms, input_total, output_total FROM topic_stage
        WHERE name NOT LIKE '%/%' ORDER BY name LIMIT ?1";
    let rows = tx.query(sql, params![LIST_ROWS_MAX]).await?;
    let mut looks = Vec::with_capacity(rows.len());
    for row in &rows {
        looks.push(look_at_stage(tx, row).await?);
    }
    Ok(looks)
}

async fn look_at_stage(tx: &mut Tx<'_>, row: &Row) -> Result<Look, DbError> {
    let (input, output): (i64, i64) = (row.get("input_total")?, row.get("output_total")?);
    let seen = Seen {
        output,
        waiting: (input - output).max(0),
        blocked: 0,
        oldest_ms: None,
    };
    Look::of(
        tx,
        row.get("name")?,
        row.get("silent_after_ms")?,
        input,
        seen,
    )
    .await
}
