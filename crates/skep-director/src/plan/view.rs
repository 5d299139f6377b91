//! A plan as it is shown, and why a job of a graph stands where it stands.

use super::prepare::{Ready, WantedParent};
use crate::error::DirectorError;
use crate::limits::{EDGES_SHOWN_MAX, REASON_JOBS_MAX};
use crate::record;
use skep_api::{ArtifactView, EdgeView, PlanNodeView, PlanRequest, PlanView};
use skep_db::Tx;
use skep_queue::Job;
use skep_queue::graph::{self, Artifact, EdgePolicy};
use skep_types::{EdgeWhen, JobId, JobKind, JobState, MicroUsd};

/// A plan that was only checked.
pub(super) fn preview(request: &PlanRequest, ready: &Ready) -> PlanView {
    let mut nodes: Vec<PlanNodeView> = ready
        .nodes
        .iter()
        .map(|node| {
            let record = &node.prepared.record;
            let after = node.after.iter().map(|wanted| {
                let (name, number) = match &wanted.parent {
                    WantedParent::Node(name) => (Some(name.clone()), None),
                    WantedParent::Job(name) => (None, name.trim_start_matches('#').parse().ok()),
                };
                EdgeView {
                    node: name,
                    job: None,
                    number,
                    when: when(&wanted.policy),
                    artifact: Some(wanted.policy.artifact().to_owned()).filter(|a| !a.is_empty()),
                    met: None,
                }
            });
            PlanNodeView {
                name: node.name.clone(),
                job: None,
                number: None,
                kind: node.prepared.new_job.kind,
                state: JobState::Draft,
                state_reason: None,
                title: title(&record.instruction()),
                worker: record.worker().to_owned(),
                level: node.level,
                after: after.collect(),
                promises: record.common().artifacts,
                artifacts: Vec::new(),
                cost_micro_usd: MicroUsd::ZERO,
            }
        })
        .collect();
    nodes.sort_by_key(|node| node.level);
    PlanView {
        id: None,
        number: None,
        title: request.title.trim().to_owned(),
        state: JobState::Draft,
        state_reason: None,
        cost_micro_usd: MicroUsd::ZERO,
        nodes,
        warnings: ready.warnings.clone(),
    }
}

const fn when(policy: &EdgePolicy) -> EdgeWhen {
    match policy {
        EdgePolicy::Success => EdgeWhen::Success,
        EdgePolicy::AnyEnd => EdgeWhen::AnyEnd,
        EdgePolicy::Artifact(_) => EdgeWhen::Artifact,
    }
}

/// The first line of an instruction, cut to what a list shows.
fn title(instruction: &str) -> String {
    let line = instruction.lines().next().unwrap_or_default();
    line.chars().take(120).collect()
}

/// The plan that `whole` stands for.
pub(super) async fn of(tx: &mut Tx<'_>, whole: Job) -> Result<PlanView, DirectorError> {
    if whole.kind != JobKind::Pipeline {
        return Err(DirectorError::usage(
            "not_a_plan",
            format!("job {} is not a plan", whole.number),
            format!("`skep job show {}` shows it", whole.number),
        ));
    }
    let record = record::dispatch(tx, &whole.id).await?;
    let found = graph::nodes_below(tx, &whole.id).await?;
    let ids: Vec<JobId> = found.iter().map(|node| node.job.id.clone()).collect();
    let edges = graph::edges_to(tx, &ids, EDGES_SHOWN_MAX).await?;
    let left = graph::artifacts(tx, &ids).await?;
    let mut nodes = Vec::with_capacity(found.len());
    let mut whole_cost = MicroUsd::ZERO;
    for node in found {
        let job = node.job;
        let cost = skep_gateway::job_cost(tx, &job.id).await?.cost;
        whole_cost = whole_cost.saturating_add(cost);
        for review in record::reviews(tx, &job.id).await? {
            let cost = skep_gateway::job_cost(tx, &review.job).await?.cost;
            whole_cost = whole_cost.saturating_add(cost);
        }
        // Reviews are parts of nodes, not nodes.
        let Some(name) = node.name else { continue };
        let asked = record::asked(tx, &job).await?;
        let own: Vec<&graph::EdgeView> = edges.iter().filter(|e| e.child == job.id).collect();
        let said = record::reason(tx, &job.id).await?;
        nodes.push(PlanNodeView {
            name,
            kind: job.kind,
            state: job.state,
            state_reason: reason_of(job.state, said, &own),
            title: title(&asked.instruction()),
            worker: asked.worker().to_owned(),
            level: node.level,
            after: own.iter().map(|edge| edge_view(edge)).collect(),
            promises: asked.common().artifacts,
            artifacts: artifacts_of(&left, &job.id),
            cost_micro_usd: cost,
            number: Some(job.number),
            job: Some(job.id),
        });
    }
    Ok(PlanView {
        title: record.instruction,
        state: whole.state,
        state_reason: record::reason(tx, &whole.id).await?,
        number: Some(whole.number),
        id: Some(whole.id),
        cost_micro_usd: whole_cost,
        nodes,
        warnings: Vec::new(),
    })
}

/// The artifacts of `job` among those that were read.
pub(crate) fn artifacts_of(left: &[Artifact], job: &JobId) -> Vec<ArtifactView> {
    let own = left.iter().filter(|found| found.job == *job);
    own.map(|found| ArtifactView {
        name: found.artifact.name.clone(),
        digest: found.artifact.digest.clone(),
        bytes: found.artifact.bytes,
    })
    .collect()
}

/// An edge as it is shown.
pub(crate) fn edge_view(edge: &graph::EdgeView) -> EdgeView {
    EdgeView {
        node: edge.name.clone(),
        job: Some(edge.parent.clone()),
        number: Some(edge.number),
        when: edge.policy.parse().unwrap_or(EdgeWhen::Success),
        artifact: Some(edge.artifact.clone()).filter(|name| !name.is_empty()),
        met: edge.met,
    }
}

/// Why a job stands where it stands: what was said, or what its edges say.
pub(crate) fn reason_of(
    state: JobState,
    said: Option<String>,
    edges: &[&graph::EdgeView],
) -> Option<String> {
    let named = |edge: &graph::EdgeView| match &edge.name {
        Some(name) => format!("{name} (job {})", edge.number),
        None => format!("job {}", edge.number),
    };
    if state == JobState::Blocked {
        let open = edges.iter().filter(|edge| edge.met.is_none());
        let mut names: Vec<String> = open.map(|edge| named(edge)).collect();
        names.dedup();
        let more = names.len().saturating_sub(REASON_JOBS_MAX);
        names.truncate(REASON_JOBS_MAX);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        return (!names.is_empty()).then(|| format!("waits for {}", names.join(", ")));
    }
    if state == JobState::Skipped {
        let cause = edges.iter().find(|edge| edge.met == Some(false))?;
        return Some(if cause.state == JobState::Done {
            format!("{} left no artifact `{}`", named(cause), cause.artifact)
        } else {
            format!("{} is {}", named(cause), cause.state)
        });
    }
    said
}
