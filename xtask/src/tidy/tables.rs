//! Tables: one owning crate and one data tier each, both engines in step, no foreign SQL.
//!
//! A table is declared by a `Table { name: "...", tier: "..." }` constant in the crate that owns
//! it; its steps lie in `crates/NAME/schema/NNNN-intent.{sqlite,postgres}.sql`. SQL is recognised
//! by its words, in string literals and in schema files; test modules may look anywhere.

use super::Finding;
use super::rust_text::{Literal, RustText};
use super::tree::{Tree, is_test};
use std::collections::{BTreeMap, BTreeSet};

const TIERS: &[&str] = &["convenience", "sensitive", "sacred"];
const ENGINES: &[&str] = &["sqlite", "postgres"];

/// The register of applied steps exists before any schema part does, so no part declares it.
const REGISTER: (&str, &str) = ("schema_step", "skep-db");

/// Where people look up whose a table is.
const MAP: &str = "ARCHITECTURE.md";
const MAP_HEAD: &str = "| Table | Owner | Tier | Holds |";

/// Words that a table's name follows.
const TABLE_WORDS: &[&str] = &[
    "FROM",
    "INTO",
    "UPDATE",
    "JOIN",
    "TABLE",
    "VIEW",
    "REFERENCES",
];
/// Words that a statement starts with.
const STATEMENT_WORDS: &[&str] = &[
    "SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "CREATE", "ALTER", "DROP",
];

/// One `Table` constant.
#[derive(Debug, PartialEq, Eq)]
struct Declared<'a> {
    path: &'a str,
    line: usize,
    owner: &'a str,
    name: &'a str,
    tier: Option<&'a str>,
}

/// A table name in SQL.
struct Named {
    path: String,
    line: usize,
    crate_name: String,
    table: String,
    created: Option<Relation>,
}

/// What a `CREATE` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Table,
    View,
}

/// Every table is declared once, with a tier, by the crate whose steps make it.
pub(super) fn owners(tree: &Tree) -> Vec<Finding> {
    let declared = declared(tree);
    let mut findings = Vec::new();
    let mut first: BTreeMap<&str, &Declared<'_>> = BTreeMap::new();
    for table in &declared {
        let at = |message: String| Finding::at(table.path, table.line, message);
        if let Some(other) = first.insert(table.name, table) {
            findings.push(at(format!(
                "table `{}` is also declared in {}:{}: a table has one owner",
                table.name, other.path, other.line
            )));
        }
        if !table.tier.is_some_and(|tier| TIERS.contains(&tier)) {
            findings.push(at(format!(
                "table `{}` needs a tier: {}",
                table.name,
                TIERS.join(", ")
            )));
        }
    }
    let created: Vec<Named> = named(tree)
        .into_iter()
        .filter(|named| named.created == Some(Relation::Table))
        .collect();
    for named in &created {
        let owner = first.get(named.table.as_str()).map(|table| table.owner);
        let register = (named.table.as_str(), named.crate_name.as_str()) == REGISTER;
        if owner != Some(named.crate_name.as_str()) && !register && !dropped_later(tree, named) {
            let message = format!(
                "`{}` makes table `{}` and does not declare it with a tier",
                named.crate_name, named.table
            );
            findings.push(Finding::at(&named.path, named.line, message));
        }
    }
    for table in &declared {
        // Usually both engines; a table that only one of them needs has a step there.
        if !created.iter().any(|named| named.table == table.name) {
            let message = format!("no step makes table `{}`", table.name);
            findings.push(Finding::at(table.path, table.line, message));
        }
    }
    findings
}

/// Whether a later step of the same crate for the same engine takes the table away again.
fn dropped_later(tree: &Tree, created: &Named) -> bool {
    let Some((folder, step)) = created.path.rsplit_once('/') else {
        return false;
    };
    let engine = ENGINES
        .iter()
        .find(|engine| step.ends_with(&format!(".{engine}.sql")));
    let drop = format!("DROP TABLE {};", created.table);
    engine.is_some_and(|engine| {
        tree.below(folder, &format!(".{engine}.sql"))
            .any(|(path, text)| path > created.path.as_str() && text.contains(&drop))
    })
}

