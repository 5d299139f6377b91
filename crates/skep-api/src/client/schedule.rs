//! Schedules: made, looked at, paused, run, taken away.

use super::Client;
use super::path::{percent_encoded, with_query};
use crate::client_error::ClientError;
use crate::document::Page;
use crate::schedule::{
    FiringView, PauseRequest, PreviewView, ScheduleRequest, ScheduleSummary, ScheduleView,
};

impl Client {
    /// Makes a schedule.
    pub async fn add_schedule(
        &self,
        request: &ScheduleRequest,
    ) -> Result<ScheduleView, ClientError> {
        self.post("/api/v1/schedules", Some(request)).await
    }

    /// Every schedule, by name.
    pub async fn schedules(&self) -> Result<Page<ScheduleSummary>, ClientError> {
        self.get("/api/v1/schedules").await
    }

    /// One schedule, by name or id.
    pub async fn schedule(&self, name: &str) -> Result<ScheduleView, ClientError> {
        self.get(&schedule_path(name, "")).await
    }

    /// The next times of a schedule.
    pub async fn schedule_next(&self, name: &str, count: i64) -> Result<PreviewView, ClientError> {
        let count = count.to_string();
        let path = with_query(&schedule_path(name, "/next"), &[("limit", Some(&count))]);
        self.get(&path).await
    }

    /// What became of a schedule's times, newest first.
    pub async fn firings(
        &self,
        name: &str,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<FiringView>, ClientError> {
        let limit = limit.map(|limit| limit.to_string());
        let query = [("cursor", cursor), ("limit", limit.as_deref())];
        self.get(&with_query(&schedule_path(name, "/firings"), &query))
            .await
    }

    /// Stops a schedule from firing.
    pub async fn pause_schedule(
        &self,
        name: &str,
        request: &PauseRequest,
    ) -> Result<ScheduleView, ClientError> {
        self.post(&schedule_path(name, "/pause"), Some(request))
            .await
    }

    /// Lets a schedule fire again.
    pub async fn resume_schedule(&self, name: &str) -> Result<ScheduleView, ClientError> {
        self.post(&schedule_path(name, "/resume"), None::<&()>)
            .await
    }

    /// Begins a run of a schedule now.
    pub async fn run_schedule(&self, name: &str) -> Result<FiringView, ClientError> {
        self.post(&schedule_path(name, "/run"), None::<&()>).await
    }

    /// Takes a schedule away.
    pub async fn remove_schedule(&self, name: &str) -> Result<ScheduleView, ClientError> {
        self.post(&schedule_path(name, "/remove"), None::<&()>)
            .await
    }
}

fn schedule_path(name: &str, rest: &str) -> String {
    format!("/api/v1/schedules/{}{rest}", percent_encoded(name))
}
