//! Plans: several jobs in order.

use super::Client;
use super::path::percent_encoded;
use crate::client_error::ClientError;
use crate::plan::{PlanRequest, PlanView};

impl Client {
    /// Queues a whole plan.
    pub async fn run_plan(&self, request: &PlanRequest) -> Result<PlanView, ClientError> {
        self.post("/api/v1/plans", Some(request)).await
    }

    /// What a plan would be.
    pub async fn check_plan(&self, request: &PlanRequest) -> Result<PlanView, ClientError> {
        self.post("/api/v1/plans/check", Some(request)).await
    }

    /// A plan, by id or number.
    pub async fn plan(&self, reference: &str) -> Result<PlanView, ClientError> {
        self.get(&plan_path(reference)).await
    }
}

fn plan_path(reference: &str) -> String {
    format!("/api/v1/plans/{}", percent_encoded(reference))
}
