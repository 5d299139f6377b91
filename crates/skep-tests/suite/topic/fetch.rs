//! Handing out and answering: order per key, leases, refusals that count and delays that do not.

use super::{LEASE_MS, Stand, bees, group, id, texts};
use skep_db::{DbError, Tx};
use skep_testkit::{TestStore, on_both_engines};
use skep_topic::{FinishError, Group, Message, Poisoned, Readers, Start, Topic, Topics};

on_both_engines!(
    a_group_starts_where_it_was_declared_to,
    a_lease_that_ran_out_is_handed_out_again_and_the_old_one_is_refused,
    a_message_that_kills_its_readers_becomes_a_dead_letter,
    a_partition_that_is_full_starves_no_other,
    a_passing_reason_counts_for_nothing,
    a_reader_that_starts_again_gets_back_what_it_held,
    a_refusal_counts_until_the_limit,
    every_group_reads_everything,
    leases_can_be_extended,
    of_one_key_one_message_is_out_and_in_order,
    readers_at_once_share_the_work,
);

async fn every_group_reads_everything(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    stand.produce_numbers(3).await?;
    for name in ["a", "b"] {
        assert_eq!(stand.state(name, &id(0, 1)).await?, "pending");
        let first = stand.fetch(name, 2).await?;
        assert_eq!(texts(&first), ["1", "2"]);
        assert_eq!(stand.state(name, &id(0, 1)).await?, "delivering");
        for delivery in &first {
            stand.ack(&delivery.lease).await?;
        }
        assert_eq!(stand.state(name, &id(0, 1)).await?, "delivered");
        let status = stand.group_status(name).await?;
        assert_eq!((status.lag, status.delivered), (1, 2));
        assert_eq!(texts(&stand.fetch(name, 2).await?), ["3"]);
        assert_eq!(texts(&stand.fetch(name, 2).await?), [""; 0]);
    }
    assert_eq!(stand.state("a", &id(0, 4)).await?, "none");
    assert_eq!(stand.state("c", &id(0, 1)).await?, "none");
    assert_eq!(stand.events("messages_delivered").await?.len(), 4);
    Ok(())
}

async fn of_one_key_one_message_is_out_and_in_order(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    let keys = [
        ("x1", "x"),
        ("x2", "x"),
        ("y1", "y"),
        ("x3", "x"),
        ("y2", "y"),
    ];
    let batch = keys
        .map(|(text, key)| Message::new(text).with_key(key))
        .to_vec();
    stand.produce_all(batch).await?;
    stand.produce(Message::new("free")).await?;
    let first = stand.fetch("a", 10).await?;
    assert_eq!(texts(&first), ["x1", "y1", "free"]);
    assert_eq!(texts(&stand.fetch("a", 10).await?), [""; 0]);
    // Put off, it still holds its key.
    stand.later(&first[0].lease, 1_000).await?;
    stand.ack(&first[1].lease).await?;
    assert_eq!(texts(&stand.fetch("a", 10).await?), ["y2"]);
    stand.clock.advance_ms(1_000);
    let again = stand.fetch("a", 10).await?;
    assert_eq!(texts(&again), ["x1"]);
    // A dead letter does not.
    let mut lease = again[0].lease.clone();
    while stand.poison(&lease).await? != Poisoned::Dead {
        lease = stand.fetch_one("a").await?.lease;
    }
    let next = stand.fetch("a", 10).await?;
    assert_eq!(texts(&next), ["x2"]);
    stand.ack(&next[0].lease).await?;
    assert_eq!(texts(&stand.fetch("a", 10).await?), ["x3"]);
    Ok(())
}

async fn a_lease_that_ran_out_is_handed_out_again_and_the_old_one_is_refused(
    store: TestStore,
) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    stand.produce_numbers(1).await?;
    let first = stand.fetch_one("a").await?;
    stand.clock.advance_ms(LEASE_MS - 1);
    assert_eq!(texts(&stand.fetch("a", 1).await?), [""; 0]);
    stand.clock.advance_ms(1);
    let second = stand.fetch_one("a").await?;
    assert_eq!(second.lease.message, first.lease.message);
    assert!(second.lease.fence > first.lease.fence);
    assert_eq!((second.losses, second.tries), (1, 0));
    for answer in [
        stand.ack(&first.lease).await,
        stand.later(&first.lease, 0).await,
    ] {
        assert!(
            matches!(answer, Err(FinishError::Stale { .. })),
            "{answer:?}"
        );
    }
    assert!(matches!(
        stand.poison(&first.lease).await,
        Err(FinishError::Stale { .. })
    ));
    stand.ack(&second.lease).await?;
    assert!(matches!(
        stand.ack(&second.lease).await,
        Err(FinishError::Stale { .. })
    ));
    // A lease that ran out and was not handed on is still good.
    stand.produce_numbers(1).await?;
    let late = stand.fetch_one("a").await?;
    stand.clock.advance_ms(LEASE_MS * 2);
    stand.ack(&late.lease).await?;
    assert_eq!(stand.group_status("a").await?.lag, 0);
    Ok(())
}

async fn a_reader_that_starts_again_gets_back_what_it_held(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    stand.produce_numbers(4).await?;
    stand.fetch_as("a", 2, "first").await?;
    stand.fetch_as("a", 1, "second").await?;
    let taken = stand
        .db
        .write("take back", async |tx: &mut Tx<'_>| {
            skep_topic::take_back(tx, &group("a"), "first").await
        })
        .await?;
    assert_eq!(taken, 2);
    assert_eq!(texts(&stand.fetch("a", 10).await?), ["1", "2", "4"]);
    Ok(())
}

