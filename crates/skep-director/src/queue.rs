//! The queues as an operator sees them, and what a request may ask of them.

use crate::context::Context;
use crate::error::DirectorError;
use skep_api::{FlowRequest, Page, QueueView};
use skep_db::Tx;
use skep_queue::flow::{DEFAULT_QUEUE, Debounce, FlowKey};
use skep_queue::{Flow, PauseError, QueueStanding};

/// How the queues stand.
pub(crate) async fn queues(context: &Context) -> Result<Page<QueueView>, DirectorError> {
    let found = context
        .db
        .read("queues", async |tx: &mut Tx<'_>| {
            skep_queue::queues(tx).await
        })
        .await?;
    Ok(Page {
        items: found.into_iter().map(view).collect(),
        next_cursor: None,
    })
}

/// Pauses a queue, or lets it go on; to ask for what is so already changes nothing.
pub(crate) async fn set_paused(
    context: &Context,
    queue: &str,
    paused: bool,
) -> Result<QueueView, DirectorError> {
    let queue = queue.to_owned();
    context
        .db
        .write("pause queue", async move |tx: &mut Tx<'_>| {
            let changed = if paused {
                skep_queue::pause_queue(tx, &queue).await
            } else {
                skep_queue::resume_queue(tx, &queue).await
            };
            changed.map_err(refused)?;
            Ok(view(skep_queue::queue(tx, &queue).await?))
        })
        .await
}

/// What the queue takes of a request.
pub(crate) fn flow(request: &FlowRequest, backend: &str) -> Flow {
    let seconds = |seconds: i64| seconds.saturating_mul(1_000);
    Flow {
        queue: request
            .queue
            .clone()
            .unwrap_or_else(|| DEFAULT_QUEUE.to_owned()),
        backend: Some(backend.to_owned()),
        key: request.key.as_ref().map(|key| FlowKey {
            name: key.name.clone(),
            running_max: key.running_max,
        }),
        singleton: request.singleton.clone(),
        debounce: request.debounce.as_ref().map(|debounce| Debounce {
            name: debounce.name.clone(),
            quiet_ms: seconds(debounce.quiet_seconds),
            wait_max_ms: seconds(debounce.wait_seconds_max),
        }),
    }
}

fn refused(error: PauseError) -> DirectorError {
    let (code, hint) = (error.code(), error.hint().unwrap_or_default());
    match error {
        PauseError::Db(error) => DirectorError::Db(error),
        other @ (PauseError::Name | _) => DirectorError::usage(code, other.to_string(), hint),
    }
}

fn view(standing: QueueStanding) -> QueueView {
    QueueView {
        queue: standing.queue,
        paused: standing.paused,
        ready: standing.ready,
        later: standing.later,
        running: standing.running,
        waiting: standing.waiting,
    }
}
