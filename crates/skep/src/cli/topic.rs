//! The options of `skep topic` and `skep alarm`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `skep topic`
#[derive(Debug, Subcommand)]
pub(crate) enum Topic {
    /// List topics with their groups: lag, dead letters, oldest unread
    List,
    /// Show one topic and where its groups stand
    Show(TopicReference),
    /// Print the newest messages of a topic
    Tail(TopicTail),
    /// List dead letters: what a group has given up on, and why
    Dead(TopicDead),
    /// Deliver one dead letter once more; its refusals stay counted
    Replay(MessageReference),
    /// Deliver the dead letters of a group once more, in their order
    Drain(TopicDrain),
    /// Say that nobody needs a dead letter, or a message that waits for its next try
    Dismiss(MessageReference),
    /// Produce one message; done when it is durable
    Produce(TopicProduce),
}

/// A command about one topic.
#[derive(Debug, Args)]
pub(crate) struct TopicReference {
    /// The topic's name
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
}

/// `skep topic tail`
#[derive(Debug, Args)]
pub(crate) struct TopicTail {
    /// The topic's name
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// The partition
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) partition: i64,
    /// The most messages to print
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=500))]
    pub(crate) limit: i64,
    /// Print the messages after this offset instead of the newest
    #[arg(long, value_name = "OFFSET")]
    pub(crate) cursor: Option<i64>,
}

/// `skep topic dead`
#[derive(Debug, Args)]
pub(crate) struct TopicDead {
    /// The topic's name
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// Only those of this group
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    /// The most to print
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=500))]
    pub(crate) limit: i64,
}

/// A command about one message.
#[derive(Debug, Args)]
pub(crate) struct MessageReference {
    /// The message, as in `reports/0/17`
    #[arg(value_name = "MESSAGE")]
    pub(crate) message: String,
    /// The group [default: the only one of the topic]
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
}

/// `skep topic drain`
#[derive(Debug, Args)]
pub(crate) struct TopicDrain {
    /// The topic's name
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// The group [default: the only one of the topic]
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    /// The most dead letters to deliver again
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(i64).range(1..=500))]
    pub(crate) limit: i64,
}

/// `skep topic produce`
#[derive(Debug, Args)]
pub(crate) struct TopicProduce {
    /// The topic's name
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// What the message says
    #[arg(value_name = "PAYLOAD", required_unless_present = "file")]
    pub(crate) payload: Option<String>,
    /// Read the payload from a file; `-` is the standard input
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "payload")]
    pub(crate) file: Option<PathBuf>,
    /// Messages of one key are read in order, one at a time
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Producing the same id again makes no second message
    #[arg(long, value_name = "ID")]
    pub(crate) dedup_id: Option<String>,
    /// Keep the payload in a file and send its name: for what is larger than the topic allows
    #[arg(long)]
    pub(crate) spill: bool,
}

/// `skep alarm`
#[derive(Debug, Subcommand)]
pub(crate) enum Alarm {
    /// List open alarms, newest first
    List(AlarmList),
    /// Say that an alarm was seen
    Ack(AlarmReference),
}

/// `skep alarm list`
#[derive(Debug, Args)]
pub(crate) struct AlarmList {
    /// Those that are over too
    #[arg(long)]
    pub(crate) all: bool,
    /// The most to print
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=500))]
    pub(crate) limit: i64,
}

/// A command about one alarm.
#[derive(Debug, Args)]
pub(crate) struct AlarmReference {
    /// The alarm's number
    #[arg(value_name = "ALARM")]
    pub(crate) number: i64,
}
