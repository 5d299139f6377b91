//! Schedules, through the holder or directly.

use super::Reach;
use crate::failure::Failure;
use skep_api::{
    FiringView, Page, PauseRequest, PreviewView, ScheduleRequest, ScheduleSummary, ScheduleView,
};

impl Reach {
    pub(crate) async fn add_schedule(
        &self,
        request: ScheduleRequest,
    ) -> Result<ScheduleView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.add_schedule(&request).await?,
            Self::Direct(open) => open.director.add_schedule(request).await?,
        })
    }

    pub(crate) async fn schedules(&self) -> Result<Page<ScheduleSummary>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.schedules().await?,
            Self::Direct(open) => open.director.schedules().await?,
        })
    }

    pub(crate) async fn schedule(&self, name: &str) -> Result<ScheduleView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.schedule(name).await?,
            Self::Direct(open) => open.director.schedule(name).await?,
        })
    }

    pub(crate) async fn schedule_next(
        &self,
        name: &str,
        count: i64,
    ) -> Result<PreviewView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.schedule_next(name, count).await?,
            Self::Direct(open) => open.director.schedule_next(name, Some(count)).await?,
        })
    }

    pub(crate) async fn firings(
        &self,
        name: &str,
        cursor: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<FiringView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.firings(name, cursor, limit).await?,
            Self::Direct(open) => open.director.firings(name, cursor, limit).await?,
        })
    }

    pub(crate) async fn pause_schedule(
        &self,
        name: &str,
        request: PauseRequest,
    ) -> Result<ScheduleView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.pause_schedule(name, &request).await?,
            Self::Direct(open) => open.director.pause_schedule(name, request).await?,
        })
    }

    pub(crate) async fn resume_schedule(&self, name: &str) -> Result<ScheduleView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.resume_schedule(name).await?,
            Self::Direct(open) => open.director.resume_schedule(name).await?,
        })
    }

    pub(crate) async fn run_schedule(&self, name: &str) -> Result<FiringView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.run_schedule(name).await?,
            Self::Direct(open) => open.director.run_schedule(name).await?,
        })
    }

    pub(crate) async fn remove_schedule(&self, name: &str) -> Result<ScheduleView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.remove_schedule(name).await?,
            Self::Direct(open) => open.director.remove_schedule(name).await?,
        })
    }
}
