//! Queues: how they stand, paused and resumed.

use super::Client;
use super::path::percent_encoded;
use crate::client_error::ClientError;
use crate::document::Page;
use crate::queue::QueueView;

impl Client {
    /// How the queues stand.
    pub async fn queues(&self) -> Result<Page<QueueView>, ClientError> {
        self.get("/api/v1/queues").await
    }

    /// Pauses a queue.
    pub async fn pause_queue(&self, queue: &str) -> Result<QueueView, ClientError> {
        self.post(&queue_path(queue, "/pause"), None::<&()>).await
    }

    /// Lets a paused queue go on.
    pub async fn resume_queue(&self, queue: &str) -> Result<QueueView, ClientError> {
        self.post(&queue_path(queue, "/resume"), None::<&()>).await
    }
}

fn queue_path(queue: &str, rest: &str) -> String {
    format!("/api/v1/queues/{}{rest}", percent_encoded(queue))
}
