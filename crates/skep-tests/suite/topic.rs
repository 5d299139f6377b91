//! Topics: nothing lost, nothing skipped, nothing seen twice, and what is stuck is noticed.

mod dead;
mod effect;
mod fetch;
mod keep;
mod model;
mod produce;
mod random;
mod reader;

use crate::ledger::Ledgered;
use skep_db::{Db, DbError, Tx};
use skep_ledger::SealedEvent;
use skep_stdx::ManualClock;
use skep_testkit::TestStore;
use skep_topic::{
    DeadLetter, Delivery, FetchRequest, FinishError, Group, GroupName, ItemView, Lease, Message,
    MessageId, Payload, Poisoned, ProduceError, Produced, Readers, Topic, Topics,
};
use std::sync::Arc;

/// How long a lease lasts in these tests.
const LEASE_MS: i64 = 30_000;

/// A store with topics, and every operation on them as a transaction of its own.
#[derive(Clone)]
struct Stand {
    db: Db,
    ledger: Arc<Ledgered>,
    clock: ManualClock,
    topics: Topics,
}

/// A topic `bees` that the groups `a` and `b` read.
fn bees() -> Topic {
    Topic {
        readers: Readers::Running(vec![Group::new("a"), Group::new("b")]),
        ..Topic::new("bees")
    }
}

fn group(name: &str) -> GroupName {
    GroupName::new("bees", name)
}

fn id(partition: i64, offset: i64) -> MessageId {
    MessageId {
        topic: "bees".to_owned(),
        partition,
        offset,
    }
}

fn text(delivery: &Delivery) -> String {
    match &delivery.payload {
        Payload::Inline(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Payload::Spilled(reference) => format!("in {}", reference.place),
    }
}

fn texts(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(text).collect()
}

impl Stand {
    async fn open(store: &TestStore, declared: Vec<Topic>) -> anyhow::Result<Self> {
        let parts = [
            skep_authority::SCHEMA,
            skep_ledger::SCHEMA,
            skep_topic::SCHEMA,
        ];
        let ledger = Ledgered::open(store, &parts).await?;
        let topics = Topics::new(declared)?;
        topics.register(&ledger.db).await?;
        Ok(Self {
            db: ledger.db.clone(),
            ledger: Arc::new(ledger),
            clock: store.clock.clone(),
            topics,
        })
    }

    async fn produce(&self, message: Message) -> Result<Produced, ProduceError> {
        let topics = self.topics.clone();
        self.db
            .write("produce", async move |tx: &mut Tx<'_>| {
                topics.produce(tx, "bees", message.clone()).await
            })
            .await
    }

    async fn produce_all(&self, messages: Vec<Message>) -> Result<Vec<Produced>, ProduceError> {
        let topics = self.topics.clone();
        self.db
            .write("produce", async move |tx: &mut Tx<'_>| {
                topics.produce_all(tx, "bees", messages.clone()).await
            })
            .await
    }

    /// Messages `1` to `count`, without keys.
    async fn produce_numbers(&self, count: usize) -> anyhow::Result<()> {
        let numbers = (1..=count).map(|n| Message::new(n.to_string())).collect();
        self.produce_all(numbers).await?;
        Ok(())
    }

    async fn fetch(&self, name: &str, max: i64) -> Result<Vec<Delivery>, DbError> {
        self.fetch_as(name, max, "reader").await
    }

    async fn fetch_as(&self, name: &str, max: i64, by: &str) -> Result<Vec<Delivery>, DbError> {
        let group = group(name);
        let request = FetchRequest {
            max,
            lease_ms: LEASE_MS,
            holder: by.to_owned(),
        };
        self.db
            .write("fetch", async move |tx: &mut Tx<'_>| {
                skep_topic::fetch(tx, &group, &request).await
            })
            .await
    }

    /// The one message that a reader is handed.
    async fn fetch_one(&self, name: &str) -> anyhow::Result<Delivery> {
        let delivery = self.fetch(name, 1).await?.pop();
        delivery.ok_or_else(|| anyhow::anyhow!("there was nothing to read"))
    }

    async fn ack(&self, lease: &Lease) -> Result<(), FinishError> {
        let lease = lease.clone();
        self.db
            .write("ack", async move |tx: &mut Tx<'_>| {
                skep_topic::ack(tx, &lease).await
            })
            .await
    }

    async fn later(&self, lease: &Lease, delay_ms: i64) -> Result<(), FinishError> {
        let lease = lease.clone();
        self.db
            .write("later", async move |tx: &mut Tx<'_>| {
                skep_topic::retry_later(tx, &lease, delay_ms, "the hive is closed").await
            })
            .await
    }

    async fn poison(&self, lease: &Lease) -> Result<Poisoned, FinishError> {
        let lease = lease.clone();
        self.db
            .write("poison", async move |tx: &mut Tx<'_>| {
                skep_topic::poison(tx, &lease, 0, "it cannot be read").await
            })
            .await
    }

    /// Refuses the next message until it is a dead letter.
    async fn kill_one(&self, name: &str) -> anyhow::Result<MessageId> {
        loop {
            let delivery = self.fetch_one(name).await?;
            if self.poison(&delivery.lease).await? == Poisoned::Dead {
                return Ok(delivery.lease.message);
            }
        }
    }

    async fn dead(&self, name: &str) -> Result<Vec<DeadLetter>, DbError> {
        let name = name.to_owned();
        self.db
            .read("dead", async move |tx: &mut Tx<'_>| {
                skep_topic::dead_letters(tx, "bees", Some(&name), 100).await
            })
            .await
    }

    async fn item(&self, name: &str, message: &MessageId) -> Result<Option<ItemView>, DbError> {
        let (group, message) = (group(name), message.clone());
        self.db
            .read("item", async move |tx: &mut Tx<'_>| {
                skep_topic::item(tx, &group, &message).await
            })
            .await
    }

    /// The word for where a message stands, or `none`.
    async fn state(&self, name: &str, message: &MessageId) -> anyhow::Result<&'static str> {
        let item = self.item(name, message).await?;
        Ok(item.map_or("none", |item| item.state.as_str()))
    }

    async fn status(&self) -> anyhow::Result<skep_topic::TopicStatus> {
        let status = self
            .db
            .read("status", async |tx: &mut Tx<'_>| {
                skep_topic::status(tx, "bees").await
            })
            .await?;
        status.ok_or_else(|| anyhow::anyhow!("there is no such topic"))
    }

    async fn group_status(&self, name: &str) -> anyhow::Result<skep_topic::GroupStatus> {
        let mut groups = self.status().await?.groups;
        groups.retain(|group| group.name == name);
        groups
            .pop()
            .ok_or_else(|| anyhow::anyhow!("there is no such group"))
    }

    /// Every sealed event of a kind.
    async fn events(&self, kind: &str) -> anyhow::Result<Vec<SealedEvent>> {
        let mut events = self.ledger.events().await?;
        events.retain(|event| event.kind == kind);
        Ok(events)
    }
}