/// The list of tables in the map says what the crates declare.
pub(super) fn listed(tree: &Tree) -> Vec<Finding> {
    let declared = declared(tree);
    let mut findings = Vec::new();
    let mut rows: BTreeMap<&str, (usize, &str, &str)> = BTreeMap::new();
    let lines = tree.text(MAP).unwrap_or_default().lines().zip(1..);
    for (text, line) in lines
        .skip_while(|(text, _)| *text != MAP_HEAD)
        .skip(2)
        .take_while(|(text, _)| text.starts_with('|'))
    {
        let cells: Vec<&str> = text
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        if let [_, table, owner, tier, ..] = cells.as_slice() {
            rows.insert(table, (line, owner, tier));
        }
    }
    for table in &declared {
        let tier = table.tier.unwrap_or_default();
        match rows.remove(table.name) {
            Some((_, owner, listed)) if owner == table.owner && listed == tier => {}
            Some((line, _, _)) => {
                let message = format!("table `{}` is `{}`, {tier}", table.name, table.owner);
                findings.push(Finding::at(MAP, line, message));
            }
            None => {
                let message = format!(
                    "table `{}` is not in the list of tables in {MAP}",
                    table.name
                );
                findings.push(Finding::at(table.path, table.line, message));
            }
        }
    }
    for (table, (line, owner, _)) in rows {
        if (table, owner) != REGISTER {
            findings.push(Finding::at(
                MAP,
                line,
                format!("no crate declares table `{table}`"),
            ));
        }
    }
    findings
}

/// Steps are numbered from 0001 without gaps and exist for both engines.
pub(super) fn schema_files(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut steps: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for (path, _) in tree.below("crates/", ".sql") {
        let Some((folder, file)) = path.rsplit_once("/schema/") else {
            findings.push(Finding::of(
                path,
                "belongs in the `schema` folder of its crate",
            ));
            continue;
        };
        let engine = ENGINES.iter().find_map(|engine| {
            Some((
                *engine,
                file.strip_suffix(".sql")?
                    .strip_suffix(engine)?
                    .strip_suffix('.')?,
            ))
        });
        match engine.filter(|(_, step)| is_step_name(step)) {
            Some((engine, step)) => {
                let step = steps.entry(folder).or_default().entry(step).or_default();
                step.insert(engine);
            }
            None => findings.push(Finding::of(
                path,
                "is not named NNNN-intent.sqlite.sql or NNNN-intent.postgres.sql",
            )),
        }
    }
    for (folder, steps) in &steps {
        for ((step, engines), number) in steps.iter().zip(1..) {
            let at = |message: String| Finding::of(format!("{folder}/schema/{step}"), message);
            for engine in ENGINES.iter().filter(|engine| !engines.contains(*engine)) {
                findings.push(at(format!("has no .{engine}.sql")));
            }
            if !step.starts_with(&format!("{number:04}-")) {
                findings.push(at(format!(
                    "should be number {number:04}: steps have no gaps"
                )));
            }
        }
    }
    findings
}

/// No crate's SQL names a table that another crate owns.
pub(super) fn foreign_sql(tree: &Tree) -> Vec<Finding> {
    let named = named(tree);
    // A view belongs to the crate whose step makes it.
    let views = named
        .iter()
        .filter(|named| named.created == Some(Relation::View));
    let owners: BTreeMap<&str, &str> = declared(tree)
        .into_iter()
        .map(|table| (table.name, table.owner))
        .chain(views.map(|view| (view.table.as_str(), view.crate_name.as_str())))
        .chain([REGISTER])
        .collect();
    let mut findings = Vec::new();
    for named in &named {
        let owner = owners.get(named.table.as_str());
        if let Some(owner) = owner.filter(|owner| **owner != named.crate_name.as_str()) {
            let message = format!(
                "SQL of `{}` names table `{}` of `{owner}`: call that crate inside the transaction",
                named.crate_name, named.table
            );
            findings.push(Finding::at(&named.path, named.line, message));
        }
    }
    findings
}

