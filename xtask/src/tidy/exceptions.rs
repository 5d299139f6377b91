//! What is let through for now. An entry that nothing needs any more is a finding, and an entry
//! about a size does not let it grow, so the list only shrinks.

use super::Finding;
use super::tree::Tree;
use serde::Deserialize;

const FILE: &str = "xtask/tidy-exceptions.toml";

/// The list, and which of its entries were needed.
pub(super) struct Exceptions {
    entries: Vec<(Entry, bool)>,
    unreadable: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    exception: Vec<Entry>,
}

/// One file that may break one rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    rule: String,
    path: String,
    /// The size that is let through, where the rule is about one.
    at_most: Option<usize>,
    /// Why, and what would end it.
    reason: String,
}

impl Exceptions {
    /// Reads the list; without a file there are no exceptions.
    pub(super) fn read(tree: &Tree) -> Self {
        let (entries, unreadable) =
            match toml::from_str::<List>(tree.text(FILE).unwrap_or_default()) {
                Ok(list) => (list.exception, None),
                Err(error) => (Vec::new(), Some(error.message().to_owned())),
            };
        Self {
            entries: entries.into_iter().map(|entry| (entry, false)).collect(),
            unreadable,
        }
    }

    /// The findings of a rule without those that the list lets through.
    pub(super) fn filter(&mut self, rule: &str, findings: Vec<Finding>) -> Vec<Finding> {
        findings
            .into_iter()
            .filter(|finding| !self.lets_through(rule, finding))
            .collect()
    }

    /// What is wrong with the list itself, once every rule was filtered.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .unreadable
            .iter()
            .map(|why| Finding::of(FILE, why.as_str()))
            .collect();
        for (entry, needed) in &self.entries {
            let name = format!("{} of {}", entry.rule, entry.path);
            if !needed {
                findings.push(Finding::of(
                    FILE,
                    format!("{name} is no longer needed: take it out"),
                ));
            }
            if entry.reason.trim().is_empty() {
                findings.push(Finding::of(FILE, format!("{name} has no reason")));
            }
        }
        findings
    }

    fn lets_through(&mut self, rule: &str, finding: &Finding) -> bool {
        let entry = self
            .entries
            .iter_mut()
            .find(|(entry, _)| entry.rule == rule && entry.path == finding.path);
        let Some((entry, needed)) = entry.filter(|_| !finding.asks) else {
            return false;
        };
        let fits = match (finding.measure, entry.at_most) {
            (Some(measure), Some(at_most)) => measure <= at_most,
            (Some(_), None) => false,
            (None, _) => true,
        };
        *needed |= fits;
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "[[exception]]\nrule = \"file_length\"\npath = \"a.rs\"\nat_most = 900\nreason = \"a table\"\n";

    fn check(list: &str, measure: usize, asks: bool) -> (usize, Vec<String>) {
        let mut exceptions = Exceptions::read(&Tree::of(&[(FILE, list)]));
        let finding = Finding {
            measure: Some(measure),
            asks,
            ..Finding::of("a.rs", "long")
        };
        let left = exceptions.filter("file_length", vec![finding]);
        let messages = exceptions
            .findings()
            .into_iter()
            .map(|f| f.message)
            .collect();
        (left.len(), messages)
    }

    #[test]
    fn an_entry_lets_its_size_through_and_no_more() {
        assert_eq!(check(LIST, 900, false), (0, vec![]));
        let stale = vec!["file_length of a.rs is no longer needed: take it out".to_owned()];
        assert_eq!(check(LIST, 901, false), (1, stale.clone()));
        // The file is now short enough to only ask.
        assert_eq!(check(LIST, 700, true), (1, stale));
        assert_eq!(check(&LIST.replace("at_most = 900\n", ""), 900, false).0, 1);
    }

    #[test]
    fn an_entry_has_a_reason_and_known_keys() {
        assert_eq!(check(&LIST.replace("a table", " "), 900, false).1.len(), 1);
        assert_eq!(check(&LIST.replace("reason", "why"), 900, false).1.len(), 1);
        assert_eq!(check("", 900, false), (1, vec![]));
    }
}
