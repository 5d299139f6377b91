//! A plan is completed: names, edges, scopes and artifacts are checked, and each node is prepared
//! as it would be if it were dispatched alone.

use super::no_graph;
use crate::context::Context;
use crate::dispatch::{PinAt, Pins, Prepared, Wish, request_digest, scope_of};
use crate::error::DirectorError;
use crate::limits::{ATTEMPTS_MAX, INSTRUCTION_BYTES_MAX, PLAN_ARTIFACTS_MAX, PLAN_NODES_MAX};
use crate::record::{Asked, Dispatch};
use crate::reference;
use skep_api::{PlanEdge, PlanNode, PlanRequest};
use skep_db::Tx;
use skep_queue::graph::{Edge, EdgeParent, EdgePolicy, GraphNode, Shape, is_artifact_name, order};
use skep_queue::{Flow, NewJob};
use skep_types::{EdgeWhen, Gate, JobId, JobKind, Purpose, Role, Tier};
use std::collections::{BTreeSet, HashMap};

/// What stands for the worker of a plan.
pub(super) const PLAN_WORKER: &str = "plan";

/// A plan that is ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    /// The pipeline.
    pub(super) whole: Prepared,
    pub(super) nodes: Vec<ReadyNode>,
    pub(super) warnings: Vec<String>,
}

/// A node that is ready to be written.
#[derive(Debug, Clone)]
pub(super) struct ReadyNode {
    pub(super) name: String,
    pub(super) after: Vec<Wanted>,
    pub(super) level: i64,
    /// Whether it names the account of its cost, or has one of its own.
    pub(super) has_account: bool,
    pub(super) prepared: Prepared,
}

/// Something that a node waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) parent: WantedParent,
    pub(super) policy: EdgePolicy,
}

/// Whose end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WantedParent {
    /// A node of this plan.
    Node(String),
    /// A job that exists, by whatever a person calls it.
    Job(String),
}

/// Checks and completes `request`. Reads git and the configuration, and writes nothing.
pub(super) async fn prepare(
    context: &Context,
    request: &PlanRequest,
) -> Result<Ready, DirectorError> {
    check_texts(request)?;
    let wanted = wanted(request)?;
    let names: Vec<Vec<&str>> = wanted.iter().map(|edges| node_names(edges)).collect();
    let shapes: Vec<_> = request
        .nodes
        .iter()
        .zip(&names)
        .map(|(node, after)| Shape {
            name: &node.name,
            after: after.clone(),
            above: 0,
        })
        .collect();
    let order = order(&shapes).map_err(no_graph)?;
    promised(request, &wanted)?;
    let (mut pins, mut nodes) = (Pins::default(), Vec::with_capacity(request.nodes.len()));
    let whole_id = JobId::new(&*context.clock, &*context.entropy);
    let mut warnings = BTreeSet::new();
    for ((node, after), level) in request.nodes.iter().zip(wanted).zip(&order.levels) {
        let at = if after.is_empty() {
            PinAt::Dispatch
        } else {
            PinAt::Release
        };
        let prepared = async {
            let wish = wish(request, node)?;
            let prepared = wish.prepare(context, at, &mut pins).await?;
            Ok((wish.has_account(), prepared))
        };
        let (has_account, mut prepared) =
            prepared.await.map_err(|error| in_node(&node.name, error))?;
        prepared.new_job.parent = Some(whole_id.clone());
        if let Asked::Agent(record) = &mut prepared.record {
            record.artifacts.clone_from(&node.artifacts);
        }
        warnings.extend(prepared.warnings.iter().cloned());
        nodes.push(ReadyNode {
            name: node.name.clone(),
            after,
            level: *level,
            has_account,
            prepared,
        });
    }
    apart(&nodes, &order.parents)?;
    let whole = whole(context, request, whole_id, &nodes);
    for node in nodes.iter_mut().filter(|node| !node.has_account) {
        let project = &whole.new_job.project;
        node.prepared.new_job.project.clone_from(project);
    }
    Ok(Ready {
        whole,
        nodes,
        warnings: warnings.into_iter().collect(),
    })
}

/// What a node asks for, on the authority and the account of its plan.
fn wish(request: &PlanRequest, node: &PlanNode) -> Result<Wish, DirectorError> {
    let (work, call, shell) = (node.work.clone(), node.call.clone(), node.shell.clone());
    let mut wish = Wish::only("work", work, call, shell)?;
    let kind = wish.kind();
    if kind != JobKind::Agent && !node.artifacts.is_empty() {
        return Err(DirectorError::usage(
            "bad_artifact",
            format!("a {kind} leaves no artifacts"),
            "let an agent's node leave them; others may still come after this one",
        ));
    }
    let shared = wish.shared();
    if shared.idempotency_key.is_some() {
        return Err(DirectorError::usage(
            "bad_text",
            "a node has no idempotency key of its own",
            "give the key to the plan",
        ));
    }
    if shared.owner.is_none() {
        shared.owner.clone_from(&request.owner);
    }
    if shared.project.is_none() {
        shared.project.clone_from(&request.project);
    }
    Ok(wish)
}

