//! The file of a plan: TOML, or JSON of the same shape. What stands at its top goes for every node
//! that does not say otherwise.

use super::absolute;
use super::kinds::{CallText, ShellText};
use crate::commands::amount;
use crate::failure::Failure;
use serde::Deserialize;
use skep_api::{DispatchRequest, FlowRequest, PlanEdge, PlanNode, PlanRequest, Waiver};
use skep_types::{EdgeWhen, Gate, JobKind, Role, Tier};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes: two hundred nodes with long instructions.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A plan as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PlanText {
    title: String,
    owner: Option<String>,
    project: Option<String>,
    idempotency_key: Option<String>,
    pub(super) repo: Option<PathBuf>,
    pub(super) base: Option<String>,
    pub(super) target_branch: Option<String>,
    pub(super) worker: Option<String>,
    pub(super) tier: Option<Tier>,
    gate: Option<Gate>,
    checks: Vec<String>,
    pub(super) budget_usd: Option<f64>,
    queue: Option<String>,
    priority: Option<i64>,
    #[serde(alias = "nodes")]
    node: Vec<NodeText>,
}

/// A node as it is written. What stands behind the first five is for an agent.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NodeText {
    name: String,
    after: Vec<EdgeText>,
    artifacts: Vec<String>,
    call: Option<CallText>,
    shell: Option<ShellText>,
    kind: Option<JobKind>,
    instruction: String,
    repo: Option<PathBuf>,
    base: Option<String>,
    target_branch: Option<String>,
    scope: Vec<String>,
    role: Option<Role>,
    tier: Option<Tier>,
    worker: Option<String>,
    harness: Option<String>,
    model: Option<String>,
    checks: Option<Vec<String>>,
    budget_usd: Option<f64>,
    gate: Option<Gate>,
    reviewer: Option<String>,
    waive_tests: Option<String>,
    waive: BTreeMap<String, String>,
    queue: Option<String>,
    priority: Option<i64>,
}

/// What a node comes after: a name, or a table.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum EdgeText {
    Name(String),
    Table(EdgeTable),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct EdgeTable {
    node: Option<String>,
    job: Option<JobName>,
    when: Option<EdgeWhen>,
    artifact: Option<String>,
}

/// A job is called by its number or its id.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum JobName {
    Number(i64),
    Id(String),
}

/// Reads a plan. Folders in it are relative to the folder that the file lies in.
pub(super) fn read(path: &Path) -> Result<PlanRequest, Failure> {
    let text = text(path)?;
    let is_json = path.extension().is_some_and(|end| end == "json");
    let parsed: Result<PlanText, String> = if is_json {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    } else {
        toml::from_str(&text).map_err(|error| error.to_string())
    };
    let plan = parsed.map_err(|error| {
        Failure::usage(
            "plan_malformed",
            format!(
                "the plan {} cannot be read: {}",
                path.display(),
                error.trim()
            ),
            "docs/howto/plans.md shows what a plan may hold",
        )
    })?;
    request(plan, path.parent().unwrap_or(Path::new(".")))
}

