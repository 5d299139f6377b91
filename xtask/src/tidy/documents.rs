//! The prose that is checked: the map, the decision records, the change fragments, links.

use super::Finding;
use super::tree::Tree;

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const ARCHITECTURE_LINES_MAX: usize = 400;
const DECISIONS: &str = "docs/decisions/";
const FRAGMENTS: &str = "changes/unreleased/";

/// The parts of a decision record, in order.
const DECISION_PARTS: &[&str] = &[
    "## Context",
    "## Decision",
    "## Rejected",
    "## Consequences",
];
/// The first words of a record's status.
const DECISION_STATES: &[&str] = &["accepted", "superseded by"];
/// What a fragment starts with, in order.
const FRAGMENT_FIELDS: &[&str] = &["Kind: ", "Who notices: ", "What to do: "];
/// The kinds of change, which are the headings of the changelog.
const FRAGMENT_KINDS: &[&str] = &["added", "changed", "fixed", "removed", "security"];

/// Folders that a document may name a file of; such a name has to be true.
const NAMED_ROOTS: &[&str] = &["crates/", "xtask/", "docs/", "changes/", ".ci/", ".config/"];
/// What marks a name as a pattern.
const PATTERN_CHARS: &[char] = &['*', '<', '{', '$', '…'];

/// The map exists and stays short enough to be read.
pub(super) fn architecture(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.text(ARCHITECTURE) else {
        return vec![Finding::of(ARCHITECTURE, "is missing")];
    };
    let lines = text.lines().count();
    if lines < ARCHITECTURE_LINES_MAX {
        return Vec::new();
    }
    let message = format!(
        "{lines} lines: a map is read in one sitting, keep it under {ARCHITECTURE_LINES_MAX}"
    );
    vec![Finding {
        measure: Some(lines),
        ..Finding::of(ARCHITECTURE, message)
    }]
}

/// Decision records are numbered without gaps and have all their parts.
pub(super) fn decisions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ((path, text), number) in tree.below(DECISIONS, ".md").zip(1..) {
        let name = path.trim_start_matches(DECISIONS).trim_end_matches(".md");
        let expected = format!("{number:03}");
        match name.split_once('-') {
            Some((found, title)) if found == expected && is_kebab(title) => {}
            _ => findings.push(Finding::of(
                path,
                format!("should be {expected}-title.md, without gaps"),
            )),
        }
        let mut lines = text.lines();
        if !lines
            .next()
            .unwrap_or_default()
            .starts_with(&format!("# {expected}. "))
        {
            findings.push(Finding::at(
                path,
                1,
                format!("starts with `# {expected}. Title`"),
            ));
        }
        let status = text.lines().find_map(|line| line.strip_prefix("Status: "));
        if !status.is_some_and(|status| DECISION_STATES.iter().any(|s| status.starts_with(s))) {
            findings.push(Finding::of(
                path,
                "has no line `Status: accepted` or `Status: superseded by NNN`",
            ));
        }
        let found: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("## "))
            .collect();
        if found != DECISION_PARTS {
            findings.push(Finding::of(
                path,
                format!("has the parts {}", DECISION_PARTS.join(", ")),
            ));
        }
    }
    findings
}

/// Change fragments say what changed, who notices and what to do.
pub(super) fn fragments(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.below(FRAGMENTS, "") {
        let name = path.trim_start_matches(FRAGMENTS);
        if !name.strip_suffix(".md").is_some_and(is_kebab) {
            findings.push(Finding::of(path, "is not named in-words.md"));
        }
        let mut lines = text.lines();
        for (field, number) in FRAGMENT_FIELDS.iter().zip(1..) {
            let value = lines
                .next()
                .unwrap_or_default()
                .strip_prefix(field)
                .map(str::trim);
            if value.is_none_or(str::is_empty) {
                findings.push(Finding::at(
                    path,
                    number,
                    format!("line {number} is `{field}...`"),
                ));
            }
            if *field == "Kind: " && !value.is_none_or(|kind| FRAGMENT_KINDS.contains(&kind)) {
                findings.push(Finding::at(
                    path,
                    number,
                    format!("the kind is one of {}", FRAGMENT_KINDS.join(", ")),
                ));
            }
        }
        if !lines.any(|line| !line.trim().is_empty()) {
            findings.push(Finding::of(
                path,
                "does not say what changed, below the three fields",
            ));
        }
    }
    findings
}

/// Links in the documents, and files that they name, exist.
pub(super) fn links(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.below("", ".md") {
        let mut in_block = false;
        for (line, number) in text.lines().zip(1..) {
            if line.trim_start().starts_with("```") {
                in_block = !in_block;
                continue;
            }
            if in_block {
                continue;
            }
            let linked = targets(line)
                .into_iter()
                .map(|target| (target, resolve(path, target)));
            let named = named_files(line)
                .into_iter()
                .map(|file| (file, Some(file.to_owned())));
            for (shown, file) in linked.chain(named) {
                if !file.is_some_and(|file| exists(tree, &file)) {
                    findings.push(Finding::at(
                        path,
                        number,
                        format!("`{shown}` does not exist"),
                    ));
                }
            }
        }
    }
    findings
}

fn is_kebab(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.chars().all(word)
}