/// The same error, with the node it is about.
fn in_node(name: &str, error: DirectorError) -> DirectorError {
    let said = |message: String| format!("node `{name}`: {message}");
    match error {
        DirectorError::Usage {
            code,
            message,
            hint,
        } => DirectorError::usage(code, said(message), hint),
        DirectorError::Policy {
            code,
            message,
            hint,
        } => DirectorError::policy(code, said(message), hint),
        DirectorError::Conflict {
            code,
            message,
            hint,
        } => DirectorError::conflict(code, said(message), hint),
        other @ (DirectorError::NotFound { .. }
        | DirectorError::Db(_)
        | DirectorError::Outside { .. }) => other,
    }
}

fn check_texts(request: &PlanRequest) -> Result<(), DirectorError> {
    let usage = |code, message: String, hint: &str| Err(DirectorError::usage(code, message, hint));
    let title = request.title.trim();
    if title.is_empty() || title.len() > INSTRUCTION_BYTES_MAX || title.contains('\0') {
        return usage(
            "title_missing",
            "the plan has no title that can be kept".to_owned(),
            "say in a line what the plan is for, as in title = \"Repair and release\"",
        );
    }
    if request.nodes.len() > PLAN_NODES_MAX {
        return usage(
            "graph_too_wide",
            format!(
                "the plan has {} nodes; the limit is {PLAN_NODES_MAX}",
                request.nodes.len()
            ),
            "split it: a second plan can come after jobs of the first",
        );
    }
    for node in &request.nodes {
        let bad = node.artifacts.iter().find(|name| !is_artifact_name(name));
        if let Some(bad) = bad {
            let bad: String = bad.chars().take(64).filter(|c| !c.is_control()).collect();
            return usage(
                "bad_artifact",
                format!("node `{}`: `{bad}` is no name of an artifact", node.name),
                "an artifact has the name of a plain file, as in `report.txt`",
            );
        }
        if node.artifacts.len() > PLAN_ARTIFACTS_MAX {
            return usage(
                "bad_artifact",
                format!(
                    "node `{}` promises more than {PLAN_ARTIFACTS_MAX} artifacts",
                    node.name
                ),
                "let it leave an archive",
            );
        }
    }
    Ok(())
}

fn wanted(request: &PlanRequest) -> Result<Vec<Vec<Wanted>>, DirectorError> {
    let edges = request.nodes.iter().map(|node| {
        let edges = node.after.iter().map(wanted_edge);
        edges
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| in_node(&node.name, error))
    });
    edges.collect()
}

fn wanted_edge(edge: &PlanEdge) -> Result<Wanted, DirectorError> {
    let bad = |message: &str| {
        DirectorError::usage(
            "bad_edge",
            message,
            "write `after = [\"a\", { node = \"b\", when = \"any_end\" }, { node = \"c\", artifact = \"report.txt\" }]`",
        )
    };
    let parent = match (&edge.node, &edge.job) {
        (Some(node), None) => WantedParent::Node(node.clone()),
        (None, Some(job)) => WantedParent::Job(job.clone()),
        (None, None) => return Err(bad("an edge names nothing to come after")),
        (Some(_), Some(_)) => return Err(bad("an edge names a node and a job")),
    };
    let policy = match (edge.when, &edge.artifact) {
        (None | Some(EdgeWhen::Artifact), Some(name)) if is_artifact_name(name) => {
            EdgePolicy::Artifact(name.clone())
        }
        (None | Some(EdgeWhen::Artifact), Some(_)) => {
            return Err(bad("an edge waits for an artifact whose name is none"));
        }
        (Some(EdgeWhen::Artifact), None) => {
            return Err(bad("an edge waits for an artifact and does not name it"));
        }
        (Some(EdgeWhen::Success | EdgeWhen::AnyEnd), Some(_)) => {
            return Err(bad("an edge that names an artifact waits for that"));
        }
        (None | Some(EdgeWhen::Success), None) => EdgePolicy::Success,
        (Some(EdgeWhen::AnyEnd), None) => EdgePolicy::AnyEnd,
    };
    Ok(Wanted { parent, policy })
}

fn node_names(edges: &[Wanted]) -> Vec<&str> {
    let names = edges.iter().filter_map(|edge| match &edge.parent {
        WantedParent::Node(name) => Some(name.as_str()),
        WantedParent::Job(_) => None,
    });
    names.collect()
}

