//! Statements that go out with the next one, or with the COMMIT.

use super::{SCHEMA, insert, sums};
use skep_db::{Db, DbError, Kind, List, Rows, Tx, Value, params};
use skep_testkit::{Backend, TestStore, on_both_engines, run_on};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::Barrier;

on_both_engines!(
    one_that_is_refused_takes_the_transaction_with_it,
    they_are_run_in_their_order,
);

const INSERT: &str = "INSERT INTO account (name, sum) VALUES (?1, ?2)";
const ADD: &str = "UPDATE account SET sum = sum + ?2 WHERE name = ?1";

async fn they_are_run_in_their_order(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, None).await?;
    let seen: i64 = db
        .write("in order", async |tx: &mut Tx<'_>| {
            tx.execute_later(INSERT, params!["a", 1]).await?;
            tx.execute_later(ADD, params!["a", 10]).await?;
            let sql = "SELECT sum FROM account WHERE name = 'a'";
            let seen = tx.query_one(sql, &[]).await?.get("sum")?;
            let rows = |count: i64| (0..count).map(|n| [format!("r{n:04}").into(), n.into()]);
            let over_rows = "WITH r (name, sum) AS (/*rows*/)
                INSERT INTO account (name, sum) SELECT name, sum FROM r";
            const KINDS: [Kind; 2] = [Kind::Text, Kind::Int];
            // More than one statement takes, and nothing at all.
            let many = Rows::new(&KINDS, rows(1_500));
            tx.execute_rows_later(over_rows, &many).await?;
            let none = Rows::new(&KINDS, rows(0));
            tx.execute_rows_later(over_rows, &none).await?;
            let delete = "DELETE FROM account WHERE sum >= ?1 AND name /*in list*/";
            let names: Vec<String> = (0..1_500).map(|n| format!("r{n:04}")).collect();
            let list = List::of_texts(names.iter().map(String::as_str));
            tx.execute_list_later(delete, params![2], &list).await?;
            tx.execute_later(ADD, params!["a", 100]).await?;
            Ok::<i64, DbError>(seen)
        })
        .await?;
    assert_eq!(seen, 11);
    let kept = [("a", 111), ("r0000", 0), ("r0001", 1)];
    assert_eq!(
        sums(&db).await?,
        kept.map(|(name, sum)| (name.to_owned(), sum))
    );
    Ok(())
}

/// Whatever refuses it, the server or the driver that cannot send it, and whatever comes behind it.
async fn one_that_is_refused_takes_the_transaction_with_it(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, None).await?;
    db.write("first", async |tx: &mut Tx<'_>| insert(tx, "a", 1).await)
        .await?;
    for (name, sum) in [("a", Value::Int(2)), ("c", Value::Text("many".to_owned()))] {
        for asks_again in [false, true] {
            let values = [Value::from(name), sum.clone()];
            let refused = db
                .write("refused", async move |tx: &mut Tx<'_>| {
                    tx.execute_later(INSERT, params!["b", 1]).await?;
                    let at_once = tx.execute_later(INSERT, &values).await;
                    tx.execute_later(ADD, params!["a", 1]).await?;
                    if asks_again {
                        // A closure that looks away changes nothing.
                        tx.query("SELECT 1 AS one", &[]).await.ok();
                    }
                    at_once
                })
                .await;
            assert!(refused.is_err(), "{name}, asks again: {asks_again}");
            assert_eq!(sums(&db).await?, [("a".to_owned(), 1)], "{name}");
        }
    }
    Ok(())
}

/// The first runs of two transactions lock a row each, and leave the other's to their commits.
#[test]
fn one_that_is_in_the_way_of_another_makes_the_transaction_run_again() {
    run_on(Backend::Postgres, async |store| {
        let db = store.open(SCHEMA, None).await?;
        db.write("accounts", async |tx: &mut Tx<'_>| {
            insert(tx, "a", 0).await?;
            insert(tx, "b", 0).await
        })
        .await?;
        let both = Arc::new(Barrier::new(2));
        let runs = Arc::new(AtomicI64::new(0));
        let crossed = |mine, other| crossed(&db, mine, other, &both, &runs);
        let (first, second) = tokio::join!(crossed("a", "b"), crossed("b", "a"));
        first?;
        second?;
        assert_eq!(sums(&db).await?, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        assert_eq!(runs.load(Ordering::SeqCst), 3, "one of them ran again");
        Ok(())
    });
}

async fn crossed(
    db: &Db,
    mine: &'static str,
    other: &'static str,
    both: &Arc<Barrier>,
    runs: &Arc<AtomicI64>,
) -> Result<(), DbError> {
    let (both, runs) = (Arc::clone(both), Arc::clone(runs));
    db.write("crossed", async move |tx: &mut Tx<'_>| {
        let sql = "SELECT sum FROM account WHERE name = ?1 /*lock*/";
        tx.query_one(sql, params![mine]).await?;
        if runs.fetch_add(1, Ordering::SeqCst) < 2 {
            both.wait().await;
        }
        tx.execute_later(ADD, params![other, 1]).await
    })
    .await
}
