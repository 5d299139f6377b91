//! Jobs that ended without success: looked at, started again, dismissed.

use super::Client;
use super::path::{percent_encoded, with_query};
use crate::client_error::ClientError;
use crate::dead::{DeadClasses, DeadLetter, DeadView, DrainRequest, Drained};
use crate::document::{JobSubmitted, Page};
use skep_types::FailureClass;

/// Which dead letters a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadListQuery {
    /// Only jobs that failed as this.
    pub class: Option<FailureClass>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// The most items to answer.
    pub limit: Option<i64>,
}

impl Client {
    /// A page of dead letters, the newest job first.
    pub async fn dead(&self, query: &DeadListQuery) -> Result<Page<DeadLetter>, ClientError> {
        let limit = query.limit.map(|limit| limit.to_string());
        let class = query.class.map(FailureClass::as_str);
        let path = with_query(
            "/api/v1/dead",
            &[
                ("class", class),
                ("cursor", query.cursor.as_deref()),
                ("limit", limit.as_deref()),
            ],
        );
        self.get(&path).await
    }

    /// How many dead letters there are of each class.
    pub async fn dead_classes(&self) -> Result<DeadClasses, ClientError> {
        self.get("/api/v1/dead-classes").await
    }

    /// One dead letter with its evidence.
    pub async fn dead_letter(&self, reference: &str) -> Result<DeadView, ClientError> {
        self.get(&dead_path(reference, "")).await
    }

    /// Starts one dead job again.
    pub async fn replay(&self, reference: &str) -> Result<JobSubmitted, ClientError> {
        self.post(&dead_path(reference, "/replay"), None::<&()>)
            .await
    }

    /// Starts dead jobs again, in order.
    pub async fn drain(&self, request: &DrainRequest) -> Result<Drained, ClientError> {
        self.post("/api/v1/dead-drain", Some(request)).await
    }

    /// Says that nobody needs to look at a dead job any more.
    pub async fn dismiss(&self, reference: &str) -> Result<JobSubmitted, ClientError> {
        self.post(&dead_path(reference, "/dismiss"), None::<&()>)
            .await
    }
}

fn dead_path(reference: &str, rest: &str) -> String {
    format!("/api/v1/dead/{}{rest}", percent_encoded(reference))
}
