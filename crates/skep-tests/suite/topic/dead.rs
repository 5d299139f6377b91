//! Dead letters: one more try with the count kept, a drain in order, a dismissal for good; and what
//! goes on incomplete.

use super::{Stand, bees, group, id, texts};
use skep_db::Tx;
use skep_testkit::{TestStore, on_both_engines};
use skep_topic::{DeadLetterError, Message, MessageId, Poisoned, Topic};

on_both_engines!(
    a_dismissed_message_is_never_read,
    a_drain_is_in_order_and_comes_before_what_is_newer,
    a_replay_gives_one_more_try,
    what_goes_on_incomplete_can_be_completed,
);

async fn replay(stand: &Stand, message: MessageId) -> Result<(), DeadLetterError> {
    stand
        .db
        .write("replay", async move |tx: &mut Tx<'_>| {
            skep_topic::replay(tx, &group("a"), &message).await
        })
        .await
}

async fn dismiss(stand: &Stand, message: MessageId) -> Result<(), DeadLetterError> {
    stand
        .db
        .write("dismiss", async move |tx: &mut Tx<'_>| {
            skep_topic::dismiss(tx, &group("a"), &message).await
        })
        .await
}

async fn drain(stand: &Stand, limit: i64) -> anyhow::Result<(Vec<i64>, bool)> {
    let drained = stand
        .db
        .write("drain", async move |tx: &mut Tx<'_>| {
            skep_topic::drain(tx, &group("a"), limit).await
        })
        .await?;
    Ok((
        drained.messages.iter().map(|id| id.offset).collect(),
        drained.more,
    ))
}

async fn a_replay_gives_one_more_try(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    stand.produce_numbers(2).await?;
    let dead = stand.kill_one("a").await?;
    for round in 0..3 {
        replay(&stand, dead.clone()).await?;
        let delivery = stand.fetch_one("a").await?;
        assert_eq!(
            (&delivery.lease.message, delivery.tries),
            (&dead, 5 + round)
        );
        assert_eq!(
            stand.poison(&delivery.lease).await?,
            Poisoned::Dead,
            "at once"
        );
    }
    let letters = stand.dead("a").await?;
    assert_eq!(
        (letters.len(), letters[0].tries),
        (1, 8),
        "one identity, one count"
    );
    replay(&stand, dead.clone()).await?;
    let delivery = stand.fetch_one("a").await?;
    stand.ack(&delivery.lease).await?;
    assert_eq!(stand.state("a", &dead).await?, "delivered");
    for (message, code) in [
        (dead, "message_not_blocked"),
        (id(0, 99), "message_not_found"),
    ] {
        let refused = replay(&stand, message)
            .await
            .err()
            .map(|error| error.code());
        assert_eq!(refused, Some(code));
    }
    Ok(())
}

async fn a_drain_is_in_order_and_comes_before_what_is_newer(
    store: TestStore,
) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    let batch = (1..=6)
        .map(|n| Message::new(n.to_string()).with_key("one key"))
        .collect();
    stand.produce_all(batch).await?;
    for _ in 0..4 {
        stand.kill_one("a").await?;
    }
    assert_eq!(drain(&stand, 3).await?, (vec![1, 2, 3], true));
    let mut read = Vec::new();
    while let Some(delivery) = stand.fetch("a", 9).await?.pop() {
        read.push(super::text(&delivery));
        stand.ack(&delivery.lease).await?;
    }
    assert_eq!(read, ["1", "2", "3", "5", "6"]);
    assert_eq!(drain(&stand, 3).await?, (vec![4], false));
    assert_eq!(drain(&stand, 3).await?, (vec![], false));
    assert_eq!(texts(&stand.fetch("a", 9).await?), ["4"]);
    assert_eq!(stand.events("dead_letters_replayed").await?.len(), 2);
    Ok(())
}

async fn a_dismissed_message_is_never_read(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(
        &store,
        vec![Topic {
            retention_ms: 60_000,
            ..bees()
        }],
    )
    .await?;
    stand.produce_numbers(3).await?;
    let dead = stand.kill_one("a").await?;
    dismiss(&stand, dead.clone()).await?;
    assert_eq!(stand.state("a", &dead).await?, "dismissed");
    let again = dismiss(&stand, dead.clone())
        .await
        .err()
        .map(|error| error.code());
    assert_eq!(again, Some("message_not_blocked"));
    // One that waits for its time can be dismissed too; one in a reader's hands cannot.
    let waiting = stand.fetch_one("a").await?;
    assert!(matches!(
        dismiss(&stand, waiting.lease.message.clone()).await,
        Err(DeadLetterError::State { .. })
    ));
    stand.later(&waiting.lease, 1_000).await?;
    dismiss(&stand, waiting.lease.message).await?;
    stand.clock.advance_ms(1_000);
    let last = stand.fetch("a", 9).await?;
    assert_eq!(texts(&last), ["3"]);
    stand.ack(&last[0].lease).await?;
    let status = stand.group_status("a").await?;
    assert_eq!((status.delivered, status.dismissed, status.lag), (1, 2, 0));
    // Nor does its removal make an output of it.
    for delivery in stand.fetch("b", 9).await? {
        stand.ack(&delivery.lease).await?;
    }
    stand.clock.advance_ms(60_000);
    let declared = stand.topics.declaration("bees").cloned();
    let declared = declared.ok_or_else(|| anyhow::anyhow!("it is declared"))?;
    assert_eq!(skep_topic::retain(&stand.db, &declared).await?.removed, 3);
    let status = stand.group_status("a").await?;
    assert_eq!((status.delivered, status.dismissed, status.lag), (1, 0, 0));
    Ok(())
}

async fn what_goes_on_incomplete_can_be_completed(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    stand.produce_numbers(2).await?;
    let delivery = stand.fetch_one("a").await?;
    let lease = delivery.lease.clone();
    stand
        .db
        .write("pass on", async move |tx: &mut Tx<'_>| {
            skep_topic::finish_with_status(tx, &lease, "no_summary").await
        })
        .await?;
    assert_eq!(stand.state("a", &id(0, 1)).await?, "delivered");
    assert_eq!(stand.group_status("a").await?.incomplete, 1);
    let list =
        async |tx: &mut Tx<'_>| skep_topic::incomplete(tx, &group("a"), "no_summary", 10).await;
    assert_eq!(stand.db.read("incomplete", list).await?, [id(0, 1)]);
    let complete = async |tx: &mut Tx<'_>| skep_topic::complete(tx, &group("a"), &id(0, 1)).await;
    assert!(stand.db.write("complete", complete).await?);
    assert!(!stand.db.write("complete", complete).await?, "once");
    assert_eq!(stand.db.read("incomplete", list).await?, []);
    assert_eq!(stand.group_status("a").await?.delivered, 1);
    Ok(())
}
