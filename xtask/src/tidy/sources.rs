//! Rules about files as such: module docs, lengths, names, leftovers, machine paths, blobs.

use super::Finding;
use super::rust_text::RustText;
use super::tree::{Tree, is_test};

/// A file past this asks a question.
const FILE_LINES_SOFT: usize = 500;
/// A file past this needs an answer in the exception list.
const FILE_LINES_MAX: usize = 800;
/// A function past this asks a question.
const FUNCTION_LINES_SOFT: usize = 70;
/// Larger files belong elsewhere: every clone carries them for ever.
const BLOB_BYTES_MAX: u64 = 256 * 1024;

/// Names that say nothing, and so collect everything.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "misc"];

/// Code that must not land.
const LEFTOVER_CODE: &[(&str, &str)] = &[
    ("todo!(", "write it, or refuse with an error"),
    ("unimplemented!(", "write it, or refuse with an error"),
    ("dbg!(", "use `tracing`"),
    ("#[allow", "use `#[expect(..., reason = \"...\")]`"),
    ("#![allow", "use `#[expect(..., reason = \"...\")]`"),
];

/// Where people and machines keep things; a path that starts so works on one machine only.
const MACHINE_ROOTS: &[&str] = &["/root/", "/home/", "/Users/", "/work/"];

/// Settings that point a build at somebody's own registry.
const REGISTRY_SETTINGS: &[&str] = &["replace-with", "index-url", "extra-index-url", "registry="];

/// Every Rust file says what it is for.
pub(super) fn module_docs(tree: &Tree) -> Vec<Finding> {
    let documented = |text: &str| {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        lines
            .find(|line| !line.starts_with("#!["))
            .is_some_and(|line| line.starts_with("//!"))
    };
    tree.rust()
        .filter(|(_, text, _)| !documented(text))
        .map(|(path, _, _)| {
            Finding::of(
                path,
                "has no module doc: purpose, the state it owns, the invariant",
            )
        })
        .collect()
}

/// Files have a length that can be read in one sitting. Test modules do not count.
pub(super) fn file_length(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter(|(path, _, rust)| rust.product_lines > FILE_LINES_SOFT && !is_test(path))
        .map(|(path, _, rust)| Finding {
            measure: Some(rust.product_lines),
            asks: rust.product_lines <= FILE_LINES_MAX,
            ..Finding::of(
                path,
                format!(
                    "{} lines: which noun wants its own file?",
                    rust.product_lines
                ),
            )
        })
        .collect()
}

/// Functions fit on a screen. rustfmt ends a function with a brace at its own indentation.
pub(super) fn function_length(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _, rust) in tree.rust().filter(|(path, _, _)| !is_test(path)) {
        for (line, length) in functions(rust) {
            if length > FUNCTION_LINES_SOFT {
                findings.push(Finding {
                    measure: Some(length),
                    asks: true,
                    ..Finding::at(path, line, format!("a function of {length} lines"))
                });
            }
        }
    }
    findings
}

/// First line and length of every function before the test module.
fn functions(rust: &RustText) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = rust.code.lines().take(rust.product_lines).collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let mut words = line
            .split_whitespace()
            .take_while(|word| !word.starts_with('('));
        if !words.any(|word| word == "fn") {
            continue;
        }
        let ends = |line: &str| {
            line.trim_end()
                .strip_prefix(&" ".repeat(indent))
                .is_some_and(|rest| rest == "}")
        };
        let signature_only = |line: &str| line.trim_end().ends_with(';');
        let tail = &lines[index..];
        let end = tail.iter().position(|line| ends(line));
        let declared = tail
            .iter()
            .position(|line| signature_only(line) || line.contains('{'));
        if let (Some(end), Some(declared)) = (end, declared)
            && lines[index + declared].contains('{')
        {
            found.push((index + 1, end + 1));
        }
    }
    found
}

/// No file, folder or module is named after nothing.
pub(super) fn names(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _, rust) in tree.rust() {
        let mut parts = path.trim_end_matches(".rs").split('/');
        if let Some(part) = parts.find(|part| EMPTY_NAMES.contains(part)) {
            let message = format!("`{part}` names nothing: name the noun that it serves");
            findings.push(Finding::of(path, message));
        }
        for (line, number) in rust.code.lines().zip(1..) {
            let module = line
                .trim_start()
                .trim_start_matches("pub ")
                .trim_start_matches("pub(crate) ");
            let name = module
                .strip_prefix("mod ")
                .map(|rest| rest.trim_end_matches([';', ' ', '{']));
            if let Some(name) = name.filter(|name| EMPTY_NAMES.contains(name)) {
                findings.push(Finding::at(
                    path,
                    number,
                    format!("module `{name}` names nothing"),
                ));
            }
        }
    }
    findings
}