/// Whoever waits for an artifact of a node waits for one that the node was told to leave.
fn promised(request: &PlanRequest, wanted: &[Vec<Wanted>]) -> Result<(), DirectorError> {
    let promises: HashMap<&str, &[String]> = request
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.artifacts.as_slice()))
        .collect();
    for (node, edges) in request.nodes.iter().zip(wanted) {
        for edge in edges {
            let (WantedParent::Node(parent), EdgePolicy::Artifact(name)) =
                (&edge.parent, &edge.policy)
            else {
                continue;
            };
            let promised = promises.get(parent.as_str()).copied().unwrap_or_default();
            if !promised.contains(name) {
                return Err(DirectorError::usage(
                    "artifact_not_promised",
                    format!(
                        "node `{}` waits for `{name}` of `{parent}`, which is not to leave it",
                        node.name
                    ),
                    format!("add artifacts = [\"{name}\"] to `{parent}`"),
                ));
            }
        }
    }
    Ok(())
}

/// Two builders of one repository whose scopes overlap have to wait for one another, directly or
/// not.
fn apart(nodes: &[ReadyNode], parents: &[Vec<usize>]) -> Result<(), DirectorError> {
    let mut places: Vec<usize> = (0..nodes.len()).collect();
    places.sort_by_key(|place| nodes[*place].level);
    let mut before: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); nodes.len()];
    for place in places {
        let mut all = BTreeSet::new();
        for parent in &parents[place] {
            all.insert(*parent);
            all.extend(before[*parent].iter().copied());
        }
        before[place] = all;
    }
    let mut builders = Vec::with_capacity(nodes.len());
    for (place, node) in nodes.iter().enumerate() {
        let record = node.prepared.record.agent();
        if let Some(record) = record.filter(|record| record.role == Role::Builder) {
            builders.push((place, &node.name, record, scope_of(record)?));
        }
    }
    for (seen, (one, first, a, theirs)) in builders.iter().enumerate() {
        for (other, second, b, scope) in builders.iter().skip(seen + 1) {
            let ordered = before[*one].contains(other) || before[*other].contains(one);
            if !ordered && a.vault == b.vault && theirs.overlaps(scope) {
                return Err(DirectorError::policy(
                    "scope_overlap",
                    format!(
                        "nodes `{}` and `{}` may run at the same time and both write inside {}",
                        first,
                        second,
                        b.scope.join(", ")
                    ),
                    format!(
                        "let one come after the other, as in after = [\"{first}\"], or give them scopes apart"
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// The pipeline: it owns the nodes, and does nothing itself.
fn whole(context: &Context, request: &PlanRequest, id: JobId, nodes: &[ReadyNode]) -> Prepared {
    let tiers = nodes.iter().map(|node| node.prepared.new_job.tier);
    let tier = tiers.max().unwrap_or(Tier::Sensitive);
    let repo = nodes
        .iter()
        .find_map(|node| node.prepared.record.common().repo);
    let first = nodes.iter().find(|node| node.has_account);
    let first = first.or(nodes.first());
    let project = first.map(|node| node.prepared.new_job.project.clone());
    let record = Dispatch {
        job: id.clone(),
        instruction: request.title.trim().to_owned(),
        repo,
        vault: None,
        base_commit: None,
        base_from: None,
        target_branch: None,
        scope: Vec::new(),
        role: Role::Observer,
        tier,
        worker: PLAN_WORKER.to_owned(),
        harness: PLAN_WORKER.to_owned(),
        model: None,
        command: Vec::new(),
        checks: Vec::new(),
        gate: Gate::G0,
        budget: None,
        waivers: Vec::new(),
        reviewer: None,
        reviews: None,
        reviewed_commit: None,
        rework_rounds_max: 0,
        artifacts: Vec::new(),
        timeout_ms: None,
    };
    let new_job = NewJob {
        id,
        kind: JobKind::Pipeline,
        purpose: Purpose::Requested,
        owner: request
            .owner
            .clone()
            .unwrap_or_else(|| context.owner.clone()),
        project: request
            .project
            .clone()
            .or(project)
            .unwrap_or_else(|| PLAN_WORKER.to_owned()),
        tier,
        priority: 0,
        run_at_ms: None,
        attempts_max: ATTEMPTS_MAX,
        parent: None,
        idempotency_key: request.idempotency_key.clone(),
        idempotency_digest: request_digest(request),
        flow: Flow::default(),
    };
    Prepared {
        new_job,
        record: Asked::Agent(Box::new(record)),
        warnings: Vec::new(),
    }
}

/// The nodes as the queue takes them, with the jobs outside of the plan found by what they were
/// called.
pub(super) async fn resolve_edges(
    tx: &mut Tx<'_>,
    ready: &Ready,
) -> Result<Vec<GraphNode>, DirectorError> {
    let mut nodes = Vec::with_capacity(ready.nodes.len());
    for node in &ready.nodes {
        let mut after = Vec::with_capacity(node.after.len());
        for wanted in &node.after {
            let parent = match &wanted.parent {
                WantedParent::Node(name) => EdgeParent::Node(name.clone()),
                WantedParent::Job(name) => EdgeParent::Job(reference::resolve(tx, name).await?.id),
            };
            after.push(Edge {
                parent,
                policy: wanted.policy.clone(),
            });
        }
        nodes.push(GraphNode {
            name: node.name.clone(),
            job: node.prepared.new_job.clone(),
            after,
        });
    }
    Ok(nodes)
}
