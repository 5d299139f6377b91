//! The page of what the engine has survived: a section for each part, written by the part's own run.

use super::{PARTS, Part};
use crate::machine::{self, Workspace};
use crate::report::{Report, number};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;

const PAGE: &str = "docs/benchmarks/survival.md";
const HEAD: &str = "# Survival

What the engine was put through and what came of it. Each section is written by the command in it,
run in full; a row that misses its target stays. Times are of a debug build where the section says
nothing else.
";

/// Puts the section of `part` in its place; the others stay as they are.
pub(super) fn write(workspace: &Workspace, part: &Part, report: &Report) -> Result<()> {
    let page = workspace.root.join(PAGE);
    let text = std::fs::read_to_string(&page).unwrap_or_default();
    let text = with_section(&text, part.name, &section(part, report));
    std::fs::write(&page, text).with_context(|| format!("failed to write {PAGE}"))
}

/// The page with the section of the part `name`; sections stand in the order of [`PARTS`].
fn with_section(page: &str, name: &str, section: &str) -> String {
    let mut sections: BTreeMap<&str, &str> = page
        .split("\n## ")
        .skip(1)
        .filter_map(|section| Some((section.lines().next()?, section)))
        .collect();
    sections.insert(name, section);
    let mut text = HEAD.to_owned();
    for part in PARTS {
        if let Some(section) = sections.get(part.name) {
            text.push_str("\n## ");
            text.push_str(section.trim_end());
            text.push('\n');
        }
    }
    text
}

fn section(part: &Part, report: &Report) -> String {
    let mut text = format!(
        "{}\n\n    cargo xtask chaos {}\n\n{}\n\nMachine: {}.\n\n\
         | What | Value | Target | Held | Note |\n|---|---:|---:|---|---|\n",
        part.name,
        part.name,
        part.rules,
        machine::description(),
    );
    for row in &report.rows {
        let shown = |value: Option<f64>| {
            value.map(|value| format!("{} {}", number(value), row.unit).trim().to_owned())
        };
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} |\n",
            row.name,
            shown(row.value).unwrap_or_default(),
            shown(row.target).unwrap_or_default(),
            if row.ok { "yes" } else { "**no**" },
            row.note.replace('|', "/"),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Row;

    #[test]
    fn a_section_takes_the_place_of_its_own_only() {
        let part = |name: &str| PARTS.iter().find(|part| part.name == name).unwrap();
        let report = |seconds| Report::of(vec![Row::step("rules", seconds, Ok("a | b".into()))]);
        let write = |page: &str, name: &str, seconds| {
            with_section(page, name, &section(part(name), &report(seconds)))
        };
        let page = write(&write("", "kills", 1.0), "power", 2.0);
        assert!(page.starts_with(HEAD));
        assert!(page.find("\n## power") < page.find("\n## kills"), "{page}");
        let page = write(&page, "kills", 30.0);
        assert!(page.contains("| rules | 2 s |  | yes | a / b |"), "{page}");
        assert!(page.contains("| rules | 30 s |  | yes | a / b |"), "{page}");
        assert_eq!(page.matches("\n## ").count(), 2);
    }
}