/// Nothing that was meant for one afternoon stays.
pub(super) fn leftovers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _, rust) in tree.rust() {
        for (line, number) in rust.code.lines().zip(1..) {
            for (word, instead) in LEFTOVER_CODE
                .iter()
                .filter(|(word, _)| has_word(line, word))
            {
                findings.push(Finding::at(
                    path,
                    number,
                    format!("`{word}` must not land: {instead}"),
                ));
            }
        }
        for (line, number) in rust.comments.lines().zip(1..) {
            findings.extend(leftover_note(line).map(|message| Finding::at(path, number, message)));
        }
    }
    for ending in [".sql", ".toml", ".sh"] {
        for (path, text) in tree.below("", ending) {
            for (line, number) in text.lines().zip(1..) {
                findings
                    .extend(leftover_note(line).map(|message| Finding::at(path, number, message)));
            }
        }
    }
    findings
}

fn leftover_note(line: &str) -> Option<String> {
    for word in [concat!("FIX", "ME"), concat!("XX", "X")] {
        if has_word(line, word) {
            return Some(format!(
                "`{word}` must not land: mend it, or write down the debt with an owner"
            ));
        }
    }
    let word = concat!("TO", "DO");
    let after = line.find(word).map(|at| &line[at + word.len()..])?;
    let owned = after
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'));
    let owner = owned.map_or("", |(owner, _)| owner);
    (owner.trim().is_empty() && has_word(line, word))
        .then(|| format!("write {word}(name): a debt has an owner"))
}

/// A test runs, or it goes. What another test starts as its child is an exception with a reason.
pub(super) fn ignored_tests(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _, rust) in tree.rust() {
        for (line, number) in rust.code.lines().zip(1..) {
            if line.contains("#[ignore") {
                findings.push(Finding::at(
                    path,
                    number,
                    "an ignored test: run it, or take it out",
                ));
            }
        }
    }
    findings
}

/// Whether `word` stands in `line` and does not continue an identifier to its left.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// Nothing names a path or a registry of one machine.
pub(super) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.below("", "") {
        for (line, number) in text.lines().zip(1..) {
            if let Some(root) = MACHINE_ROOTS.iter().find(|root| starts_path(line, root)) {
                let message = format!("names a path under {root}, which is one machine's own");
                findings.push(Finding::at(path, number, message));
            }
            if is_tool_setting(path)
                && let Some(setting) = REGISTRY_SETTINGS.iter().find(|s| line.contains(*s))
            {
                let message = format!("`{setting}` points at a registry of one machine");
                findings.push(Finding::at(path, number, message));
            }
        }
    }
    // The list of roots itself.
    findings.retain(|finding| finding.path != "xtask/src/tidy/sources.rs");
    findings
}

fn starts_path(line: &str, root: &str) -> bool {
    line.match_indices(root).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let continues = before.is_some_and(|c| c.is_alphanumeric() || "._-~/$}>*".contains(c));
        let name = line[at + root.len()..].chars().next();
        !continues && name.is_some_and(|c| c.is_alphanumeric() || c == '.')
    })
}

fn is_tool_setting(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    ["config.toml", "pip.conf", ".npmrc", "requirements.txt"].contains(&name)
}

