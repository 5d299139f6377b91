//! One meaning of a transaction on both engines.

mod later;
mod pooler;
mod reconnect;

use skep_db::{
    BeforeCommit, Db, DbError, Locals, SchemaError, SchemaPart, Step, Table, Tx, Value, params,
};
use skep_testkit::{TestStore, on_both_engines};

on_both_engines!(
    a_failed_operation_undoes_itself_only,
    among_many_only_what_was_confirmed_is_there,
    a_reader_cannot_write,
    a_reader_sees_one_snapshot,
    a_refused_statement_cannot_be_passed_over,
    a_wake_follows_its_commit,
    a_changed_step_stops_the_start,
    a_newer_database_stops_the_start,
    parallel_increments_are_all_counted,
    parameters_keep_their_numbers,
    the_clock_is_the_stores,
    values_come_back_as_they_went,
    what_is_left_is_taken_up_in_the_commit,
    what_nobody_takes_up_fails_the_operation,
);

const ACCOUNT: Step = Step {
    version: 1,
    intent: "create-account",
    sqlite: "CREATE TABLE account (name TEXT PRIMARY KEY, sum INTEGER NOT NULL, note BLOB, rate REAL) STRICT",
    postgres: "CREATE TABLE account (name TEXT PRIMARY KEY, sum BIGINT NOT NULL, note BYTEA, rate DOUBLE PRECISION)",
};
const TABLES: &[Table] = &[Table {
    name: "account",
    tier: "convenience",
}];
const SCHEMA: &[SchemaPart] = &[SchemaPart {
    owner: "test",
    tables: TABLES,
    steps: &[ACCOUNT],
}];

async fn insert(tx: &mut Tx<'_>, name: &str, sum: i64) -> Result<u64, DbError> {
    tx.execute(
        "INSERT INTO account (name, sum) VALUES (?1, ?2)",
        params![name, sum],
    )
    .await
}

pub(super) async fn sums(db: &Db) -> anyhow::Result<Vec<(String, i64)>> {
    let rows = db
        .read("sums", async |tx: &mut Tx<'_>| {
            tx.query("SELECT name, sum FROM account ORDER BY name", &[])
                .await
        })
        .await?;
    rows.iter()
        .map(|row| Ok((row.get("name")?, row.get("sum")?)))
        .collect()
}

async fn a_failed_operation_undoes_itself_only(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, None).await?;
    let good = db.write("good", async |tx: &mut Tx<'_>| insert(tx, "a", 1).await);
    let bad = db.write("bad", async |tx: &mut Tx<'_>| {
        insert(tx, "b", 2).await?;
        insert(tx, "b", 3).await
    });
    let (good, bad) = tokio::join!(good, bad);
    assert_eq!(good?, 1);
    assert!(bad.is_err_and(|error| error.is_constraint()));
    assert_eq!(sums(&db).await?, [("a".to_owned(), 1)]);
    Ok(())
}

/// Hundreds of operations at once, of which many fail: before they wrote anything, after it, by a
/// statement, by a panic, after a change of the schema. Batches of all kinds of company come about.
async fn among_many_only_what_was_confirmed_is_there(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, None).await?;
    for round in 0..6_i64 {
        let tasks: Vec<_> = (0..100_i64)
            .map(|n| {
                let (db, name) = (db.clone(), format!("{round}-{n}"));
                // Fewer and fewer fail, so that quiet times are among it too.
                let how = if n % (round + 1) == 0 { n % 7 } else { 6 };
                skep_stdx::spawn("operation", async move {
                    let (inserted, kept) = (name.clone(), name);
                    let written = db
                        .write("operation", async move |tx: &mut Tx<'_>| {
                            fail_as(tx, how, &inserted).await
                        })
                        .await;
                    (kept, written.is_ok())
                })
            })
            .collect();
        let mut confirmed = Vec::new();
        for task in tasks {
            let (name, ok) = task.await?;
            if ok {
                confirmed.push((name, 1));
            }
        }
        confirmed.sort();
        let mut found = sums(&db).await?;
        found.retain(|(name, _)| name.starts_with(&format!("{round}-")));
        found.sort();
        assert_eq!(found, confirmed, "round {round}");
        assert!(confirmed.len() > 10, "round {round}");
    }
    let tables = db
        .read("stray tables", async |tx: &mut Tx<'_>| {
            tx.query_opt("SELECT * FROM stray", &[]).await
        })
        .await;
    assert!(tables.is_err(), "a table of a failed operation is there");
    Ok(())
}

