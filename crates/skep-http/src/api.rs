//! The handlers: each reads its request, calls one use case, and prints the document.

use crate::error::Refusal;
use crate::events::{self, EventQuery};
use crate::server::Shared;
use crate::{ledger, limits, metrics, schedule, topic};
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use skep_api::route::{Operation, Route, Verb};
use skep_api::{
    CallRequest, CancelRequest, DeadClasses, DeadLetter, DeadListQuery, DeadView, DiffView,
    DispatchRequest, DrainRequest, Drained, HealthView, JobSubmitted, JobSummary, JobView,
    LedgerEntries, LedgerHeadView, LedgerView, LogView, NodeView, Page, PlanRequest, PlanView,
    QueueView, RetryRequest, ShellRequest,
};
use skep_director::{DirectorError, JobQuery};
use skep_ledger::{Anchor, AnchorError};
use skep_types::{FailureClass, JobState};
use std::sync::Arc;
use std::time::Duration;

pub(crate) type Answer<T> = Result<Json<T>, Refusal>;
pub(crate) type SharedState = State<Arc<Shared>>;
pub(crate) type Asked<T> = Result<Query<T>, QueryRejection>;

/// The handler of a route of the table.
pub(crate) fn handler(route: &Route) -> MethodRouter<Arc<Shared>> {
    let verb = match route.verb {
        Verb::Get => MethodFilter::GET,
        Verb::Post => MethodFilter::POST,
    };
    match route.operation {
        Operation::Health => on(verb, health),
        Operation::Readiness => on(verb, readiness),
        Operation::Metrics => on(verb, metrics_text),
        Operation::DispatchJob => on(verb, dispatch_job),
        Operation::DispatchCall => on(verb, dispatch_call),
        Operation::DispatchShell => on(verb, dispatch_shell),
        Operation::ListJobs => on(verb, list_jobs),
        Operation::ShowJob => on(verb, show_job),
        Operation::JobLog => on(verb, job_log),
        Operation::JobDiff => on(verb, job_diff),
        Operation::CancelJob => on(verb, cancel_job),
        Operation::RetryJob => on(verb, retry_job),
        Operation::ListQueues => on(verb, list_queues),
        Operation::PauseQueue => on(verb, pause_queue),
        Operation::ResumeQueue => on(verb, resume_queue),
        Operation::ListNodes => on(verb, list_nodes),
        Operation::DrainNode => on(verb, drain_node),
        Operation::ResumeNode => on(verb, resume_node),
        Operation::AddSchedule => on(verb, schedule::add),
        Operation::ListSchedules => on(verb, schedule::list),
        Operation::ShowSchedule => on(verb, schedule::show),
        Operation::PreviewSchedule => on(verb, schedule::preview),
        Operation::ListFirings => on(verb, schedule::firings),
        Operation::PauseSchedule => on(verb, schedule::pause),
        Operation::ResumeSchedule => on(verb, schedule::resume),
        Operation::RunSchedule => on(verb, schedule::run),
        Operation::RemoveSchedule => on(verb, schedule::remove),
        Operation::RunPlan => on(verb, run_plan),
        Operation::CheckPlan => on(verb, check_plan),
        Operation::ShowPlan => on(verb, show_plan),
        Operation::ListDead => on(verb, list_dead),
        Operation::DeadClasses => on(verb, dead_classes),
        Operation::ShowDead => on(verb, show_dead),
        Operation::ReplayDead => on(verb, replay_dead),
        Operation::DrainDead => on(verb, drain_dead),
        Operation::DismissDead => on(verb, dismiss_dead),
        Operation::Events => on(verb, read_events),
        Operation::LedgerEntries => on(verb, read_entries),
        Operation::LedgerHead => on(verb, read_head),
        Operation::VerifyLedger => on(verb, verify_ledger),
        Operation::ListTopics => on(verb, topic::list),
        Operation::ShowTopic => on(verb, topic::show),
        Operation::ListMessages => on(verb, topic::messages),
        Operation::ProduceMessage => on(verb, topic::produce),
        Operation::ListDeadMessages => on(verb, topic::dead),
        Operation::DrainDeadMessages => on(verb, topic::drain),
        Operation::FetchMessages => on(verb, topic::fetch),
        Operation::FinishMessage => on(verb, topic::finish),
        Operation::ReplayMessage => on(verb, topic::replay),
        Operation::DismissMessage => on(verb, topic::dismiss),
        Operation::ListAlarms => on(verb, topic::alarms),
        Operation::AckAlarm => on(verb, topic::ack_alarm),
        Operation::OpenApi => on(verb, openapi),
        Operation::ContractSchema => on(verb, contract_schema),
    }
}

