//! Producing: offsets without gaps in the order of the commits, dedup, size, schema.

use super::{Stand, bees, group, id};
use skep_db::{DbError, Tx};
use skep_stdx::{Entropy as _, SeededEntropy};
use skep_testkit::{TestStore, on_both_engines};
use skep_topic::{
    DeclareError, FetchRequest, Message, MessageId, Payload, ProduceError, Readers, Spill, Topic,
    Topics,
};
use std::collections::BTreeSet;

on_both_engines!(
    a_batch_is_all_or_nothing,
    a_message_commits_with_its_change_or_not_at_all,
    a_message_is_of_the_topics_schema,
    a_message_that_is_too_large_is_refused_and_is_an_alarm,
    a_spilled_payload_goes_by_reference,
    one_dedup_id_is_one_message,
    partitions_are_fixed,
    producers_at_once_leave_no_gap_and_a_reader_skips_nothing,
    the_ledger_has_the_digest_and_no_text,
);

async fn a_message_commits_with_its_change_or_not_at_all(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    let topics = stand.topics.clone();
    let failed = stand
        .db
        .write("fail", async move |tx: &mut Tx<'_>| {
            topics.produce(tx, "bees", Message::new("lost")).await?;
            Err::<(), ProduceError>(DbError::Closed.into())
        })
        .await;
    assert!(failed.is_err());
    let produced = stand.produce(Message::new("kept")).await?;
    assert_eq!(
        (produced.id, produced.created),
        (id(0, 1), true),
        "no gap is left"
    );
    assert_eq!(stand.events("message_produced").await?.len(), 1);
    Ok(())
}

async fn the_ledger_has_the_digest_and_no_text(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    let message = Message::new("abc").with_key("queen of the hive");
    stand.produce(message).await?;
    stand
        .produce_all(vec![Message::new("abc"), Message::new("")])
        .await?;
    // SHA-256 of "abc" and of nothing, as FIPS 180-2 and every other list has them.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let one = stand.events("message_produced").await?;
    let payload = String::from_utf8(one[0].payload.clone())?;
    assert_eq!(
        payload,
        format!(
            r#"{{"topic":"bees","partition":0,"offset":1,"payload_sha256":"{abc}","bytes":3,"spilled":false}}"#
        )
    );
    let batch = stand.events("messages_produced").await?;
    let payload = String::from_utf8(batch[0].payload.clone())?;
    for digest in [abc, empty] {
        assert!(payload.contains(digest), "{payload}");
    }
    assert!(!payload.contains("abc\""), "{payload}");
    Ok(())
}

async fn a_batch_is_all_or_nothing(store: TestStore) -> anyhow::Result<()> {
    let topic = Topic {
        payload_bytes_max: 4,
        partitions: 3,
        ..bees()
    };
    let stand = Stand::open(&store, vec![topic]).await?;
    let batch = vec![Message::new("fits"), Message::new("too long")];
    assert!(matches!(
        stand.produce_all(batch).await,
        Err(ProduceError::Oversize {
            bytes: 8,
            max: 4,
            ..
        })
    ));
    assert_eq!(stand.status().await?.produced, 0);
    let keys = ["a", "b", "c", "a", "b", "a"];
    let batch = keys.map(|key| Message::new(key).with_key(key)).to_vec();
    let produced = stand.produce_all(batch).await?;
    let of_a: Vec<&MessageId> = [0, 3, 5].map(|place| &produced[place].id).to_vec();
    assert!(
        of_a.windows(2)
            .all(|w| w[0].partition == w[1].partition && w[0].offset < w[1].offset)
    );
    assert_eq!(stand.status().await?.produced, 6);
    let too_many = vec![Message::new(""); 1_001];
    assert!(matches!(
        stand.produce_all(too_many).await,
        Err(ProduceError::Invalid { .. })
    ));
    Ok(())
}

async fn one_dedup_id_is_one_message(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(
        &store,
        vec![Topic {
            partitions: 4,
            ..bees()
        }],
    )
    .await?;
    let message = Message::new("one").with_key("k").with_dedup_id("order 7");
    let first = stand.produce(message.clone()).await?;
    let again = stand.produce(message.clone()).await?;
    assert_eq!(
        (again.id.clone(), first.created, again.created),
        (first.id.clone(), true, false)
    );
    let other = Message::new("two").with_dedup_id("order 7");
    match stand.produce(other).await {
        Err(ProduceError::Conflict { existing }) => assert_eq!(existing, first.id),
        answer => anyhow::bail!("{answer:?}"),
    }
    // Twice in one batch, and many at once.
    let batch = vec![
        Message::new("x").with_dedup_id("b"),
        Message::new("x").with_dedup_id("b"),
    ];
    let produced = stand.produce_all(batch).await?;
    assert_eq!(produced[0].id, produced[1].id);
    assert_eq!((produced[0].created, produced[1].created), (true, false));
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let stand = stand.clone();
            let message = Message::new("y").with_dedup_id("c");
            skep_stdx::spawn("producer", async move { stand.produce(message).await })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        created += usize::from(task.await??.created);
    }
    assert_eq!(created, 1);
    assert_eq!(stand.status().await?.kept, 3);
    Ok(())
}

