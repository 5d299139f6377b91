//! The start and the end of a worker, guarded by the fence of its claim.

use crate::error::AttemptError;
use crate::event::{AttemptEnded, AttemptStarted, record};
use crate::lease::Lease;
use crate::limits::{NAME_BYTES_MAX, SESSION_BYTES_MAX};
use crate::row::{ATTEMPT_COLUMNS, Attempt};
use skep_db::{DbError, Tx, params};
use skep_types::{AttemptId, AttemptState, FailureClass, JobId};

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
    check_text(
        "model_requested",
        start.model_requested.as_ref(),
        NAME_BYTES_MAX,
    )?;
    check_text("session_id", start.session_id.as_ref(), SESSION_BYTES_MAX)?;
    let found = demand(tx, lease, attempt).await?;
    if found.state != AttemptState::Leased {
        return Err(AttemptError::Illegal {
            from: found.state,
            to: AttemptState::Running,
        });
    }
    let now = tx.now_ms().await?;
    let sql = "UPDATE attempt SET state = ?2, harness = ?3, model_requested = ?4,
        session_id = ?5, started_at_ms = ?6 WHERE id = ?1";
    tx.execute(
        sql,
        params![
            attempt.as_str(),
            AttemptState::Running.as_str(),
            &start.harness,
            start.model_requested.as_ref(),
            start.session_id.as_ref(),
            now,
        ],
    )
    .await?;
    let event = AttemptStarted {
        attempt: attempt.clone(),
        fence: lease.fence,
    };
    record(tx, &lease.job, &event).await?;
    Ok(())
}

/// Records how a leased or running attempt ended, and counts it if it counts.
pub async fn attempt_ended(
    tx: &mut Tx<'_>,
    lease: &Lease,
    attempt: &AttemptId,
    end: &AttemptEnd,
) -> Result<(), AttemptError> {
    check_text("model_actual", end.model_actual.as_ref(), NAME_BYTES_MAX)?;
    check_text("session_id", end.session_id.as_ref(), SESSION_BYTES_MAX)?;
    let found = demand(tx, lease, attempt).await?;
    if !is_open(found.state) || is_open(end.state) {
        return Err(AttemptError::Illegal {
            from: found.state,
            to: end.state,
        });
    }
    if end.counts_as_attempt {
        let sql = "UPDATE job SET attempts_used = attempts_used + 1 WHERE id = ?1";
        tx.execute(sql, params![lease.job.as_str()]).await?;
    }
    write_end(tx, &found, end).await?;
    Ok(())
}

/// Ends every open attempt of a job whose lease goes; there is at most one.
pub(crate) async fn end_open_attempts(
    tx: &mut Tx<'_>,
    job: &JobId,
    state: AttemptState,
    failure: Option<FailureClass>,
) -> Result<(), DbError> {
    for attempt in open_attempts(tx, job).await? {
        let end = AttemptEnd {
            state,
            failure_class: failure,
            model_actual: None,
            session_id: None,
            counts_as_attempt: false,
        };
        write_end(tx, &attempt, &end).await?;
    }
    Ok(())
}

/// The attempts of a job whose workers have not ended; at most one.
pub(crate) async fn open_attempts(tx: &mut Tx<'_>, job: &JobId) -> Result<Vec<Attempt>, DbError> {
    let sql = format!(
        "SELECT {ATTEMPT_COLUMNS} FROM attempt
        WHERE job_id = ?1 AND state IN ('leased', 'running') ORDER BY fence"
    );
    let rows = tx.query(&sql, params![job.as_str()]).await?;
    rows.iter().map(Attempt::from_row).collect()
}

const fn is_open(state: AttemptState) -> bool {
    matches!(state, AttemptState::Leased | AttemptState::Running)
}

/// The attempt of this claim, once the fence has proved current.
async fn demand(
    tx: &mut Tx<'_>,
    lease: &Lease,
    attempt: &AttemptId,
) -> Result<Attempt, AttemptError> {
    crate::change::lock(tx, &lease.job).await?;
    skep_authority::demand(tx, &lease.job, lease.fence).await?;
    let sql = format!(
        "SELECT {ATTEMPT_COLUMNS} FROM attempt WHERE id = ?1 AND job_id = ?2 AND fence = ?3"
    );
    let row = tx
        .query_opt(
            &sql,
            params![attempt.as_str(), lease.job.as_str(), lease.fence.0],
        )
        .await?
        .ok_or(AttemptError::NotFound)?;
    Ok(Attempt::from_row(&row)?)
}

async fn write_end(tx: &mut Tx<'_>, attempt: &Attempt, end: &AttemptEnd) -> Result<(), DbError> {
    let now = tx.now_ms().await?;
    let sql = "UPDATE attempt SET state = ?2, failure = ?3, model_actual = ?4, counted = ?5,
        ended_at_ms = ?6, session_id = COALESCE(CAST(?7 AS TEXT), session_id) WHERE id = ?1";
    tx.execute(
        sql,
        params![
            attempt.id.as_str(),
            end.state.as_str(),
            end.failure_class.map(FailureClass::as_str),
            end.model_actual.as_ref(),
            end.counts_as_attempt,
            now,
            end.session_id.as_ref(),
        ],
    )
    .await?;
    let event = AttemptEnded {
        attempt: attempt.id.clone(),
        fence: attempt.fence,
        state: end.state,
        failure: end.failure_class,
        counted: end.counts_as_attempt,
        model_as_requested: attempt
            .model_requested
            .as_ref()
            .zip(end.model_actual.as_ref())
            .map(|(requested, actual)| requested == actual),
    };
    record(tx, &attempt.job, &event).await
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
