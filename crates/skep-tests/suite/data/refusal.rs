//! What is not an archive, not whole, or has no place here is refused before anything is kept.

use super::archive::{EARLIER_HIVE, HIVE};
use super::*;
use skep_db::{Step, Table};
use skep_testkit::on_both_engines;

on_both_engines!(
    a_store_that_holds_something_is_left_alone,
    an_older_archive_needs_an_older_store,
    damaged_archives_are_refused,
    nothing_of_a_refused_import_stays,
    text_with_a_zero_character_is_named,
    what_only_one_engine_has_is_refused_on_the_other,
);

async fn small(store: &TestStore) -> anyhow::Result<(Db, PathBuf)> {
    let db = store.open(&[HIVE], None).await?;
    db.write("add", async |tx: &mut Tx<'_>| {
        tx.batch("INSERT INTO bee (name) VALUES ('ada'), ('bea'), ('cleo')")
            .await
    })
    .await?;
    let path = store.folder().join("archive");
    export(&db, &[HIVE], &path).await?;
    Ok((db, path))
}

async fn other(store: &TestStore) -> anyhow::Result<TestStore> {
    TestStore::new(store.backend).await
}

/// Imports what `edit` makes of a good archive: refused with this code.
async fn check(
    store: &TestStore,
    good: &str,
    code: &str,
    edit: impl Fn(&str) -> String,
) -> anyhow::Result<()> {
    let path = store.folder().join("edited");
    std::fs::write(&path, edit(good))?;
    let refused = Archive::open(File::open(&path)?);
    let error = match refused {
        Err(error) => error,
        Ok(_) => match import(&other(store).await?, &[HIVE], &path).await {
            Err(error) => error,
            Ok(_) => anyhow::bail!("taken, where {code} was due: {}", edit(good)),
        },
    };
    assert_eq!(error.code(), code, "{error}: {}", edit(good));
    assert!(!error.hint().is_empty());
    Ok(())
}

async fn damaged_archives_are_refused(store: TestStore) -> anyhow::Result<()> {
    let (_, path) = small(&store).await?;
    let good = std::fs::read_to_string(&path)?;
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<String>>();
    check(&store, &good, "archive_foreign", |_| String::new()).await?;
    check(&store, &good, "archive_foreign", |_| {
        "PK\u{3}\u{4}".to_owned()
    })
    .await?;
    check(&store, &good, "archive_foreign", |_| {
        "{\"format\":\"skep-ledger-export\"}\n".to_owned()
    })
    .await?;
    check(&store, &good, "archive_newer", |t| {
        t.replacen("\"version\":1", "\"version\":2", 1)
    })
    .await?;
    check(&store, &good, "archive_changed", |t| {
        t.replacen("ada", "eve", 1)
    })
    .await?;
    check(&store, &good, "archive_changed", |t| {
        t.replacen("\"exported_at_ms\":7", "\"exported_at_ms\":8", 1)
    })
    .await?;
    check(&store, &good, "archive_changed", |t| format!("{t}[1]\n")).await?;
    check(&store, &good, "archive_changed", |t| {
        t.replacen("[1,\"nobody\"]\n", "", 1)
            .replacen("[\"nobody\",1]\n", "", 1)
    })
    .await?;
    // Cut anywhere: at every line, and in the middle of one.
    for kept in 1..lines(&good).len() {
        check(&store, &good, "archive_truncated", |t| {
            lines(t)[..kept].join("\n") + "\n"
        })
        .await?;
        check(&store, &good, "archive_truncated", |t| {
            let whole = lines(t)[..kept].join("\n") + "\n";
            whole + "{\"table"
        })
        .await?;
    }
    // One byte changed, anywhere behind the first word.
    for place in (30..good.len()).step_by(7) {
        let mut bytes = good.clone().into_bytes();
        bytes[place] ^= 1;
        std::fs::write(store.folder().join("flipped"), &bytes)?;
        let opened = Archive::open(File::open(store.folder().join("flipped"))?);
        assert!(opened.is_err(), "byte {place}");
    }
    // A schema that this program does not have, in an archive that is otherwise whole.
    let newer = store.folder().join("newer");
    let db = store.open(&[HIVE], None).await?;
    export(&db, &[HIVE], &newer).await?;
    let empty = other(&store).await?;
    let error = import(&empty, &[EARLIER_HIVE], &newer).await.err();
    assert_eq!(error.map(|e| e.code()), Some("archive_newer"));
    Ok(())
}

async fn count(db: &Db, table: &'static str) -> anyhow::Result<i64> {
    let row = db
        .read("count", async move |tx: &mut Tx<'_>| {
            tx.query_one(&format!("SELECT count(*) AS n FROM {table}"), &[])
                .await
        })
        .await?;
    Ok(row.get("n")?)
}

