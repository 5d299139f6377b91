//! The handlers about topics and alarms.

use crate::api::{Answer, Asked, SharedState, document};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use skep_api::{
    AlarmView, DeadMessageView, FetchMessages, FinishMessage, MessageView, MessagesChanged, Page,
    ProduceMessage, ProducedMessage, TopicView,
};

pub(crate) async fn list(State(shared): SharedState) -> Answer<Page<TopicView>> {
    Ok(Json(shared.director.topics().await?))
}

pub(crate) async fn show(
    State(shared): SharedState,
    Path(topic): Path<String>,
) -> Answer<TopicView> {
    Ok(Json(shared.director.topic(&topic).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MessagesQuery {
    partition: i64,
    after: Option<i64>,
    limit: Option<i64>,
}

pub(crate) async fn messages(
    State(shared): SharedState,
    Path(topic): Path<String>,
    query: Asked<MessagesQuery>,
) -> Answer<Page<MessageView>> {
    let Query(query) = query?;
    let (partition, after, limit) = (query.partition, query.after, query.limit);
    Ok(Json(
        shared
            .director
            .messages(&topic, partition, after, limit)
            .await?,
    ))
}

pub(crate) async fn produce(
    State(shared): SharedState,
    Path(topic): Path<String>,
    body: Body,
) -> Answer<ProducedMessage> {
    let request: ProduceMessage = document(body).await?;
    Ok(Json(shared.director.produce(&topic, request).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GroupQuery {
    group: Option<String>,
    limit: Option<i64>,
}

pub(crate) async fn dead(
    State(shared): SharedState,
    Path(topic): Path<String>,
    query: Asked<GroupQuery>,
) -> Answer<Page<DeadMessageView>> {
    let Query(query) = query?;
    let letters = shared
        .director
        .dead_messages(&topic, query.group.as_deref(), query.limit);
    Ok(Json(letters.await?))
}

pub(crate) async fn drain(
    State(shared): SharedState,
    Path(topic): Path<String>,
    query: Asked<GroupQuery>,
) -> Answer<MessagesChanged> {
    let Query(query) = query?;
    Ok(Json(
        shared
            .director
            .drain_dead_messages(&topic, query.group.as_deref(), query.limit)
            .await?,
    ))
}

pub(crate) async fn fetch(
    State(shared): SharedState,
    Path((topic, group)): Path<(String, String)>,
    body: Body,
) -> Answer<Page<MessageView>> {
    let request: FetchMessages = document(body).await?;
    Ok(Json(
        shared
            .director
            .fetch_messages(&topic, &group, request)
            .await?,
    ))
}

pub(crate) async fn finish(
    State(shared): SharedState,
    Path((topic, group)): Path<(String, String)>,
    body: Body,
) -> Answer<MessagesChanged> {
    let request: FinishMessage = document(body).await?;
    Ok(Json(
        shared
            .director
            .finish_message(&topic, &group, request)
            .await?,
    ))
}

pub(crate) async fn replay(
    State(shared): SharedState,
    Path(message): Path<String>,
    query: Asked<GroupQuery>,
) -> Answer<MessagesChanged> {
    let Query(query) = query?;
    Ok(Json(
        shared
            .director
            .replay_message(&message, query.group.as_deref())
            .await?,
    ))
}

pub(crate) async fn dismiss(
    State(shared): SharedState,
    Path(message): Path<String>,
    query: Asked<GroupQuery>,
) -> Answer<MessagesChanged> {
    let Query(query) = query?;
    Ok(Json(
        shared
            .director
            .dismiss_message(&message, query.group.as_deref())
            .await?,
    ))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AlarmQuery {
    all: i64,
    limit: Option<i64>,
}

pub(crate) async fn alarms(
    State(shared): SharedState,
    query: Asked<AlarmQuery>,
) -> Answer<Page<AlarmView>> {
    let Query(query) = query?;
    Ok(Json(
        shared.director.alarms(query.all == 1, query.limit).await?,
    ))
}

pub(crate) async fn ack_alarm(
    State(shared): SharedState,
    Path(number): Path<i64>,
) -> Answer<AlarmView> {
    Ok(Json(shared.director.ack_alarm(number).await?))
}
