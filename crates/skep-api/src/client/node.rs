//! Nodes of the store: looked at, drained, let work again.

use super::Client;
use super::path::percent_encoded;
use crate::client_error::ClientError;
use crate::document::Page;
use crate::node::NodeView;

impl Client {
    /// The nodes of the store.
    pub async fn nodes(&self) -> Result<Page<NodeView>, ClientError> {
        self.get("/api/v1/nodes").await
    }

    /// Lets a node take no more work.
    pub async fn drain_node(&self, node: &str) -> Result<NodeView, ClientError> {
        self.post(&node_path(node, "/drain"), None::<&()>).await
    }

    /// Lets a drained node work again.
    pub async fn resume_node(&self, node: &str) -> Result<NodeView, ClientError> {
        self.post(&node_path(node, "/resume"), None::<&()>).await
    }
}

fn node_path(node: &str, rest: &str) -> String {
    format!("/api/v1/nodes/{}{rest}", percent_encoded(node))
}
