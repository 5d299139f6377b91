//! Topics for people and for programs outside: look, produce, read, decide about dead letters.

mod view;

use crate::context::Context;
use crate::delivery;
use crate::error::DirectorError;
use crate::limits::{PAGE_DEFAULT, PAGE_MAX};
use skep_api::{
    DeadMessageView, FetchMessages, FinishMessage, MessageOutcome, MessageView, MessagesChanged,
    Page, ProduceMessage, ProducedMessage, TopicView,
};
use skep_db::{DbError, Tx};
use skep_topic::{
    DeadLetterError, DeclareError, FetchRequest, FinishError, GroupName, Lease, Message, MessageId,
    Payload, Poisoned, ProduceError, Readers, Spill, Topic, Topics,
};
use skep_types::DeliveryState;
use view::{delivery_view, letter_view, stored_view, topic_view};

/// The topics of an engine: its own and those that are configured.
///
/// # Errors
/// [`DeclareError`].
pub fn topics(configured: Vec<Topic>) -> Result<Topics, DeclareError> {
    let mut all = vec![delivery::topic()];
    all.extend(configured);
    Topics::new(all)
}

/// Every topic.
pub(crate) async fn list(context: &Context) -> Result<Page<TopicView>, DirectorError> {
    let statuses = async |tx: &mut Tx<'_>| skep_topic::statuses(tx).await;
    let statuses = context.db.read("topics", statuses).await?;
    Ok(Page {
        items: statuses
            .into_iter()
            .map(|status| topic_view(context, status))
            .collect(),
        next_cursor: None,
    })
}

/// One topic.
pub(crate) async fn show(context: &Context, name: &str) -> Result<TopicView, DirectorError> {
    let asked = name.to_owned();
    let status = async move |tx: &mut Tx<'_>| skep_topic::status(tx, &asked).await;
    match context.db.read("topic", status).await? {
        Some(status) => Ok(topic_view(context, status)),
        None => Err(no_topic(name)),
    }
}

/// Messages of one partition after an offset; the newest ones without one.
pub(crate) async fn messages(
    context: &Context,
    name: &str,
    partition: i64,
    after: Option<i64>,
    limit: Option<i64>,
) -> Result<Page<MessageView>, DirectorError> {
    show(context, name).await?;
    let limit = limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let asked = name.to_owned();
    let messages = async move |tx: &mut Tx<'_>| {
        let after = match after {
            Some(after) => after,
            None => skep_topic::newest(tx, &asked, partition).await? - limit,
        };
        skep_topic::messages(tx, &asked, partition, after, limit).await
    };
    let messages = context.db.read("messages", messages).await?;
    let full = i64::try_from(messages.len()).is_ok_and(|found| found == limit);
    let next_cursor = messages
        .last()
        .filter(|_| full)
        .map(|last| last.id.offset.to_string());
    Ok(Page {
        items: messages.into_iter().map(stored_view).collect(),
        next_cursor,
    })
}

/// Produces one message.
pub(crate) async fn produce(
    context: &Context,
    name: &str,
    request: ProduceMessage,
) -> Result<ProducedMessage, DirectorError> {
    if name == delivery::REPORTS {
        return Err(DirectorError::policy(
            "topic_reserved",
            format!("only the engine produces to `{name}`"),
            "declare a topic of your own in [topic.NAME]",
        ));
    }
    let payload = match (&request.payload, request.spill) {
        (text, false) => Payload::Inline(text.clone().into_bytes()),
        (text, true) => {
            let spill = Spill::at(context.home.spill());
            let spilled = spill.put(text.as_bytes());
            Payload::Spilled(spilled.map_err(|e| DirectorError::outside("spill the payload", e))?)
        }
    };
    let message = Message {
        key: request.key,
        dedup_id: request.dedup_id,
        payload,
    };
    let (topics, topic) = (context.topics.clone(), name.to_owned());
    let produce = async move |tx: &mut Tx<'_>| topics.produce(tx, &topic, message.clone()).await;
    match context.db.write("produce", produce).await {
        Ok(produced) => Ok(ProducedMessage {
            message: produced.id.to_string(),
            created: produced.created,
        }),
        Err(error) => {
            context.topics.refused(&context.db, &error).await?;
            Err(error.into())
        }
    }
}

