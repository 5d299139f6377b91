//! A plan as a tree: each node below the one that it comes after last, with its other parents
//! named beside it.

use crate::account::tone_of;
use crate::failure::Failure;
use crate::output::{Printer, Tone, cut, one_line, table_columns};
use crate::table::{Align, Cell, Table};
use skep_api::{EdgeView, PlanNodeView, PlanView};
use skep_types::{EdgeWhen, JobKind, JobState, MicroUsd};
use std::collections::HashMap;

/// How deep the tree is drawn; what lies deeper is drawn at this depth, with its level.
const DEPTH_MAX: usize = 8;
/// The widest branch of the tree with its name, in columns: the numbers beside it need theirs.
const NODE_COLUMNS_MAX: usize = 36;
/// The widest name of a worker, in columns.
const WORKER_COLUMNS_MAX: usize = 14;

/// Prints the whole plan.
pub(super) fn print(printer: &Printer, view: &PlanView) -> Result<(), Failure> {
    let number = view.number.map_or_else(String::new, |n| format!(" {n}"));
    let why = view.state_reason.as_deref().map(one_line);
    let why = why.map_or_else(String::new, |why| format!(" ({why})"));
    let state = if view.state == JobState::Draft {
        "can be run".to_owned()
    } else {
        format!("is {}", view.state.as_str().replace('_', " "))
    };
    let headline = format!("Plan{number} {state}{why}: {}", one_line(&view.title));
    let headline = cut(&headline, table_columns());
    printer.line(&printer.painted(&headline, tone_of(view.state)))?;
    printer.line("")?;
    for line in table(view).lines(printer, table_columns()) {
        printer.line(&line)?;
    }
    for node in &view.nodes {
        for artifact in &node.artifacts {
            let text = format!(
                "{} left {} ({} bytes)",
                node.name, artifact.name, artifact.bytes
            );
            printer.line(&printer.painted(&cut(&text, table_columns()), Tone::Quiet))?;
        }
    }
    if view.cost_micro_usd > MicroUsd::ZERO {
        let text = format!("all of it cost {}", view.cost_micro_usd);
        printer.line(&printer.painted(&text, Tone::Quiet))?;
    }
    Ok(())
}

fn table(view: &PlanView) -> Table<'static> {
    let is_draft = view.state == JobState::Draft;
    let mut columns = vec![("NODE", Align::Left)];
    if !is_draft {
        columns.extend([
            ("JOB", Align::Right),
            ("STATE", Align::Left),
            ("COST", Align::Right),
        ]);
    }
    // Most plans are of agents alone.
    let is_mixed = view.nodes.iter().any(|node| node.kind != JobKind::Agent);
    if is_mixed {
        columns.push(("KIND", Align::Left));
    }
    columns.extend([("WORKER", Align::Left), ("TASK", Align::Flexible)]);
    let mut table = Table::new(&columns);
    for (drawn, place) in drawn(&view.nodes) {
        let node = &view.nodes[place];
        let mut cells: Vec<Cell> = vec![Cell::drawn(&cut(&drawn, NODE_COLUMNS_MAX))];
        if !is_draft {
            let number = node.number.map_or_else(String::new, |n| n.to_string());
            cells.push(number.into());
            cells.push(Cell::toned(node.state.as_str(), tone_of(node.state)));
            cells.push(node.cost_micro_usd.to_string().into());
        }
        if is_mixed {
            cells.push(node.kind.as_str().into());
        }
        cells.push(cut(&node.worker, WORKER_COLUMNS_MAX).into());
        cells.push(task(&view.nodes, node).into());
        table.row(cells);
    }
    table
}

/// The node that `node` is drawn below: of its parents in the plan the one of the highest level.
fn below(
    nodes: &[PlanNodeView],
    places: &HashMap<&str, usize>,
    node: &PlanNodeView,
) -> Option<usize> {
    let parents = node.after.iter().filter_map(|edge| edge.node.as_deref());
    let parents = parents.filter_map(|name| places.get(name).copied());
    // Of several, the one that comes first.
    parents.min_by_key(|place| (std::cmp::Reverse(nodes[*place].level), *place))
}

/// Each node's place with its branch of the tree, in the order in which they are drawn.
fn drawn(nodes: &[PlanNodeView]) -> Vec<(String, usize)> {
    let places: HashMap<&str, usize> = nodes
        .iter()
        .enumerate()
        .map(|(place, node)| (node.name.as_str(), place))
        .collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut roots = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        match below(nodes, &places, node) {
            Some(parent) => children[parent].push(place),
            None => roots.push(place),
        }
    }
    let mut lines = Vec::with_capacity(nodes.len());
    // Each entry: the node, the stem that its own children continue, and its own branch.
    let mut open: Vec<(usize, usize, String, &str)> = Vec::new();
    open.extend(
        roots
            .into_iter()
            .rev()
            .map(|root| (root, 0, String::new(), "")),
    );
    while let Some((place, depth, stem, branch)) = open.pop() {
        let name = &nodes[place].name;
        let level = if depth > DEPTH_MAX {
            format!("({depth}) ")
        } else {
            String::new()
        };
        lines.push((format!("{stem}{branch}{level}{name}"), place));
        let stem = match branch {
            _ if depth >= DEPTH_MAX => stem,
            "" => String::new(),
            "├─" => format!("{stem}│ "),
            _ => format!("{stem}  "),
        };
        let last = children[place].len().saturating_sub(1);
        for (number, child) in children[place].iter().enumerate().rev() {
            let branch = if number == last { "└─" } else { "├─" };
            open.push((*child, depth + 1, stem.clone(), branch));
        }
    }
    lines
}