/// No file is so large that every clone pays for it.
pub(super) fn blobs(tree: &Tree) -> Vec<Finding> {
    tree.files
        .iter()
        .filter(|(_, file)| file.bytes > BLOB_BYTES_MAX)
        .map(|(path, file)| Finding {
            measure: usize::try_from(file.bytes).ok(),
            ..Finding::of(
                path,
                format!("{} bytes: keep files under {BLOB_BYTES_MAX}", file.bytes),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&Tree) -> Vec<Finding>, path: &str, text: &str) -> Vec<String> {
        let findings = rule(&Tree::of(&[(path, text)]));
        findings.iter().map(Finding::shown).collect()
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn a_file_without_a_module_doc_is_found() {
        assert_eq!(
            check(module_docs, "a.rs", "#![no_std]\n\n//! Why.\n"),
            NOTHING
        );
        assert_eq!(check(module_docs, "a.rs", "// Why.\nfn a() {}\n").len(), 1);
        assert_eq!(check(module_docs, "a.rs", "").len(), 1);
        assert_eq!(check(module_docs, "a.md", ""), NOTHING);
    }

    #[test]
    fn lengths_ask_then_fail_and_tests_are_free() {
        let file = |lines: usize, tail: &str| {
            let tree = Tree::of(&[("a.rs", &format!("{}{tail}", "x\n".repeat(lines)))]);
            file_length(&tree).first().map(|finding| finding.asks)
        };
        assert_eq!(file(500, ""), None);
        assert_eq!(file(501, ""), Some(true));
        assert_eq!(file(801, ""), Some(false));
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(900));
        assert_eq!(file(500, &tests), None);
        assert_eq!(
            check(file_length, "crates/a/src/b/tests.rs", &"x\n".repeat(900)),
            NOTHING
        );
    }

    #[test]
    fn a_long_function_asks() {
        let function = |lines: usize| {
            format!(
                "impl A {{\n    fn a(&self) {{\n{}    }}\n}}\n",
                "        x;\n".repeat(lines)
            )
        };
        assert_eq!(check(function_length, "a.rs", &function(68)), NOTHING);
        assert_eq!(
            check(function_length, "a.rs", &function(69)),
            ["a.rs:2: a function of 71 lines"]
        );
        let declared = format!(
            "trait A {{\n    fn a(&self);\n{}}}\n",
            "    // x\n".repeat(90)
        );
        assert_eq!(check(function_length, "a.rs", &declared), NOTHING);
    }

    #[test]
    fn empty_names_are_found() {
        assert_eq!(check(names, "crates/a/src/job.rs", "mod claim;\n"), NOTHING);
        assert_eq!(check(names, "crates/a/src/utils.rs", "").len(), 1);
        assert_eq!(check(names, "crates/common/src/lib.rs", "").len(), 1);
        assert_eq!(
            check(names, "a.rs", "pub(crate) mod helpers;\n"),
            ["a.rs:1: module `helpers` names nothing"]
        );
        assert_eq!(check(names, "a.rs", "mod misc {\n}\n").len(), 1);
    }

    #[test]
    fn leftovers_are_found_in_code_and_not_in_strings() {
        for line in ["    todo!()", "#[allow(dead_code)]", "let a = dbg!(b);"] {
            assert_eq!(check(leftovers, "a.rs", line).len(), 1, "{line}");
        }
        for line in [
            "let a = \"todo!()\";",
            "// dbg!(b)",
            "my_todo!()",
            "#[expect(dead_code)]",
        ] {
            assert_eq!(check(leftovers, "a.rs", line), NOTHING, "{line}");
        }
    }

    #[test]
    fn ignored_tests_are_found() {
        assert_eq!(
            check(ignored_tests, "a.rs", "#[ignore = \"slow\"]").len(),
            1
        );
        assert_eq!(check(ignored_tests, "a.rs", "// #[ignore]"), NOTHING);
    }

    #[test]
    fn a_debt_has_an_owner() {
        let (todo, fixme) = (concat!("TO", "DO"), concat!("FIX", "ME"));
        assert_eq!(check(leftovers, "a.rs", &format!("// {fixme}: x")).len(), 1);
        assert_eq!(check(leftovers, "a.rs", &format!("// {todo}: x")).len(), 1);
        assert_eq!(
            check(leftovers, "a.rs", &format!("// {todo}(): x")).len(),
            1
        );
        assert_eq!(
            check(leftovers, "a.rs", &format!("// {todo}(ann): x")),
            NOTHING
        );
        assert_eq!(check(leftovers, "a.sql", &format!("-- {fixme}")).len(), 1);
        assert_eq!(
            check(leftovers, "a.rs", &format!("let a = \"{fixme}\";")),
            NOTHING
        );
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for line in ["cd /home/ann/skep", "\"/root/.cargo/bin\"", "(/Users/ann)"] {
            assert_eq!(check(machine_paths, "a.md", line).len(), 1, "{line}");
        }
        for line in [
            "HOME/home/tmp",
            "/skep/home/x",
            "bind /home",
            "docs/work/a",
            "\"/root/\"",
        ] {
            assert_eq!(check(machine_paths, "a.md", line), NOTHING, "{line}");
        }
        assert_eq!(
            check(machine_paths, ".cargo/config.toml", "replace-with = \"x\"").len(),
            1
        );
        assert_eq!(
            check(machine_paths, "docs/a.md", "replace-with = \"x\""),
            NOTHING
        );
    }

    #[test]
    fn a_large_file_is_found() {
        let limit = usize::try_from(BLOB_BYTES_MAX).unwrap();
        assert_eq!(check(blobs, "a.svg", &"x".repeat(limit)), NOTHING);
        assert_eq!(check(blobs, "a.svg", &"x".repeat(limit + 1)).len(), 1);
    }
}
