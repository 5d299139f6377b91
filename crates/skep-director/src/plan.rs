//! Plans: several jobs in order, asked for at once, under a `pipeline` job that stands for the
//! whole.
//!
//! Everything about every node is settled before anything is written, and the whole plan is
//! written in one transaction. The pipeline takes no slot and no attempt while it waits for its
//! nodes; when the last has ended it is done if all of them are, and failed otherwise.

mod prepare;
mod view;

pub(crate) use view::{artifacts_of, edge_view, reason_of};

use crate::context::Context;
use crate::dispatch::{not_enqueued, refuse_overlap};
use crate::engine::{StepFailure, finish};
use crate::error::DirectorError;
use crate::reference;
use prepare::{Ready, prepare, resolve_edges};
use skep_api::{PlanRequest, PlanView};
use skep_db::Tx;
use skep_queue::Claim;
use skep_queue::graph::{self, GraphError};
use skep_types::{FailureClass, JobState};

/// Checks a plan and shows what it would be; writes nothing.
pub(crate) async fn check(
    context: &Context,
    request: &PlanRequest,
) -> Result<PlanView, DirectorError> {
    let ready = prepare(context, request).await?;
    let wanted = ready.clone();
    // The jobs outside of the plan that it names have to be there.
    context
        .db
        .read("plan edges", async move |tx: &mut Tx<'_>| {
            resolve_edges(tx, &wanted).await
        })
        .await?;
    Ok(view::preview(request, &ready))
}

/// Enqueues a plan, or finds the one that the same request made before.
pub(crate) async fn run(
    context: &Context,
    request: &PlanRequest,
) -> Result<PlanView, DirectorError> {
    let ready = prepare(context, request).await?;
    let warnings = ready.warnings.clone();
    let _turn = context.scopes.lock().await;
    let id = context
        .db
        .write("plan", async move |tx: &mut Tx<'_>| write(tx, &ready).await)
        .await?;
    let view = show(context, id.as_str()).await?;
    Ok(PlanView { warnings, ..view })
}

async fn write(tx: &mut Tx<'_>, ready: &Ready) -> Result<skep_types::JobId, DirectorError> {
    let whole = graph::enqueue_parent(tx, &ready.whole.new_job, JobState::Verifying)
        .await
        .map_err(not_enqueued)?;
    if !whole.created {
        return Ok(whole.id);
    }
    ready.whole.write_record(tx).await?;
    let nodes = resolve_edges(tx, ready).await?;
    graph::enqueue_graph(tx, &nodes).await.map_err(no_graph)?;
    for node in &ready.nodes {
        node.prepared.write_record(tx).await?;
    }
    let records: Vec<_> = ready
        .nodes
        .iter()
        .filter_map(|node| node.prepared.record.agent())
        .collect();
    refuse_overlap(tx, &records).await?;
    Ok(whole.id)
}

/// Why nodes and edges make no graph, as the requester is told.
fn no_graph(error: GraphError) -> DirectorError {
    let (code, hint) = (error.code(), error.hint().unwrap_or_default());
    match error {
        GraphError::Db(error) => DirectorError::Db(error),
        GraphError::Node { source, .. } => not_enqueued(source),
        GraphError::TooDeep { .. } | GraphError::TooWide { .. } => {
            DirectorError::policy(code, error.to_string(), hint)
        }
        other @ (GraphError::Empty
        | GraphError::BadName { .. }
        | GraphError::Duplicate { .. }
        | GraphError::UnknownParent { .. }
        | GraphError::SelfEdge { .. }
        | GraphError::Cycle { .. }
        | GraphError::UnknownJob { .. }
        | _) => DirectorError::usage(code, other.to_string(), hint),
    }
}

/// A plan and where its nodes stand.
pub(crate) async fn show(context: &Context, name: &str) -> Result<PlanView, DirectorError> {
    let name = name.to_owned();
    context
        .db
        .read("plan", async move |tx: &mut Tx<'_>| {
            let job = reference::resolve(tx, &name).await?;
            view::of(tx, job).await
        })
        .await
}

/// The step of a claimed pipeline: it waits for its nodes, or says how they ended.
pub(crate) async fn step(context: &Context, claim: &Claim) -> Result<(), StepFailure> {
    let lease = claim.lease();
    context
        .db
        .write("plan ended", async move |tx: &mut Tx<'_>| {
            // A node may have been retried since the last one ended.
            let waits = graph::wait_for_children(tx, &lease, JobState::Verifying)
                .await
                .map_err(|e| DirectorError::outside("wait for the nodes", e))?;
            if waits {
                return Ok(());
            }
            let parts = graph::parts_by_state(tx, &lease.job).await?;
            let words: Vec<String> = parts
                .iter()
                .filter(|(state, _)| **state != JobState::Done)
                .map(|(state, count)| format!("{count} {state}"))
                .collect();
            if words.is_empty() {
                return finish(tx, &lease, JobState::Done, None, None).await;
            }
            let all: i64 = parts.values().sum();
            let reason = format!("of {all} nodes: {}", words.join(", "));
            let class = FailureClass::DependencyFailed;
            finish(tx, &lease, JobState::Failed, Some(class), Some(&reason)).await
        })
        .await?;
    skep_stdx::crash::point("plan.concluded");
    Ok(())
}
