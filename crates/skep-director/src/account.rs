//! Accounts: the documents that say where jobs stand, read in one snapshot each.

use crate::context::Context;
use crate::director::JobQuery;
use crate::error::DirectorError;
use crate::limits::{DIFF_BYTES_MAX, EDGES_SHOWN_MAX, LOG_VIEW_BYTES_MAX, PAGE_DEFAULT, PAGE_MAX};
use crate::record::{
    self, AnswerRow, Asked, CallRow, Dispatch, LeftoverRow, ResultRow, ReviewRow, RunRow,
    VerdictRow,
};
use crate::{call, delivery, plan, reference, review};
use ring::digest::{SHA256, digest};
use skep_api::{
    AnswerView, AttemptView, CallView, DeliveryView, DiffView, JobSummary, JobView, LandingView,
    LeftoverView, LogView, Page, ReviewView, ShellRun, ShellView, VerdictView,
};
use skep_db::{Db, DbError, Tx};
use skep_queue::{Attempt, Job, JobFilter, graph};
use skep_types::{DeliveryState, JobId, JobState, LandingState, ResultContract};
use std::path::Path;

/// States in which a job moves without a person and without more money. One that waits for other
/// jobs moves when they do: it is not counted beside them, and does not keep an engine waiting
/// while they wait for a person.
const MOVING: &[JobState] = &[
    JobState::Queued,
    JobState::Running,
    JobState::WaitingQuota,
    JobState::WaitingCallback,
    JobState::Backoff,
    JobState::Verifying,
    JobState::InReview,
    JobState::Rework,
    JobState::Landing,
];

/// How many jobs could still move by themselves; counted up to one page.
pub(crate) async fn live_jobs(db: &Db) -> Result<i64, DirectorError> {
    let filter = JobFilter {
        states: MOVING.to_vec(),
        ..JobFilter::default()
    };
    let (jobs, reports) = db
        .read("live jobs", async move |tx: &mut Tx<'_>| {
            let jobs = skep_queue::jobs(tx, &filter, None, PAGE_MAX)
                .await?
                .items
                .len();
            let reports = usize::try_from(delivery::due(tx).await?).unwrap_or(usize::MAX);
            Ok::<_, DbError>((jobs, reports))
        })
        .await?;
    Ok(i64::try_from(jobs + reports).unwrap_or(i64::MAX))
}

/// One job with everything known of it.
pub(crate) async fn job(context: &Context, name: &str) -> Result<JobView, DirectorError> {
    let name = name.to_owned();
    context
        .db
        .read("job", async move |tx: &mut Tx<'_>| {
            let job = reference::resolve(tx, &name).await?;
            view(tx, job).await
        })
        .await
}

