//! Crash points: what the sources can die at and what the reference lists are the same set.

use super::Finding;
use super::tree::Tree;
use std::collections::BTreeMap;

const LIST: &str = "docs/reference/crash-points.md";
const CALL: &str = "crash::point(";

/// Every `crash::point("name")` is a row of the list, and the other way round.
pub(super) fn listed(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_sources: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for (path, _, rust) in tree.rust() {
        for (at, _) in rust.code.match_indices(CALL) {
            let argument = at + CALL.len();
            let line = rust.line_of(at);
            let gap = rust.code[argument..].len() - rust.code[argument..].trim_start().len();
            let literal = rust
                .literals
                .iter()
                .find(|literal| literal.at == argument + gap);
            match literal {
                Some(literal) => {
                    in_sources.insert(&literal.text, (path, line));
                }
                None => findings.push(Finding::at(
                    path,
                    line,
                    "a crash point is named by a literal, so that it can be listed",
                )),
            }
        }
    }
    let in_list: BTreeMap<&str, usize> = rows(tree.text(LIST).unwrap_or_default()).collect();
    for (name, (path, line)) in &in_sources {
        if !in_list.contains_key(name) {
            findings.push(Finding::at(
                *path,
                *line,
                format!("crash point `{name}` is not in {LIST}"),
            ));
        }
    }
    for (name, line) in &in_list {
        if !in_sources.contains_key(name) {
            findings.push(Finding::at(
                LIST,
                *line,
                format!("no source has crash point `{name}`"),
            ));
        }
    }
    findings
}

/// The names in the first column of the list's table, with their lines.
fn rows(text: &str) -> impl Iterator<Item = (&str, usize)> {
    text.lines().zip(1..).filter_map(|(text, line)| {
        let name = text.strip_prefix("| `")?.split_once('`')?.0;
        Some((name, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, list: &str) -> Vec<String> {
        let tree = Tree::of(&[("crates/a/src/b.rs", source), (LIST, list)]);
        listed(&tree).iter().map(Finding::shown).collect()
    }

    #[test]
    fn sources_and_list_agree() {
        let list = "| Name | Where |\n|---|---|\n| `land.after_swap` | x |\n";
        assert_eq!(
            check(
                "skep_stdx::crash::point(\n    \"land.after_swap\",\n);",
                list
            ),
            [""; 0]
        );
        assert_eq!(
            check("crash::point(\"land.other\");", list),
            [
                "crates/a/src/b.rs:1: crash point `land.other` is not in docs/reference/crash-points.md",
                "docs/reference/crash-points.md:3: no source has crash point `land.after_swap`",
            ]
        );
    }

    #[test]
    fn a_computed_name_is_found_and_a_comment_is_not() {
        assert_eq!(check("crash::point(NAME);", "").len(), 1);
        assert_eq!(check("// crash::point(\"a\")", ""), [""; 0]);
    }
}
