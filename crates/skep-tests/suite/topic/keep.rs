//! The keeper: retention, silence, feeds, checkpoints, and the alarms about them.

use super::{Stand, bees, group, id, texts};
use skep_db::{DbError, Tx};
use skep_testkit::{TestStore, on_both_engines};
use skep_topic::alarm::{Alarm, alarms};
use skep_topic::checkpoint::Checkpoint;
use skep_topic::{Group, GroupName, Keeper, Message, Readers, Stage, Topic, Topics};

on_both_engines!(
    a_checkpoint_passes_over_what_was_done,
    a_group_that_is_behind_is_an_alarm_and_loses_nothing,
    a_message_is_visible_once,
    a_producer_that_gives_nothing_out_is_an_alarm,
    a_stage_that_makes_dead_letters_of_everything_is_an_alarm,
    a_topic_fed_from_the_ledger_has_each_event_once,
    an_alarm_that_was_seen_stays_until_it_is_over,
    an_idle_keeper_writes_nothing,
    retention_by_age_is_bounded_and_keeps_what_is_not_finished,
    retention_by_size_takes_the_oldest,
);

const MINUTE: i64 = 60_000;

fn keeper(stand: &Stand) -> Keeper {
    Keeper::new(stand.db.clone(), stand.topics.clone(), None)
}

async fn open_alarms(stand: &Stand) -> Result<Vec<Alarm>, DbError> {
    stand
        .db
        .read("alarms", async |tx: &mut Tx<'_>| {
            alarms(tx, false, 100).await
        })
        .await
}

async fn open_words(stand: &Stand) -> anyhow::Result<Vec<String>> {
    let open = open_alarms(stand).await?;
    Ok(open
        .iter()
        .rev()
        .map(|alarm| format!("{} {}", alarm.kind, alarm.subject))
        .collect())
}

async fn finish_all(stand: &Stand, name: &str) -> anyhow::Result<()> {
    loop {
        let batch = stand.fetch(name, 500).await?;
        if batch.is_empty() {
            return Ok(());
        }
        let leases: Vec<_> = batch
            .iter()
            .map(|delivery| delivery.lease.clone())
            .collect();
        stand
            .db
            .write("ack", async move |tx: &mut Tx<'_>| {
                skep_topic::ack_all(tx, &leases).await
            })
            .await?;
    }
}

fn short_lived() -> Topic {
    Topic {
        retention_ms: 10 * MINUTE,
        ..bees()
    }
}

async fn retention_by_age_is_bounded_and_keeps_what_is_not_finished(
    store: TestStore,
) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![short_lived()]).await?;
    let count = 1_200_usize;
    for start in [0, 1_000] {
        let batch = (start..(start + 1_000).min(count))
            .map(|n| Message::new(n.to_string()).with_dedup_id(n.to_string()))
            .collect();
        stand.produce_all(batch).await?;
    }
    let dead = stand.kill_one("a").await?;
    finish_all(&stand, "a").await?;
    finish_all(&stand, "b").await?;
    stand.clock.advance_ms(10 * MINUTE - 1);
    assert_eq!(keeper(&stand).keep().await?.removed, 0, "not yet");
    stand.produce(Message::new("young")).await?;
    stand.clock.advance_ms(1);
    assert_eq!(keeper(&stand).keep().await?.removed, 1_199);
    let status = stand.status().await?;
    assert_eq!((status.kept, status.produced), (2, 1_201));
    assert_eq!(
        stand.state("a", &dead).await?,
        "blocked",
        "a dead letter stays"
    );
    // Steps of 500 at the most, each with its event.
    let removed = stand.events("messages_removed").await?;
    assert_eq!(removed.len(), 3);
    // The dedup id went with its message; the one of the dead letter did not.
    let again = stand.produce(Message::new("7").with_dedup_id("7")).await?;
    assert!(again.created);
    let again = stand.produce(Message::new("0").with_dedup_id("0")).await?;
    assert_eq!((again.created, again.id), (false, dead.clone()));
    // It can still be replayed, with its payload.
    let of = dead.clone();
    stand
        .db
        .write("replay", async move |tx: &mut Tx<'_>| {
            skep_topic::replay(tx, &group("a"), &of).await
        })
        .await?;
    assert_eq!(texts(&stand.fetch("a", 1).await?), ["0"]);
    Ok(())
}

