//! Random sequences of operations: the topic answers and ends as the model does, after restarts of
//! the store too.

use super::model::{Model, Operation, TRIES_MAX};
use super::{LEASE_MS, Stand, bees, group, id};
use skep_db::Tx;
use skep_stdx::{Clock as _, Entropy as _, SeededEntropy};
use skep_testkit::{TestStore, on_both_engines};
use skep_topic::{DeadLetterError, FinishError, Group, Lease, Message, Poisoned, Readers, Topic};

on_both_engines!(seed_1, seed_2, seed_3, seed_4, seed_15);

async fn seed_1(store: TestStore) -> anyhow::Result<()> {
    sequence(store, 1).await
}

async fn seed_2(store: TestStore) -> anyhow::Result<()> {
    sequence(store, 2).await
}

async fn seed_3(store: TestStore) -> anyhow::Result<()> {
    sequence(store, 3).await
}

/// Two messages of one key among the first that nobody has looked at.
async fn seed_15(store: TestStore) -> anyhow::Result<()> {
    sequence(store, 15).await
}

/// A seed of one's own choice, as in `SKEP_TEST_SEED=77 cargo test -p skep-tests seed_4`.
async fn seed_4(store: TestStore) -> anyhow::Result<()> {
    let seed = std::env::var("SKEP_TEST_SEED").ok();
    sequence(store, seed.map_or(Ok(4), |seed| seed.parse())?).await
}

const OPERATIONS: usize = 500;

async fn sequence(store: TestStore, seed: u64) -> anyhow::Result<()> {
    let group = Group {
        tries_max: TRIES_MAX,
        ..Group::new("a")
    };
    let topic = Topic {
        readers: Readers::Running(vec![group]),
        ..bees()
    };
    let mut driver = Driver {
        stand: Stand::open(&store, vec![topic]).await?,
        leases: Vec::new(),
    };
    let mut model = Model::new(store.clock.now_ms());
    let dice = Dice(SeededEntropy::new(seed));
    for step in 0..OPERATIONS {
        let operation = dice.operation(&model);
        let expected = model.run(operation);
        let found = driver.run(operation).await?;
        assert_eq!(found, expected, "seed {seed}, step {step}: {operation:?}");
    }
    for (place, expected) in model.states().into_iter().enumerate() {
        let message = id(0, i64::try_from(place)? + 1);
        assert_eq!(
            driver.stand.state("a", &message).await?,
            expected,
            "seed {seed}, {message}"
        );
    }
    let status = driver.stand.group_status("a").await?;
    let count = |word| {
        model
            .states()
            .iter()
            .filter(|state| **state == word)
            .count()
    };
    let counted = [
        status.delivered,
        status.blocked,
        status.dismissed,
        status.delivering,
        status.lag,
    ];
    let expected = [
        count("delivered"),
        count("blocked"),
        count("dismissed"),
        count("delivering"),
        count("delivering") + count("pending"),
    ];
    assert_eq!(
        counted,
        expected.map(|count| i64::try_from(count).unwrap_or(-1)),
        "seed {seed}"
    );
    Ok(())
}

/// Runs operations on the real topic.
struct Driver {
    stand: Stand,
    leases: Vec<Lease>,
}

