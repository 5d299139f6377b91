//! Jobs by the names people use for them, and what people do to them: cancel, retry.

use crate::context::Context;
use crate::delivery::report_due;
use crate::error::DirectorError;
use crate::record::{Asked, Dispatch};
use crate::running::Signal;
use crate::{dead, dispatch, landing, record, review};
use skep_api::{JobSubmitted, RetryRequest};
use skep_db::{DbError, Tx};
use skep_queue::{CancelError, Job, RetryError};
use skep_types::{ContractStatus, JobId, JobKind, JobState, LandingState, ResultContract, Verdict};

/// The job called `name`: an id, or a number with or without `#`.
pub(crate) async fn resolve(tx: &mut Tx<'_>, name: &str) -> Result<Job, DirectorError> {
    let found = if let Ok(id) = name.parse::<JobId>() {
        skep_queue::job(tx, &id).await?
    } else if let Ok(number) = name.trim_start_matches('#').parse::<i64>() {
        skep_queue::job_by_number(tx, number).await?
    } else {
        None
    };
    found.ok_or_else(|| DirectorError::NotFound {
        noun: "job",
        reference: name.chars().take(64).collect(),
    })
}

/// Ends a job; of a plan, all of it.
pub(crate) async fn cancel(context: &Context, name: &str) -> Result<JobSubmitted, DirectorError> {
    let name = name.to_owned();
    let asked = name.clone();
    let job = context
        .db
        .read("job", async move |tx: &mut Tx<'_>| {
            resolve(tx, &asked).await
        })
        .await?;
    if job.kind == JobKind::Pipeline {
        return cancel_tree(context, &name).await;
    }
    let (job, reviews) = context
        .db
        .write("cancel", async move |tx: &mut Tx<'_>| {
            let job = resolve(tx, &name).await?;
            end(tx, &job).await
        })
        .await?;
    for id in reviews.iter().chain([&job.id]) {
        context.running.tell(id, Signal::Cancelled);
    }
    Ok(submitted(&job))
}

/// Ends a job in the caller's transaction. The steps of the job and of its reviews, which are the
/// second half of the answer, are to be told after the commit.
pub(crate) async fn end(tx: &mut Tx<'_>, job: &Job) -> Result<(Job, Vec<JobId>), DirectorError> {
    let cancelled = skep_queue::cancel(tx, &job.id).await.map_err(|error| {
        if let CancelError::Db(error) = error {
            return DirectorError::Db(error);
        }
        let hint = format!("`skep job show {}` says how it ended", job.number);
        DirectorError::conflict("job_ended", error.to_string(), hint)
    })?;
    skep_gateway::revoke_of_job(tx, &job.id).await?;
    report_due(tx, &job.id).await?;
    crate::review::abandoned(tx, &job.id).await?;
    let reviews = crate::review::end_reviews(tx, &job.id).await?;
    record::clear_reason(tx, &job.id).await?;
    record::clear_dead(tx, &job.id).await?;
    refuse_while_landing(tx, job).await?;
    Ok((cancelled.job, reviews))
}

/// Ends a job, its parts, and everything that waits for one of them.
pub(crate) async fn cancel_tree(
    context: &Context,
    name: &str,
) -> Result<JobSubmitted, DirectorError> {
    let asked = name.to_owned();
    let job = context
        .db
        .read("job", async move |tx: &mut Tx<'_>| {
            resolve(tx, &asked).await
        })
        .await?;
    end_tree(context, &job).await?;
    let id = job.id.to_string();
    let ended = context
        .db
        .read("job", async move |tx: &mut Tx<'_>| resolve(tx, &id).await)
        .await?;
    Ok(submitted(&ended))
}

/// Goes on with the trees whose ending was begun and not finished, as by an engine that died.
pub(crate) async fn end_marked_trees(context: &Context) -> Result<(), DirectorError> {
    let marked = context
        .db
        .read("ending trees", async |tx: &mut Tx<'_>| {
            let mut jobs = Vec::new();
            for id in skep_queue::graph::ending_trees(tx).await? {
                jobs.extend(skep_queue::job(tx, &id).await?);
            }
            Ok::<_, DirectorError>(jobs)
        })
        .await?;
    for job in marked {
        end_tree(context, &job).await?;
    }
    Ok(())
}