async fn retention_by_size_takes_the_oldest(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(
        &store,
        vec![Topic {
            retention_bytes: Some(30),
            ..bees()
        }],
    )
    .await?;
    for _ in 0..5 {
        stand.produce(Message::new("x".repeat(10))).await?;
    }
    assert_eq!(
        keeper(&stand).keep().await?.removed,
        0,
        "nobody has read them"
    );
    assert_eq!(
        open_words(&stand).await?,
        ["group_behind bees/a", "group_behind bees/b"]
    );
    finish_all(&stand, "a").await?;
    finish_all(&stand, "b").await?;
    assert_eq!(keeper(&stand).keep().await?.removed, 2);
    assert_eq!(open_words(&stand).await?, [""; 0]);
    let status = stand.status().await?;
    assert_eq!((status.kept, status.bytes), (3, 30));
    let kept = async |tx: &mut Tx<'_>| skep_topic::messages(tx, "bees", 0, 0, 10).await;
    let kept = stand.db.read("messages", kept).await?;
    assert_eq!(
        kept.iter().map(|m| m.id.offset).collect::<Vec<_>>(),
        [3, 4, 5]
    );
    Ok(())
}

async fn a_group_that_is_behind_is_an_alarm_and_loses_nothing(
    store: TestStore,
) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![short_lived()]).await?;
    stand.produce_numbers(3).await?;
    finish_all(&stand, "b").await?;
    stand.clock.advance_ms(11 * MINUTE);
    for _ in 0..2 {
        assert_eq!(keeper(&stand).keep().await?.removed, 0);
        assert_eq!(open_words(&stand).await?, ["group_behind bees/a"]);
    }
    let oldest = stand.group_status("a").await?.oldest_unread_ms;
    assert_eq!(oldest, Some(1_767_225_600_000));
    assert_eq!(texts(&stand.fetch("a", 3).await?), ["1", "2", "3"]);
    stand.clock.advance_ms(MINUTE);
    finish_all(&stand, "a").await?;
    assert_eq!(keeper(&stand).keep().await?.removed, 3);
    assert_eq!(open_words(&stand).await?, [""; 0]);
    let events = stand.ledger.events().await?;
    let words: Vec<&str> = events
        .iter()
        .filter(|event| event.kind.starts_with("alarm"))
        .map(|event| event.kind.as_str())
        .collect();
    assert_eq!(words, ["alarm_raised", "alarm_cleared"]);
    Ok(())
}

async fn a_stage_that_makes_dead_letters_of_everything_is_an_alarm(
    store: TestStore,
) -> anyhow::Result<()> {
    let topic = Topic {
        silent_after_ms: Some(60 * MINUTE),
        readers: Readers::Running(vec![Group::new("a")]),
        ..bees()
    };
    let stand = Stand::open(&store, vec![topic]).await?;
    keeper(&stand).keep().await?;
    stand.clock.advance_ms(600 * MINUTE);
    assert_eq!(
        keeper(&stand).keep().await?.alarmed,
        0,
        "no input, no output owed"
    );
    stand.produce_numbers(2).await?;
    for _ in 0..2 {
        keeper(&stand).keep().await?;
        stand.kill_one("a").await?;
        stand.clock.advance_ms(29 * MINUTE);
    }
    assert_eq!(keeper(&stand).keep().await?.alarmed, 0);
    stand.clock.advance_ms(2 * MINUTE);
    assert_eq!(keeper(&stand).keep().await?.alarmed, 1);
    assert_eq!(open_words(&stand).await?, ["stage_silent bees/a"]);
    assert_eq!(keeper(&stand).keep().await?.alarmed, 0, "once");
    assert_eq!(stand.events("stage_silent").await?.len(), 1);
    // An output ends it.
    stand.produce(Message::new("good")).await?;
    finish_all(&stand, "a").await?;
    keeper(&stand).keep().await?;
    assert_eq!(open_words(&stand).await?, [""; 0]);
    Ok(())
}

async fn a_producer_that_gives_nothing_out_is_an_alarm(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    let stage = Stage::new("embedder", 10 * MINUTE)?;
    let count = |input, output| {
        let stage = stage.clone();
        let count = async move |tx: &mut Tx<'_>| stage.count(tx, input, output).await;
        stand.db.write("count", count)
    };
    count(5, 0).await?;
    keeper(&stand).keep().await?;
    stand.clock.advance_ms(10 * MINUTE);
    assert_eq!(keeper(&stand).keep().await?.alarmed, 1);
    assert_eq!(open_words(&stand).await?, ["stage_silent embedder"]);
    count(0, 5).await?;
    keeper(&stand).keep().await?;
    assert_eq!(open_words(&stand).await?, [""; 0]);
    assert!(Stage::new("no/slash", 1).is_err());
    Ok(())
}