impl Driver {
    async fn run(&mut self, operation: Operation) -> anyhow::Result<String> {
        Ok(match operation {
            Operation::Produce { key, dedup } => self.produce(key, dedup).await?,
            Operation::Fetch { max } => self.fetch(max).await?,
            Operation::Ack { delivery } => {
                finished(self.stand.ack(&self.leases[delivery]).await.map(|()| "ok"))?
            }
            Operation::Later { delivery, delay_ms } => {
                let later = self.stand.later(&self.leases[delivery], delay_ms).await;
                finished(later.map(|()| "ok"))?
            }
            Operation::Poison { delivery } => {
                let poisoned = self.stand.poison(&self.leases[delivery]).await;
                finished(poisoned.map(|poisoned| match poisoned {
                    Poisoned::Again => "Again",
                    Poisoned::Dead => "Dead",
                }))?
            }
            Operation::Replay { message } => {
                let message = id(0, i64::try_from(message)? + 1);
                let replay = async move |tx: &mut Tx<'_>| {
                    skep_topic::replay(tx, &group("a"), &message).await
                };
                decided(self.stand.db.write("replay", replay).await)?
            }
            Operation::Dismiss { message } => {
                let message = id(0, i64::try_from(message)? + 1);
                let dismiss = async move |tx: &mut Tx<'_>| {
                    skep_topic::dismiss(tx, &group("a"), &message).await
                };
                decided(self.stand.db.write("dismiss", dismiss).await)?
            }
            Operation::Drain { limit } => {
                let limit = i64::try_from(limit)?;
                let drain =
                    async move |tx: &mut Tx<'_>| skep_topic::drain(tx, &group("a"), limit).await;
                self.stand
                    .db
                    .write("drain", drain)
                    .await?
                    .messages
                    .len()
                    .to_string()
            }
            Operation::Restart => {
                let back =
                    async |tx: &mut Tx<'_>| skep_topic::take_back(tx, &group("a"), "reader").await;
                self.stand.db.write("take back", back).await?.to_string()
            }
            Operation::Tick { ms } => {
                self.stand.clock.advance_ms(ms);
                String::new()
            }
        })
    }

    async fn produce(&self, key: u8, dedup: Option<u8>) -> anyhow::Result<String> {
        let mut message = Message::new("bee");
        message.key = (key > 0).then(|| format!("key {key}"));
        message.dedup_id = dedup.map(|id| format!("id {id}"));
        let produced = self.stand.produce(message).await?;
        let word = if produced.created { "new" } else { "earlier" };
        Ok(format!("{} {word}", produced.id.offset - 1))
    }

    async fn fetch(&mut self, max: usize) -> anyhow::Result<String> {
        let mut answer = Vec::new();
        for delivery in self.stand.fetch("a", i64::try_from(max)?).await? {
            let lease = &delivery.lease;
            answer.push(format!(
                "{} fence {} tries {} losses {}",
                lease.message.offset - 1,
                lease.fence,
                delivery.tries,
                delivery.losses
            ));
            self.leases.push(delivery.lease);
        }
        Ok(answer.join(", "))
    }
}

fn finished(answer: Result<&'static str, FinishError>) -> anyhow::Result<String> {
    match answer {
        Ok(word) => Ok(word.to_owned()),
        Err(FinishError::Stale { .. }) => Ok("stale".to_owned()),
        Err(error) => Err(error.into()),
    }
}

fn decided(answer: Result<(), DeadLetterError>) -> anyhow::Result<String> {
    match answer {
        Ok(()) => Ok("ok".to_owned()),
        Err(DeadLetterError::State { state, .. }) => Ok(format!("refused {state}")),
        Err(error) => Err(error.into()),
    }
}

struct Dice(SeededEntropy);

impl Dice {
    fn upto(&self, limit: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes) as usize % limit.max(1)
    }

    fn operation(&self, model: &Model) -> Operation {
        let (deliveries, messages) = (model.deliveries.len(), model.messages());
        // Mostly one of the newest: an old one is stale.
        let delivery = deliveries.saturating_sub(1 + self.upto(deliveries.min(12)));
        loop {
            let roll = self.upto(100);
            return match roll {
                0..30 => Operation::Produce {
                    key: u8::try_from(self.upto(4)).unwrap_or(0),
                    dedup: (self.upto(4) == 0).then(|| u8::try_from(self.upto(40)).unwrap_or(0)),
                },
                30..50 => Operation::Fetch {
                    max: 1 + self.upto(4),
                },
                50..62 if deliveries > 0 => Operation::Ack { delivery },
                62..70 if deliveries > 0 => Operation::Later {
                    delivery,
                    delay_ms: i64::try_from(self.upto(20_000)).unwrap_or(0),
                },
                70..80 if deliveries > 0 => Operation::Poison { delivery },
                80..84 if messages > 0 => Operation::Replay {
                    message: self.upto(messages),
                },
                84..87 if messages > 0 => Operation::Dismiss {
                    message: self.upto(messages),
                },
                87..89 => Operation::Drain {
                    limit: 1 + self.upto(3),
                },
                89..91 => Operation::Restart,
                91..100 => Operation::Tick {
                    ms: i64::try_from(self.upto(usize::try_from(LEASE_MS).unwrap_or(1)))
                        .unwrap_or(0),
                },
                _ => continue,
            };
        }
    }
}
