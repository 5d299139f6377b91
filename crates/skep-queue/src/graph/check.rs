//! Whether nodes and edges make a graph that can be worked off: a pure function.
//!
//! Every parent comes before its children, so there is no circle; nothing here recurses.

use super::error::GraphError;
use crate::limits::{GRAPH_FAN_OUT_MAX, GRAPH_LEVELS_MAX, GRAPH_NODES_MAX, NODE_NAME_BYTES_MAX};
use std::collections::HashMap;

/// A node as far as its order goes: its name, and the names of the nodes that it comes after.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a, P> {
    /// Its name.
    pub name: &'a str,
    /// What it comes after; a name that stands twice counts once.
    pub after: P,
    /// How many levels of other jobs lie above it already.
    pub above: i64,
}

/// The order of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The level of each node, in the order in which they were given: one more than that of its
    /// highest parent, zero without parents.
    pub levels: Vec<i64>,
    /// The nodes that each node comes after directly, without repetition.
    pub parents: Vec<Vec<usize>>,
}

/// Checks names, edges, circles and limits.
pub fn order<'a, P>(nodes: &[Shape<'a, P>]) -> Result<Order, GraphError>
where
    P: AsRef<[&'a str]>,
{
    if nodes.is_empty() {
        return Err(GraphError::Empty);
    }
    too_wide("the nodes of one graph", nodes.len(), GRAPH_NODES_MAX)?;
    let mut places = HashMap::with_capacity(nodes.len());
    for (place, node) in nodes.iter().enumerate() {
        if !is_name(node.name) {
            let name = node.name.chars().take(NODE_NAME_BYTES_MAX).collect();
            return Err(GraphError::BadName { name });
        }
        if places.insert(node.name, place).is_some() {
            let name = node.name.to_owned();
            return Err(GraphError::Duplicate { name });
        }
    }
    let parents = parents_of(nodes, &places)?;
    let mut children = vec![Vec::new(); nodes.len()];
    for (child, of) in parents.iter().enumerate() {
        for parent in of {
            children[*parent].push(child);
        }
    }
    let levels = levels_of(nodes, &parents, &children)?;
    Ok(Order { levels, parents })
}

/// Checks how many children each parent has: one item of `parents` for each edge.
pub(super) fn fan_out<'a>(parents: impl Iterator<Item = &'a str>) -> Result<(), GraphError> {
    let mut children: HashMap<&str, usize> = HashMap::new();
    for parent in parents {
        *children.entry(parent).or_default() += 1;
    }
    let most = children.into_values().max().unwrap_or(0);
    too_wide("the children of one node", most, GRAPH_FAN_OUT_MAX)
}

/// Whether `text` can name a node: it becomes the name of a folder in a child's fence.
fn is_name(text: &str) -> bool {
    super::artifact::is_artifact_name(text) && text.len() <= NODE_NAME_BYTES_MAX
}

fn too_wide(what: &'static str, count: usize, limit: usize) -> Result<(), GraphError> {
    if count <= limit {
        return Ok(());
    }
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    Err(GraphError::TooWide {
        what,
        count: number(count),
        limit: number(limit),
    })
}