async fn a_message_that_is_too_large_is_refused_and_is_an_alarm(
    store: TestStore,
) -> anyhow::Result<()> {
    let stand = Stand::open(
        &store,
        vec![Topic {
            payload_bytes_max: 3,
            ..bees()
        }],
    )
    .await?;
    stand.produce(Message::new("123")).await?;
    let error = match stand.produce(Message::new("1234")).await {
        Err(error) => error,
        Ok(produced) => anyhow::bail!("{produced:?}"),
    };
    assert_eq!(error.code(), "message_oversize");
    assert!(error.hint().contains("--spill"), "{}", error.hint());
    for _ in 0..2 {
        stand.topics.refused(&stand.db, &error).await?;
    }
    let alarms = async |tx: &mut Tx<'_>| skep_topic::alarm::alarms(tx, false, 10).await;
    let alarms = stand.db.read("alarms", alarms).await?;
    let [alarm] = alarms.as_slice() else {
        anyhow::bail!("one alarm: {alarms:?}");
    };
    assert_eq!(
        (alarm.kind.as_str(), alarm.subject.as_str()),
        ("message_oversize", "bees")
    );
    assert_eq!(alarm.occurrences, 2);
    assert_eq!(stand.status().await?.produced, 1);
    Ok(())
}

async fn a_spilled_payload_goes_by_reference(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(
        &store,
        vec![Topic {
            payload_bytes_max: 3,
            ..bees()
        }],
    )
    .await?;
    let spill = Spill::at(store.folder().join("spill"));
    let large = vec![b'x'; 100_000];
    let reference = spill.put(&large)?;
    let message = Message {
        key: None,
        dedup_id: None,
        payload: Payload::Spilled(reference.clone()),
    };
    stand.produce(message).await?;
    let delivery = stand.fetch_one("a").await?;
    let Payload::Spilled(found) = &delivery.payload else {
        anyhow::bail!("{delivery:?}");
    };
    assert_eq!((found, spill.get(found)?), (&reference, large));
    assert_eq!(stand.status().await?.bytes, 100_000);
    // A file that a message names stays, however old; one that none names goes.
    spill.put(b"orphan")?;
    let in_a_year = i64::MAX / 2;
    assert_eq!(spill.sweep(&stand.db, in_a_year).await?, 1);
    assert!(spill.get(&reference).is_ok());
    Ok(())
}

