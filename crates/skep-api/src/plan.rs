//! The documents of plans: several jobs in order, asked for at once.

use crate::describe::describe;
use crate::document::DispatchRequest;
use crate::kind::{CallRequest, ShellRequest};
use serde::{Deserialize, Serialize};
use skep_types::{EdgeWhen, JobId, JobKind, JobState, MicroUsd};

/// What `skep plan run` asks for: `POST /api/v1/plans`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlanRequest {
    /// What the plan is for, in a line.
    pub title: String,
    /// On whose authority; the user who runs the engine when absent.
    pub owner: Option<String>,
    /// The account of the plan, and of every node that names none; when absent, that of its first
    /// node that has one.
    pub project: Option<String>,
    /// Submitting the same key again returns the earlier plan.
    pub idempotency_key: Option<String>,
    /// The jobs.
    pub nodes: Vec<PlanNode>,
}

/// One job of a plan: `work` for an agent, `call` for a model call, `shell` for a command; exactly
/// one of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlanNode {
    /// What it is called in this plan.
    pub name: String,
    /// What it waits for; nothing lets it start at once.
    pub after: Vec<PlanEdge>,
    /// The artifacts that it is to leave.
    pub artifacts: Vec<String>,
    /// What an agent is to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<DispatchRequest>,
    /// What a model is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallRequest>,
    /// Which command is run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<ShellRequest>,
}

/// Something that a node waits for: another node, or a job that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlanEdge {
    /// The name of a node of the same plan.
    pub node: Option<String>,
    /// The number or id of a job, in the place of a node.
    pub job: Option<String>,
    /// Which end is waited for; its success when absent.
    pub when: Option<EdgeWhen>,
    /// The artifact that is waited for.
    pub artifact: Option<String>,
}

/// A plan and where its nodes stand; what `skep plan show` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// The job that stands for the whole plan; absent for one that was only checked.
    pub id: Option<JobId>,
    /// Its number.
    pub number: Option<i64>,
    /// What the plan is for.
    pub title: String,
    /// Where it stands; `draft` for one that was only checked.
    pub state: JobState,
    /// Why it stands there.
    pub state_reason: Option<String>,
    /// What all of it has cost so far, with the reviews of its nodes.
    pub cost_micro_usd: MicroUsd,
    /// The nodes, those that come first first.
    pub nodes: Vec<PlanNodeView>,
    /// What the requester should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One node of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanNodeView {
    /// What it is called.
    pub name: String,
    /// Its job.
    pub job: Option<JobId>,
    /// Its job's number.
    pub number: Option<i64>,
    /// What kind of job.
    pub kind: JobKind,
    /// Where it stands.
    pub state: JobState,
    /// Why it stands there.
    pub state_reason: Option<String>,
    /// The first line of its instruction, question or command.
    pub title: String,
    /// The worker that does it, or pays for it.
    pub worker: String,
    /// How many nodes come one after another before it, at the most.
    pub level: i64,
    /// What it waits for.
    pub after: Vec<EdgeView>,
    /// The artifacts that it is to leave.
    pub promises: Vec<String>,
    /// The artifacts that it left.
    pub artifacts: Vec<ArtifactView>,
    /// What it has cost so far.
    pub cost_micro_usd: MicroUsd,
}

/// Something that a job waits for, or waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeView {
    /// The node's name, if it has one.
    pub node: Option<String>,
    /// The job.
    pub job: Option<JobId>,
    /// The job's number.
    pub number: Option<i64>,
    /// Which end is waited for.
    pub when: EdgeWhen,
    /// The artifact that is waited for.
    pub artifact: Option<String>,
    /// Whether that came about; null while it is open.
    pub met: Option<bool>,
}

/// A file that a job left for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactView {
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    /// Its size.
    pub bytes: i64,
}

/// How a cancel goes: `POST /api/v1/jobs/{id}/cancel`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CancelRequest {
    /// Whether the job's parts, and whatever waits for it, end as well; those of a plan always do.
    pub tree: bool,
}

describe! { PlanRequest, "Several jobs in order, asked for at once.",
    always { title: String, nodes: Vec<PlanNode> }
    sometimes { owner: Option<String>, project: Option<String>, idempotency_key: Option<String> }
}

describe! { PlanNode, "One job of a plan; exactly one of `work`, `call` and `shell`.",
    always { name: String }
    sometimes {
        after: Vec<PlanEdge>, artifacts: Vec<String>, work: Option<DispatchRequest>,
        call: Option<CallRequest>, shell: Option<ShellRequest>,
    }
}

describe! { PlanEdge, "Something that a node waits for: another node, or a job that exists.",
    always {}
    sometimes {
        node: Option<String>, job: Option<String>, when: Option<EdgeWhen>,
        artifact: Option<String>,
    }
}

describe! { PlanView, "A plan and where its nodes stand.",
    always {
        id: Option<JobId>, number: Option<i64>, title: String, state: JobState,
        state_reason: Option<String>, cost_micro_usd: MicroUsd, nodes: Vec<PlanNodeView>,
    }
    sometimes { warnings: Vec<String> }
}

describe! { PlanNodeView, "One node of a plan.",
    always {
        name: String, job: Option<JobId>, number: Option<i64>, kind: JobKind, state: JobState,
        state_reason: Option<String>, title: String, worker: String, level: i64,
        after: Vec<EdgeView>, promises: Vec<String>, artifacts: Vec<ArtifactView>,
        cost_micro_usd: MicroUsd,
    }
}

describe! { EdgeView, "Something that a job waits for, or waited for.",
    always {
        node: Option<String>, job: Option<JobId>, number: Option<i64>, when: EdgeWhen,
        artifact: Option<String>, met: Option<bool>,
    }
}

describe! { ArtifactView, "A file that a job left for others.",
    always { name: String, digest: String, bytes: i64 }
}

describe! { CancelRequest, "How a cancel goes.",
    always {}
    sometimes { tree: bool }
}
