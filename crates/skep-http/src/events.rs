//! `/api/v1/events`: the ledger as it grows, or a page of it.
//!
//! An event is read from the ledger and nowhere else, so a reader that comes back with the last
//! sequence number it saw misses nothing.

use crate::error::Refusal;
use crate::limits;
use crate::server::Shared;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, Stream};
use http::HeaderMap;
use serde::Deserialize;
use skep_api::{EventView, Page};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The query of the route.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EventQuery {
    after: Option<i64>,
    subject: Option<String>,
    limit: Option<i64>,
    newest: bool,
}

/// One page when `limit` is there, a stream otherwise.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    query: EventQuery,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    if let Some(limit) = query.limit {
        return page(&shared, &query, limit).await;
    }
    if query.newest {
        return Err(Refusal::malformed("`newest` needs a `limit`"));
    }
    let after = match headers.get("last-event-id") {
        None => query.after.unwrap_or(0),
        Some(id) => id
            .to_str()
            .ok()
            .and_then(|id| id.trim().parse().ok())
            .ok_or_else(|| Refusal::malformed("Last-Event-ID is not a sequence number"))?,
    };
    let keep_alive = Duration::from_millis(limits::STREAM_KEEP_ALIVE_MS);
    let events = Sse::new(follow(shared, after, query.subject))
        .keep_alive(KeepAlive::new().interval(keep_alive));
    Ok(events.into_response())
}

async fn page(shared: &Shared, query: &EventQuery, limit: i64) -> Result<Response, Refusal> {
    let (after, subject) = (query.after.unwrap_or(0), query.subject.as_deref());
    if query.newest {
        let items = shared.director.newest_events(subject, limit).await?;
        let next_cursor = None;
        return Ok(axum::Json(Page { items, next_cursor }).into_response());
    }
    let items = shared.director.events(after, subject, limit).await?;
    let full = i64::try_from(items.len()).is_ok_and(|count| count >= limit);
    let next_cursor = items
        .last()
        .filter(|_| full)
        .map(|last| last.seq.to_string());
    Ok(axum::Json(Page { items, next_cursor }).into_response())
}

struct Follower {
    shared: Arc<Shared>,
    after: i64,
    subject: Option<String>,
    read: VecDeque<EventView>,
    grown: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
}

fn follow(
    shared: Arc<Shared>,
    after: i64,
    subject: Option<String>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let follower = Follower {
        grown: shared.director.listen(),
        stop: shared.stop.clone(),
        shared,
        after,
        subject,
        read: VecDeque::new(),
    };
    stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok(as_sse(&event)), follower))
    })
}

impl Follower {
    /// The next event; `None` when the server stops or the store fails. The reader then comes
    /// back with its last sequence number.
    async fn next(&mut self) -> Option<EventView> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                return Some(event);
            }
            // Marked as seen before reading, so that a commit in between wakes the wait below.
            self.grown.mark_unchanged();
            let subject = self.subject.as_deref();
            match self
                .shared
                .director
                .events(self.after, subject, limits::STREAM_PAGE)
                .await
            {
                Ok(events) => self.read = events.into(),
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ended: the ledger cannot be read");
                    return None;
                }
            }
            if self.read.is_empty() && self.wait().await.is_none() {
                return None;
            }
        }
    }

    /// Waits until the ledger may have grown; `None` when the server stops.
    async fn wait(&mut self) -> Option<()> {
        let poll = tokio::time::sleep(Duration::from_millis(limits::STREAM_POLL_MS));
        tokio::select! {
            _ = self.stop.wait_for(|stopped| *stopped) => None,
            Ok(()) = self.grown.changed() => Some(()),
            () = poll => Some(()),
        }
    }
}

fn as_sse(event: &EventView) -> Event {
    let data = serde_json::to_string(event).unwrap_or_default();
    Event::default()
        .id(event.seq.to_string())
        .event(&event.kind)
        .data(data)
}
