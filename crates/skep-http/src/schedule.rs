//! The handlers of schedules. Own no state; every answer is a use case's document.

use crate::api::{Answer, Asked, SharedState, collected, document, parsed};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use skep_api::{
    FiringView, Page, PauseRequest, PreviewView, ScheduleRequest, ScheduleSummary, ScheduleView,
};

pub(crate) async fn add(State(shared): SharedState, body: Body) -> Answer<ScheduleView> {
    let request: ScheduleRequest = document(body).await?;
    Ok(Json(shared.director.add_schedule(request).await?))
}

pub(crate) async fn list(State(shared): SharedState) -> Answer<Page<ScheduleSummary>> {
    Ok(Json(shared.director.schedules().await?))
}

pub(crate) async fn show(
    State(shared): SharedState,
    Path(name): Path<String>,
) -> Answer<ScheduleView> {
    Ok(Json(shared.director.schedule(&name).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PreviewQuery {
    limit: Option<i64>,
}

pub(crate) async fn preview(
    State(shared): SharedState,
    Path(name): Path<String>,
    query: Asked<PreviewQuery>,
) -> Answer<PreviewView> {
    let Query(query) = query?;
    let preview = shared.director.schedule_next(&name, query.limit);
    Ok(Json(preview.await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FiringQuery {
    cursor: Option<String>,
    limit: Option<i64>,
}

pub(crate) async fn firings(
    State(shared): SharedState,
    Path(name): Path<String>,
    query: Asked<FiringQuery>,
) -> Answer<Page<FiringView>> {
    let Query(query) = query?;
    let page = shared
        .director
        .firings(&name, query.cursor.as_deref(), query.limit);
    Ok(Json(page.await?))
}

pub(crate) async fn pause(
    State(shared): SharedState,
    Path(name): Path<String>,
    body: Body,
) -> Answer<ScheduleView> {
    let bytes = collected(body).await?;
    let request = if bytes.is_empty() {
        PauseRequest::default()
    } else {
        parsed(&bytes)?
    };
    Ok(Json(shared.director.pause_schedule(&name, request).await?))
}

pub(crate) async fn resume(
    State(shared): SharedState,
    Path(name): Path<String>,
) -> Answer<ScheduleView> {
    Ok(Json(shared.director.resume_schedule(&name).await?))
}

pub(crate) async fn run(
    State(shared): SharedState,
    Path(name): Path<String>,
) -> Answer<FiringView> {
    Ok(Json(shared.director.run_schedule(&name).await?))
}

pub(crate) async fn remove(
    State(shared): SharedState,
    Path(name): Path<String>,
) -> Answer<ScheduleView> {
    Ok(Json(shared.director.remove_schedule(&name).await?))
}