async fn view(tx: &mut Tx<'_>, job: Job) -> Result<JobView, DirectorError> {
    let asked = record::asked(tx, &job).await?;
    let (call, shell) = kind_views(tx, &asked).await?;
    let dispatch = asked.common();
    let results = record::results(tx, &job.id).await?;
    let verdicts = record::verdicts(tx, &job.id).await?;
    let usage = skep_gateway::job_cost(tx, &job.id).await?;
    let run = shell.as_ref().and_then(|shell| shell.run.as_ref());
    let attempts = attempt_views(tx, &job.id, &results, run).await?;
    let reviews = record::reviews(tx, &job.id).await?;
    let landing = landing_view(tx, &job.id, &dispatch).await?;
    let contract = results.iter().rev().find_map(|result| {
        serde_json::from_str::<ResultContract>(result.contract.as_deref()?).ok()
    });
    let verdicts: Vec<VerdictView> = verdicts.into_iter().map(verdict_view).collect();
    let firing = skep_queue::schedule::firing_of_job(tx, &job.id).await?;
    let own = [job.id.clone()];
    let edges = graph::edges_to(tx, &own, EDGES_SHOWN_MAX).await?;
    let said = record::reason(tx, &job.id).await?;
    // A job that never started has nothing to report; its plan says so.
    let unreported = if job.state == JobState::Skipped {
        DeliveryState::Dismissed
    } else {
        DeliveryState::Pending
    };
    let delivery = delivery_view(tx, &job.id, unreported).await?;
    Ok(JobView {
        schedule: firing.map(|firing| firing.schedule),
        state_reason: plan::reason_of(job.state, said, &edges.iter().collect::<Vec<_>>()),
        after: edges.iter().map(plan::edge_view).collect(),
        artifacts: plan::artifacts_of(&graph::artifacts(tx, &own).await?, &job.id),
        id: job.id,
        number: job.number,
        kind: job.kind,
        purpose: job.purpose,
        state: job.state,
        failure_class: job.failure,
        instruction: dispatch.instruction,
        repo: dispatch.repo,
        base_commit: dispatch.base_commit,
        target_branch: dispatch.target_branch,
        scope: dispatch.scope,
        role: dispatch.role,
        tier: dispatch.tier,
        worker: dispatch.worker,
        owner: job.owner,
        project: job.project,
        checks: dispatch.checks,
        gate: dispatch.gate,
        waivers: dispatch.waivers,
        budget_micro_usd: dispatch.budget,
        parent: job.parent,
        created_at: job.created_at_ms,
        ended_at: job.ended_at_ms,
        cost_micro_usd: usage.cost,
        unconfirmed_micro_usd: usage.unconfirmed,
        tokens: usage.tokens,
        attempts,
        contract,
        verdict: verdicts.last().cloned(),
        verdicts,
        reviews: reviews.into_iter().map(review_view).collect(),
        call,
        shell,
        landing,
        delivery,
    })
}

/// What only the job's own kind has.
async fn kind_views(
    tx: &mut Tx<'_>,
    asked: &Asked,
) -> Result<(Option<CallView>, Option<ShellView>), DbError> {
    Ok(match asked {
        Asked::Agent(_) => (None, None),
        Asked::Call(call) => {
            let answer = record::latest_answer(tx, &call.job).await?;
            let view = CallView {
                model: call.model.clone(),
                max_output_tokens: call.question.max_output_tokens,
                temperature: call.question.temperature,
                schema: call.question.schema.clone(),
                answer: answer.map(|answer| answer_view(answer, call)),
            };
            (Some(view), None)
        }
        Asked::Shell(shell) => {
            let run = record::latest_run(tx, &shell.job).await?;
            let view = ShellView {
                command: shell.command.clone(),
                run: run.map(run_view),
            };
            (None, Some(view))
        }
    })
}

fn answer_view(answer: AnswerRow, call: &CallRow) -> AnswerView {
    let fits = answer.problem.is_none() && call.question.schema.is_some();
    AnswerView {
        value: fits.then(|| call::value_of(&answer.text).ok()).flatten(),
        sha256: call::hex(digest(&SHA256, answer.text.as_bytes()).as_ref()),
        text: answer.text,
        problem: answer.problem,
        stop_reason: answer.stop_reason,
        model_actual: answer.model_actual,
        provider_ms: answer.provider_ms,
    }
}

fn run_view(run: RunRow) -> ShellRun {
    ShellRun {
        exit_code: run.exit_code,
        signal: run.signal,
        limit: run.limit,
        duration_ms: run.duration_ms,
        output_bytes: run.output_bytes,
        output_sha256: call::hex(&run.output_sha256),
        tail: run.tail,
        isolation: level_of(&run.isolation),
    }
}

/// The level that a fence's proof names.
fn level_of(proof: &str) -> Option<String> {
    let proof: serde_json::Value = serde_json::from_str(proof).ok()?;
    proof.get("level")?.as_str().map(str::to_owned)
}