/// The relative targets of Markdown links and HTML sources in a line.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (opens, closes) in [
        ("](", ')'),
        ("src=\"", '"'),
        ("srcset=\"", '"'),
        ("href=\"", '"'),
    ] {
        for (at, _) in line.match_indices(opens) {
            let rest = &line[at + opens.len()..];
            let target = rest.split(closes).next().unwrap_or(rest);
            let outside = target.contains("://")
                || target.starts_with(['#', '/'])
                || target.starts_with("mailto:");
            if !outside && !target.is_empty() {
                found.push(target);
            }
        }
    }
    found
}

/// The files that a line names in backticks.
fn named_files(line: &str) -> Vec<&str> {
    line.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| NAMED_ROOTS.iter().any(|root| word.starts_with(root)))
        .filter(|word| {
            !word.contains(PATTERN_CHARS)
                && !word.contains(char::is_whitespace)
                && !word.contains("NN")
                && !word.contains("NAME")
        })
        .collect()
}

/// The path from the root that a link in `document` leads to; `None` if it leaves the tree.
fn resolve(document: &str, target: &str) -> Option<String> {
    let target = target.split('#').next().unwrap_or(target);
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn exists(tree: &Tree, path: &str) -> bool {
    let folder = format!("{}/", path.trim_end_matches('/'));
    tree.files.contains_key(path) || tree.files.keys().any(|file| file.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [&str; 0] = [];

    fn check(rule: fn(&Tree) -> Vec<Finding>, files: &[(&str, &str)]) -> Vec<String> {
        rule(&Tree::of(files)).iter().map(Finding::shown).collect()
    }

    #[test]
    fn the_map_is_there_and_short() {
        assert_eq!(check(architecture, &[(ARCHITECTURE, "# A")]), NOTHING);
        assert_eq!(check(architecture, &[]), ["ARCHITECTURE.md: is missing"]);
        assert_eq!(
            check(architecture, &[(ARCHITECTURE, &"x\n".repeat(400))]).len(),
            1
        );
    }

    fn record(number: &str) -> String {
        format!(
            "# {number}. A\n\nStatus: accepted\n\n{}\n",
            DECISION_PARTS.join("\n\nx\n\n")
        )
    }

    #[test]
    fn decision_records_have_no_gaps_and_all_parts() {
        let (one, two) = (record("001"), record("002"));
        let sound = [
            ("docs/decisions/001-a.md", one.as_str()),
            ("docs/decisions/002-b.md", two.as_str()),
        ];
        assert_eq!(check(decisions, &sound), NOTHING);
        let gap = [sound[0], ("docs/decisions/003-b.md", two.as_str())];
        assert_eq!(
            check(decisions, &gap),
            ["docs/decisions/003-b.md: should be 002-title.md, without gaps"]
        );
        for broken in [
            one.replace("## Rejected", "## Other"),
            one.replace("accepted", "perhaps"),
            one.replace("# 001. ", "# "),
        ] {
            assert_eq!(
                check(decisions, &[("docs/decisions/001-a.md", &broken)]).len(),
                1,
                "{broken}"
            );
        }
    }

    #[test]
    fn fragments_have_their_form() {
        let sound = "Kind: added\nWho notices: everybody\nWhat to do: nothing\n\nSkep exists.\n";
        let file = |text: &str| check(fragments, &[("changes/unreleased/first-job.md", text)]);
        assert_eq!(file(sound), NOTHING);
        assert_eq!(
            file(&sound.replace("added", "new")),
            [
                "changes/unreleased/first-job.md:1: the kind is one of added, changed, fixed, removed, security"
            ]
        );
        assert_eq!(file(&sound.replace("What to do: nothing", "")).len(), 1);
        assert_eq!(file(&sound.replace("Skep exists.", "")).len(), 1);
        assert_eq!(
            check(fragments, &[("changes/unreleased/First.txt", sound)]).len(),
            1
        );
    }

    #[test]
    fn dead_links_are_found() {
        let file = |text: &str| {
            check(
                links,
                &[
                    ("docs/a.md", text),
                    ("README.md", "x"),
                    ("docs/b/c.svg", "x"),
                ],
            )
        };
        for line in [
            "[x](../README.md#top)",
            "![x](b/c.svg)",
            "[x](b)",
            "[x](https://example.org)",
            "[x](#here)",
            "<img src=\"b/c.svg\">",
        ] {
            assert_eq!(file(line), NOTHING, "{line}");
        }
        for line in [
            "[x](README.md)",
            "[x](../../README.md)",
            "<img src=\"c.svg\">",
        ] {
            assert_eq!(file(line).len(), 1, "{line}");
        }
        assert_eq!(file("```\n[x](nowhere.md)\n```"), NOTHING);
    }

    #[test]
    fn files_that_a_document_names_exist() {
        let file = |text: &str| check(links, &[("a.md", text), ("crates/a/src/lib.rs", "")]);
        for line in [
            "`crates/a/src/lib.rs`",
            "`crates/a`",
            "`crates/*/b.rs`",
            "`docs/NNN-title.md`",
            "`target/x`",
        ] {
            assert_eq!(file(line), NOTHING, "{line}");
        }
        assert_eq!(
            file("see `crates/a/src/job.rs`"),
            ["a.md:1: `crates/a/src/job.rs` does not exist"]
        );
    }
}