async fn a_passing_reason_counts_for_nothing(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    stand.produce_numbers(2).await?;
    for retries in 0..40 {
        let delivery = stand.fetch_one("a").await?;
        assert_eq!((delivery.retries, delivery.tries), (retries, 0));
        assert_eq!(delivery.lease.message, id(0, 1), "the oldest comes first");
        stand.later(&delivery.lease, 10).await?;
        let item = stand.item("a", &id(0, 1)).await?;
        assert_eq!(
            item.and_then(|item| item.why).as_deref(),
            Some("the hive is closed")
        );
        stand.clock.advance_ms(10);
    }
    assert_eq!(stand.dead("a").await?, []);
    Ok(())
}

async fn a_refusal_counts_until_the_limit(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    stand.produce_numbers(2).await?;
    for tries in 0..5 {
        let delivery = stand.fetch_one("a").await?;
        assert_eq!((delivery.tries, delivery.lease.message.offset), (tries, 1));
        // What passes in between changes nothing.
        stand.later(&delivery.lease, 0).await?;
        let delivery = stand.fetch_one("a").await?;
        let expected = if tries == 4 {
            Poisoned::Dead
        } else {
            Poisoned::Again
        };
        assert_eq!(stand.poison(&delivery.lease).await?, expected);
    }
    let dead = stand.dead("a").await?;
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].reason.as_str(), dead[0].tries), ("poison", 5));
    assert_eq!(dead[0].why.as_deref(), Some("it cannot be read"));
    assert_eq!(stand.state("a", &id(0, 1)).await?, "blocked");
    assert_eq!(
        stand.state("b", &id(0, 1)).await?,
        "pending",
        "another group is its own"
    );
    assert_eq!(texts(&stand.fetch("a", 9).await?), ["2"]);
    assert_eq!(stand.events("message_dead_lettered").await?.len(), 1);
    Ok(())
}

async fn a_message_that_kills_its_readers_becomes_a_dead_letter(
    store: TestStore,
) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    stand.produce_numbers(1).await?;
    for losses in 0..10 {
        assert_eq!(stand.fetch_one("a").await?.losses, losses);
        stand.clock.advance_ms(LEASE_MS);
    }
    assert_eq!(texts(&stand.fetch("a", 1).await?), [""; 0]);
    let dead = stand.dead("a").await?;
    assert_eq!(
        (dead[0].reason.as_str(), dead[0].losses, dead[0].tries),
        ("lost", 10, 0)
    );
    Ok(())
}

async fn leases_can_be_extended(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    stand.produce_numbers(2).await?;
    let held = stand.fetch("a", 2).await?;
    stand.ack(&held[1].lease).await?;
    stand.clock.advance_ms(LEASE_MS - 1);
    let leases = vec![held[0].lease.clone(), held[1].lease.clone()];
    let lost = stand
        .db
        .write("extend", async move |tx: &mut Tx<'_>| {
            skep_topic::extend(tx, &leases, LEASE_MS).await
        })
        .await?;
    assert_eq!(lost, [held[1].lease.clone()]);
    stand.clock.advance_ms(LEASE_MS - 1);
    assert_eq!(texts(&stand.fetch("a", 2).await?), [""; 0]);
    Ok(())
}

async fn a_partition_that_is_full_starves_no_other(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(
        &store,
        vec![Topic {
            partitions: 4,
            ..bees()
        }],
    )
    .await?;
    let batch = (0..200).map(|n| Message::new(format!("{n}"))).collect();
    stand.produce_all(batch).await?;
    let mut partitions = std::collections::BTreeSet::new();
    for _ in 0..4 {
        partitions.insert(stand.fetch_one("a").await?.lease.message.partition);
    }
    assert_eq!(partitions.len(), 4, "each has its turn: {partitions:?}");
    Ok(())
}

async fn a_group_starts_where_it_was_declared_to(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    stand.produce_numbers(2).await?;
    let late = Group {
        start: Start::Latest,
        ..Group::new("late")
    };
    let early = Group::new("early");
    let topic = Topic {
        readers: Readers::Running(vec![late, early]),
        ..bees()
    };
    let topics = Topics::new(vec![topic])?;
    for _ in 0..2 {
        topics.register(&stand.db).await?;
        stand.produce(Message::new("new")).await?;
    }
    assert_eq!(texts(&stand.fetch("late", 9).await?), ["new", "new"]);
    assert_eq!(
        texts(&stand.fetch("early", 9).await?),
        ["1", "2", "new", "new"]
    );
    Ok(())
}

async fn readers_at_once_share_the_work(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(
        &store,
        vec![Topic {
            partitions: 2,
            ..bees()
        }],
    )
    .await?;
    stand.produce_numbers(120).await?;
    let readers: Vec<_> = (0..6)
        .map(|n| {
            let stand = stand.clone();
            skep_stdx::spawn("reader", async move {
                let mut read = Vec::new();
                loop {
                    let batch = stand.fetch_as("a", 7, &format!("reader {n}")).await?;
                    if batch.is_empty() {
                        return Ok::<_, DbError>(read);
                    }
                    for delivery in batch {
                        if stand.ack(&delivery.lease).await.is_ok() {
                            read.push(super::text(&delivery));
                        }
                    }
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for reader in readers {
        all.extend(reader.await??);
    }
    all.sort_by_key(|text| text.parse::<u32>().unwrap_or(0));
    let expected: Vec<String> = (1..=120).map(|n| n.to_string()).collect();
    assert_eq!(all, expected, "each message once");
    assert_eq!(stand.group_status("a").await?.lag, 0);
    Ok(())
}