fn text(path: &Path) -> Result<String, Failure> {
    use std::io::Read as _;
    let unreadable = |reason: String| {
        Failure::usage(
            "plan_unreadable",
            format!("the plan {} cannot be read: {reason}", path.display()),
            "give a TOML or JSON file",
        )
    };
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(format!(
            "it is larger than {FILE_BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}

fn request(mut plan: PlanText, folder: &Path) -> Result<PlanRequest, Failure> {
    let nodes = std::mem::take(&mut plan.node);
    let nodes = nodes.into_iter().map(|node| planned(node, &plan, folder));
    let nodes = nodes.collect::<Result<_, _>>()?;
    Ok(PlanRequest {
        title: plan.title,
        owner: plan.owner,
        project: plan.project,
        idempotency_key: plan.idempotency_key,
        nodes,
    })
}

fn planned(mut node: NodeText, plan: &PlanText, folder: &Path) -> Result<PlanNode, Failure> {
    let name = std::mem::take(&mut node.name);
    let after = std::mem::take(&mut node.after);
    let artifacts = std::mem::take(&mut node.artifacts);
    let call = node.call.take().map(|call| call.request(plan));
    let shell = node.shell.take().map(|shell| shell.request(plan, folder));
    // What is left is for an agent. A node that says nothing is one without an instruction, and one
    // that says two things is refused by the engine; both with better words than a reader has.
    let is_agent = node != NodeText::default() || (call.is_none() && shell.is_none());
    let work = is_agent.then(|| work(node, plan, folder));
    Ok(PlanNode {
        name,
        after: after.into_iter().map(edge).collect(),
        artifacts,
        work: work.transpose()?,
        call: call.transpose()?,
        shell: shell.transpose()?,
    })
}

/// How a node takes its turn.
pub(super) fn flow(plan: &PlanText, queue: Option<String>, priority: Option<i64>) -> FlowRequest {
    FlowRequest {
        queue: queue.or_else(|| plan.queue.clone()),
        priority: priority.or(plan.priority),
        ..FlowRequest::default()
    }
}

fn work(node: NodeText, plan: &PlanText, folder: &Path) -> Result<DispatchRequest, Failure> {
    let repo = node.repo.as_ref().or(plan.repo.as_ref());
    let repo = repo.map(|repo| absolute(&folder.join(repo))).transpose()?;
    let waivers = node.waive.into_iter();
    let waivers = waivers.map(|(finding, reason)| Waiver { finding, reason });
    Ok(DispatchRequest {
        instruction: node.instruction,
        kind: node.kind,
        repo,
        base: node.base.or_else(|| plan.base.clone()),
        target_branch: node.target_branch.or_else(|| plan.target_branch.clone()),
        scope: node.scope,
        role: node.role,
        tier: node.tier.or(plan.tier),
        worker: node.worker.or_else(|| plan.worker.clone()),
        harness: node.harness,
        model: node.model,
        checks: node.checks.unwrap_or_else(|| plan.checks.clone()),
        budget_micro_usd: amount(node.budget_usd.or(plan.budget_usd))?,
        timeout_seconds: None,
        gate: node.gate.or(plan.gate),
        reviewer: node.reviewer,
        waive_tests: node.waive_tests,
        waivers: waivers.collect(),
        project: None,
        owner: None,
        idempotency_key: None,
        flow: flow(plan, node.queue, node.priority),
    })
}

fn edge(text: EdgeText) -> PlanEdge {
    match text {
        EdgeText::Name(name) => PlanEdge {
            node: Some(name),
            ..PlanEdge::default()
        },
        EdgeText::Table(table) => PlanEdge {
            node: table.node,
            job: table.job.map(|job| match job {
                JobName::Number(number) => number.to_string(),
                JobName::Id(id) => id,
            }),
            when: table.when,
            artifact: table.artifact,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
title = "Two steps"
repo = "bees"
worker = "builder"
checks = ["true"]
budget_usd = 0.5

[[node]]
name = "first"
instruction = "Do it."
artifacts = ["report.txt"]

[[node]]
name = "second"
instruction = "Do more."
checks = []
waive = { runner_files = "asked for" }
after = [
    "first",
    { node = "first", when = "any_end" },
    { node = "first", artifact = "report.txt" },
    { job = 7 },
    { job = "job_x" },
]
"#;

    fn parse(text: &str) -> Result<PlanRequest, String> {
        let plan: PlanText = toml::from_str(text).map_err(|error| error.to_string())?;
        request(plan, Path::new("/plans")).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn what_stands_at_the_top_goes_for_every_node() {
        let plan = parse(TOML).unwrap();
        let [first, second] = plan.nodes.as_slice() else {
            panic!("{plan:?}")
        };
        let [Some(first), Some(second)] = [&first.work, &second.work] else {
            panic!("{plan:?}")
        };
        assert_eq!(first.repo.as_deref(), Some("/plans/bees"));
        assert_eq!(first.checks, ["true"]);
        assert!(second.checks.is_empty());
        assert_eq!(second.worker.as_deref(), Some("builder"));
        assert_eq!(second.budget_micro_usd.map(|b| b.0), Some(500_000));
        assert_eq!(second.waivers[0].finding, "runner_files");
    }

    #[test]
    fn a_node_is_an_agent_a_call_or_a_command() {
        let nodes = r#"
            [[node]]
            name = "ask"
            call = { prompt = "Is it so?", model = "scripted", schema = { type = "object" } }
            [[node]]
            name = "look"
            shell = { command = ["ls", "-l"] }
            [[node]]
            name = "look-there"
            shell = { command = ["ls"], repo = "wasps", base = "v1" }
            [[node]]
            name = "two"
            instruction = "Do it."
            call = { prompt = "Do it?" }
            [[node]]
            name = "none"
        "#;
        let top = "title = \"t\"\nrepo = \"bees\"\ntarget_branch = \"next\"\nbudget_usd = 0.5\n";
        let plan = parse(&format!("{top}{nodes}")).unwrap();
        let given = |node: &PlanNode| {
            let given = [
                node.work.is_some(),
                node.call.is_some(),
                node.shell.is_some(),
            ];
            given.map(u8::from)
        };
        let given: Vec<_> = plan.nodes.iter().map(given).collect();
        assert_eq!(
            given,
            [[0, 1, 0], [0, 0, 1], [0, 0, 1], [1, 1, 0], [1, 0, 0]]
        );
        let call = plan.nodes[0].call.as_ref().unwrap();
        assert_eq!(call.budget_micro_usd.map(|b| b.0), Some(500_000));
        assert_eq!(call.schema, Some(serde_json::json!({"type": "object"})));
        let place = |place: usize| {
            let shell = plan.nodes[place].shell.as_ref().unwrap();
            (shell.repo.as_deref(), shell.base.as_deref())
        };
        assert_eq!(place(1), (Some("/plans/bees"), Some("next")));
        assert_eq!(place(2), (Some("/plans/wasps"), Some("v1")));
    }

    #[test]
    fn an_edge_is_a_name_or_a_table() {
        let plan = parse(TOML).unwrap();
        let edge = |node: Option<&str>, job: Option<&str>, when, artifact: Option<&str>| PlanEdge {
            node: node.map(str::to_owned),
            job: job.map(str::to_owned),
            when,
            artifact: artifact.map(str::to_owned),
        };
        let expected = [
            edge(Some("first"), None, None, None),
            edge(Some("first"), None, Some(EdgeWhen::AnyEnd), None),
            edge(Some("first"), None, None, Some("report.txt")),
            edge(None, Some("7"), None, None),
            edge(None, Some("job_x"), None, None),
        ];
        assert_eq!(plan.nodes[1].after, expected);
    }

    #[test]
    fn json_has_the_same_shape() {
        let plan: PlanText =
            serde_json::from_str(r#"{"title":"t","nodes":[{"name":"a","after":[{"job":1}]}]}"#)
                .unwrap();
        let plan = request(plan, Path::new("/plans")).unwrap();
        assert_eq!(plan.nodes[0].after[0].job.as_deref(), Some("1"));
    }

    #[test]
    fn a_word_that_is_not_known_is_refused() {
        for text in [
            "titel = \"x\"",
            "[[node]]\nname = \"a\"\ninstrution = \"x\"",
            "[[node]]\nname = \"a\"\ncall = { promt = \"x\" }",
            "[[node]]\nname = \"a\"\nshell = { cmd = [] }",
        ] {
            assert!(
                parse(text).is_err_and(|error| error.contains("unknown field")),
                "{text}"
            );
        }
    }
}