async fn a_message_is_of_the_topics_schema(store: TestStore) -> anyhow::Result<()> {
    let schema = serde_json::json!({
        "type": "object", "required": ["bees"], "properties": { "bees": { "type": "integer" } },
    });
    let stand = Stand::open(
        &store,
        vec![Topic {
            schema: Some(schema),
            ..bees()
        }],
    )
    .await?;
    stand.produce(Message::new(r#"{"bees":3}"#)).await?;
    for payload in ["{}", r#"{"bees":"secret honey"}"#, "no JSON", ""] {
        match stand.produce(Message::new(payload)).await {
            Err(ProduceError::Schema { reason, .. }) => {
                assert!(!reason.contains("honey"), "{reason}");
            }
            answer => anyhow::bail!("{payload}: {answer:?}"),
        }
    }
    assert_eq!(stand.status().await?.produced, 1);
    Ok(())
}

async fn partitions_are_fixed(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    let more = Topics::new(vec![Topic {
        partitions: 2,
        ..bees()
    }])?;
    let refused = more.register(&stand.db).await;
    assert!(matches!(
        refused,
        Err(DeclareError::Partitions {
            found: 1,
            asked: 2,
            ..
        })
    ));
    // Everything else may change.
    let other = Topic {
        retention_ms: 60_000,
        readers: Readers::None,
        ..bees()
    };
    Topics::new(vec![other])?.register(&stand.db).await?;
    let status = stand.status().await?;
    assert_eq!(
        (status.retention_ms, status.readers.as_str()),
        (60_000, "none")
    );
    Ok(())
}

const PRODUCERS: usize = 24;
const EACH: usize = 12;

/// Producers begin in one order and commit in another, some give up; a reader that follows by its
/// cursor meanwhile sees every offset, each once, in order; and so does a group afterwards.
async fn producers_at_once_leave_no_gap_and_a_reader_skips_nothing(
    store: TestStore,
) -> anyhow::Result<()> {
    let stand = Stand::open(
        &store,
        vec![Topic {
            partitions: 3,
            ..bees()
        }],
    )
    .await?;
    let tasks = (0..PRODUCERS).map(|producer| {
        let stand = stand.clone();
        skep_stdx::spawn(
            "producer",
            async move { produce_some(&stand, producer).await },
        )
    });
    let tasks: Vec<_> = tasks.collect();
    let (mut followed, mut expected) = ([0; 3], BTreeSet::new());
    for task in tasks {
        // One look for every producer that has ended, while the others are at it.
        follow(&stand, &mut followed).await?;
        expected.extend(task.await??);
    }
    follow(&stand, &mut followed).await?;
    assert_eq!(followed.iter().sum::<i64>(), i64::try_from(expected.len())?);
    let mut seen = Vec::new();
    loop {
        let batch = read_some(&stand).await?;
        if batch.is_empty() {
            break;
        }
        seen.extend(batch);
    }
    let ids: BTreeSet<&MessageId> = seen.iter().map(|(id, _)| id).collect();
    assert_eq!(
        (ids.len(), seen.len()),
        (expected.len(), expected.len()),
        "each once"
    );
    let found: BTreeSet<String> = seen.iter().map(|(_, text)| text.clone()).collect();
    assert_eq!(found, expected);
    // What one producer wrote one after another under one key is in that order.
    for producer in 0..PRODUCERS {
        let prefix = format!("{producer}:");
        let own = seen
            .iter()
            .filter_map(|(_, text)| text.strip_prefix(&prefix)?.parse().ok());
        let own: Vec<usize> = own.collect();
        assert!(own.is_sorted(), "{producer}: {own:?}");
    }
    Ok(())
}

/// Reads on from the cursors; a gap would be a message that was skipped for good.
async fn follow(stand: &Stand, cursors: &mut [i64; 3]) -> anyhow::Result<()> {
    for (partition, cursor) in (0..).zip(cursors) {
        let after = *cursor;
        let page = async move |tx: &mut Tx<'_>| {
            skep_topic::messages(tx, "bees", partition, after, 500).await
        };
        for message in stand.db.read("follow", page).await? {
            assert_eq!(message.id.offset, *cursor + 1, "partition {partition}");
            *cursor = message.id.offset;
        }
    }
    Ok(())
}

async fn produce_some(stand: &Stand, producer: usize) -> anyhow::Result<Vec<String>> {
    let dice = SeededEntropy::new(producer as u64);
    let mut produced = Vec::new();
    for n in 0..EACH {
        let mut byte = [0];
        dice.fill(&mut byte);
        let text = format!("{producer}:{n}");
        let message = Message::new(text.clone()).with_key(format!("producer {producer}"));
        let (topics, gives_up) = (stand.topics.clone(), byte[0] % 4 == 0);
        let outcome = stand
            .db
            .write("produce", async move |tx: &mut Tx<'_>| {
                topics.produce(tx, "bees", message.clone()).await?;
                // Other producers run in between, whatever holds no lock.
                tx.query("SELECT COUNT(*) AS topics FROM topic", &[])
                    .await?;
                if gives_up {
                    Err(DbError::Closed.into())
                } else {
                    Ok::<_, ProduceError>(())
                }
            })
            .await;
        match outcome {
            Ok(()) => produced.push(text),
            Err(ProduceError::Db(DbError::Closed)) if gives_up => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(produced)
}

/// Reads and answers in one transaction, as a reader does whose effect is in the store.
async fn read_some(stand: &Stand) -> anyhow::Result<Vec<(MessageId, String)>> {
    let request = FetchRequest {
        max: 50,
        lease_ms: super::LEASE_MS,
        holder: "follower".to_owned(),
    };
    let deliveries = stand
        .db
        .write("follow", async move |tx: &mut Tx<'_>| {
            let deliveries = skep_topic::fetch(tx, &group("a"), &request).await?;
            for delivery in &deliveries {
                skep_topic::ack(tx, &delivery.lease).await?;
            }
            Ok::<_, skep_topic::FinishError>(deliveries)
        })
        .await?;
    let read = deliveries
        .iter()
        .map(|d| (d.lease.message.clone(), super::text(d)));
    Ok(read.collect())
}
