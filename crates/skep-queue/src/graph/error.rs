//! Why a graph was not enqueued.

use crate::error::EnqueueError;
use skep_db::DbError;
use skep_types::JobId;

/// Why a graph was not enqueued; nothing of it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// There is no node.
    #[error("enqueue the graph: it has no nodes")]
    Empty,
    /// A name is no name.
    #[error("enqueue the graph: `{name}` is no name")]
    BadName {
        /// What was given.
        name: String,
    },
    /// Two nodes have one name.
    #[error("enqueue the graph: two nodes are called `{name}`")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A node waits for one that is not there.
    #[error("enqueue the graph: `{node}` comes after `{parent}`, which is not in it")]
    UnknownParent {
        /// The node.
        node: String,
        /// What it waits for.
        parent: String,
    },
    /// A node waits for itself.
    #[error("enqueue the graph: `{node}` comes after itself")]
    SelfEdge {
        /// The node.
        node: String,
    },
    /// Nodes wait for each other in a circle.
    #[error("enqueue the graph: {} wait for each other in a circle", .path.join(" -> "))]
    Cycle {
        /// The circle, each node after the one it waits for; the first stands at the end again.
        path: Vec<String>,
    },
    /// Too many steps one after another, or too many generations of parts.
    #[error("enqueue the graph: it is {depth} deep; the limit is {limit}")]
    TooDeep {
        /// How deep it would be.
        depth: i64,
        /// How deep it may be.
        limit: i64,
    },
    /// Too many nodes, children of one node, or jobs below one root.
    #[error("enqueue the graph: {what} would be {count}; the limit is {limit}")]
    TooWide {
        /// What there are too many of.
        what: &'static str,
        /// How many there would be.
        count: i64,
        /// How many there may be.
        limit: i64,
    },
    /// A node waits for a job that does not exist.
    #[error("enqueue the graph: there is no job {job} to come after")]
    UnknownJob {
        /// The job.
        job: JobId,
    },
    /// A job cannot be enqueued.
    #[error("enqueue the node `{node}`")]
    Node {
        /// Its node.
        node: String,
        /// Why.
        #[source]
        source: EnqueueError,
    },
    /// The store failed.
    #[error("enqueue the graph")]
    Db(#[from] DbError),
}

impl GraphError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "graph_empty",
            Self::BadName { .. } => "graph_bad_name",
            Self::Duplicate { .. } => "graph_duplicate",
            Self::UnknownParent { .. } | Self::UnknownJob { .. } => "graph_unknown_parent",
            Self::SelfEdge { .. } | Self::Cycle { .. } => "graph_cycle",
            Self::TooDeep { .. } => "graph_too_deep",
            Self::TooWide { .. } => "graph_too_wide",
            Self::Node { source, .. } => source.code(),
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Empty => "give it at least one node",
            Self::BadName { .. } => {
                "a name has 1 to 64 of the characters a-z, A-Z, 0-9, `_`, `-` and `.`, and does not begin with `.` or `-`"
            }
            Self::Duplicate { .. } => "give each node a name of its own",
            Self::UnknownParent { .. } => "name a node of the same graph, or a job by its id",
            Self::UnknownJob { .. } => "`skep job list` names every job",
            Self::SelfEdge { .. } | Self::Cycle { .. } => "take one of these edges out",
            Self::TooDeep { .. } | Self::TooWide { .. } => {
                "split the work: enqueue the rest when this much of it has ended"
            }
            Self::Node { source, .. } => return source.hint(),
            Self::Db(_) => return None,
        };
        Some(hint.to_owned())
    }
}