async fn fail_as(tx: &mut Tx<'_>, how: i64, name: &str) -> Result<(), DbError> {
    let failure = || Err(DbError::Closed);
    match how {
        0 => return failure(),
        1 => {
            insert(tx, name, 1).await?;
            return failure();
        }
        2 => {
            insert(tx, name, 1).await?;
            insert(tx, name, 2).await?;
        }
        3 => {
            let sql = "SELECT sum FROM account WHERE name = ?1";
            tx.query_opt(sql, params![name]).await?;
            return failure();
        }
        4 => {
            insert(tx, name, 1).await?;
            #[expect(clippy::panic, reason = "an operation that panics is one of the cases")]
            {
                panic!("as asked");
            }
        }
        5 => {
            tx.batch("CREATE TABLE stray (n BIGINT)").await?;
            return failure();
        }
        _ => {
            insert(tx, name, 1).await?;
        }
    }
    Ok(())
}

async fn a_reader_cannot_write(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, None).await?;
    let refused = db
        .read("sneaky", async |tx: &mut Tx<'_>| insert(tx, "a", 1).await)
        .await;
    assert!(
        matches!(refused, Err(DbError::Statement { .. })),
        "{refused:?}"
    );
    assert_eq!(sums(&db).await?, []);
    Ok(())
}

async fn a_reader_sees_one_snapshot(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, None).await?;
    let (first_read, go_on) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let (read_once, written) = (first_read.0, std::sync::Mutex::new(go_on.1));
    let reading = db.read("two reads", async move |tx: &mut Tx<'_>| {
        let sql = "SELECT COUNT(*) AS n FROM account";
        let before: i64 = tx.query_one(sql, &[]).await?.get("n")?;
        // The closure runs on a thread of the store, which may be held here.
        let _ = read_once.send(());
        let _ = written.lock().map(|written| written.recv());
        let after: i64 = tx.query_one(sql, &[]).await?.get("n")?;
        Ok::<_, DbError>((before, after))
    });
    let other = store.open(SCHEMA, None).await?;
    let writing = async {
        tokio::task::spawn_blocking(move || first_read.1.recv()).await??;
        other
            .write("meanwhile", async |tx: &mut Tx<'_>| {
                insert(tx, "a", 1).await
            })
            .await?;
        go_on.0.send(())?;
        anyhow::Ok(())
    };
    let (counts, wrote) = tokio::join!(reading, writing);
    wrote?;
    assert_eq!(counts?, (0, 0));
    Ok(())
}

async fn a_refused_statement_cannot_be_passed_over(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, None).await?;
    let swallowed = db
        .write("swallow", async |tx: &mut Tx<'_>| {
            insert(tx, "a", 1).await?;
            let refused = insert(tx, "a", 2).await;
            assert!(refused.is_err());
            Ok::<_, DbError>(())
        })
        .await;
    assert!(
        matches!(swallowed, Err(DbError::BadClosure { .. })),
        "{swallowed:?}"
    );
    assert_eq!(sums(&db).await?, []);
    Ok(())
}

async fn a_wake_follows_its_commit(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, None).await?;
    let mut listener = db.listen("account");
    db.write("wake", async |tx: &mut Tx<'_>| {
        tx.wake("account");
        insert(tx, "a", 1).await
    })
    .await?;
    listener.changed().await?;
    let failed = db
        .write("no wake", async |tx: &mut Tx<'_>| {
            tx.wake("account");
            insert(tx, "a", 1).await
        })
        .await;
    assert!(failed.is_err());
    assert!(!listener.has_changed()?, "a failed operation wakes nobody");
    Ok(())
}

async fn a_changed_step_stops_the_start(store: TestStore) -> anyhow::Result<()> {
    drop(store.open(SCHEMA, None).await?);
    let changed = Step {
        sqlite: "SELECT 1",
        postgres: "SELECT 1",
        ..ACCOUNT
    };
    let steps: &'static [Step] = Box::leak(Box::new([changed]));
    let refused = store
        .open(&[SchemaPart { steps, ..SCHEMA[0] }], None)
        .await
        .err();
    assert!(
        matches!(refused, Some(SchemaError::Changed { version: 1, .. })),
        "{refused:?}"
    );
    assert!(
        store.open(SCHEMA, None).await.is_ok(),
        "the right text still opens it"
    );
    Ok(())
}

async fn a_newer_database_stops_the_start(store: TestStore) -> anyhow::Result<()> {
    drop(store.open(SCHEMA, None).await?);
    let refused = store
        .open(
            &[SchemaPart {
                steps: &[],
                ..SCHEMA[0]
            }],
            None,
        )
        .await
        .err();
    assert!(
        matches!(refused, Some(SchemaError::Newer { version: 1, .. })),
        "{refused:?}"
    );
    Ok(())
}

