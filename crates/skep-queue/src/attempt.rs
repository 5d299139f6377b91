//! The start and the end of a worker, guarded by the fence of its claim.
//!
//! An attempt that was claimed and not yet started has no row of its own: the job's row says all
//! of it. The row is written when the worker starts, or when the attempt ends before it did.

use crate::change::lock;
use crate::error::AttemptError;
use crate::event::{AttemptEnded, AttemptStarted, note};
use crate::lease::Lease;
use crate::limits::{NAME_BYTES_MAX, SESSION_BYTES_MAX};
use crate::row::{ATTEMPT_COLUMNS, Attempt, Job};
use skep_db::{DbError, Kind, Rows, Tx, Value, params};
use skep_types::{AttemptId, AttemptState, FailureClass, JobId, NodeId};
use std::collections::HashMap;

/// What is known when a worker starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptStart {
    /// What runs it.
    pub harness: String,
    /// The model that is asked for.
    pub model_requested: Option<String>,
    /// The harness's own name for the conversation.
    pub session_id: Option<String>,
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptEnd {
    /// `succeeded`, `failed`, `lost`, `cancelled`, or `parked` for one that can go on.
    pub state: AttemptState,
    /// Why it did not succeed.
    pub failure_class: Option<FailureClass>,
    /// The model that answered.
    pub model_actual: Option<String>,
    /// The harness's own session, where it named one only now.
    pub session_id: Option<String>,
    /// Whether it uses up one of the job's attempts.
    pub counts_as_attempt: bool,
}

/// Records that the worker of a leased attempt runs.
pub async fn attempt_started(
    tx: &mut Tx<'_>,
    lease: &Lease,
    attempt: &AttemptId,
    start: &AttemptStart,
) -> Result<(), AttemptError> {
    check_text("harness", Some(&start.harness), NAME_BYTES_MAX)?;
    let model = start.model_requested.as_ref();
    check_text("model_requested", model, NAME_BYTES_MAX)?;
    check_text("session_id", start.session_id.as_ref(), SESSION_BYTES_MAX)?;
    let (job, node) = demand(tx, lease, attempt, AttemptState::Running).await?;
    let sql = "INSERT INTO attempt (job_id, fence, id, node, state, harness, model_requested,
            session_id, counted, leased_at_ms, started_at_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10) ON CONFLICT DO NOTHING";
    let values = params![
        job.id.as_str(),
        lease.fence.0,
        attempt.as_str(),
        node.as_str(),
        AttemptState::Running.as_str(),
        &start.harness,
        model,
        start.session_id.as_ref(),
        job.changed_at_ms,
        tx.now_ms().await?,
    ];
    if tx.execute(sql, values).await? == 0 {
        return Err(refused(tx, lease, AttemptState::Running).await?);
    }
    let event = AttemptStarted {
        attempt: attempt.clone(),
        fence: lease.fence,
    };
    note(tx, &lease.job, &event).await?;
    Ok(())
}

/// Records how a leased or running attempt ended, and counts it if it counts.
pub async fn attempt_ended(
    tx: &mut Tx<'_>,
    lease: &Lease,
    attempt: &AttemptId,
    end: &AttemptEnd,
) -> Result<(), AttemptError> {
    validate_end(end)?;
    let (job, node) = demand(tx, lease, attempt, end.state).await?;
    if is_open(end.state) {
        return Err(AttemptError::Illegal {
            from: AttemptState::Running,
            to: end.state,
        });
    }
    let sql = "UPDATE job SET attempts_used = attempts_used + ?2, attempt_open = 0 WHERE id = ?1";
    tx.execute_later(sql, params![lease.job.as_str(), end.counts_as_attempt])
        .await?;
    write_and_record(tx, &job, &node, end).await?;
    Ok(())
}

/// Ends the open attempt of a locked job whose lease goes.
pub(crate) async fn end_open_attempt(
    tx: &mut Tx<'_>,
    job: &mut Job,
    node: NodeId,
    state: AttemptState,
    failure: Option<FailureClass>,
) -> Result<(), DbError> {
    if !std::mem::replace(&mut job.attempt_open, false) {
        return Ok(());
    }
    let end = AttemptEnd {
        state,
        failure_class: failure,
        model_actual: None,
        session_id: None,
        counts_as_attempt: false,
    };
    write_and_record(tx, job, &node, &end).await
}

/// The attempt of a locked job that is under way.
pub(crate) fn open_attempt(job: &Job) -> Option<AttemptId> {
    job.attempt_open.then(|| AttemptId::of(&job.id, job.fence))
}

pub(crate) fn validate_end(end: &AttemptEnd) -> Result<(), AttemptError> {
    check_text("model_actual", end.model_actual.as_ref(), NAME_BYTES_MAX)?;
    check_text("session_id", end.session_id.as_ref(), SESSION_BYTES_MAX)
}

pub(crate) const fn is_open(state: AttemptState) -> bool {
    matches!(state, AttemptState::Leased | AttemptState::Running)
}

