//! Jobs: asked for, looked at, ended, started again.

use super::Client;
use super::path::{percent_encoded, with_query};
use crate::client_error::ClientError;
use crate::document::{
    DiffView, DispatchRequest, JobSubmitted, JobSummary, JobView, LogView, Page, RetryRequest,
};
use crate::kind::{CallRequest, ShellRequest};
use crate::plan::CancelRequest;

/// Which jobs a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobListQuery {
    /// Job states, separated by commas; all when absent.
    pub state: Option<String>,
    /// Only jobs of this project.
    pub project: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// The most items to answer.
    pub limit: Option<i64>,
}

impl Client {
    /// Makes a job of an instruction.
    pub async fn dispatch(&self, request: &DispatchRequest) -> Result<JobSubmitted, ClientError> {
        self.post("/api/v1/jobs", Some(request)).await
    }

    /// Makes a job of one model call.
    pub async fn dispatch_call(&self, request: &CallRequest) -> Result<JobSubmitted, ClientError> {
        self.post("/api/v1/calls", Some(request)).await
    }

    /// Makes a job of one command.
    pub async fn dispatch_shell(
        &self,
        request: &ShellRequest,
    ) -> Result<JobSubmitted, ClientError> {
        self.post("/api/v1/shells", Some(request)).await
    }

    /// One job, by id or number.
    pub async fn job(&self, reference: &str) -> Result<JobView, ClientError> {
        self.get(&job_path(reference, "")).await
    }

    /// A page of jobs, newest first.
    pub async fn jobs(&self, query: &JobListQuery) -> Result<Page<JobSummary>, ClientError> {
        let limit = query.limit.map(|limit| limit.to_string());
        let path = with_query(
            "/api/v1/jobs",
            &[
                ("state", query.state.as_deref()),
                ("project", query.project.as_deref()),
                ("cursor", query.cursor.as_deref()),
                ("limit", limit.as_deref()),
            ],
        );
        self.get(&path).await
    }

    /// What a worker wrote; the newest attempt's when `attempt` is absent.
    pub async fn job_log(
        &self,
        reference: &str,
        attempt: Option<&str>,
    ) -> Result<LogView, ClientError> {
        let path = with_query(&job_path(reference, "/log"), &[("attempt", attempt)]);
        self.get(&path).await
    }

    /// What a job changed.
    pub async fn job_diff(&self, reference: &str) -> Result<DiffView, ClientError> {
        self.get(&job_path(reference, "/diff")).await
    }

    /// Ends a job.
    pub async fn cancel(&self, reference: &str) -> Result<JobSubmitted, ClientError> {
        self.post(&job_path(reference, "/cancel"), None::<&()>)
            .await
    }

    /// Ends a job, its parts, and whatever waits for one of them.
    pub async fn cancel_tree(&self, reference: &str) -> Result<JobSubmitted, ClientError> {
        let request = CancelRequest { tree: true };
        self.post(&job_path(reference, "/cancel"), Some(&request))
            .await
    }

    /// Starts an ended job again.
    pub async fn retry(
        &self,
        reference: &str,
        request: &RetryRequest,
    ) -> Result<JobSubmitted, ClientError> {
        self.post(&job_path(reference, "/retry"), Some(request))
            .await
    }
}

fn job_path(reference: &str, rest: &str) -> String {
    format!("/api/v1/jobs/{}{rest}", percent_encoded(reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_cannot_leave_its_place_in_the_path() {
        assert_eq!(
            job_path("../x?y=1", "/log"),
            "/api/v1/jobs/..%2Fx%3Fy%3D1/log"
        );
    }
}