/// What a node is to do; before that what else it comes after, and why it stands where it stands.
fn task(nodes: &[PlanNodeView], node: &PlanNodeView) -> String {
    let places: HashMap<&str, usize> = nodes
        .iter()
        .enumerate()
        .map(|(place, node)| (node.name.as_str(), place))
        .collect();
    let drawn_below = below(nodes, &places, node).map(|place| nodes[place].name.as_str());
    let plain =
        |edge: &&EdgeView| edge.when != EdgeWhen::Success || edge.node.as_deref() != drawn_below;
    let after: Vec<String> = node.after.iter().filter(plain).map(edge).collect();
    let mut notes = Vec::new();
    if !after.is_empty() {
        notes.push(format!("after {}", after.join(", ")));
    }
    let shows_reason = !matches!(node.state, JobState::Blocked | JobState::Done);
    if let Some(reason) = node.state_reason.as_deref().filter(|_| shows_reason) {
        notes.push(one_line(reason));
    }
    if notes.is_empty() {
        node.title.clone()
    } else {
        format!("[{}] {}", notes.join("; "), node.title)
    }
}

/// An edge in a word: `a`, `a?` for any end, `a:x` for its artifact `x`.
fn edge(edge: &EdgeView) -> String {
    let name = match (&edge.node, edge.number) {
        (Some(name), _) => name.clone(),
        (None, Some(number)) => format!("job {number}"),
        (None, None) => "a job".to_owned(),
    };
    match (edge.when, &edge.artifact) {
        (EdgeWhen::Success, _) => name,
        (EdgeWhen::AnyEnd, _) => format!("{name}?"),
        (EdgeWhen::Artifact, artifact) => {
            format!("{name}:{}", artifact.as_deref().unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{COLUMNS_MAX, KnownSecrets, width};

    fn node(name: &str, level: i64, after: &[(&str, EdgeWhen)]) -> PlanNodeView {
        PlanNodeView {
            name: name.to_owned(),
            job: None,
            number: Some(1_234_567),
            kind: JobKind::Agent,
            state: JobState::Queued,
            state_reason: None,
            title: "words ".repeat(40),
            worker: "a-worker-with-a-long-name".to_owned(),
            level,
            after: after
                .iter()
                .map(|(name, when)| EdgeView {
                    node: Some((*name).to_owned()),
                    job: None,
                    number: None,
                    when: *when,
                    artifact: None,
                    met: None,
                })
                .collect(),
            promises: Vec::new(),
            artifacts: Vec::new(),
            cost_micro_usd: MicroUsd(123_456),
        }
    }

    fn plan(nodes: Vec<PlanNodeView>) -> PlanView {
        PlanView {
            id: None,
            number: Some(7),
            title: "a plan".to_owned(),
            state: JobState::WaitingChildren,
            state_reason: None,
            cost_micro_usd: MicroUsd(123_456),
            nodes,
            warnings: Vec::new(),
        }
    }

    fn lines(view: &PlanView) -> Vec<String> {
        use clap::Parser as _;
        let cli = crate::cli::Cli::parse_from(["skep", "--no-color", "doctor"]);
        let printer = Printer::new(&cli.global, KnownSecrets::default());
        table(view).lines(&printer, COLUMNS_MAX)
    }

    #[test]
    fn a_node_stands_below_the_last_one_it_comes_after() {
        let (success, any_end) = (EdgeWhen::Success, EdgeWhen::AnyEnd);
        let nodes = vec![
            node("top", 0, &[]),
            node("other", 0, &[]),
            node("left", 1, &[("top", success)]),
            node("right", 1, &[("top", success)]),
            node(
                "end",
                2,
                &[("top", success), ("left", success), ("right", any_end)],
            ),
        ];
        let drawn: Vec<String> = drawn(&nodes).into_iter().map(|(line, _)| line).collect();
        assert_eq!(drawn, ["top", "├─left", "│ └─end", "└─right", "other"]);
        let expected = "[after top, right?] words";
        assert!(
            task(&nodes, &nodes[4]).starts_with(expected),
            "{}",
            task(&nodes, &nodes[4])
        );
    }

    #[test]
    fn every_line_fits_however_deep_the_plan_is() {
        let mut nodes = vec![node("n0", 0, &[])];
        for n in 1..60 {
            let (name, after) = (
                format!("n{n}-{}", "x".repeat(60)),
                nodes[n - 1].name.clone(),
            );
            let level = i64::try_from(n).unwrap();
            nodes.push(node(&name, level, &[(&after, EdgeWhen::Success)]));
        }
        let lines = lines(&plan(nodes));
        assert_eq!(lines.len(), 61);
        for line in lines {
            assert!(
                width(&line) <= COLUMNS_MAX,
                "{} columns: {line}",
                width(&line)
            );
        }
    }
}