fn is_step_name(step: &str) -> bool {
    let (number, intent) = step.split_once('-').unwrap_or((step, ""));
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    number.len() == 4
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && !intent.is_empty()
        && intent.chars().all(word)
}

/// The crates' own sources: neither test files nor the crates that only test.
fn product_sources(tree: &Tree) -> impl Iterator<Item = (&str, &str, &RustText)> {
    tree.rust().filter_map(|(path, _, rust)| {
        let owner = tree.crate_of(path)?;
        let tests_only = ["skep-sim", "skep-testkit", "skep-tests", "xtask"].contains(&owner);
        (!tests_only && !is_test(path)).then_some((path, owner, rust))
    })
}

fn declared(tree: &Tree) -> Vec<Declared<'_>> {
    let mut found = Vec::new();
    for (path, owner, rust) in product_sources(tree) {
        for (at, _) in rust.code.match_indices("Table {") {
            let length = rust.code[at..].find('}').unwrap_or(0);
            let body = &rust.code[at..at + length];
            let literal = |field: &str| {
                let field = at + body.find(field)?;
                inside(rust, field, at + length)
            };
            let line = rust.line_of(at);
            if let Some(name) = literal("name:").filter(|_| line <= rust.product_lines) {
                found.push(Declared {
                    path,
                    line,
                    owner,
                    name: &name.text,
                    tier: literal("tier:").map(|tier| tier.text.as_str()),
                });
            }
        }
    }
    found
}

/// The first literal between two bytes of a file.
fn inside(rust: &RustText, from: usize, to: usize) -> Option<&Literal> {
    rust.literals
        .iter()
        .find(|literal| (from..to).contains(&literal.at))
}

fn named(tree: &Tree) -> Vec<Named> {
    let mut found = Vec::new();
    let mut add = |path: &str, owner: &str, line: usize, sql: &str| {
        for (line_in_text, table, created) in tables_in(sql) {
            found.push(Named {
                path: path.to_owned(),
                line: line + line_in_text,
                crate_name: owner.to_owned(),
                table,
                created,
            });
        }
    };
    for (path, owner, rust) in product_sources(tree) {
        for literal in rust.product_literals() {
            add(path, owner, literal.line, &literal.text);
        }
    }
    for (path, text) in tree.below("crates/", ".sql") {
        if let Some(owner) = tree.crate_of(path) {
            add(path, owner, 1, text);
        }
    }
    found
}

/// The tables that a piece of text names: lines after its first, name, and what is made there.
fn tables_in(text: &str) -> Vec<(usize, String, Option<Relation>)> {
    let first = words(text).next().map(|(_, word)| word.to_uppercase());
    // Prose has these words too; there only the capitals of SQL count.
    let statement = first.is_some_and(|word| STATEMENT_WORDS.contains(&word.as_str()));
    let is = |word: &str, keyword: &str| {
        if statement {
            word.eq_ignore_ascii_case(keyword)
        } else {
            word == keyword
        }
    };
    let mut found = Vec::new();
    let mut before = "";
    let mut words = words(text).peekable();
    while let Some((_, word)) = words.next() {
        if TABLE_WORDS.iter().any(|keyword| is(word, keyword)) {
            let created = match is(before, "CREATE") {
                true if is(word, "TABLE") => Some(Relation::Table),
                true if is(word, "VIEW") => Some(Relation::View),
                _ => None,
            };
            while words
                .next_if(|(_, word)| ["IF", "NOT", "EXISTS", "ONLY"].iter().any(|w| is(word, w)))
                .is_some()
            {}
            if let Some((line, name)) = words.peek() {
                let name = name.rsplit('.').next().unwrap_or(name);
                found.push((*line, name.to_ascii_lowercase(), created));
            }
        }
        before = word;
    }
    found
}