fn parents_of<'a, P>(
    nodes: &[Shape<'a, P>],
    places: &HashMap<&str, usize>,
) -> Result<Vec<Vec<usize>>, GraphError>
where
    P: AsRef<[&'a str]>,
{
    let mut parents = Vec::with_capacity(nodes.len());
    for node in nodes {
        let mut of = Vec::new();
        for parent in node.after.as_ref() {
            let (node, parent) = (node.name.to_owned(), (*parent).to_owned());
            match places.get(parent.as_str()) {
                None => return Err(GraphError::UnknownParent { node, parent }),
                Some(_) if node == parent => return Err(GraphError::SelfEdge { node }),
                Some(place) => of.push(*place),
            }
        }
        of.sort_unstable();
        of.dedup();
        parents.push(of);
    }
    Ok(parents)
}

fn levels_of<P>(
    nodes: &[Shape<'_, P>],
    parents: &[Vec<usize>],
    children: &[Vec<usize>],
) -> Result<Vec<i64>, GraphError> {
    let mut open: Vec<usize> = parents.iter().map(Vec::len).collect();
    let mut levels: Vec<i64> = nodes.iter().map(|node| node.above).collect();
    let mut ready: Vec<usize> = (0..nodes.len()).filter(|node| open[*node] == 0).collect();
    let mut seen = 0;
    while let Some(node) = ready.pop() {
        seen += 1;
        for child in &children[node] {
            levels[*child] = levels[*child].max(levels[node] + 1);
            open[*child] -= 1;
            if open[*child] == 0 {
                ready.push(*child);
            }
        }
    }
    if seen < nodes.len() {
        let path = circle(parents, &open);
        let path = path.into_iter().map(|node| nodes[node].name.to_owned());
        return Err(GraphError::Cycle {
            path: path.collect(),
        });
    }
    let depth = levels.iter().copied().max().unwrap_or(0) + 1;
    if depth > GRAPH_LEVELS_MAX {
        let limit = GRAPH_LEVELS_MAX;
        return Err(GraphError::TooDeep { depth, limit });
    }
    Ok(levels)
}

/// A circle among the nodes that are still open: each of them has an open parent, so going from
/// parent to parent must come back to where it was.
fn circle(parents: &[Vec<usize>], open: &[usize]) -> Vec<usize> {
    let mut node = open.iter().position(|open| *open > 0).unwrap_or(0);
    let mut way: Vec<usize> = Vec::new();
    let mut at = vec![None; parents.len()];
    while at[node].is_none() {
        at[node] = Some(way.len());
        way.push(node);
        let above = parents[node].iter().find(|parent| open[**parent] > 0);
        node = above.copied().unwrap_or(node);
    }
    let mut path = way.split_off(at[node].unwrap_or(0));
    path.push(node);
    // The way was walked from child to parent.
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    type Nodes<'a> = &'a [(&'a str, &'a [&'a str])];

    fn check(nodes: Nodes<'_>) -> Result<Vec<i64>, String> {
        let shapes: Vec<_> = nodes
            .iter()
            .map(|(name, after)| Shape {
                name,
                after: *after,
                above: 0,
            })
            .collect();
        match order(&shapes) {
            Ok(order) => Ok(order.levels),
            Err(error) => Err(format!("{} {error}", error.code())),
        }
    }

    #[test]
    fn levels_are_the_longest_way_from_above() {
        let diamond: Nodes<'_> = &[
            ("end", &["left", "right", "left"]),
            ("left", &["top"]),
            ("right", &["middle"]),
            ("middle", &["top"]),
            ("top", &[]),
        ];
        assert_eq!(check(diamond), Ok(vec![3, 1, 2, 1, 0]));
    }

    #[test]
    fn what_is_no_order_is_named() {
        let cases: &[(Nodes<'_>, &str)] = &[
            (&[], "graph_empty enqueue the graph: it has no nodes"),
            (
                &[("a", &[]), ("a", &[])],
                "graph_duplicate enqueue the graph: two nodes are called `a`",
            ),
            (
                &[("a", &["b"])],
                "graph_unknown_parent enqueue the graph: `a` comes after `b`, which is not in it",
            ),
            (
                &[("a", &["a"])],
                "graph_cycle enqueue the graph: `a` comes after itself",
            ),
            (
                &[
                    ("x", &[]),
                    ("a", &["x", "c"]),
                    ("b", &["a"]),
                    ("c", &["b"]),
                    ("d", &["c"]),
                ],
                "graph_cycle enqueue the graph: a -> b -> c -> a wait for each other in a circle",
            ),
            (
                &[("../a", &[])],
                "graph_bad_name enqueue the graph: `../a` is no name",
            ),
            (
                &[("", &[])],
                "graph_bad_name enqueue the graph: `` is no name",
            ),
        ];
        for (nodes, expected) in cases {
            assert_eq!(check(nodes), Err((*expected).to_owned()));
        }
    }

    #[test]
    fn a_chain_is_as_long_as_its_limit() {
        let limit = usize::try_from(GRAPH_LEVELS_MAX).unwrap();
        for (length, fits) in [(limit, true), (limit + 1, false)] {
            let names: Vec<String> = (0..length).map(|n| format!("n{n}")).collect();
            let shapes: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(place, name)| Shape {
                    name,
                    after: names[place.saturating_sub(1)..place]
                        .iter()
                        .map(String::as_str)
                        .collect::<Vec<_>>(),
                    above: 0,
                })
                .collect();
            let code = order(&shapes).err().map(|error| error.code());
            assert_eq!(code, (!fits).then_some("graph_too_deep"));
        }
    }

    #[test]
    fn a_node_has_as_many_children_as_its_limit() {
        for (count, code) in [
            (GRAPH_FAN_OUT_MAX, None),
            (GRAPH_FAN_OUT_MAX + 1, Some("graph_too_wide")),
        ] {
            let found = fan_out(std::iter::repeat_n("top", count));
            assert_eq!(found.err().map(|error| error.code()), code);
        }
    }
}