async fn parallel_increments_are_all_counted(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, None).await?;
    db.write("account", async |tx: &mut Tx<'_>| insert(tx, "a", 0).await)
        .await?;
    let tasks: Vec<_> = (0..40)
        .map(|_| {
            let db = db.clone();
            skep_stdx::spawn("increment", async move {
                db.write("increment", async |tx: &mut Tx<'_>| {
                    let sql = "SELECT sum FROM account WHERE name = ?1 /*lock*/";
                    let sum: i64 = tx.query_one(sql, params!["a"]).await?.get("sum")?;
                    let sql = "UPDATE account SET sum = ?2 WHERE name = ?1";
                    tx.execute(sql, params!["a", sum + 1]).await
                })
                .await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await??, 1);
    }
    assert_eq!(sums(&db).await?, [("a".to_owned(), 40)]);
    Ok(())
}

async fn parameters_keep_their_numbers(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, None).await?;
    let row = db
        .read("numbers", async |tx: &mut Tx<'_>| {
            let sql = "SELECT CAST(?3 AS TEXT) AS c, CAST(?1 AS TEXT) AS a, CAST(?2 AS TEXT) AS b";
            tx.query_one(sql, params!["one", "two", "three"]).await
        })
        .await?;
    let read = |name| row.get::<String>(name);
    assert_eq!(
        (read("a")?, read("b")?, read("c")?),
        ("one".into(), "two".into(), "three".into())
    );
    Ok(())
}

async fn the_clock_is_the_stores(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, None).await?;
    store.clock.set_ms(12_345);
    let now = db
        .read("now", async |tx: &mut Tx<'_>| tx.now_ms().await)
        .await?;
    assert_eq!(now, 12_345);
    Ok(())
}

async fn values_come_back_as_they_went(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, None).await?;
    let row = db
        .write("values", async |tx: &mut Tx<'_>| {
            let sql = "INSERT INTO account (name, sum, note, rate) VALUES (?1, ?2, ?3, ?4) RETURNING name, sum, note, rate";
            tx.query_one(sql, params!["ü\u{1F41D}", i64::MIN, &[0_u8, 255][..], 0.1]).await
        })
        .await?;
    let expected = [
        Value::Text("ü\u{1F41D}".to_owned()),
        Value::Int(i64::MIN),
        Value::Bytes(vec![0, 255]),
        Value::Real(0.1),
    ];
    assert_eq!(row.values(), expected);
    Ok(())
}

/// Writes the sum of what the operations of a commit have left, all of which have to be good.
fn sum_up() -> BeforeCommit {
    Box::new(|tx, left| {
        Box::pin(async move {
            for numbers in left.iter_mut().filter_map(Locals::take::<Vec<i64>>) {
                let sum: i64 = numbers.iter().sum();
                insert(tx, &format!("sum of {}", numbers.len()), sum).await?;
                tx.wake("summed");
            }
            Ok(())
        })
    })
}

async fn leave(db: &Db, numbers: &'static [i64], good: bool) -> Result<(), DbError> {
    db.write("leave", async move |tx: &mut Tx<'_>| {
        for number in numbers {
            tx.local::<Vec<i64>>().push(*number);
        }
        if good { Ok(()) } else { Err(DbError::Closed) }
    })
    .await
}

async fn what_is_left_is_taken_up_in_the_commit(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, Some(sum_up())).await?;
    let mut summed = db.listen("summed");
    let (some, none, more) = tokio::join!(
        leave(&db, &[1, 2], true),
        leave(&db, &[4], false),
        leave(&db, &[8, 16, 32], true)
    );
    some?;
    assert!(none.is_err());
    more?;
    summed.changed().await?;
    let expected = [("sum of 2".to_owned(), 3), ("sum of 3".to_owned(), 56)];
    assert_eq!(sums(&db).await?, expected);
    // What the hook refuses is not committed: the name is taken.
    assert!(leave(&db, &[5, 5], true).await.is_err());
    assert_eq!(sums(&db).await?, expected);
    Ok(())
}

async fn what_nobody_takes_up_fails_the_operation(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(SCHEMA, None).await?;
    let refused = leave(&db, &[1], true).await;
    assert!(
        matches!(refused, Err(DbError::BadClosure { .. })),
        "{refused:?}"
    );
    let db = store.open(SCHEMA, Some(sum_up())).await?;
    let text = db
        .write("leave text", async |tx: &mut Tx<'_>| {
            insert(tx, "a", 1).await?;
            tx.local::<String>().push('a');
            Ok::<_, DbError>(())
        })
        .await;
    assert!(text.is_err(), "the hook takes numbers only");
    let read = db
        .read("leave", async |tx: &mut Tx<'_>| {
            tx.local::<Vec<i64>>().push(1);
            Ok::<_, DbError>(())
        })
        .await;
    assert!(matches!(read, Err(DbError::BadClosure { .. })), "{read:?}");
    assert_eq!(sums(&db).await?, []);
    Ok(())
}