/// Every attempt of a job, with its result and what else it left. The fence of a command is known
/// from its `run`, which leaves no result.
async fn attempt_views(
    tx: &mut Tx<'_>,
    job: &JobId,
    results: &[ResultRow],
    run: Option<&ShellRun>,
) -> Result<Vec<AttemptView>, DbError> {
    let leftovers = record::leftovers(tx, job).await?;
    let mut views = Vec::new();
    for attempt in skep_queue::attempts(tx, job).await? {
        let usage = skep_gateway::attempt_usage(tx, &attempt.id).await?;
        let result = results.iter().find(|result| result.attempt == attempt.id);
        let leftover = leftovers.iter().find(|left| left.attempt == attempt.id);
        let mut view = attempt_view(attempt, result, usage.cost);
        view.leftover = leftover.map(leftover_view);
        view.isolation = view
            .isolation
            .or_else(|| run.and_then(|run| run.isolation.clone()));
        views.push(view);
    }
    Ok(views)
}

fn attempt_view(
    attempt: Attempt,
    result: Option<&ResultRow>,
    cost: skep_types::MicroUsd,
) -> AttemptView {
    let isolation = result.and_then(|result| level_of(&result.isolation));
    AttemptView {
        id: attempt.id,
        fence: attempt.fence,
        state: attempt.state,
        harness: attempt.harness,
        model_requested: attempt.model_requested,
        model_actual: attempt.model_actual,
        session_id: attempt.session_id,
        isolation,
        started_at: attempt.leased_at_ms,
        ended_at: attempt.ended_at_ms,
        cost_micro_usd: cost,
        failure_class: attempt.failure,
        refusals: result.map_or(0, |result| result.refusals),
        leftover: None,
    }
}

fn leftover_view(left: &LeftoverRow) -> LeftoverView {
    LeftoverView {
        tip_commit: left.tip_commit.clone(),
        place: left.place.clone(),
        files: left.files,
        bytes: left.bytes,
    }
}

fn review_view(review: ReviewRow) -> ReviewView {
    let report = review
        .report
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok());
    ReviewView {
        job: review.job,
        worker: review.worker,
        model: review.model,
        verdict: review.verdict,
        report: report.unwrap_or(serde_json::Value::Null),
    }
}

fn verdict_view(verdict: VerdictRow) -> VerdictView {
    VerdictView {
        attempt: verdict.attempt,
        result: verdict.result,
        commit: verdict.commit,
        findings: verdict.findings,
    }
}

/// Where the report stands; `unreported` for a job that has none yet.
async fn delivery_view(
    tx: &mut Tx<'_>,
    job: &JobId,
    unreported: DeliveryState,
) -> Result<DeliveryView, DirectorError> {
    let row = record::delivery(tx, job).await?;
    Ok(DeliveryView {
        state: match &row {
            Some(row) => delivery::state(tx, row).await?,
            None => unreported,
        },
        place: row.and_then(|row| row.place),
    })
}

async fn landing_view(
    tx: &mut Tx<'_>,
    job: &JobId,
    dispatch: &Dispatch,
) -> Result<LandingView, DirectorError> {
    Ok(match record::landing(tx, job).await? {
        Some(row) => LandingView {
            state: row.state,
            commit: row.commit,
            target: Some(row.target),
            read_back_at: row.read_back_at,
            reason: row.reason,
        },
        None => LandingView {
            state: LandingState::None,
            commit: None,
            target: dispatch.target_branch.clone(),
            read_back_at: None,
            reason: None,
        },
    })
}

/// A page of jobs, newest first.
pub(crate) async fn jobs(
    context: &Context,
    query: &JobQuery,
) -> Result<Page<JobSummary>, DirectorError> {
    let cursor = match query.cursor.as_deref().map(str::parse::<i64>) {
        None => None,
        Some(Ok(cursor)) => Some(cursor),
        Some(Err(_)) => {
            return Err(DirectorError::usage(
                "bad_cursor",
                "the cursor is not one that a list gave out",
                "pass `next_cursor` of the page before",
            ));
        }
    };
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let filter = JobFilter {
        states: query.states.clone(),
        parent: None,
        project: query.project.clone(),
    };
    context
        .db
        .read("jobs", async move |tx: &mut Tx<'_>| {
            let page = skep_queue::jobs(tx, &filter, cursor, limit).await?;
            let ids: Vec<JobId> = page.items.iter().map(|job| job.id.clone()).collect();
            let edges = graph::edges_to(tx, &ids, EDGES_SHOWN_MAX).await?;
            let mut items = Vec::with_capacity(page.items.len());
            for job in page.items {
                let asked = record::asked(tx, &job).await?;
                let cost = skep_gateway::job_cost(tx, &job.id).await?.cost;
                let own: Vec<_> = edges.iter().filter(|e| e.child == job.id).collect();
                let said = record::reason(tx, &job.id).await?;
                let reason = plan::reason_of(job.state, said, &own);
                items.push(JobSummary {
                    state_reason: reason,
                    ..summary(job, &asked, cost)
                });
            }
            Ok(Page {
                items,
                next_cursor: page.next_cursor.map(|cursor| cursor.to_string()),
            })
        })
        .await
}

