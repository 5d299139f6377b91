//! Jobs that depend on one another: whole plans in one transaction, edges with policies, parts of
//! a job, and artifacts by reference.
//!
//! Owns `job_node`, `job_edge`, `job_tree` and `artifact`. Two relations are kept apart. An *edge*
//! says that a job waits for another one's end. A *part* (`parent` of a job) belongs to another
//! job, which may wait until all its parts have ended, and whose limits bound how much is asked
//! for below it.
//!
//! Invariants:
//! - a job is `blocked` only while an edge of it is open, and no open edge has an ended parent, so
//!   a graph whose jobs have all been let end holds no blocked job;
//! - an edge is settled by the transaction that ends its parent, and together with everything
//!   that follows from it, in a number of statements that does not grow with the graph;
//! - levels grow along every edge. Nodes are locked in the order of level and id, and rows of
//!   `job_tree` after them, so that two parents that end at once neither lose a release nor wait
//!   for each other in a circle.

mod artifact;
mod check;
mod enqueue;
mod error;
mod read;
mod release;
mod reopen;
mod set;
mod settle;
mod tree;

pub use artifact::{Artifact, NewArtifact, artifacts, is_artifact_name, put_artifacts};
pub use check::{Order, Shape, order};
pub use enqueue::{Edge, EdgeParent, EdgePolicy, GraphNode, enqueue_graph, enqueue_parent};
pub use error::GraphError;
pub use read::{EdgeView, NodeView, edges_to, node_name, nodes_below, ordered_with};
pub use tree::{TreeCancelled, cancel_tree, ending_trees, parts_by_state, wait_for_children};

pub(crate) use reopen::reopen;
pub(crate) use settle::{Ended, settle};
pub(crate) use tree::join;
