//! A reader of this process: the effect first, then the commit; and no start without it.

use super::{Stand, bees, group, id};
use skep_db::{DbError, Tx};
use skep_stdx::SeededEntropy;
use skep_testkit::{TestStore, on_both_engines};
use skep_topic::{Failure, FinishError, Group, Handled, Message, Reader, Readers, Topic, Topics};
use std::sync::Arc;

on_both_engines!(
    a_declared_topic_without_a_reader_fails_the_start,
    a_reader_answers_for_what_came_of_its_effect,
    a_wake_up_follows_the_commit,
    the_commit_of_a_lost_lease_leaves_no_trace,
    what_a_reader_gives_back_is_read_again_at_once,
);

async fn reader(stand: &Stand) -> Result<Reader, DbError> {
    let entropy = Arc::new(SeededEntropy::new(1));
    let holder = "node".to_owned();
    Reader::start(
        &stand.topics,
        stand.db.clone(),
        group("a"),
        holder,
        30_000,
        entropy,
    )
    .await
}

async fn a_declared_topic_without_a_reader_fails_the_start(store: TestStore) -> anyhow::Result<()> {
    let forgotten = Topic {
        readers: Readers::Running(Vec::new()),
        ..Topic::new("forgotten")
    };
    let stand = Stand::open(&store, vec![bees(), forgotten, Topic::new("on-purpose")]).await?;
    let first = reader(&stand).await?;
    let error = match stand.topics.check_readers() {
        Err(error) => error,
        Ok(()) => anyhow::bail!("it started"),
    };
    assert_eq!(error.groups, ["bees/b", "forgotten"]);
    assert_eq!(error.code(), "topic_without_reader");
    assert!(error.to_string().contains("bees/b"), "{error}");
    drop(first);
    let groups = stand.topics.check_readers().err().map(|error| error.groups);
    assert_eq!(
        groups.map(|groups| groups.len()),
        Some(3),
        "a reader that has gone reads nothing"
    );
    // Readers outside cannot be seen from here, so their silence has to be declared.
    let outside = Topic {
        readers: Readers::Outside(vec![Group::new("mailer")]),
        ..Topic::new("mails")
    };
    assert!(Topics::new(vec![outside.clone()]).is_err());
    let noticed = Topic {
        silent_after_ms: Some(60_000),
        ..outside
    };
    assert_eq!(Topics::new(vec![noticed])?.check_readers(), Ok(()));
    Ok(())
}

async fn answer(
    reader: &Reader,
    stand: &Stand,
    effect: Result<&'static str, Failure>,
) -> anyhow::Result<Handled> {
    let delivery = reader.fetch(1).await?.pop();
    let delivery = delivery.ok_or_else(|| anyhow::anyhow!("nothing to read"))?;
    let topics = stand.topics.clone();
    let commit = async move |tx: &mut Tx<'_>, made: &&'static str| {
        // Something else that commits with the answer.
        let produced = topics.produce(tx, "bees", Message::new(*made)).await;
        produced
            .map(|_| ())
            .map_err(|error| FinishError::Db(DbError::Unavailable(error.into())))
    };
    Ok(reader.answer(&delivery, effect, commit).await?)
}

async fn a_reader_answers_for_what_came_of_its_effect(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    let reader = reader(&stand).await?;
    assert_eq!(reader.fetch(1).await?, []);
    stand.produce_numbers(2).await?;
    let outage = || Err(Failure::Transient("the disk is full".to_owned()));
    let refusal = || Err(Failure::Poison("no such bee".to_owned()));
    for _ in 0..3 {
        assert_eq!(answer(&reader, &stand, outage()).await?, Handled::Again);
        assert_eq!(
            answer(&reader, &stand, Ok("made")).await?,
            Handled::Delivered
        );
        // The delay has grown from under a second, and never passes five minutes.
        stand.clock.advance_ms(300_000);
    }
    assert_eq!(stand.status().await?.produced, 5);
    for tries in 1..=5 {
        let expected = if tries == 5 {
            Handled::Dead
        } else {
            Handled::Again
        };
        assert_eq!(answer(&reader, &stand, refusal()).await?, expected);
        stand.clock.advance_ms(300_000);
    }
    let dead = stand.dead("a").await?;
    assert_eq!(dead[0].why.as_deref(), Some("no such bee"));
    Ok(())
}

async fn what_a_reader_gives_back_is_read_again_at_once(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    let reader = reader(&stand).await?;
    stand.produce_numbers(1).await?;
    let first = reader.fetch(1).await?.remove(0);
    assert_eq!(reader.fetch(1).await?, []);
    // More often than a message may be lost before it is a dead letter.
    let mut again = first.clone();
    for _ in 0..=skep_topic::limits::LOSSES_MAX {
        reader.give_back().await?;
        again = reader.fetch(1).await?.remove(0);
    }
    assert_eq!(again.id(), first.id());
    // An answer to the first that arrives now is too late.
    let nothing = async |_: &mut Tx<'_>, (): &()| Ok::<(), FinishError>(());
    assert_eq!(reader.answer(&first, Ok(()), nothing).await?, Handled::Lost);
    Ok(())
}

async fn the_commit_of_a_lost_lease_leaves_no_trace(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    let reader = reader(&stand).await?;
    stand.produce_numbers(1).await?;
    let delivery = reader.fetch(1).await?.remove(0);
    stand.clock.advance_ms(30_000);
    let other = stand.fetch_one("a").await?;
    let topics = stand.topics.clone();
    let commit = async move |tx: &mut Tx<'_>, _: &()| {
        let produced = topics.produce(tx, "bees", Message::new("twice")).await;
        produced
            .map(|_| ())
            .map_err(|error| FinishError::Db(DbError::Unavailable(error.into())))
    };
    assert_eq!(
        reader.answer(&delivery, Ok(()), commit).await?,
        Handled::Lost
    );
    assert_eq!(stand.status().await?.produced, 1);
    stand.ack(&other.lease).await?;
    assert_eq!(stand.state("a", &id(0, 1)).await?, "delivered");
    Ok(())
}

async fn a_wake_up_follows_the_commit(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    let mut woken = stand.db.listen(skep_topic::TOPIC);
    woken.mark_unchanged();
    stand.produce_numbers(1).await?;
    woken.changed().await?;
    assert_eq!(stand.fetch("a", 1).await?.len(), 1);
    Ok(())
}
