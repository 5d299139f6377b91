//! What goes through an archive arrives: every declared table, every kind of value, every counter.

use super::*;
use crate::schema::PARTS;
use skep_db::{Catalogue, ColumnKind, DbError, Step, Table, params};

in_every_direction!(
    a_counter_goes_on_where_it_was,
    an_older_archive_is_brought_up_to_date,
    every_declared_table_arrives,
    every_value_arrives_exactly,
);

/// Words that a CHECK may ask for in place of any text; the first that is taken is used.
const WORDS: &[&str] = &[
    "queued", "done", "settled", "pending", "open", "sealed", "active", "met",
];

async fn every_declared_table_arrives(from: TestStore, to: TestStore) -> anyhow::Result<()> {
    let db = from.open(PARTS, None).await?;
    let catalogue = Catalogue::of(PARTS)?;
    // Work under way of one engine has no place on the other.
    let shared = |table: &&String| catalogue.shape(table).is_some();
    for table in catalogue.tables().iter().filter(shared) {
        fill(&db, table).await?;
    }
    let first = from.folder().join("first");
    let written = export(&db, PARTS, &first).await?;
    for table in catalogue.tables() {
        let rows = written.tables.iter().find(|(name, _)| name == table);
        let one_sided = catalogue.shape(table).is_none();
        assert!(
            one_sided || rows.is_some_and(|(_, rows)| *rows > 0),
            "{table}"
        );
    }

    let (copy, imported) = import(&to, PARTS, &first).await?;
    assert_eq!(imported.rows, written.rows);
    let second = from.folder().join("second");
    let again = export(&copy, PARTS, &second).await?;
    assert_eq!(body(&first)?, body(&second)?);
    assert_eq!(again.content_sha256, written.content_sha256);
    Ok(())
}

/// Numbers that a CHECK asks for.
const NUMBERS: &[(&str, i64)] = &[("line", 0)];

/// Columns that a CHECK wants empty beside others.
const EMPTY: &[(&str, &str)] = &[("topic_message", "reference")];

