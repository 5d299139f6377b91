//! What is shown of topics, their messages and their dead letters.

use crate::context::Context;
use skep_api::{DeadMessageView, GroupView, MessageView, TopicView};
use skep_topic::{DeadLetter, Delivery, GroupStatus, Payload, StoredMessage, TopicStatus};

/// A topic as the store has it, with what only its declaration says.
pub(super) fn topic_view(context: &Context, status: TopicStatus) -> TopicView {
    let declared = context.topics.declaration(&status.name);
    TopicView {
        schema: declared.and_then(|topic| topic.schema.clone()),
        from_ledger: declared
            .map(|topic| topic.from_ledger.clone())
            .unwrap_or_default(),
        declared: declared.is_some(),
        name: status.name,
        partitions: status.partitions,
        readers: status.readers,
        retention_ms: status.retention_ms,
        retention_bytes: status.retention_bytes,
        payload_bytes_max: status.payload_bytes_max,
        silent_after_ms: status.silent_after_ms,
        produced: status.produced,
        kept: status.kept,
        bytes: status.bytes,
        groups: status.groups.into_iter().map(group_view).collect(),
    }
}

/// A message as it is kept.
pub(super) fn stored_view(message: StoredMessage) -> MessageView {
    let (payload, reference, payload_sha256, bytes) = shown(message.payload);
    MessageView {
        id: message.id.to_string(),
        key: message.key,
        payload,
        reference,
        payload_sha256,
        bytes,
        produced_at: message.produced_at_ms,
        fence: None,
        tries: None,
    }
}

/// A message as it was handed to a reader, with the fence that its answer has to show.
pub(super) fn delivery_view(delivery: Delivery) -> MessageView {
    let (payload, reference, payload_sha256, bytes) = shown(delivery.payload);
    MessageView {
        id: delivery.lease.message.to_string(),
        key: delivery.key,
        payload,
        reference,
        payload_sha256,
        bytes,
        produced_at: delivery.produced_at_ms,
        fence: Some(delivery.lease.fence),
        tries: Some(delivery.tries),
    }
}

/// A dead letter with the payload of its message, if that is still there.
pub(super) fn letter_view(letter: DeadLetter, message: Option<StoredMessage>) -> DeadMessageView {
    let payload = message.and_then(|message| shown(message.payload).0);
    DeadMessageView {
        message: letter.message.to_string(),
        group: letter.group,
        key: letter.key,
        reason: letter.reason,
        tries: letter.tries,
        losses: letter.losses,
        why: letter.why,
        since: letter.since_ms,
        payload,
    }
}

fn group_view(group: GroupStatus) -> GroupView {
    GroupView {
        name: group.name,
        lag: group.lag,
        delivering: group.delivering,
        blocked: group.blocked,
        dismissed: group.dismissed,
        incomplete: group.incomplete,
        delivered: group.delivered,
        oldest_unread_at: group.oldest_unread_ms,
        tries_max: group.tries_max,
    }
}

/// Payloads are text for people; bytes that are none are shown as far as they are.
fn shown(payload: Payload) -> (Option<String>, Option<String>, String, i64) {
    let (digest, bytes) = (payload.digest().to_string(), payload.bytes());
    match payload {
        Payload::Inline(text) => (
            Some(String::from_utf8_lossy(&text).into_owned()),
            None,
            digest,
            bytes,
        ),
        Payload::Spilled(reference) => (None, Some(reference.place), digest, bytes),
    }
}
