//! A typed question reads and does nothing else, within its limits, beside whoever works there.

use super::*;
use skep_db::{Answer, QueryError, QueryLimits, ask};
use skep_testkit::on_both_engines;

on_both_engines!(
    a_question_is_answered,
    an_answer_is_cut_at_its_limit,
    nothing_that_writes_is_taken,
    what_takes_too_long_is_ended,
);

const LIMITS: QueryLimits = QueryLimits {
    rows: 100,
    time_ms: 60_000,
};

async fn bees(store: &TestStore) -> anyhow::Result<Db> {
    let db = store.open(&[super::archive::HIVE], None).await?;
    db.write("add", async |tx: &mut Tx<'_>| {
        tx.batch("INSERT INTO bee (name) VALUES ('ada'), (NULL), ('cleo')")
            .await
    })
    .await?;
    Ok(db)
}

async fn answer(store: &TestStore, sql: &str) -> Result<Answer, QueryError> {
    ask(store.location(), sql, LIMITS).await
}

async fn a_question_is_answered(store: TestStore) -> anyhow::Result<()> {
    // The store stays open meanwhile, with its writer.
    let _db = bees(&store).await?;
    let check = async |sql: &str, columns: &[&str], rows: Vec<Vec<Value>>| {
        let found = answer(&store, sql).await?;
        assert_eq!(found.columns, columns, "{sql}");
        assert_eq!((found.rows, found.cut), (rows, false), "{sql}");
        anyhow::Ok(())
    };
    check(
        "SELECT number AS n, name FROM bee ORDER BY number;  ",
        &["n", "name"],
        vec![
            vec![1.into(), "ada".into()],
            vec![2.into(), Value::Null],
            vec![3.into(), "cleo".into()],
        ],
    )
    .await?;
    check(
        "WITH t AS (SELECT age FROM bee) SELECT sum(age) AS years, count(*) AS bees FROM t",
        &["years", "bees"],
        vec![vec![12.into(), 3.into()]],
    )
    .await?;
    check(
        "VALUES (1, 'a')",
        &["column1", "column2"],
        vec![vec![1.into(), "a".into()]],
    )
    .await?;
    check("SELECT number FROM bee WHERE 1 = 0", &["number"], vec![]).await
}

async fn an_answer_is_cut_at_its_limit(store: TestStore) -> anyhow::Result<()> {
    let _db = bees(&store).await?;
    for (rows, cut) in [(2, true), (3, false), (4, false)] {
        let limits = QueryLimits { rows, ..LIMITS };
        let found = ask(store.location(), "SELECT number FROM bee", limits).await?;
        assert_eq!((found.rows.len(), found.cut), (rows.min(3), cut), "{rows}");
    }
    let endless =
        "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r";
    let found = answer(&store, endless).await?;
    assert_eq!((found.rows.len(), found.cut), (100, true));
    Ok(())
}

async fn nothing_that_writes_is_taken(store: TestStore) -> anyhow::Result<()> {
    let db = bees(&store).await?;
    for sql in [
        "DELETE FROM bee",
        "UPDATE bee SET name = 'eve'",
        "INSERT INTO bee (name) VALUES ('eve')",
        "INSERT INTO bee (name) VALUES ('eve') RETURNING number",
        "WITH gone AS (DELETE FROM bee RETURNING number) SELECT number FROM gone",
        "DROP TABLE bee",
        "CREATE TABLE wasp (number BIGINT)",
        "SELECT 1; DROP TABLE bee",
        "COMMIT; DROP TABLE bee",
        "PRAGMA query_only = OFF",
        "ATTACH 'other.db' AS other",
        "VACUUM INTO 'copy.db'",
        "SELECT setval('bee_number_seq', 99)",
        "SELECT nextval('bee_number_seq')",
        "SELECT load_extension('x')",
        "COPY bee TO PROGRAM 'cat'",
        "SELECT",
        "",
        "-- nothing",
        "SELECT no_such_column FROM bee",
    ] {
        // What one engine does not know it refuses as well.
        let found = answer(&store, sql).await;
        // PostgreSQL answers a SELECT of nothing with a row of nothing.
        let empty = found.as_ref().is_ok_and(|found| found.columns.is_empty());
        assert!(found.is_err() || empty, "{sql}: {found:?}");
        if let Err(error) = found {
            let known = matches!(error.code(), "query_refused" | "query_writes");
            assert!(known, "{sql}: {error:?}");
        }
    }
    let found = answer(&store, "SELECT count(*) AS n FROM bee WHERE name <> 'eve'").await?;
    assert_eq!(found.rows, [[Value::Int(2)]]);
    // The counter has not moved either.
    let next = db
        .write("next", async |tx: &mut Tx<'_>| {
            let sql = "INSERT INTO bee (name) VALUES ('dora') RETURNING number";
            tx.query_one(sql, &[]).await
        })
        .await?;
    assert_eq!(next.get::<i64>("number")?, 4);
    Ok(())
}

async fn what_takes_too_long_is_ended(store: TestStore) -> anyhow::Result<()> {
    let _db = bees(&store).await?;
    let endless =
        "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r";
    let limits = QueryLimits {
        time_ms: 1,
        ..LIMITS
    };
    let ended = ask(store.location(), endless, limits).await;
    assert!(
        matches!(ended, Err(QueryError::TimedOut { time_ms: 1 })),
        "{ended:?}"
    );
    Ok(())
}