/// Puts rows of made-up values into a table. Rows of one number have the same values in every
/// table, so that what refers to another table finds its row there.
async fn fill(db: &Db, table: &str) -> anyhow::Result<()> {
    for number in 1..=3 {
        for word in WORDS {
            let (table, word) = (table.to_owned(), *word);
            let inserted = db
                .write("fill", async move |tx: &mut Tx<'_>| {
                    let Some(shape) = TableShape::read(tx, &table).await? else {
                        return Ok(());
                    };
                    Ok::<_, ArchiveError>(insert(tx, &shape, number, word).await?)
                })
                .await;
            match inserted {
                Ok(()) => break,
                // A fresh store may hold the row already.
                Err(ArchiveError::Db(DbError::Constraint { .. } | DbError::Statement { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let sql = format!("SELECT 1 AS one FROM {table} LIMIT 1");
    let any = db
        .read("any", async move |tx: &mut Tx<'_>| {
            tx.query_opt(&sql, &[]).await
        })
        .await?;
    anyhow::ensure!(
        any.is_some(),
        "no row of {table} could be made: add a word or a number that its CHECK takes"
    );
    Ok(())
}

async fn insert(
    tx: &mut Tx<'_>,
    shape: &TableShape,
    number: i64,
    word: &str,
) -> Result<(), DbError> {
    let is_empty = |column: &str| EMPTY.contains(&(shape.name.as_str(), column));
    let values = shape.columns.iter().map(|column| match column.kind {
        _ if is_empty(&column.name) => Value::Null,
        ColumnKind::Integer => {
            let asked = NUMBERS.iter().find(|(name, _)| *name == column.name);
            Value::Int(asked.map_or(number, |(_, asked)| *asked))
        }
        ColumnKind::Real => Value::Real(0.5),
        ColumnKind::Text if ["state", "outcome"].contains(&column.name.as_str()) => {
            Value::from(word)
        }
        ColumnKind::Text => Value::Text(format!("\u{1f41d}\n{number}")),
        ColumnKind::Bytes => Value::Bytes(vec![0, 255, u8::try_from(number).unwrap_or(0)]),
    });
    let values: Vec<Value> = values.collect();
    let names: Vec<&str> = shape.columns.iter().map(|c| c.name.as_str()).collect();
    let places: Vec<String> = (1..=names.len()).map(|i| format!("?{i}")).collect();
    let overriding = match tx.engine() {
        skep_db::Engine::Sqlite => "",
        skep_db::Engine::Postgres => "OVERRIDING SYSTEM VALUE",
    };
    let sql = format!(
        "INSERT INTO {} ({}) {overriding} VALUES ({})",
        shape.name,
        names.join(", "),
        places.join(", ")
    );
    tx.execute(&sql, &values).await?;
    Ok(())
}

/// A schema with every kind of column, key and counter.
pub(super) const HIVE: SchemaPart = SchemaPart {
    owner: "hive",
    tables: &[
        Table {
            name: "comb",
            tier: "convenience",
        },
        Table {
            name: "bee",
            tier: "convenience",
        },
        Table {
            name: "queen",
            tier: "convenience",
        },
    ],
    steps: &[
        Step {
            version: 1,
            intent: "settle",
            sqlite: "CREATE TABLE comb (place TEXT NOT NULL, level INTEGER NOT NULL, bee INTEGER
                    REFERENCES bee (number), weight REAL, wax BLOB, PRIMARY KEY (place, level)) STRICT;
                CREATE TABLE bee (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT) STRICT;
                CREATE TABLE queen (one INTEGER PRIMARY KEY, name TEXT) STRICT;
                INSERT INTO queen VALUES (1, 'nobody');",
            postgres: "CREATE TABLE bee (number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT);
                CREATE TABLE comb (wax BYTEA, place TEXT NOT NULL, level BIGINT NOT NULL, bee BIGINT
                    REFERENCES bee (number), weight DOUBLE PRECISION, PRIMARY KEY (place, level));
                CREATE TABLE queen (one BIGINT PRIMARY KEY, name TEXT);
                INSERT INTO queen VALUES (1, 'nobody');",
        },
        Step {
            version: 2,
            intent: "give-age",
            sqlite: "ALTER TABLE bee ADD COLUMN age INTEGER NOT NULL DEFAULT 4;",
            postgres: "ALTER TABLE bee ADD COLUMN age BIGINT NOT NULL DEFAULT 4;",
        },
    ],
};

/// The same schema as an earlier version of the program knew it.
pub(super) const EARLIER_HIVE: SchemaPart = SchemaPart {
    steps: &[HIVE.steps[0]],
    ..HIVE
};

async fn add_bees(db: &Db, count: i64) -> Result<i64, DbError> {
    db.write("add bees", async move |tx: &mut Tx<'_>| {
        let mut number = 0;
        for _ in 0..count {
            let sql = "INSERT INTO bee (name) VALUES (?1) RETURNING number";
            number = tx.query_one(sql, params!["ada"]).await?.get("number")?;
        }
        Ok(number)
    })
    .await
}

async fn a_counter_goes_on_where_it_was(from: TestStore, to: TestStore) -> anyhow::Result<()> {
    let db = from.open(&[HIVE], None).await?;
    assert_eq!(add_bees(&db, 3).await?, 3);
    db.write("remove the last", async |tx: &mut Tx<'_>| {
        tx.execute("DELETE FROM bee WHERE number > 1", &[]).await
    })
    .await?;
    let path = from.folder().join("archive");
    export(&db, &[HIVE], &path).await?;
    let (copy, _) = import(&to, &[HIVE], &path).await?;
    // Not 2: a number that was given once is not given again.
    assert_eq!(add_bees(&copy, 1).await?, 4);
    assert_eq!(add_bees(&db, 1).await?, 4);
    Ok(())
}

async fn every_value_arrives_exactly(from: TestStore, to: TestStore) -> anyhow::Result<()> {
    let db = from.open(&[HIVE], None).await?;
    add_bees(&db, 1).await?;
    let rows: Vec<[Value; 5]> = vec![
        [
            "a".into(),
            i64::MIN.into(),
            Value::Null,
            Value::Null,
            Value::Null,
        ],
        [
            "a".into(),
            i64::MAX.into(),
            1.into(),
            0.1.into(),
            vec![0, 10, 255].into(),
        ],
        [
            "B".into(),
            0.into(),
            1.into(),
            f64::MAX.into(),
            Vec::<u8>::new().into(),
        ],
        ["".into(), 0.into(), Value::Null, (-0.0).into(), Value::Null],
        [
            "\u{e9}\n\"\\\u{1f41d}\u{2028}".into(),
            0.into(),
            Value::Null,
            f64::INFINITY.into(),
            Value::Null,
        ],
    ];
    let many = (0..700_i64).map(|i| {
        [
            "row".into(),
            i.into(),
            1.into(),
            Value::Null,
            vec![7_u8; 4_000].into(),
        ]
    });
    let rows: Vec<[Value; 5]> = rows.into_iter().chain(many).collect();
    let count = rows.len() as u64;
    db.write("fill", async move |tx: &mut Tx<'_>| {
        tx.execute("UPDATE queen SET name = 'Maya'", &[]).await?;
        for row in &rows {
            let sql =
                "INSERT INTO comb (place, level, bee, weight, wax) VALUES (?1, ?2, ?3, ?4, ?5)";
            tx.execute(sql, row).await?;
        }
        Ok::<_, DbError>(())
    })
    .await?;
    let (first, second) = (from.folder().join("first"), from.folder().join("second"));
    let written = export(&db, &[HIVE], &first).await?;
    assert_eq!(written.rows, count + 2);
    let (copy, _) = import(&to, &[HIVE], &first).await?;
    export(&copy, &[HIVE], &second).await?;
    let lines = body(&first)?;
    assert_eq!(lines, body(&second)?);
    // The table that is referred to comes first; keys stand in the order of their bytes.
    assert!(
        lines[0].starts_with(r#"{"table":{"name":"bee""#),
        "{}",
        lines[0]
    );
    let places: Vec<&str> = lines
        .iter()
        .skip_while(|line| !line.contains("\"comb\""))
        .filter_map(|line| line.split(',').nth(2))
        .collect();
    assert_eq!(
        places[1..4],
        ["\"\"", "\"B\"", "\"a\""],
        "{:?}",
        &places[..6]
    );
    assert!(
        lines.contains(&"[1,\"Maya\"]".to_owned()) || lines.contains(&"[\"Maya\",1]".to_owned())
    );
    Ok(())
}

async fn an_older_archive_is_brought_up_to_date(
    from: TestStore,
    to: TestStore,
) -> anyhow::Result<()> {
    let db = from.open(&[EARLIER_HIVE], None).await?;
    add_bees(&db, 2).await?;
    let path: PathBuf = from.folder().join("archive");
    export(&db, &[EARLIER_HIVE], &path).await?;
    let (copy, _) = import(&to, &[HIVE], &path).await?;
    let ages = copy
        .read("ages", async |tx: &mut Tx<'_>| {
            tx.query("SELECT age FROM bee ORDER BY number", &[]).await
        })
        .await?;
    let ages: Result<Vec<i64>, DbError> = ages.iter().map(|row| row.get("age")).collect();
    assert_eq!(ages?, [4, 4]);
    assert_eq!(add_bees(&copy, 1).await?, 3);
    Ok(())
}