fn summary(job: Job, asked: &Asked, cost: skep_types::MicroUsd) -> JobSummary {
    let instruction = asked.instruction();
    let title = instruction.lines().next().unwrap_or_default();
    JobSummary {
        id: job.id,
        number: job.number,
        kind: job.kind,
        purpose: job.purpose,
        state: job.state,
        title: title.chars().take(120).collect(),
        worker: asked.worker().to_owned(),
        created_at: job.created_at_ms,
        ended_at: job.ended_at_ms,
        cost_micro_usd: cost,
        state_reason: None,
    }
}

/// What a job's worker wrote.
pub(crate) async fn log(
    context: &Context,
    name: &str,
    attempt: Option<&str>,
) -> Result<LogView, DirectorError> {
    let name = name.to_owned();
    let (job, attempts) = context
        .db
        .read("attempts", async move |tx: &mut Tx<'_>| {
            let job = reference::resolve(tx, &name).await?;
            let attempts = skep_queue::attempts(tx, &job.id).await?;
            Ok::<_, DirectorError>((job, attempts))
        })
        .await?;
    let found = match attempt {
        Some(wanted) => attempts.iter().find(|a| a.id.as_str() == wanted),
        None => attempts.last(),
    };
    let Some(found) = found else {
        let reference = attempt.map_or_else(|| format!("of job {}", job.number), str::to_owned);
        return Err(DirectorError::NotFound {
            noun: "attempt",
            reference,
        });
    };
    let path = context
        .home
        .logs()
        .join(job.id.as_str())
        .join(format!("{}.log", found.id));
    let length = std::fs::metadata(&path).map_or(0, |meta| meta.len());
    // An attempt that has not written anything yet has no file.
    let text = crate::log::tail(&path, LOG_VIEW_BYTES_MAX).unwrap_or_default();
    Ok(LogView {
        attempt: found.id.clone(),
        text,
        cut: length > LOG_VIEW_BYTES_MAX as u64,
    })
}

/// What a job's newest result changes.
pub(crate) async fn diff(context: &Context, name: &str) -> Result<DiffView, DirectorError> {
    let name = name.to_owned();
    let (job, dispatch, result, leftovers) = context
        .db
        .read("result", async move |tx: &mut Tx<'_>| {
            let job = reference::resolve(tx, &name).await?;
            let dispatch = record::asked(tx, &job).await?.common();
            let result = record::latest_result(tx, &job.id).await?;
            let leftovers = record::leftovers(tx, &job.id).await?;
            Ok::<_, DirectorError>((job, dispatch, result, leftovers))
        })
        .await?;
    // Of a job that was cancelled, what its worker had committed by then.
    let left = leftovers.into_iter().rev().find_map(|left| left.tip_commit);
    let tip = result.and_then(|result| result.tip_commit).or(left);
    let (Some(vault), Some(base), Some(tip)) = (dispatch.vault, dispatch.base_commit, tip) else {
        let reference = format!("of job {}", job.number);
        return Err(DirectorError::NotFound {
            noun: "result",
            reference,
        });
    };
    let diff = review::diff(Path::new(&vault), &base, &tip, DIFF_BYTES_MAX).await?;
    Ok(DiffView { base, tip, diff })
}