/// The dead letters of a topic.
pub(crate) async fn dead(
    context: &Context,
    name: &str,
    group: Option<&str>,
    limit: Option<i64>,
) -> Result<Page<DeadMessageView>, DirectorError> {
    show(context, name).await?;
    let (topic, group) = (name.to_owned(), group.map(str::to_owned));
    let limit = limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let letters = async move |tx: &mut Tx<'_>| {
        let letters = skep_topic::dead_letters(tx, &topic, group.as_deref(), limit).await?;
        let mut views = Vec::with_capacity(letters.len());
        for letter in letters {
            let message = skep_topic::message(tx, &letter.message).await?;
            views.push(letter_view(letter, message));
        }
        Ok::<_, DbError>(views)
    };
    Ok(Page {
        items: context.db.read("dead letters", letters).await?,
        next_cursor: None,
    })
}

/// What is decided about dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Deliver once more.
    Replay,
    /// Nobody needs it.
    Dismiss,
}

/// Decides about one dead letter.
pub(crate) async fn decide(
    context: &Context,
    message: &str,
    group: Option<&str>,
    decision: Decision,
) -> Result<MessagesChanged, DirectorError> {
    let id = message_id(message)?;
    let group = only_group(context, &id.topic, group).await?;
    let (name, of) = (group.clone(), id.clone());
    let change = async move |tx: &mut Tx<'_>| match decision {
        Decision::Replay => skep_topic::replay(tx, &name, &of).await,
        Decision::Dismiss => skep_topic::dismiss(tx, &name, &of).await,
    };
    context.db.write("dead letter", change).await?;
    Ok(MessagesChanged {
        group: group.to_string(),
        messages: vec![id.to_string()],
        more: false,
        state: match decision {
            Decision::Replay => DeliveryState::Pending,
            Decision::Dismiss => DeliveryState::Dismissed,
        },
    })
}

/// Has the dead letters of a group delivered once more, in order.
pub(crate) async fn drain(
    context: &Context,
    name: &str,
    group: Option<&str>,
    limit: Option<i64>,
) -> Result<MessagesChanged, DirectorError> {
    let group = only_group(context, name, group).await?;
    let of = group.clone();
    let limit = limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let drain = async move |tx: &mut Tx<'_>| skep_topic::drain(tx, &of, limit).await;
    let drained = context.db.write("drain", drain).await?;
    Ok(MessagesChanged {
        group: group.to_string(),
        messages: drained.messages.iter().map(MessageId::to_string).collect(),
        more: drained.more,
        state: DeliveryState::Pending,
    })
}

/// Hands messages to a reader outside.
pub(crate) async fn fetch(
    context: &Context,
    name: &str,
    group: &str,
    request: FetchMessages,
) -> Result<Page<MessageView>, DirectorError> {
    let group = outside_group(context, name, group)?;
    let request = FetchRequest {
        max: request.max.unwrap_or(1).clamp(1, PAGE_MAX),
        lease_ms: request.lease_seconds.unwrap_or(60).clamp(1, 24 * 60 * 60) * 1_000,
        holder: request.reader.unwrap_or_else(|| "outside".to_owned()),
    };
    let fetch = async move |tx: &mut Tx<'_>| skep_topic::fetch(tx, &group, &request).await;
    let deliveries = context.db.write("fetch", fetch).await?;
    Ok(Page {
        items: deliveries.into_iter().map(delivery_view).collect(),
        next_cursor: None,
    })
}