/// The words of a text with the number of lines before each; SQL comments are left out.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    text.lines().enumerate().flat_map(move |(line, text)| {
        let text = text.split("--").next().unwrap_or(text);
        text.split(move |c| !inside(c))
            .filter(|word| !word.is_empty())
            .map(move |word| (line, word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: &str =
        "const JOB: Table = Table {\n    name: \"job\",\n    tier: \"sensitive\",\n};\n";
    const STEP: &str = "CREATE TABLE job (id TEXT PRIMARY KEY) STRICT;\n";

    fn check(rule: fn(&Tree) -> Vec<Finding>, files: &[(&str, &str)]) -> Vec<String> {
        let sound = [
            ("crates/skep-queue/src/schema.rs", DECLARED),
            ("crates/skep-queue/schema/0001-jobs.sqlite.sql", STEP),
            ("crates/skep-queue/schema/0001-jobs.postgres.sql", STEP),
        ];
        let mut all: BTreeMap<&str, &str> = sound.into_iter().collect();
        all.extend(files.iter().copied());
        let files: Vec<(&str, &str)> = all
            .into_iter()
            .filter(|(_, text)| *text != "gone")
            .collect();
        let tree = Tree::of(&files).with_crates(&[
            ("skep-queue", &[]),
            ("skep-gateway", &[]),
            ("skep-db", &[]),
            ("skep-tests", &[]),
        ]);
        rule(&tree).iter().map(Finding::shown).collect()
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn a_declared_table_with_its_steps_is_sound() {
        assert_eq!(check(owners, &[]), NOTHING);
        assert_eq!(check(schema_files, &[]), NOTHING);
        assert_eq!(check(foreign_sql, &[]), NOTHING);
    }

    #[test]
    fn a_second_owner_is_found() {
        let found = check(owners, &[("crates/skep-gateway/src/a.rs", DECLARED)]);
        assert!(
            found
                .iter()
                .any(|finding| finding.contains("a table has one owner")),
            "{found:?}"
        );
    }

    #[test]
    fn a_table_without_a_known_tier_is_found() {
        for text in [
            DECLARED.replace("sensitive", "secret"),
            DECLARED.replace("    tier: \"sensitive\",\n", ""),
        ] {
            let found = check(owners, &[("crates/skep-queue/src/schema.rs", &text)]);
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].contains("needs a tier"), "{found:?}");
        }
    }

    #[test]
    fn a_table_that_a_later_step_drops_needs_no_owner() {
        const MADE: (&str, &str) = (
            "crates/skep-queue/schema/0002-add.sqlite.sql",
            "CREATE TABLE old (id TEXT);\n",
        );
        for (dropping, findings) in [
            ("crates/skep-queue/schema/0003-drop.sqlite.sql", 0),
            ("crates/skep-queue/schema/0003-drop.postgres.sql", 1),
            ("crates/skep-queue/schema/0001-drop.sqlite.sql", 1),
            ("crates/skep-gateway/schema/0003-drop.sqlite.sql", 1),
        ] {
            let found = check(owners, &[MADE, (dropping, "DROP TABLE old;\n")]);
            assert_eq!(found.len(), findings, "{dropping}: {found:?}");
        }
    }

    #[test]
    fn tables_that_nobody_declares_or_makes_are_found() {
        let found = check(
            owners,
            &[(
                "crates/skep-gateway/src/a.rs",
                "const A: &str = \"create table if not exists call (id text)\";",
            )],
        );
        assert_eq!(
            found,
            [
                "crates/skep-gateway/src/a.rs:1: `skep-gateway` makes table `call` and does not declare it with a tier"
            ]
        );
        let found = check(
            owners,
            &[
                ("crates/skep-queue/schema/0001-jobs.sqlite.sql", "SELECT 1;"),
                (
                    "crates/skep-queue/schema/0001-jobs.postgres.sql",
                    "SELECT 1;",
                ),
            ],
        );
        assert_eq!(
            found,
            ["crates/skep-queue/src/schema.rs:1: no step makes table `job`"]
        );
        let register = "const A: &str = \"CREATE TABLE IF NOT EXISTS schema_step (a TEXT)\";";
        assert_eq!(
            check(owners, &[("crates/skep-db/src/a.rs", register)]),
            NOTHING
        );
    }

    #[test]
    fn the_map_lists_what_is_declared() {
        let map = |rows: &str| format!("{MAP_HEAD}\n|---|---|---|---|\n{rows}\n");
        let list = |rows: &str| check(listed, &[(MAP, &map(rows))]);
        let row = "| `job` | `skep-queue` | sensitive | jobs |";
        assert_eq!(list(row), NOTHING);
        assert_eq!(
            list(&row.replace("sensitive", "sacred")),
            ["ARCHITECTURE.md:3: table `job` is `skep-queue`, sensitive"]
        );
        assert_eq!(list("").len(), 1);
        let more = format!("{row}\n| `old` | `skep-queue` | sensitive | gone |");
        assert_eq!(
            list(&more),
            ["ARCHITECTURE.md:4: no crate declares table `old`"]
        );
    }

    #[test]
    fn steps_come_in_pairs_without_gaps() {
        let found = check(
            schema_files,
            &[("crates/skep-queue/schema/0003-more.sqlite.sql", STEP)],
        );
        assert_eq!(
            found,
            [
                "crates/skep-queue/schema/0003-more: has no .postgres.sql",
                "crates/skep-queue/schema/0003-more: should be number 0002: steps have no gaps",
            ]
        );
        for path in [
            "crates/skep-queue/schema/1-x.sqlite.sql",
            "crates/skep-queue/schema/0002-x.mysql.sql",
            "crates/skep-queue/a.sql",
        ] {
            assert_eq!(check(schema_files, &[(path, STEP)]).len(), 1, "{path}");
        }
    }

    #[test]
    fn sql_about_a_foreign_table_is_found() {
        for sql in [
            "SELECT 1 FROM job",
            "select 1 from main.job where x",
            "UPDATE job SET x = 1",
            "WITH a AS (SELECT 1) INSERT INTO job VALUES (1)",
            "... LEFT JOIN job USING (id)",
        ] {
            let source = format!("const A: &str = \"{sql}\";");
            let found = check(foreign_sql, &[("crates/skep-gateway/src/a.rs", &source)]);
            assert_eq!(found.len(), 1, "{sql}: {found:?}");
        }
        let step = (
            "crates/skep-gateway/schema/0001-a.sqlite.sql",
            "CREATE TABLE call (\n  job TEXT REFERENCES job\n)",
        );
        assert_eq!(
            check(foreign_sql, &[step]),
            [
                "crates/skep-gateway/schema/0001-a.sqlite.sql:2: SQL of `skep-gateway` names table `job` of `skep-queue`: call that crate inside the transaction"
            ]
        );
    }

    #[test]
    fn a_view_has_an_owner_too() {
        let step = format!("{STEP}CREATE VIEW job_all AS SELECT id FROM job;\n");
        let files = |user: &'static str| {
            [
                (
                    "crates/skep-queue/schema/0001-jobs.sqlite.sql",
                    step.as_str(),
                ),
                (user, "const A: &str = \"SELECT 1 FROM job_all\";"),
            ]
        };
        assert_eq!(
            check(foreign_sql, &files("crates/skep-queue/src/a.rs")),
            NOTHING
        );
        assert_eq!(
            check(foreign_sql, &files("crates/skep-gateway/src/a.rs")).len(),
            1
        );
    }

    #[test]
    fn prose_tests_and_the_owner_may_name_a_table() {
        for source in [
            "const A: &str = \"a call from job to job\";",
            "// SELECT 1 FROM job",
            "const A: &str = \"SELECT 1 FROM call -- FROM job\";",
            "#[cfg(test)]\nmod tests {\n    const A: &str = \"SELECT 1 FROM job\";\n}\n",
        ] {
            assert_eq!(
                check(foreign_sql, &[("crates/skep-gateway/src/a.rs", source)]),
                NOTHING,
                "{source}"
            );
        }
        let sql = "const A: &str = \"SELECT 1 FROM job\";";
        assert_eq!(
            check(foreign_sql, &[("crates/skep-queue/src/a.rs", sql)]),
            NOTHING
        );
        assert_eq!(
            check(foreign_sql, &[("crates/skep-tests/src/a.rs", sql)]),
            NOTHING
        );
    }
}