/// Ends a tree step by step; a job that is being landed at this moment is left to its end.
async fn end_tree(context: &Context, job: &Job) -> Result<(), DirectorError> {
    let mut spared: Vec<JobId> = Vec::new();
    loop {
        let (id, spare) = (job.id.clone(), spared.clone());
        let step = context
            .db
            .write("cancel tree", async move |tx: &mut Tx<'_>| {
                end_step(tx, &id, &spare).await
            })
            .await;
        let step = match step {
            Ok(step) => step,
            Err(StepError::Landing(jobs)) if !jobs.contains(&job.id) => {
                spared.extend(jobs);
                continue;
            }
            Err(error) => return Err(error.told(job)),
        };
        for id in &step.cancelled {
            context.running.tell(id, Signal::Cancelled);
        }
        skep_stdx::crash::point("tree.step_ended");
        if !step.more {
            return Ok(());
        }
    }
}

/// What one step has ended.
struct Ended {
    cancelled: Vec<JobId>,
    more: bool,
}

/// Why a step was not made.
enum StepError {
    /// These are being landed at this moment.
    Landing(Vec<JobId>),
    Cancel(CancelError),
    Director(DirectorError),
}

impl From<DbError> for StepError {
    fn from(error: DbError) -> Self {
        Self::Director(error.into())
    }
}

impl From<DirectorError> for StepError {
    fn from(error: DirectorError) -> Self {
        Self::Director(error)
    }
}

impl StepError {
    fn told(self, job: &Job) -> DirectorError {
        let hint = format!("`skep job show {}` says how it ended", job.number);
        match self {
            Self::Director(error) => error,
            Self::Cancel(CancelError::Db(error)) => error.into(),
            Self::Cancel(error) => DirectorError::conflict("job_ended", error.to_string(), hint),
            Self::Landing(_) => {
                let text = format!("job {} is being landed at this moment", job.number);
                DirectorError::conflict("job_landing", text, hint)
            }
        }
    }
}

async fn end_step(tx: &mut Tx<'_>, job: &JobId, spare: &[JobId]) -> Result<Ended, StepError> {
    let step = skep_queue::graph::cancel_tree(tx, job, spare)
        .await
        .map_err(StepError::Cancel)?;
    let cancelled: Vec<JobId> = step.cancelled.into_iter().map(|c| c.job.id).collect();
    // Looked at after the fences were withdrawn, which waits for an intent that is being recorded.
    let landing = record::landings_intended(tx, &cancelled).await?;
    if !landing.is_empty() {
        return Err(StepError::Landing(landing));
    }
    for id in &cancelled {
        skep_gateway::revoke_of_job(tx, id).await?;
        report_due(tx, id).await?;
        crate::review::abandoned(tx, id).await?;
        record::clear_reason(tx, id).await?;
    }
    Ok(Ended {
        cancelled,
        more: step.more,
    })
}

/// A landing whose intent is on record is not undone: its target moves at any moment, or has moved.
/// Looked at after the fence was withdrawn, which waits for an intent that is being recorded.
async fn refuse_while_landing(tx: &mut Tx<'_>, job: &Job) -> Result<(), DirectorError> {
    let intended = record::landing(tx, &job.id)
        .await?
        .is_some_and(|landing| landing.state == LandingState::Landing);
    if job.state == JobState::Landing && intended {
        return Err(DirectorError::conflict(
            "job_landing",
            format!("job {} is being landed at this moment", job.number),
            format!("`skep job show {}` says how it ended", job.number),
        ));
    }
    Ok(())
}

/// Starts an ended or waiting job again.
pub(crate) async fn retry(
    context: &Context,
    name: &str,
    request: RetryRequest,
) -> Result<JobSubmitted, DirectorError> {
    let name = name.to_owned();
    let _turn = context.scopes.lock().await;
    let job = context
        .db
        .write("retry", async move |tx: &mut Tx<'_>| {
            let job = resolve(tx, &name).await?;
            if let Some(limit) = request.budget_micro_usd {
                skep_gateway::raise_job_budget(tx, &job.id, limit)
                    .await
                    .map_err(|error| {
                        DirectorError::usage(
                            "budget_not_raised",
                            error.to_string(),
                            "a new limit covers at least what was already spent",
                        )
                    })?;
            }
            if job.state.is_terminal() {
                if job.kind == JobKind::Pipeline {
                    retry_nodes(tx, &job).await?;
                }
                start_over(tx, &job).await?;
                retry_whole(tx, &job).await?;
            } else {
                go_on(tx, &job).await?;
            }
            resolve(tx, job.id.as_str()).await
        })
        .await?;
    Ok(submitted(&job))
}