async fn an_alarm_that_was_seen_stays_until_it_is_over(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![short_lived()]).await?;
    stand.produce_numbers(1).await?;
    finish_all(&stand, "b").await?;
    stand.clock.advance_ms(11 * MINUTE);
    keeper(&stand).keep().await?;
    let number = open_alarms(&stand).await?[0].number;
    let ack = |number| {
        let ack = async move |tx: &mut Tx<'_>| skep_topic::alarm::ack(tx, number).await;
        stand.db.write("ack", ack)
    };
    let alarm = ack(number)
        .await?
        .ok_or_else(|| anyhow::anyhow!("it is there"))?;
    assert!(alarm.acked_at_ms.is_some() && alarm.cleared_at_ms.is_none());
    assert_eq!(ack(number + 1).await?, None);
    assert_eq!(open_words(&stand).await?.len(), 1);
    // What cannot clear itself is cleared by being seen.
    for (count, too_many) in [(10, false), (11, true)] {
        let restarts = skep_topic::Restarts { count, too_many };
        skep_topic::alarm::restart_counted(&stand.db, "engine", restarts).await?;
    }
    assert_eq!(
        open_words(&stand).await?,
        ["group_behind bees/a", "restarts_too_many engine"]
    );
    let number = open_alarms(&stand).await?[0].number;
    let alarm = ack(number)
        .await?
        .ok_or_else(|| anyhow::anyhow!("it is there"))?;
    assert!(alarm.cleared_at_ms.is_some());
    assert_eq!(open_words(&stand).await?, ["group_behind bees/a"]);
    Ok(())
}

async fn an_idle_keeper_writes_nothing(store: TestStore) -> anyhow::Result<()> {
    let fed = Topic {
        from_ledger: vec!["stage_silent".to_owned()],
        ..Topic::new("fed")
    };
    let topic = Topic {
        silent_after_ms: Some(MINUTE),
        ..short_lived()
    };
    let stand = Stand::open(&store, vec![topic, fed]).await?;
    stand.produce_numbers(3).await?;
    finish_all(&stand, "a").await?;
    stand.clock.advance_ms(11 * MINUTE);
    for _ in 0..2 {
        keeper(&stand).keep().await?;
    }
    stand.ledger.events().await?;
    keeper(&stand).keep().await?;
    let before = written(&stand).await?;
    for _ in 0..3 {
        stand.clock.advance_ms(MINUTE);
        keeper(&stand).keep().await?;
    }
    assert_eq!(written(&stand).await?, before);
    Ok(())
}

/// What a write would change: the events and the tables that the keeper writes.
async fn written(stand: &Stand) -> anyhow::Result<String> {
    let mut text = String::new();
    for table in [
        "topic_stage",
        "topic_bridge",
        "alarm",
        "topic_cursor",
        "topic_partition",
    ] {
        let sql = format!("SELECT * FROM {table} ORDER BY 1, 2");
        let rows = stand
            .db
            .read("look", async move |tx: &mut Tx<'_>| {
                tx.query(&sql, &[]).await
            })
            .await?;
        for row in rows {
            text.push_str(&format!("{:?}\n", row.values()));
        }
    }
    text.push_str(&stand.ledger.events().await?.len().to_string());
    Ok(text)
}

