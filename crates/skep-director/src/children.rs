//! The children of the engine: what renews its leases, reads its topics and looks after both. They
//! are started before work is taken, started again when they end, and counted when they are.

use crate::context::Context;
use crate::engine::EngineError;
use crate::error::describe;
use crate::limits::CHILD_PAUSE_MS;
use crate::{delivery, heartbeat};
use skep_topic::{Keeper, RestartWatch, Spill, alarm};
use skep_types::NodeRole;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The running children; they end with it.
pub(crate) struct Children {
    _running: Vec<Child>,
}

/// A task that ends with whoever holds it.
struct Child(JoinHandle<()>);

impl Drop for Child {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts the heartbeat and the upkeep on every node, and on one that is an engine every reader;
/// fails unless every declared topic is read.
pub(crate) async fn start(context: &Arc<Context>) -> Result<Children, EngineError> {
    let mut running = vec![
        supervise(context, "heartbeat", heartbeat::run),
        supervise(context, "upkeep", heartbeat::upkeep),
    ];
    if context.has_role(NodeRole::Engine) {
        running.extend(readers(context).await?);
    }
    Ok(Children { _running: running })
}

async fn readers(context: &Arc<Context>) -> Result<[Child; 2], EngineError> {
    let adopted = delivery::adopt(context).await;
    adopted.map_err(EngineError::Reconcile)?;
    let reader = delivery::reader(context)
        .await
        .map_err(EngineError::Readers)?;
    context
        .topics
        .check_readers()
        .map_err(EngineError::TopicWithoutReader)?;
    let mut first = Some(reader);
    let reports = supervise(context, "delivery", move |context| {
        let first = first.take();
        async move {
            let reader = match first {
                Some(reader) => Ok(reader),
                None => delivery::reader(&context).await,
            };
            match reader {
                Ok(reader) => delivery::run(&context, reader).await,
                Err(error) => tracing::error!(error = describe(&error), "no report can be read"),
            }
        }
    });
    let keeper = supervise(context, "keeper", |context| async move {
        let spill = Spill::at(context.home.spill());
        Keeper::new(context.db.clone(), context.topics.clone(), Some(spill))
            .run()
            .await;
    });
    Ok([reports, keeper])
}

fn supervise<F>(
    context: &Arc<Context>,
    name: &'static str,
    mut run: impl FnMut(Arc<Context>) -> F + Send + 'static,
) -> Child
where
    F: Future<Output = ()> + Send + 'static,
{
    let context = Arc::clone(context);
    Child(skep_stdx::spawn(name, async move {
        loop {
            let mut child = Child(skep_stdx::spawn(name, run(Arc::clone(&context))));
            // However it ended: it was to run for as long as the engine does.
            drop((&mut child.0).await);
            count(&context, name).await;
            tokio::time::sleep(Duration::from_millis(CHILD_PAUSE_MS)).await;
        }
    }))
}

async fn count(context: &Context, name: &'static str) {
    tracing::error!(
        child = name,
        "a part of the engine has ended and is started again"
    );
    let watch = RestartWatch::at(context.home.root().to_owned());
    let counted = watch.count(name, context.clock.now_ms(), |said| (context.alert)(said));
    let restarts = match counted {
        Ok(restarts) => restarts,
        Err(error) => {
            (context.alert)(&format!(
                "the restarts of `{name}` cannot be counted: {error}"
            ));
            return;
        }
    };
    if let Err(error) = alarm::restart_counted(&context.db, name, restarts).await {
        tracing::error!(error = describe(&error), "an alarm was not recorded");
    }
}