/// The locked job and its holder, once the fence has proved current and its attempt open.
async fn demand(
    tx: &mut Tx<'_>,
    lease: &Lease,
    attempt: &AttemptId,
    to: AttemptState,
) -> Result<(Job, NodeId), AttemptError> {
    let job = lock(tx, &lease.job).await?;
    let (job, held) =
        crate::lease::current(job, lease).map_err(|current| AttemptError::Stale { current })?;
    if *attempt != AttemptId::of(&lease.job, lease.fence) {
        return Err(AttemptError::NotFound);
    }
    if !job.attempt_open {
        return Err(refused(tx, lease, to).await?);
    }
    Ok((job, held.node))
}

/// What to say of an attempt that is not in a state from which it goes `to`.
async fn refused(
    tx: &mut Tx<'_>,
    lease: &Lease,
    to: AttemptState,
) -> Result<AttemptError, DbError> {
    let sql = "SELECT state FROM attempt WHERE job_id = ?1 AND fence = ?2";
    let row = tx
        .query_opt(sql, params![lease.job.as_str(), lease.fence.0])
        .await?;
    Ok(match row {
        None => AttemptError::NotFound,
        Some(row) => AttemptError::Illegal {
            from: row.parse("state")?,
            to,
        },
    })
}

async fn write_and_record(
    tx: &mut Tx<'_>,
    job: &Job,
    node: &NodeId,
    end: &AttemptEnd,
) -> Result<(), DbError> {
    let requested = write_ends(tx, &[(job, node, end)]).await?;
    let event = AttemptEnded {
        attempt: AttemptId::of(&job.id, job.fence),
        fence: job.fence,
        state: end.state,
        failure: end.failure_class,
        counted: end.counts_as_attempt,
        model_as_requested: as_requested(&requested, job, end),
    };
    note(tx, &job.id, &event).await
}

/// Writes how attempts ended; the answer is the models that were asked for, by job.
pub(crate) async fn write_ends(
    tx: &mut Tx<'_>,
    ends: &[(&Job, &NodeId, &AttemptEnd)],
) -> Result<HashMap<JobId, String>, DbError> {
    let now = tx.now_ms().await?;
    let mut requested = HashMap::new();
    let ends = ends
        .iter()
        .map(|(job, node, end)| end_values(job, node, end, now));
    for row in tx
        .query_rows(WRITE_ENDS, &Rows::new(&END_KINDS, ends))
        .await?
    {
        if let Some(model) = row.get("model_requested")? {
            requested.insert(row.parse("job_id")?, model);
        }
    }
    Ok(requested)
}

const WRITE_ENDS: &str =
    "WITH r (job_id, fence, id, node, state, failure, model_actual, session_id,
        counted, leased_at_ms, ended_at_ms) AS (/*rows*/)
    INSERT INTO attempt (job_id, fence, id, node, state, failure, model_actual, session_id, counted,
        leased_at_ms, ended_at_ms)
    SELECT job_id, fence, id, node, state, failure, model_actual, session_id, counted, leased_at_ms,
        ended_at_ms FROM r WHERE true
    ON CONFLICT (job_id, fence) DO UPDATE SET state = excluded.state, failure = excluded.failure,
        model_actual = excluded.model_actual,
        session_id = COALESCE(excluded.session_id, attempt.session_id),
        counted = excluded.counted, ended_at_ms = excluded.ended_at_ms
    RETURNING job_id, model_requested";

const END_KINDS: [Kind; 11] = {
    use Kind::{Int, Text};
    [Text, Int, Text, Text, Text, Text, Text, Text, Int, Int, Int]
};

fn end_values(job: &Job, node: &NodeId, end: &AttemptEnd, now: i64) -> [Value; 11] {
    [
        job.id.as_str().into(),
        job.fence.0.into(),
        AttemptId::of(&job.id, job.fence).as_str().into(),
        node.as_str().into(),
        end.state.as_str().into(),
        end.failure_class.map(FailureClass::as_str).into(),
        end.model_actual.as_ref().into(),
        end.session_id.as_ref().into(),
        end.counts_as_attempt.into(),
        job.changed_at_ms.into(),
        now.into(),
    ]
}

/// Whether the model that was asked for answered, where both are known.
pub(crate) fn as_requested(
    requested: &HashMap<JobId, String>,
    job: &Job,
    end: &AttemptEnd,
) -> Option<bool> {
    let (requested, actual) = (requested.get(&job.id)?, end.model_actual.as_ref()?);
    Some(requested == actual)
}

/// The attempts of a job that have a row, in the order of their claims.
pub(crate) async fn rows_of(
    tx: &mut Tx<'_>,
    job: &JobId,
    limit: i64,
) -> Result<Vec<Attempt>, DbError> {
    let sql =
        format!("SELECT {ATTEMPT_COLUMNS} FROM attempt WHERE job_id = ?1 ORDER BY fence LIMIT ?2");
    let rows = tx.query(&sql, params![job.as_str(), limit]).await?;
    rows.iter().map(Attempt::from_row).collect()
}

fn check_text(
    field: &'static str,
    text: Option<&String>,
    bytes_max: usize,
) -> Result<(), AttemptError> {
    if text.is_some_and(|text| text.len() > bytes_max || text.contains('\0')) {
        let reason = "is too long or holds a zero byte";
        return Err(AttemptError::Invalid { field, reason });
    }
    Ok(())
}