/// Takes the answer of a reader outside.
pub(crate) async fn finish(
    context: &Context,
    name: &str,
    group: &str,
    request: FinishMessage,
) -> Result<MessagesChanged, DirectorError> {
    let group = outside_group(context, name, group)?;
    let message = message_id(&request.message)?;
    let lease = Lease {
        group: group.group.clone(),
        message: message.clone(),
        fence: request.fence,
    };
    let delay_ms = match request.delay_seconds {
        Some(seconds) => seconds.clamp(0, 24 * 60 * 60) * 1_000,
        None => skep_topic::limits::RETRY.delay_ms(0, &*context.entropy),
    };
    let why = request.why.unwrap_or_default();
    let finish = async move |tx: &mut Tx<'_>| match request.outcome {
        MessageOutcome::Done => skep_topic::ack(tx, &lease)
            .await
            .map(|()| DeliveryState::Delivered),
        MessageOutcome::Later => skep_topic::retry_later(tx, &lease, delay_ms, &why)
            .await
            .map(|()| DeliveryState::Pending),
        MessageOutcome::Refused => match skep_topic::poison(tx, &lease, delay_ms, &why).await? {
            Poisoned::Again => Ok(DeliveryState::Pending),
            Poisoned::Dead => Ok(DeliveryState::Blocked),
        },
    };
    let state = context
        .db
        .write("finish", finish)
        .await
        .map_err(|error| match error {
            FinishError::Db(error) => DirectorError::Db(error),
            error @ FinishError::Stale { .. } => {
                DirectorError::conflict(error.code(), failed_to(&error), error.hint())
            }
        })?;
    Ok(MessagesChanged {
        group: group.to_string(),
        messages: vec![message.to_string()],
        more: false,
        state,
    })
}

fn no_topic(name: &str) -> DirectorError {
    DirectorError::NotFound {
        noun: "topic",
        reference: name.to_owned(),
    }
}

fn failed_to(error: &dyn std::error::Error) -> String {
    format!("failed to {}", crate::error::describe(error))
}

fn message_id(text: &str) -> Result<MessageId, DirectorError> {
    text.parse().map_err(|error: skep_topic::MalformedName| {
        DirectorError::usage(
            "message_malformed",
            error.to_string(),
            "`skep topic tail TOPIC` and `skep topic dead TOPIC` print the names of messages",
        )
    })
}

/// The named group, or the only one of the topic.
async fn only_group(
    context: &Context,
    topic: &str,
    group: Option<&str>,
) -> Result<GroupName, DirectorError> {
    let groups = show(context, topic).await?.groups;
    let known: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    match group {
        Some(group) if known.contains(&group) => Ok(GroupName::new(topic, group)),
        Some(group) => Err(DirectorError::NotFound {
            noun: "group",
            reference: format!("{topic}/{group}"),
        }),
        None => match known.as_slice() {
            [only] => Ok(GroupName::new(topic, *only)),
            [] => Err(DirectorError::usage(
                "topic_without_group",
                format!("the topic `{topic}` has no group"),
                "only what a group reads can be a dead letter",
            )),
            several => Err(DirectorError::usage(
                "group_missing",
                format!(
                    "the topic `{topic}` has several groups: {}",
                    several.join(", ")
                ),
                "name one with `--group`",
            )),
        },
    }
}

/// A group that programs outside may read.
fn outside_group(context: &Context, topic: &str, group: &str) -> Result<GroupName, DirectorError> {
    let Some(declared) = context.topics.declaration(topic) else {
        return Err(no_topic(topic));
    };
    let is_outside = matches!(&declared.readers, Readers::Outside(_));
    let groups = declared.readers.groups();
    if !groups.iter().any(|known| known.name == group) {
        return Err(DirectorError::NotFound {
            noun: "group",
            reference: format!("{topic}/{group}"),
        });
    }
    if is_outside {
        return Ok(GroupName::new(topic, group));
    }
    Err(DirectorError::policy(
        "group_reserved",
        format!("the engine reads `{topic}/{group}` itself"),
        "declare a topic of your own in [topic.NAME], and name its readers there",
    ))
}

impl From<ProduceError> for DirectorError {
    fn from(error: ProduceError) -> Self {
        match error {
            ProduceError::Db(error) => Self::Db(error),
            ProduceError::NoTopic { topic } => no_topic(&topic),
            ProduceError::Conflict { .. } => {
                Self::conflict(error.code(), failed_to(&error), error.hint())
            }
            ProduceError::Oversize { .. }
            | ProduceError::Schema { .. }
            | ProduceError::Invalid { .. } => {
                Self::usage(error.code(), failed_to(&error), error.hint())
            }
        }
    }
}

impl From<DeadLetterError> for DirectorError {
    fn from(error: DeadLetterError) -> Self {
        match error {
            DeadLetterError::Db(error) => Self::Db(error),
            DeadLetterError::NotFound { message, .. } => Self::NotFound {
                noun: "message",
                reference: message.to_string(),
            },
            error @ DeadLetterError::State { .. } => {
                Self::conflict(error.code(), failed_to(&error), error.hint())
            }
        }
    }
}