/// Queues an ended job again, whoever asks for it.
pub(crate) async fn start_over(tx: &mut Tx<'_>, job: &Job) -> Result<(), DirectorError> {
    skep_queue::retry(tx, &job.id, 1).await.map_err(|error| {
        if let RetryError::Db(error) = error {
            return DirectorError::Db(error);
        }
        let hint = "a job that is done is not run again; submit a new one";
        DirectorError::conflict("job_not_retried", error.to_string(), hint)
    })?;
    record::clear_reason(tx, &job.id).await?;
    dead::replayed(tx, &job.id).await?;
    // While it had ended, its scope was free for others, and so were those of the jobs that wait
    // for it again.
    let mut records = vec![record::asked(tx, job).await?];
    for id in skep_queue::graph::ordered_with(tx, &job.id).await? {
        let found = skep_queue::job(tx, &id).await?;
        if let Some(waiting) = found.filter(|job| job.state == JobState::Blocked) {
            records.push(record::asked(tx, &waiting).await?);
        }
    }
    let records: Vec<&Dispatch> = records.iter().filter_map(Asked::agent).collect();
    dispatch::refuse_overlap(tx, &records).await
}

/// Retrying a plan retries every node of it that failed; those that were skipped for them wait
/// again.
async fn retry_nodes(tx: &mut Tx<'_>, plan: &Job) -> Result<(), DirectorError> {
    for node in skep_queue::graph::nodes_below(tx, &plan.id).await? {
        let failed = matches!(
            node.job.state,
            JobState::Failed | JobState::Cancelled | JobState::Quarantined
        );
        if failed {
            start_over(tx, &node.job).await?;
        }
    }
    Ok(())
}

/// The plan of a node that is retried goes on as well: it waits for the node again.
async fn retry_whole(tx: &mut Tx<'_>, node: &Job) -> Result<(), DirectorError> {
    let Some(whole) = &node.parent else {
        return Ok(());
    };
    match skep_queue::job(tx, whole).await? {
        Some(whole) if whole.kind == JobKind::Pipeline && whole.state.is_terminal() => {
            start_over(tx, &whole).await
        }
        Some(_) | None => Ok(()),
    }
}

/// A waiting job goes on where it stands: a verified result is landed, anything else is worked on.
async fn go_on(tx: &mut Tx<'_>, job: &Job) -> Result<(), DirectorError> {
    let is_waiting = matches!(
        job.state,
        JobState::WaitingHuman
            | JobState::WaitingBudget
            | JobState::Paused
            | JobState::Backoff
            | JobState::WaitingQuota
    );
    if !is_waiting {
        return Err(DirectorError::conflict(
            "job_live",
            format!("job {} is {}", job.number, job.state),
            "only a job that has ended or waits for you can be retried",
        ));
    }
    let to = match record::asked(tx, job).await? {
        Asked::Agent(dispatch) => goes_on_to(tx, job, &dispatch).await?,
        Asked::Call(_) | Asked::Shell(_) => JobState::Queued,
    };
    record::clear_reason(tx, &job.id).await?;
    skep_queue::wake_job(tx, &job.id, job.state, to)
        .await
        .map(|_| ())
        .map_err(|e| DirectorError::outside("wake the job", e))
}

/// Where a waiting agent's job goes on: a verified result is landed, anything else worked on.
async fn goes_on_to(
    tx: &mut Tx<'_>,
    job: &Job,
    dispatch: &Dispatch,
) -> Result<JobState, DirectorError> {
    let landing = record::landing(tx, &job.id).await?;
    let verified = may_land(tx, dispatch).await?;
    if job.state == JobState::WaitingHuman && landing.is_some() && verified {
        landing::pend(tx, dispatch).await?;
        return Ok(JobState::Landing);
    }
    Ok(JobState::Queued)
}

/// Whether the newest result is complete, verified, and let through by its gate.
async fn may_land(tx: &mut Tx<'_>, dispatch: &Dispatch) -> Result<bool, DirectorError> {
    let newest = record::verdicts(tx, &dispatch.job).await?.pop();
    let Some(verified) = newest.filter(|verdict| verdict.result == Verdict::Valid) else {
        return Ok(false);
    };
    let reviews = record::reviews(tx, &dispatch.job).await?;
    let claimed = record::latest_result(tx, &dispatch.job)
        .await?
        .and_then(|result| result.contract);
    let contract = claimed.and_then(|text| serde_json::from_str::<ResultContract>(&text).ok());
    let is_done = contract.is_some_and(|contract| contract.status == ContractStatus::Done);
    Ok(is_done && review::has_passed(dispatch, verified.commit.as_deref(), &reviews))
}

fn submitted(job: &Job) -> JobSubmitted {
    JobSubmitted {
        id: job.id.clone(),
        number: job.number,
        state: job.state,
        warnings: Vec::new(),
    }
}