async fn a_store_that_holds_something_is_left_alone(store: TestStore) -> anyhow::Result<()> {
    let (db, path) = small(&store).await?;
    let error = import(&store, &[HIVE], &path).await.err();
    let told = error.as_ref().map(ToString::to_string);
    assert_eq!(error.map(|e| e.code()), Some("store_not_empty"));
    assert!(told.is_some_and(|text| text.contains("bee has 3 rows")));
    assert_eq!(count(&db, "bee").await?, 3);

    // A row that a fresh store holds, changed, is something too.
    let other = other(&store).await?;
    let db = other.open(&[HIVE], None).await?;
    db.write("crown", async |tx: &mut Tx<'_>| {
        tx.execute("UPDATE queen SET name = 'Maya'", &[]).await
    })
    .await?;
    let error = import(&other, &[HIVE], &path).await.err();
    assert_eq!(error.map(|e| e.code()), Some("store_not_empty"));
    Ok(())
}

async fn an_older_archive_needs_an_older_store(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(&[EARLIER_HIVE], None).await?;
    let path = store.folder().join("archive");
    export(&db, &[EARLIER_HIVE], &path).await?;
    let ahead = other(&store).await?;
    drop(ahead.open(&[HIVE], None).await?);
    let error = import(&ahead, &[HIVE], &path).await.err();
    assert_eq!(error.map(|e| e.code()), Some("store_newer_than_archive"));
    Ok(())
}

async fn nothing_of_a_refused_import_stays(store: TestStore) -> anyhow::Result<()> {
    let (_, path) = small(&store).await?;
    let to = other(&store).await?;
    let archive = Archive::open(File::open(&path)?)?;
    let refused = Db::import(
        to.options(&[HIVE], None),
        archive,
        false,
        Progress::default(),
        async |_: &mut Tx<'_>| Err::<(), _>(std::io::Error::other("not here")),
    )
    .await;
    assert_eq!(refused.err().map(|e| e.code()), Some("archive_arrival"));
    // Not even the schema: the same archive is taken afterwards, and its counters are its own.
    let (db, imported) = import(&to, &[HIVE], &path).await?;
    assert_eq!((imported.rows, count(&db, "bee").await?), (4, 3));
    Ok(())
}

async fn text_with_a_zero_character_is_named(store: TestStore) -> anyhow::Result<()> {
    // Only SQLite can hold such text.
    let from = TestStore::new(Backend::Sqlite).await?;
    let db = from.open(&[HIVE], None).await?;
    db.write("add", async |tx: &mut Tx<'_>| {
        let sql = "INSERT INTO bee (name) VALUES (?1)";
        tx.execute(sql, &[Value::Text("a\0b".to_owned())]).await
    })
    .await?;
    let path = from.folder().join("archive");
    export(&db, &[HIVE], &path).await?;
    let plain = import(&store, &[HIVE], &path).await;
    if store.backend == Backend::Sqlite {
        assert_eq!(name(&plain?.0).await?, "a\0b");
        return Ok(());
    }
    let error = plain.err();
    let told = error.as_ref().map(ToString::to_string);
    assert_eq!(error.map(|e| e.code()), Some("archive_zero_character"));
    assert!(told.is_some_and(|text| text.contains("bee.name")));
    let (db, imported) = Db::import(
        store.options(&[HIVE], None),
        Archive::open(File::open(&path)?)?,
        true,
        Progress::default(),
        async |_: &mut Tx<'_>| Ok::<(), ArchiveError>(()),
    )
    .await?;
    assert_eq!(
        (imported.texts_replaced, name(&db).await?.as_str()),
        (1, "a\u{fffd}b")
    );
    Ok(())
}

async fn name(db: &Db) -> anyhow::Result<String> {
    let row = db
        .read("name", async |tx: &mut Tx<'_>| {
            tx.query_one("SELECT name FROM bee", &[]).await
        })
        .await?;
    Ok(row.get("name")?)
}

async fn what_only_one_engine_has_is_refused_on_the_other(store: TestStore) -> anyhow::Result<()> {
    const WAITING: SchemaPart = SchemaPart {
        owner: "waiting",
        tables: &[Table {
            name: "waiting",
            tier: "convenience",
        }],
        steps: &[Step {
            version: 1,
            intent: "wait",
            sqlite: "",
            postgres: "CREATE TABLE waiting (bee BIGINT PRIMARY KEY);",
        }],
    };
    let from = TestStore::new(Backend::Postgres).await?;
    let db = from.open(&[WAITING], None).await?;
    let (empty, filled) = (from.folder().join("empty"), from.folder().join("filled"));
    export(&db, &[WAITING], &empty).await?;
    db.write("wait", async |tx: &mut Tx<'_>| {
        tx.batch("INSERT INTO waiting (bee) VALUES (7)").await
    })
    .await?;
    export(&db, &[WAITING], &filled).await?;
    // Without rows it is nothing, and goes anywhere.
    import(&other(&store).await?, &[WAITING], &empty).await?;
    let taken = import(&store, &[WAITING], &filled).await;
    match store.backend {
        Backend::Sqlite => {
            assert_eq!(taken.err().map(|e| e.code()), Some("archive_unsettled"));
        }
        Backend::Postgres => assert_eq!(count(&taken?.0, "waiting").await?, 1),
    }
    Ok(())
}
