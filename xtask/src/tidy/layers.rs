//! Layer edges: the table in ARCHITECTURE.md is the rule, the manifests are held against it.
//!
//! Arrows point only to a lower number, so crates with the same number never see each other, and
//! every edge is named in the table, so that a new one is visible in review.

use super::Finding;
use super::tree::{Crate, Tree};
use std::collections::BTreeMap;

const TABLE_FILE: &str = "ARCHITECTURE.md";
const TABLE_HEAD: &str = "| Layer | Crate | One line | May depend on | Does not know |";
const PREFIX: &str = "skep-";

/// Dependencies that stay above a layer, with the reason. Development crates may use them.
const FLOORS: &[(&str, u8, &str)] = &[
    ("axum", 5, "a router belongs to the edge"),
    ("clap", 6, "a command line belongs to the binary"),
    ("anyhow", 6, "a library names its errors"),
];

/// Heavy dependencies that enter the product at one crate each.
const SINGLE_DOORS: &[(&str, &str)] = &[
    ("axum", "skep-http"),
    ("clap", "skep"),
    ("deadpool-postgres", "skep-db"),
    ("landlock", "skep-sandbox"),
    ("rusqlite", "skep-db"),
    ("seccompiler", "skep-sandbox"),
    ("tokio-postgres", "skep-db"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Number(u8),
    Development,
}

#[derive(Debug)]
struct Room {
    line: usize,
    layer: Layer,
    /// `None` stands for any crate.
    may_depend_on: Option<Vec<String>>,
    knows_no: String,
}

/// Every edge between crates of the workspace is allowed by the table, and the table is sound.
pub(super) fn edges(tree: &Tree) -> Vec<Finding> {
    let (rooms, mut findings) = rooms(tree);
    for member in &tree.crates {
        let Some(room) = rooms.get(&member.name) else {
            let message = format!("`{}` is not in the layer table", member.name);
            findings.push(Finding::of(TABLE_FILE, message));
            continue;
        };
        let inner = member.dependencies.iter().filter(|d| is_member(tree, d));
        for dependency in inner {
            let allowed = room
                .may_depend_on
                .as_ref()
                .is_none_or(|list| list.contains(dependency));
            if !allowed {
                let message = format!(
                    "`{}` depends on `{dependency}`, which the layer table in {TABLE_FILE} does \
                     not allow: speak through the ledger or the queue, or change the table in \
                     the same change",
                    member.name
                );
                findings.push(Finding::of(manifest(member), message));
            }
        }
    }
    for (name, room) in &rooms {
        findings.extend(unsound(tree, name, room, &rooms));
    }
    findings
}

/// Dependencies that are kept above a layer or behind one crate.
pub(super) fn confined_dependencies(tree: &Tree) -> Vec<Finding> {
    let (rooms, _) = rooms(tree);
    let mut findings = Vec::new();
    for member in &tree.crates {
        let Some(Layer::Number(layer)) = rooms.get(&member.name).map(|room| room.layer) else {
            continue;
        };
        for dependency in &member.dependencies {
            for (name, floor, reason) in FLOORS {
                // `clap_complete` and its kin count as `clap`.
                let family = dependency.split(['_', '-']).next() == Some(name);
                if family && layer < *floor {
                    let message =
                        format!("`{dependency}` stays at layer {floor} and above: {reason}");
                    findings.push(Finding::of(manifest(member), message));
                }
            }
            for (name, door) in SINGLE_DOORS {
                if dependency == name && member.name != *door {
                    let message = format!("`{name}` enters the product at `{door}` only");
                    findings.push(Finding::of(manifest(member), message));
                }
            }
        }
    }
    findings
}

/// What is wrong with one line of the table itself.
fn unsound(tree: &Tree, name: &str, room: &Room, rooms: &BTreeMap<String, Room>) -> Vec<Finding> {
    let at = |message: String| Finding::at(TABLE_FILE, room.line, message);
    let mut findings = Vec::new();
    if !is_member(tree, name) {
        findings.push(at(format!("`{name}` is not a crate of this workspace")));
    }
    if room.knows_no.is_empty() && room.layer != Layer::Development {
        findings.push(at(format!("`{name}` does not say what it does not know")));
    }
    for dependency in room.may_depend_on.iter().flatten() {
        let lower = match (room.layer, rooms.get(dependency).map(|other| other.layer)) {
            (_, None) => {
                findings.push(at(format!("`{name}` may depend on unknown `{dependency}`")));
                continue;
            }
            (Layer::Number(from), Some(Layer::Number(to))) => to < from,
            (Layer::Number(_), Some(Layer::Development)) => false,
            (Layer::Development, Some(_)) => true,
        };
        if !lower {
            findings.push(at(format!(
                "`{name}` may depend on `{dependency}`, which is not on a lower layer"
            )));
        }
    }
    findings
}

fn is_member(tree: &Tree, name: &str) -> bool {
    tree.crates.iter().any(|member| member.name == name)
}

fn manifest(member: &Crate) -> String {
    format!("{}/Cargo.toml", member.folder)
}

/// The lines of the table by crate, and the lines that cannot be read.
fn rooms(tree: &Tree) -> (BTreeMap<String, Room>, Vec<Finding>) {
    let lines = tree.text(TABLE_FILE).unwrap_or_default().lines();
    let rows: Vec<(usize, &str)> = lines
        .zip(1..)
        .map(|(text, line)| (line, text))
        .skip_while(|(_, text)| *text != TABLE_HEAD)
        .take_while(|(_, text)| text.starts_with('|'))
        .skip(2)
        .collect();
    let mut findings = Vec::new();
    if rows.is_empty() {
        findings.push(Finding::of(
            TABLE_FILE,
            format!("has no table headed `{TABLE_HEAD}`"),
        ));
    }
    let mut rooms = BTreeMap::new();
    for (line, text) in rows {
        match room(line, text) {
            Some((name, room)) => {
                rooms.insert(name, room);
            }
            None => findings.push(Finding::at(TABLE_FILE, line, "is not a row of five cells")),
        }
    }
    (rooms, findings)
}

fn room(line: usize, text: &str) -> Option<(String, Room)> {
    let cells: Vec<&str> = text.trim_matches('|').split('|').map(str::trim).collect();
    let [layer, name, _, may_depend_on, knows_no] = cells.as_slice() else {
        return None;
    };
    let layer = match *layer {
        "dev" => Layer::Development,
        number => Layer::Number(number.parse().ok()?),
    };
    let may_depend_on = match *may_depend_on {
        "any" => None,
        "none" => Some(Vec::new()),
        list => Some(list.split(',').map(|name| full_name(name.trim())).collect()),
    };
    Some((
        name.trim_matches('`').to_owned(),
        Room {
            line,
            layer,
            may_depend_on,
            knows_no: (*knows_no).to_owned(),
        },
    ))
}

fn full_name(short: &str) -> String {
    if short.starts_with(PREFIX) {
        short.to_owned()
    } else {
        format!("{PREFIX}{short}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
        # A\n\n\
        | Layer | Crate | One line | May depend on | Does not know |\n\
        |---|---|---|---|---|\n\
        | 0 | `skep-stdx` | seams | none | nouns |\n\
        | 1 | `skep-db` | store | stdx | tables |\n\
        | 2 | `skep-queue` | jobs | stdx, db | agents |\n\
        | 2 | `skep-gateway` | calls | db | jobs |\n\
        | dev | `skep-tests` | tests | any | |\n";

    fn check(
        rule: fn(&Tree) -> Vec<Finding>,
        table: &str,
        crates: &[(&str, &[&str])],
    ) -> Vec<String> {
        let tree = Tree::of(&[(TABLE_FILE, table)]).with_crates(crates);
        rule(&tree).iter().map(Finding::shown).collect()
    }

    const SOUND: &[(&str, &[&str])] = &[
        ("skep-stdx", &["tokio"]),
        ("skep-db", &["skep-stdx", "rusqlite"]),
        ("skep-queue", &["skep-db"]),
        ("skep-gateway", &["skep-db"]),
        ("skep-tests", &["skep-queue", "skep-gateway", "anyhow"]),
    ];

    fn with(
        name: &'static str,
        dependencies: &'static [&'static str],
    ) -> Vec<(&'static str, &'static [&'static str])> {
        let mut crates = SOUND.to_vec();
        crates.retain(|(other, _)| *other != name);
        crates.push((name, dependencies));
        crates
    }

    #[test]
    fn a_sound_tree_has_no_findings() {
        assert_eq!(check(edges, TABLE, SOUND), [""; 0]);
        assert_eq!(check(confined_dependencies, TABLE, SOUND), [""; 0]);
    }

    #[test]
    fn an_edge_that_the_table_does_not_name_is_found() {
        let found = check(
            edges,
            TABLE,
            &with("skep-gateway", &["skep-db", "skep-queue"]),
        );
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with(
                "crates/skep-gateway/Cargo.toml: `skep-gateway` depends on `skep-queue`"
            ),
            "{found:?}"
        );
    }

    #[test]
    fn a_table_that_allows_an_edge_to_its_own_layer_is_found() {
        let table = TABLE.replace("| calls | db |", "| calls | db, queue |");
        assert_eq!(
            check(edges, &table, SOUND),
            [
                "ARCHITECTURE.md:8: `skep-gateway` may depend on `skep-queue`, which is not on a lower layer"
            ]
        );
    }

    #[test]
    fn crates_and_rows_answer_each_other() {
        let found = check(edges, TABLE, &[SOUND, &[("skep-new", &[])]].concat());
        assert_eq!(
            found,
            ["ARCHITECTURE.md: `skep-new` is not in the layer table"]
        );
        let found = check(edges, TABLE, &SOUND[..4]);
        assert_eq!(
            found,
            ["ARCHITECTURE.md:9: `skep-tests` is not a crate of this workspace"]
        );
        let found = check(edges, &TABLE.replace("| agents |", "| |"), SOUND);
        assert_eq!(
            found,
            ["ARCHITECTURE.md:7: `skep-queue` does not say what it does not know"]
        );
        assert!(!check(edges, "# nothing", SOUND).is_empty());
    }

    #[test]
    fn routers_and_drivers_have_their_place() {
        let found = check(
            confined_dependencies,
            TABLE,
            &with("skep-queue", &["clap_complete", "rusqlite", "claptrap"]),
        );
        assert_eq!(
            found,
            [
                "crates/skep-queue/Cargo.toml: `clap_complete` stays at layer 6 and above: a command line belongs to the binary",
                "crates/skep-queue/Cargo.toml: `rusqlite` enters the product at `skep-db` only",
            ]
        );
    }
}