async fn a_topic_fed_from_the_ledger_has_each_event_once(store: TestStore) -> anyhow::Result<()> {
    let fed = Topic {
        from_ledger: vec![
            "message_dead_lettered".to_owned(),
            "alarm_raised".to_owned(),
        ],
        ..Topic::new("fed")
    };
    assert!(
        Topics::new(vec![fed]).is_err(),
        "topics do not feed themselves"
    );
    let fed = Topic {
        from_ledger: vec!["alarm_raised".to_owned()],
        readers: Readers::Running(vec![Group::new("watch")]),
        ..Topic::new("fed")
    };
    let stand = Stand::open(&store, vec![bees(), fed]).await?;
    for n in 0..700 {
        let subject = format!("subject {n}");
        stand
            .db
            .write("raise", async move |tx: &mut Tx<'_>| {
                let kind = skep_types::AlarmKind::RestartsTooMany;
                skep_topic::alarm::raise(tx, kind, &subject).await
            })
            .await?;
        if n % 100 == 0 {
            stand.produce(Message::new("noise")).await?;
        }
        if n == 300 {
            stand.ledger.events().await?;
            assert_eq!(keeper(&stand).keep().await?.fed, 301);
        }
    }
    // Two keepers at once, as of two nodes.
    stand.ledger.events().await?;
    let both = [keeper(&stand), keeper(&stand)]
        .map(|keeper| skep_stdx::spawn("keeper", async move { keeper.feed().await }));
    for task in both {
        task.await??;
    }
    keeper(&stand).keep().await?;
    let read = async |tx: &mut Tx<'_>| {
        let mut all = skep_topic::messages(tx, "fed", 0, 0, 500).await?;
        all.extend(skep_topic::messages(tx, "fed", 0, 500, 500).await?);
        Ok::<_, DbError>(all)
    };
    let messages = stand.db.read("messages", read).await?;
    assert_eq!(messages.len(), 700);
    for (n, message) in messages.iter().enumerate() {
        let skep_topic::Payload::Inline(bytes) = &message.payload else {
            anyhow::bail!("{message:?}");
        };
        let event: serde_json::Value = serde_json::from_slice(bytes)?;
        assert_eq!(
            event["payload"]["subject"],
            format!("subject {n}"),
            "all that is needed"
        );
        assert_eq!(event["kind"], "alarm_raised");
    }
    let request = skep_topic::FetchRequest {
        max: 1,
        lease_ms: 1_000,
        holder: "watch".to_owned(),
    };
    let fetched = stand
        .db
        .write("fetch", async move |tx: &mut Tx<'_>| {
            skep_topic::fetch(tx, &GroupName::new("fed", "watch"), &request).await
        })
        .await?;
    assert_eq!(fetched.len(), 1);
    Ok(())
}

async fn a_checkpoint_passes_over_what_was_done(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![]).await?;
    let checkpoint = |date: &str| Checkpoint {
        consumer: "journal".to_owned(),
        item: "hive".to_owned(),
        date: date.to_owned(),
    };
    let today = checkpoint("2026-01-01");
    let mut ran = Vec::new();
    for broken in [Some("draw"), None, None] {
        for step in ["gather", "draw", "write"] {
            let perform = async {
                if broken == Some(step) {
                    return Err(DbError::Closed);
                }
                ran.push(step);
                Ok(())
            };
            if today.run(&stand.db, step, perform).await.is_err() {
                break;
            }
        }
    }
    assert_eq!(ran, ["gather", "draw", "write"], "each once");
    let own = today.clone();
    let steps = async move |tx: &mut Tx<'_>| own.steps(tx).await;
    assert_eq!(
        stand.db.read("steps", steps).await?,
        ["draw", "gather", "write"]
    );
    let tomorrow = checkpoint("2026-01-02");
    let steps = async move |tx: &mut Tx<'_>| tomorrow.steps(tx).await;
    assert_eq!(
        stand.db.read("steps", steps).await?,
        [""; 0],
        "another date is another run"
    );
    // They are not kept for ever.
    stand.clock.advance_ms(401 * 24 * 60 * MINUTE);
    keeper(&stand).keep().await?;
    let steps = async move |tx: &mut Tx<'_>| today.steps(tx).await;
    assert_eq!(stand.db.read("steps", steps).await?, [""; 0]);
    Ok(())
}

async fn a_message_is_visible_once(store: TestStore) -> anyhow::Result<()> {
    let stand = Stand::open(&store, vec![bees()]).await?;
    let once = |name: &'static str| {
        let once = async move |tx: &mut Tx<'_>| skep_topic::once(tx, &group(name), &id(0, 1)).await;
        stand.db.write("once", once)
    };
    assert!(once("a").await?);
    assert!(!once("a").await?);
    assert!(once("b").await?, "another group has an inbox of its own");
    let failed = stand
        .db
        .write("fail", async |tx: &mut Tx<'_>| {
            assert!(skep_topic::once(tx, &group("a"), &id(0, 2)).await?);
            Err::<(), _>(DbError::Closed)
        })
        .await;
    assert!(failed.is_err());
    let again = async |tx: &mut Tx<'_>| skep_topic::once(tx, &group("a"), &id(0, 2)).await;
    assert!(
        stand.db.write("once", again).await?,
        "what was not committed was not visible"
    );
    Ok(())
}
