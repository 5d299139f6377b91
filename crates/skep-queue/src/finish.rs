//! Ending jobs under their leases, many at a time: what a worker of short jobs calls.

use crate::attempt::{AttemptEnd, as_requested, is_open, write_ends};
use crate::change::move_to_history;
use crate::error::AdvanceError;
use crate::event::{JobFinished, note};
use crate::lease::{Lease, holder};
use crate::limits::BATCH_JOBS_MAX;
use crate::row::{Held, Job, live_job_columns};
use skep_db::{DbError, List, Tx};
use skep_types::{AttemptState, FailureClass, Fence, IllegalTransition, JobId, JobState};
use std::collections::HashMap;

/// How a job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// The claim.
    pub lease: Lease,
    /// The last state.
    pub to: JobState,
    /// Why it failed.
    pub failure: Option<FailureClass>,
    /// How the attempt ended that is under way, if one is.
    pub attempt: AttemptEnd,
}

/// Ends up to [`BATCH_JOBS_MAX`] jobs, each with the attempt that is under way, as
/// [`attempt_ended`](crate::attempt_ended) and [`advance`](crate::advance) would, with a few
/// statements for all of them.
///
/// Answers in the same order: the job as its history has it, or why this one was refused, which
/// is to be recorded with [`record_refusal`](crate::record_refusal) in a transaction of its own.
/// The others are ended all the same.
pub async fn finish_all(
    tx: &mut Tx<'_>,
    finishes: &[Finish],
) -> Result<Vec<Result<Job, AdvanceError>>, DbError> {
    let finishes = &finishes[..finishes.len().min(BATCH_JOBS_MAX)];
    let mut found = lock_all(tx, finishes).await?;
    let mut answers = Vec::with_capacity(finishes.len());
    let mut ended = Vec::with_capacity(finishes.len());
    for finish in finishes {
        let verdict = legal(found.get(&finish.lease.job), finish);
        // A job that was ended is gone when it is named again; one that was refused is not.
        let job = verdict.and_then(|held| match found.remove(&finish.lease.job) {
            Some(job) => Ok((job, held)),
            None => Err(AdvanceError::NotFound),
        });
        match job {
            Ok((job, held)) => {
                ended.push((job, held, finish));
                answers.push(None);
            }
            Err(error) => answers.push(Some(error)),
        }
    }
    let jobs = write(tx, ended).await?;
    let mut jobs = jobs.into_iter();
    let answer = |refused: Option<AdvanceError>| match refused {
        Some(error) => Err(error),
        None => jobs.next().ok_or(AdvanceError::NotFound),
    };
    Ok(answers.into_iter().map(answer).collect())
}

/// The live jobs, locked in one order by everybody who locks several.
async fn lock_all(tx: &mut Tx<'_>, finishes: &[Finish]) -> Result<HashMap<JobId, Job>, DbError> {
    let mut ids: Vec<&JobId> = finishes.iter().map(|finish| &finish.lease.job).collect();
    ids.sort_unstable();
    ids.dedup();
    let sql = concat!(
        "SELECT ",
        live_job_columns!(),
        " FROM job WHERE id /*in list*/ ORDER BY id /*lock*/"
    );
    let list = List::of_texts(ids.iter().map(|id| id.as_str()));
    let mut found = HashMap::with_capacity(ids.len());
    for row in tx.query_list(sql, &[], &list).await? {
        let job = Job::from_row(&row)?;
        found.insert(job.id.clone(), job);
    }
    Ok(found)
}

/// Who holds the job, if it may end like this.
fn legal(job: Option<&Job>, finish: &Finish) -> Result<Held, AdvanceError> {
    let held = holder(job, &finish.lease).map_err(|current| AdvanceError::Stale { current })?;
    let from = job.ok_or(AdvanceError::NotFound)?.state;
    from.to(finish.to).map_err(AdvanceError::Illegal)?;
    if !finish.to.is_terminal() || is_open(finish.attempt.state) {
        return Err(AdvanceError::Illegal(IllegalTransition {
            from,
            to: finish.to,
        }));
    }
    crate::attempt::validate_end(&finish.attempt).map_err(|_| AdvanceError::Invalid)?;
    Ok(held)
}

async fn write(tx: &mut Tx<'_>, mut ended: Vec<(Job, Held, &Finish)>) -> Result<Vec<Job>, DbError> {
    let now = tx.now_ms().await?;
    let open: Vec<_> = ended
        .iter()
        .filter(|(job, ..)| job.attempt_open)
        .map(|(job, held, finish)| (job, &held.node, &finish.attempt))
        .collect();
    let requested = write_ends(tx, &open).await?;
    for (job, _, finish) in &mut ended {
        let (from, fence) = (job.state, job.fence);
        let attempt = job.attempt_open.then_some(finish.attempt.state);
        let counted = job.attempt_open && finish.attempt.counts_as_attempt;
        let model_as_requested = as_requested(&requested, job, &finish.attempt);
        end(job, finish, counted, now);
        let event = finished(from, fence, finish, attempt, counted, model_as_requested);
        note(tx, &job.id, &event).await?;
    }
    let jobs: Vec<Job> = ended.into_iter().map(|(job, ..)| job).collect();
    let ids: Vec<&JobId> = jobs.iter().map(|job| &job.id).collect();
    skep_authority::withdraw(tx, &ids).await?;
    let rows: Vec<&Job> = jobs.iter().collect();
    move_to_history(tx, &rows).await?;
    Ok(jobs)
}

fn end(job: &mut Job, finish: &Finish, counted: bool, now: i64) {
    job.state = finish.to;
    job.failure = finish.failure;
    job.run_at_ms = now;
    job.changed_at_ms = now;
    job.ended_at_ms = Some(now);
    job.held = None;
    job.attempt_open = false;
    job.attempts_used += i64::from(counted);
}

const fn finished(
    from: JobState,
    fence: Fence,
    finish: &Finish,
    attempt: Option<AttemptState>,
    counted: bool,
    model_as_requested: Option<bool>,
) -> JobFinished {
    JobFinished {
        from,
        to: finish.to,
        failure: finish.failure,
        fence,
        attempt,
        counted,
        model_as_requested,
    }
}
