//! `cargo xtask tidy`: the rules of the house, as code.
//!
//! Each rule is one small function from the tree to findings; only the last check, which `--quick`
//! leaves out, needs the product built. A rule
//! that exists only in prose bends, so a new one starts here. `xtask/tidy-exceptions.toml` holds
//! what is let through for now: an entry that is no longer needed is itself a finding, so the
//! list can only shrink.

mod crash_points;
mod documents;
mod exceptions;
mod generated;
mod layers;
mod manifests;
mod rust_text;
mod sources;
mod tables;
mod tree;

use crate::machine::Workspace;
use crate::options::Options;
use crate::report::{Report, Row, say};
use anyhow::Result;
use exceptions::Exceptions;
use tree::Tree;

/// One rule of the house.
struct Rule {
    /// The name that findings and exceptions use.
    name: &'static str,
    check: fn(&Tree) -> Vec<Finding>,
}

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// The file, relative to the root.
    path: String,
    /// Its line, from 1.
    line: Option<usize>,
    /// What is wrong and what to do.
    message: String,
    /// The size that is too large, where the rule is about a size.
    measure: Option<usize>,
    /// Whether it only asks a question and lets the build pass.
    asks: bool,
}

impl Finding {
    fn at(path: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            ..Self::of(path, message)
        }
    }

    fn of(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line: None,
            message: message.into(),
            measure: None,
            asks: false,
        }
    }

    fn shown(&self) -> String {
        let line = self.line.map_or(String::new(), |line| format!(":{line}"));
        format!("{}{line}: {}", self.path, self.message)
    }
}

const RULES: &[Rule] = &[
    Rule {
        name: "layers",
        check: layers::edges,
    },
    Rule {
        name: "confined_dependencies",
        check: layers::confined_dependencies,
    },
    Rule {
        name: "lints",
        check: manifests::lints,
    },
    Rule {
        name: "crate_folders",
        check: manifests::folders,
    },
    Rule {
        name: "lockfile",
        check: manifests::lockfile,
    },
    Rule {
        name: "module_docs",
        check: sources::module_docs,
    },
    Rule {
        name: "file_length",
        check: sources::file_length,
    },
    Rule {
        name: "function_length",
        check: sources::function_length,
    },
    Rule {
        name: "names",
        check: sources::names,
    },
    Rule {
        name: "leftovers",
        check: sources::leftovers,
    },
    Rule {
        name: "ignored_tests",
        check: sources::ignored_tests,
    },
    Rule {
        name: "machine_paths",
        check: sources::machine_paths,
    },
    Rule {
        name: "blobs",
        check: sources::blobs,
    },
    Rule {
        name: "tables",
        check: tables::owners,
    },
    Rule {
        name: "tables_listed",
        check: tables::listed,
    },
    Rule {
        name: "schema_files",
        check: tables::schema_files,
    },
    Rule {
        name: "foreign_sql",
        check: tables::foreign_sql,
    },
    Rule {
        name: "crash_points",
        check: crash_points::listed,
    },
    Rule {
        name: "architecture",
        check: documents::architecture,
    },
    Rule {
        name: "decisions",
        check: documents::decisions,
    },
    Rule {
        name: "fragments",
        check: documents::fragments,
    },
    Rule {
        name: "links",
        check: documents::links,
    },
];

/// The command: reads the tree, applies every rule.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let workspace = Workspace::find()?;
    let tree = Tree::read(&workspace)?;
    let mut rows = check(&tree, !options.json);
    if !options.quick {
        rows.extend(generated::fresh(&workspace, &tree)?);
    }
    Ok(Report::of(rows))
}

/// One row per rule. `tell` prints each finding on stderr as well.
fn check(tree: &Tree, tell: bool) -> Vec<Row> {
    let mut exceptions = Exceptions::read(tree);
    let mut results: Vec<(&str, Vec<Finding>)> = Vec::new();
    for rule in RULES {
        results.push((rule.name, exceptions.filter(rule.name, (rule.check)(tree))));
    }
    results.push(("exceptions", exceptions.findings()));
    results
        .into_iter()
        .map(|(name, findings)| row(name, &findings, tell))
        .collect()
}

fn row(rule: &str, findings: &[Finding], tell: bool) -> Row {
    for finding in findings.iter().filter(|_| tell) {
        let kind = if finding.asks { "asks" } else { "error" };
        say(&format!("{kind}: {} [{rule}]", finding.shown()));
    }
    let failing: Vec<String> = findings
        .iter()
        .filter(|finding| !finding.asks)
        .map(Finding::shown)
        .collect();
    let asking = findings.len() - failing.len();
    let note = match (tell, asking) {
        (true, 0) => String::new(),
        (true, _) => format!("{asking} to think about"),
        (false, _) => failing.join("; "),
    };
    // A count of findings is far below 2^52, so the conversion is exact.
    let count = u32::try_from(failing.len()).unwrap_or(u32::MAX);
    Row::at_most(rule, f64::from(count), "findings", Some(0.0)).noted(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_tree_reports_every_rule() {
        let rows = check(&Tree::of(&[]), false);
        assert_eq!(rows.len(), RULES.len() + 1);
        let broken: Vec<&str> = rows
            .iter()
            .filter(|row| !row.ok)
            .map(|row| row.name.as_str())
            .collect();
        // Without ARCHITECTURE.md there is no layer table; all else is fine when there is nothing.
        assert_eq!(broken, ["layers", "architecture"]);
    }

    #[test]
    fn a_question_lets_the_build_pass() {
        let question = Finding {
            asks: true,
            ..Finding::at("a.rs", 1, "long")
        };
        assert!(row("file_length", std::slice::from_ref(&question), false).ok);
        let failing = row(
            "file_length",
            &[question, Finding::of("b.rs", "longer")],
            false,
        );
        assert!(!failing.ok);
        assert_eq!(failing.note, "b.rs: longer");
    }
}
