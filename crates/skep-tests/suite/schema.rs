//! The committed schema, `schema/sqlite.sql` and `schema/postgres.sql`, is what all steps of all
//! crates together give.
//!
//! After a new step: `SKEP_WRITE_SCHEMA=1 cargo test -p skep-tests schema` writes the files.

use skep_db::{DbError, SchemaPart, Tx};
use skep_testkit::{Backend, TestStore, on_both_engines};
use std::collections::BTreeSet;
use std::path::PathBuf;

on_both_engines!(
    every_table_has_an_owner,
    the_steps_give_the_committed_schema,
    the_steps_run_once,
);

/// Every crate that owns tables, in the order of the layers.
pub(crate) const PARTS: &[SchemaPart] = &[
    skep_authority::SCHEMA,
    skep_ledger::SCHEMA,
    skep_queue::SCHEMA,
    skep_topic::SCHEMA,
    skep_gateway::SCHEMA,
    skep_director::SCHEMA,
];

async fn the_steps_give_the_committed_schema(store: TestStore) -> anyhow::Result<()> {
    let name = match store.backend {
        Backend::Sqlite => "sqlite.sql",
        Backend::Postgres => "postgres.sql",
    };
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../schema")
        .join(name);
    let found = schema_of(&store).await?;
    if std::env::var_os("SKEP_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &found)?;
    }
    let committed = std::fs::read_to_string(&path)?;
    let difference = found
        .lines()
        .zip(committed.lines())
        .find(|(found, committed)| found != committed);
    assert!(
        found == committed,
        "schema/{name} is not what the steps give; the first difference: {difference:#?}"
    );
    Ok(())
}

async fn the_steps_run_once(store: TestStore) -> anyhow::Result<()> {
    let first = schema_of(&store).await?;
    assert_eq!(
        schema_of(&store).await?,
        first,
        "a second start changes nothing"
    );
    Ok(())
}

async fn every_table_has_an_owner(store: TestStore) -> anyhow::Result<()> {
    let db = store.open(PARTS, None).await?;
    let sql = match store.backend {
        Backend::Sqlite => {
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        }
        Backend::Postgres => "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'",
    };
    let rows = db
        .read("tables", async move |tx: &mut Tx<'_>| {
            tx.query(sql, &[]).await
        })
        .await?;
    let found: BTreeSet<String> = rows
        .iter()
        .map(|row| row.get("name"))
        .collect::<Result<_, DbError>>()?;
    let owned: Vec<&str> = PARTS
        .iter()
        .flat_map(|part| part.tables.iter().map(|table| table.name))
        .collect();
    for name in &found {
        let owners = owned.iter().filter(|owned| *owned == name).count();
        // The register of the steps belongs to skep-db itself.
        assert_eq!(
            owners,
            usize::from(name != "schema_step"),
            "owners of {name}"
        );
    }
    for table in PARTS.iter().flat_map(|part| part.tables) {
        assert!(found.contains(table.name), "{}", table.name);
        assert!(
            ["convenience", "sensitive", "sacred"].contains(&table.tier),
            "the tier of {}",
            table.name
        );
    }
    Ok(())
}

async fn schema_of(store: &TestStore) -> anyhow::Result<String> {
    let db = store.open(PARTS, None).await?;
    let sql = match store.backend {
        Backend::Sqlite => SQLITE,
        Backend::Postgres => POSTGRES,
    };
    let rows = db
        .read("schema", async move |tx: &mut Tx<'_>| {
            tx.query(sql, &[]).await
        })
        .await?;
    let mut text = String::from(
        "-- What all migration steps of all crates give, in a stable order. Generated: see\n\
         -- crates/skep-tests/suite/schema.rs.\n",
    );
    for row in &rows {
        let statement: String = row.get("statement")?;
        text.push('\n');
        text.push_str(statement.trim_end_matches([';', '\n', ' ']));
        text.push_str(";\n");
    }
    Ok(text)
}

/// Each table with its indexes and triggers, by name; then the views.
const SQLITE: &str = "SELECT sql AS statement FROM sqlite_schema
    WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'
    ORDER BY type = 'view', tbl_name, CASE type WHEN 'table' THEN 1 WHEN 'index' THEN 2 ELSE 3 END,
        name";

/// The same from the catalogue: what PostgreSQL understood, not the text it was given.
const POSTGRES: &str = r"
    SELECT statement FROM (
        SELECT 1 AS place, c.relname AS of_table, 1 AS part, c.relname AS name,
            format(E'CREATE TABLE %I (\n%s\n)%s', c.relname,
                (SELECT string_agg(line, E',\n' ORDER BY part, line_place) FROM (
                    SELECT 1 AS part, a.attnum AS line_place,
                        format('    %I %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                            CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END,
                            CASE a.attidentity WHEN 'a' THEN ' GENERATED ALWAYS AS IDENTITY'
                                WHEN 'd' THEN ' GENERATED BY DEFAULT AS IDENTITY' ELSE '' END,
                            COALESCE(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')) AS line
                    FROM pg_attribute a
                    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                    UNION ALL
                    SELECT 2, row_number() OVER (ORDER BY k.conname),
                        format('    CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid))
                    FROM pg_constraint k
                    WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'c', 'f')
                ) AS lines),
                COALESCE(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '')) AS statement
        FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
        UNION ALL
        SELECT 1, t.relname, 2, i.relname, pg_get_indexdef(x.indexrelid)
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
        WHERE t.relnamespace = 'public'::regnamespace
            AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = x.indexrelid)
        UNION ALL
        SELECT 1, t.relname, 3, g.tgname, pg_get_triggerdef(g.oid)
        FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid
        WHERE t.relnamespace = 'public'::regnamespace AND NOT g.tgisinternal
        UNION ALL
        SELECT 2, v.relname, 1, v.relname,
            format(E'CREATE VIEW %I AS\n%s', v.relname, pg_get_viewdef(v.oid))
        FROM pg_class v WHERE v.relkind = 'v' AND v.relnamespace = 'public'::regnamespace
        UNION ALL
        SELECT 0, p.proname, 1, p.proname, pg_get_functiondef(p.oid)
        FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
    ) AS everything
    ORDER BY place, of_table, part, name";
