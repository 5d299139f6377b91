//! Topics, their messages and dead letters, and alarms.

use super::Client;
use super::path::{percent_encoded, with_query};
use crate::client_error::ClientError;
use crate::document::Page;
use crate::topic::{
    AlarmView, DeadMessageView, MessageView, MessagesChanged, ProduceMessage, ProducedMessage,
    TopicView,
};

impl Client {
    /// Every topic with its groups.
    pub async fn topics(&self) -> Result<Page<TopicView>, ClientError> {
        self.get("/api/v1/topics").await
    }

    /// One topic with its groups.
    pub async fn topic(&self, name: &str) -> Result<TopicView, ClientError> {
        self.get(&topic_path(name, "")).await
    }

    /// Messages of one partition after an offset; the newest without one.
    pub async fn messages(
        &self,
        topic: &str,
        partition: i64,
        after: Option<i64>,
        limit: Option<i64>,
    ) -> Result<Page<MessageView>, ClientError> {
        let partition = partition.to_string();
        let after = after.map(|after| after.to_string());
        let limit = limit.map(|limit| limit.to_string());
        let query = [
            ("partition", Some(partition.as_str())),
            ("after", after.as_deref()),
            ("limit", limit.as_deref()),
        ];
        self.get(&with_query(&topic_path(topic, "/messages"), &query))
            .await
    }

    /// Produces one message.
    pub async fn produce(
        &self,
        topic: &str,
        message: &ProduceMessage,
    ) -> Result<ProducedMessage, ClientError> {
        self.post(&topic_path(topic, "/messages"), Some(message))
            .await
    }

    /// What the groups of a topic have given up on.
    pub async fn dead_messages(
        &self,
        topic: &str,
        group: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<DeadMessageView>, ClientError> {
        let limit = limit.map(|limit| limit.to_string());
        let query = [("group", group), ("limit", limit.as_deref())];
        self.get(&with_query(&topic_path(topic, "/dead"), &query))
            .await
    }

    /// Has the dead letters of a group delivered once more, in order.
    pub async fn drain_dead_messages(
        &self,
        topic: &str,
        group: Option<&str>,
        limit: Option<i64>,
    ) -> Result<MessagesChanged, ClientError> {
        let limit = limit.map(|limit| limit.to_string());
        let query = [("group", group), ("limit", limit.as_deref())];
        self.post(
            &with_query(&topic_path(topic, "/drain"), &query),
            None::<&()>,
        )
        .await
    }

    /// Has one dead letter delivered once more.
    pub async fn replay_message(
        &self,
        message: &str,
        group: Option<&str>,
    ) -> Result<MessagesChanged, ClientError> {
        self.decide(message, group, "replay").await
    }

    /// Says that nobody needs a message.
    pub async fn dismiss_message(
        &self,
        message: &str,
        group: Option<&str>,
    ) -> Result<MessagesChanged, ClientError> {
        self.decide(message, group, "dismiss").await
    }

    /// Alarms, newest first; with `all` those that are over too.
    pub async fn alarms(
        &self,
        all: bool,
        limit: Option<i64>,
    ) -> Result<Page<AlarmView>, ClientError> {
        let limit = limit.map(|limit| limit.to_string());
        let query = [("all", all.then_some("1")), ("limit", limit.as_deref())];
        self.get(&with_query("/api/v1/alarms", &query)).await
    }

    /// Says that an alarm was seen.
    pub async fn ack_alarm(&self, number: i64) -> Result<AlarmView, ClientError> {
        self.post(&format!("/api/v1/alarms/{number}/ack"), None::<&()>)
            .await
    }

    async fn decide(
        &self,
        message: &str,
        group: Option<&str>,
        decision: &str,
    ) -> Result<MessagesChanged, ClientError> {
        let path = format!("/api/v1/messages/{}/{decision}", percent_encoded(message));
        self.post(&with_query(&path, &[("group", group)]), None::<&()>)
            .await
    }
}

fn topic_path(topic: &str, rest: &str) -> String {
    format!("/api/v1/topics/{}{rest}", percent_encoded(topic))
}
