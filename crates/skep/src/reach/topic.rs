//! Topics, their messages and dead letters, and alarms, through the holder or directly.

use super::Reach;
use crate::failure::Failure;
use skep_api::{
    AlarmView, DeadMessageView, MessageView, MessagesChanged, Page, ProduceMessage,
    ProducedMessage, TopicView,
};

impl Reach {
    pub(crate) async fn topics(&self) -> Result<Page<TopicView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.topics().await?,
            Self::Direct(open) => open.director.topics().await?,
        })
    }

    pub(crate) async fn topic(&self, name: &str) -> Result<TopicView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.topic(name).await?,
            Self::Direct(open) => open.director.topic(name).await?,
        })
    }

    pub(crate) async fn messages(
        &self,
        topic: &str,
        partition: i64,
        after: Option<i64>,
        limit: Option<i64>,
    ) -> Result<Page<MessageView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.messages(topic, partition, after, limit).await?,
            Self::Direct(open) => {
                open.director
                    .messages(topic, partition, after, limit)
                    .await?
            }
        })
    }

    pub(crate) async fn produce(
        &self,
        topic: &str,
        message: ProduceMessage,
    ) -> Result<ProducedMessage, Failure> {
        Ok(match self {
            Self::Holder(client) => client.produce(topic, &message).await?,
            Self::Direct(open) => open.director.produce(topic, message).await?,
        })
    }

    pub(crate) async fn dead_messages(
        &self,
        topic: &str,
        group: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Page<DeadMessageView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.dead_messages(topic, group, limit).await?,
            Self::Direct(open) => open.director.dead_messages(topic, group, limit).await?,
        })
    }

    pub(crate) async fn drain_dead_messages(
        &self,
        topic: &str,
        group: Option<&str>,
        limit: Option<i64>,
    ) -> Result<MessagesChanged, Failure> {
        Ok(match self {
            Self::Holder(client) => client.drain_dead_messages(topic, group, limit).await?,
            Self::Direct(open) => {
                open.director
                    .drain_dead_messages(topic, group, limit)
                    .await?
            }
        })
    }

    pub(crate) async fn replay_message(
        &self,
        message: &str,
        group: Option<&str>,
    ) -> Result<MessagesChanged, Failure> {
        Ok(match self {
            Self::Holder(client) => client.replay_message(message, group).await?,
            Self::Direct(open) => open.director.replay_message(message, group).await?,
        })
    }

    pub(crate) async fn dismiss_message(
        &self,
        message: &str,
        group: Option<&str>,
    ) -> Result<MessagesChanged, Failure> {
        Ok(match self {
            Self::Holder(client) => client.dismiss_message(message, group).await?,
            Self::Direct(open) => open.director.dismiss_message(message, group).await?,
        })
    }

    pub(crate) async fn alarms(
        &self,
        all: bool,
        limit: Option<i64>,
    ) -> Result<Page<AlarmView>, Failure> {
        Ok(match self {
            Self::Holder(client) => client.alarms(all, limit).await?,
            Self::Direct(open) => open.director.alarms(all, limit).await?,
        })
    }

    pub(crate) async fn ack_alarm(&self, number: i64) -> Result<AlarmView, Failure> {
        Ok(match self {
            Self::Holder(client) => client.ack_alarm(number).await?,
            Self::Direct(open) => open.director.ack_alarm(number).await?,
        })
    }
}
