//! Dead letters: one row for each job that has ended without success, under the job's own id.
//!
//! The row outlives a replay, so that how often the same thing failed is known however often
//! somebody tries it again. It goes when the job succeeds or is cancelled.

use skep_db::{DbError, Row, Tx, Value, params};
use skep_queue::Job;
use skep_types::{FailureClass, JobId, JobKind};

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadRow {
    pub(crate) job: JobId,
    pub(crate) number: i64,
    pub(crate) kind: JobKind,
    pub(crate) state: DeadState,
    pub(crate) class: FailureClass,
    /// How often the job has ended without success.
    pub(crate) deaths: i64,
    /// How many of these were the last ones and of this class.
    pub(crate) in_a_row: i64,
    /// How often it was replayed.
    pub(crate) replays: i64,
    pub(crate) died_at: i64,
}

/// Where a dead letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadState {
    /// Its job has failed.
    Failed,
    /// Its job has failed the same way too often.
    Quarantined,
    /// Its job was started again.
    Replayed,
    /// A person said that nobody needs to look at it.
    Dismissed,
}

impl DeadState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
            Self::Replayed => "replayed",
            Self::Dismissed => "dismissed",
        }
    }

    /// Whether somebody is to look at it.
    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Failed | Self::Quarantined)
    }

    fn of(word: &str) -> Result<Self, DbError> {
        [
            Self::Failed,
            Self::Quarantined,
            Self::Replayed,
            Self::Dismissed,
        ]
        .into_iter()
        .find(|state| state.as_str() == word)
        .ok_or_else(|| DbError::Column {
            column: "state".to_owned(),
            found: "a word that is no state of a dead letter",
        })
    }
}

/// Which dead letters, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeadQuery {
    pub(crate) class: Option<FailureClass>,
    /// After this number, in the order of the list.
    pub(crate) cursor: Option<i64>,
    pub(crate) limit: i64,
    /// The order in which the jobs were asked for; the newest first otherwise.
    pub(crate) oldest_first: bool,
}

/// Writes that `job` has died; the row as it is then.
pub(crate) async fn put_death(
    tx: &mut Tx<'_>,
    job: &Job,
    class: FailureClass,
    quarantined: bool,
) -> Result<DeadRow, DbError> {
    let state = if quarantined {
        DeadState::Quarantined
    } else {
        DeadState::Failed
    };
    let now = tx.now_ms().await?;
    let sql = "INSERT INTO dead_letter (job_id, number, kind, state, class, deaths, in_a_row,
            replays, died_at)
        VALUES (?1, ?2, ?3, ?4, ?5, 1, 1, 0, ?6)
        ON CONFLICT (job_id) DO UPDATE SET state = excluded.state, class = excluded.class,
            deaths = dead_letter.deaths + 1,
            in_a_row = CASE WHEN dead_letter.class = excluded.class
                THEN dead_letter.in_a_row + 1 ELSE 1 END,
            died_at = excluded.died_at
        RETURNING *";
    let row = params![
        job.id.as_str(),
        job.number,
        job.kind.as_str(),
        state.as_str(),
        class.as_str(),
        now,
    ];
    DeadRow::from_row(&tx.query_one(sql, row).await?)
}

/// The dead letter of `job`, if it ever died.
pub(crate) async fn dead(tx: &mut Tx<'_>, job: &JobId) -> Result<Option<DeadRow>, DbError> {
    let sql = "SELECT * FROM dead_letter WHERE job_id = ?1";
    let row = tx.query_opt(sql, params![job.as_str()]).await?;
    row.as_ref().map(DeadRow::from_row).transpose()
}

/// Open dead letters.
pub(crate) async fn dead_letters(
    tx: &mut Tx<'_>,
    query: &DeadQuery,
) -> Result<Vec<DeadRow>, DbError> {
    let mut params: Vec<Value> = vec![query.limit.into()];
    let mut sql = "SELECT * FROM dead_letter WHERE state IN ('failed', 'quarantined')".to_owned();
    if let Some(cursor) = query.cursor {
        params.push(cursor.into());
        let than = if query.oldest_first { '>' } else { '<' };
        sql += &format!(" AND number {than} ?{}", params.len());
    }
    if let Some(class) = query.class {
        params.push(class.as_str().into());
        sql += &format!(" AND class = ?{}", params.len());
    }
    let order = if query.oldest_first { "" } else { " DESC" };
    sql += &format!(" ORDER BY number{order} LIMIT ?1");
    let rows = tx.query(&sql, &params).await?;
    rows.iter().map(DeadRow::from_row).collect()
}

/// How many open dead letters there are of each class, the most frequent first.
pub(crate) async fn dead_classes(tx: &mut Tx<'_>) -> Result<Vec<(FailureClass, i64)>, DbError> {
    let sql = "SELECT class, COUNT(*) AS letters FROM dead_letter
        WHERE state IN ('failed', 'quarantined') GROUP BY class ORDER BY letters DESC, class";
    let rows = tx.query(sql, &[]).await?;
    rows.iter()
        .map(|row| Ok((row.parse("class")?, row.get("letters")?)))
        .collect()
}

/// Moves a dead letter to `state`, and counts a replay.
pub(crate) async fn set_dead(
    tx: &mut Tx<'_>,
    job: &JobId,
    state: DeadState,
) -> Result<(), DbError> {
    let sql = "UPDATE dead_letter SET state = ?2, replays = replays + ?3 WHERE job_id = ?1";
    let replays = i64::from(state == DeadState::Replayed);
    tx.execute(sql, params![job.as_str(), state.as_str(), replays])
        .await
        .map(|_| ())
}

/// Forgets the dead letter of a job that is no longer one.
pub(crate) async fn clear_dead(tx: &mut Tx<'_>, job: &JobId) -> Result<(), DbError> {
    let sql = "DELETE FROM dead_letter WHERE job_id = ?1";
    tx.execute(sql, params![job.as_str()]).await.map(|_| ())
}

impl DeadRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            job: row.parse("job_id")?,
            number: row.get("number")?,
            kind: row.parse("kind")?,
            state: DeadState::of(&row.get::<String>("state")?)?,
            class: row.parse("class")?,
            deaths: row.get("deaths")?,
            in_a_row: row.get("in_a_row")?,
            replays: row.get("replays")?,
            died_at: row.get("died_at")?,
        })
    }
}