async fn health(State(shared): SharedState) -> Json<HealthView> {
    Json(HealthView {
        ok: true,
        version: shared.version.to_owned(),
    })
}

async fn readiness(State(shared): SharedState) -> Answer<HealthView> {
    match shared.director.live_jobs().await {
        Ok(_) => Ok(health(State(shared)).await),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_ready",
                "the store does not answer",
                "`skep doctor` says what is wrong",
            ))
        }
    }
}

async fn metrics_text(State(shared): SharedState) -> Response {
    let live_jobs = shared.director.live_jobs().await.ok();
    let media_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (media_type, metrics::text(&shared, live_jobs)).into_response()
}

async fn dispatch_job(State(shared): SharedState, body: Body) -> Answer<JobSubmitted> {
    let request: DispatchRequest = document(body).await?;
    Ok(Json(shared.director.dispatch(request).await?))
}

async fn dispatch_call(State(shared): SharedState, body: Body) -> Answer<JobSubmitted> {
    let request: CallRequest = document(body).await?;
    Ok(Json(shared.director.dispatch_call(request).await?))
}

async fn dispatch_shell(State(shared): SharedState, body: Body) -> Answer<JobSubmitted> {
    let request: ShellRequest = document(body).await?;
    Ok(Json(shared.director.dispatch_shell(request).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ListQuery {
    state: Option<String>,
    project: Option<String>,
    cursor: Option<String>,
    limit: Option<i64>,
}

async fn list_jobs(
    State(shared): SharedState,
    query: Asked<ListQuery>,
) -> Answer<Page<JobSummary>> {
    let Query(query) = query?;
    let words = query.state.as_deref().unwrap_or_default().split(',');
    let states = words
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::parse::<JobState>)
        .collect::<Result<_, _>>()
        .map_err(|error| Refusal::malformed(error.to_string()))?;
    let query = JobQuery {
        states,
        project: query.project,
        cursor: query.cursor,
        limit: query.limit,
    };
    Ok(Json(shared.director.jobs(&query).await?))
}

async fn show_job(State(shared): SharedState, Path(id): Path<String>) -> Answer<JobView> {
    Ok(Json(shared.director.job(&id).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogQuery {
    attempt: Option<String>,
}

async fn job_log(
    State(shared): SharedState,
    Path(id): Path<String>,
    query: Asked<LogQuery>,
) -> Answer<LogView> {
    let Query(query) = query?;
    let log = shared.director.job_log(&id, query.attempt.as_deref());
    Ok(Json(log.await?))
}

async fn job_diff(State(shared): SharedState, Path(id): Path<String>) -> Answer<DiffView> {
    Ok(Json(shared.director.job_diff(&id).await?))
}

async fn cancel_job(
    State(shared): SharedState,
    Path(id): Path<String>,
    body: Body,
) -> Answer<JobSubmitted> {
    let bytes = collected(body).await?;
    let request = if bytes.is_empty() {
        CancelRequest::default()
    } else {
        parsed(&bytes)?
    };
    Ok(Json(if request.tree {
        shared.director.cancel_tree(&id).await?
    } else {
        shared.director.cancel(&id).await?
    }))
}

async fn run_plan(State(shared): SharedState, body: Body) -> Answer<PlanView> {
    let request: PlanRequest = document(body).await?;
    Ok(Json(shared.director.run_plan(&request).await?))
}

async fn check_plan(State(shared): SharedState, body: Body) -> Answer<PlanView> {
    let request: PlanRequest = document(body).await?;
    Ok(Json(shared.director.check_plan(&request).await?))
}

async fn show_plan(State(shared): SharedState, Path(id): Path<String>) -> Answer<PlanView> {
    Ok(Json(shared.director.plan(&id).await?))
}

async fn retry_job(
    State(shared): SharedState,
    Path(id): Path<String>,
    body: Body,
) -> Answer<JobSubmitted> {
    let bytes = collected(body).await?;
    let request = if bytes.is_empty() {
        RetryRequest::default()
    } else {
        parsed(&bytes)?
    };
    Ok(Json(shared.director.retry(&id, request).await?))
}

async fn list_queues(State(shared): SharedState) -> Answer<Page<QueueView>> {
    Ok(Json(shared.director.queues().await?))
}

async fn pause_queue(State(shared): SharedState, Path(queue): Path<String>) -> Answer<QueueView> {
    Ok(Json(shared.director.set_queue_paused(&queue, true).await?))
}

async fn resume_queue(State(shared): SharedState, Path(queue): Path<String>) -> Answer<QueueView> {
    Ok(Json(shared.director.set_queue_paused(&queue, false).await?))
}

async fn list_nodes(State(shared): SharedState) -> Answer<Page<NodeView>> {
    Ok(Json(shared.director.nodes().await?))
}

async fn drain_node(State(shared): SharedState, Path(node): Path<String>) -> Answer<NodeView> {
    Ok(Json(shared.director.set_node_draining(&node, true).await?))
}

async fn resume_node(State(shared): SharedState, Path(node): Path<String>) -> Answer<NodeView> {
    Ok(Json(shared.director.set_node_draining(&node, false).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DeadQuery {
    class: Option<String>,
    cursor: Option<String>,
    limit: Option<i64>,
}

async fn list_dead(
    State(shared): SharedState,
    query: Asked<DeadQuery>,
) -> Answer<Page<DeadLetter>> {
    let Query(query) = query?;
    let class = query.class.as_deref().map(str::parse::<FailureClass>);
    let class = class
        .transpose()
        .map_err(|error| Refusal::malformed(error.to_string()))?;
    let query = DeadListQuery {
        class,
        cursor: query.cursor,
        limit: query.limit,
    };
    Ok(Json(shared.director.dead(&query).await?))
}

async fn dead_classes(State(shared): SharedState) -> Answer<DeadClasses> {
    Ok(Json(shared.director.dead_classes().await?))
}

async fn show_dead(State(shared): SharedState, Path(id): Path<String>) -> Answer<DeadView> {
    Ok(Json(shared.director.dead_letter(&id).await?))
}

async fn replay_dead(State(shared): SharedState, Path(id): Path<String>) -> Answer<JobSubmitted> {
    Ok(Json(shared.director.replay(&id).await?))
}

async fn drain_dead(State(shared): SharedState, body: Body) -> Answer<Drained> {
    let bytes = collected(body).await?;
    let request = if bytes.is_empty() {
        DrainRequest::default()
    } else {
        parsed(&bytes)?
    };
    Ok(Json(shared.director.drain(request).await?))
}

async fn dismiss_dead(State(shared): SharedState, Path(id): Path<String>) -> Answer<JobSubmitted> {
    Ok(Json(shared.director.dismiss(&id).await?))
}

async fn read_events(
    State(shared): SharedState,
    query: Asked<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Query(query) = query?;
    events::answer(shared, query, &headers).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EntryQuery {
    after: i64,
    limit: Option<i64>,
}

async fn read_entries(
    State(shared): SharedState,
    query: Asked<EntryQuery>,
) -> Answer<LedgerEntries> {
    let Query(query) = query?;
    let limit = query.limit.unwrap_or(limits::LEDGER_PAGE_MAX);
    match ledger::ledger_entries(&shared.db, shared.ledger_key, query.after, limit).await {
        Ok(entries) => Ok(Json(entries)),
        Err(error) => Err(DirectorError::from(error).into()),
    }
}

async fn read_head(State(shared): SharedState) -> Answer<LedgerHeadView> {
    match ledger::ledger_head(&shared.db, shared.ledger_key).await {
        Ok(head) => Ok(Json(head)),
        Err(error) => Err(DirectorError::from(error).into()),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct VerifyQuery {
    anchor: Option<String>,
}

async fn verify_ledger(
    State(shared): SharedState,
    query: Asked<VerifyQuery>,
) -> Answer<LedgerView> {
    let Query(query) = query?;
    let anchors = query.anchor.as_deref().unwrap_or_default();
    let anchors = anchors.split(',').filter(|anchor| !anchor.is_empty());
    let anchors = anchors
        .map(str::parse)
        .collect::<Result<Vec<Anchor>, AnchorError>>()
        .map_err(|error| Refusal::malformed(format!("failed to {error}")))?;
    Ok(Json(shared.director.verify_ledger_with(anchors).await?))
}

async fn openapi(State(shared): SharedState) -> Response {
    json_text(shared.openapi.clone())
}

async fn contract_schema(State(shared): SharedState) -> Response {
    json_text(shared.contract_schema.clone())
}

fn json_text(text: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::malformed(rejection.body_text())
    }
}

pub(crate) async fn document<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    parsed(&collected(body).await?)
}

pub(crate) fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes)
        .map_err(|error| Refusal::malformed(format!("the body cannot be read: {error}")))
}

pub(crate) async fn collected(body: Body) -> Result<Bytes, Refusal> {
    let body = Limited::new(body, limits::API_BODY_BYTES_MAX).collect();
    let deadline = Duration::from_millis(limits::API_BODY_MS);
    match tokio::time::timeout(deadline, body).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!(
                "the body is larger than {} bytes",
                limits::API_BODY_BYTES_MAX
            ),
            "put what is long into a file of the repository and name it in the instruction",
        )),
        Ok(Err(error)) => Err(Refusal::malformed(format!("the body ended early: {error}"))),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "the body did not arrive in time",
            "send the request again",
        )),
    }
}
