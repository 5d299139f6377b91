//! `list`: a folder as a tree.

use crate::agent::workspace::{Refusal, Workspace, is_skipped};
use crate::limits::{LIST_ENTRIES_MAX, WALK_DEPTH_MAX};
use serde::Deserialize;
use std::fs::{self, DirEntry};
use std::path::Path;

/// Levels where the model does not say.
const DEPTH: usize = 2;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    path: Option<String>,
    depth: Option<usize>,
}

pub(super) fn list(workspace: &Workspace, input: &Input) -> Result<String, Refusal> {
    let place = workspace.to_read(input.path.as_deref().unwrap_or("."))?;
    let mut tree = Tree {
        text: String::new(),
        entries_left: LIST_ENTRIES_MAX,
        depth_max: input.depth.unwrap_or(DEPTH).clamp(1, WALK_DEPTH_MAX),
    };
    let entries =
        sorted(&place.absolute).map_err(|error| Refusal::io("list", &place.relative, &error))?;
    tree.add(&entries, 0);
    if tree.entries_left == 0 {
        tree.text +=
            &format!("[more than {LIST_ENTRIES_MAX} entries; list a folder of it, or less deep]");
    }
    if tree.text.is_empty() {
        tree.text += "[the folder is empty]";
    }
    Ok(tree.text)
}

/// The entries of a folder in the order of their names.
pub(super) fn sorted(folder: &Path) -> std::io::Result<Vec<DirEntry>> {
    let mut entries: Vec<DirEntry> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

struct Tree {
    text: String,
    entries_left: usize,
    depth_max: usize,
}

impl Tree {
    fn add(&mut self, entries: &[DirEntry], depth: usize) {
        for entry in entries {
            if self.entries_left == 0 {
                return;
            }
            self.entries_left -= 1;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().ok();
            let is_folder = kind.is_some_and(|kind| kind.is_dir());
            let mark = match kind {
                Some(kind) if kind.is_dir() && is_skipped(&name) => "/ [not entered]",
                Some(kind) if kind.is_dir() => "/",
                Some(kind) if kind.is_symlink() => "@",
                _ => "",
            };
            self.text += &format!("{}{name}{mark}\n", "  ".repeat(depth));
            if is_folder && !is_skipped(&name) && depth + 1 < self.depth_max {
                // A folder that cannot be read is listed; that it has no entries shows enough.
                self.add(&sorted(&entry.path()).unwrap_or_default(), depth + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::agent::tools::fixture::Fixture;
    use crate::limits::LIST_ENTRIES_MAX;

    fn check(input: &str, expected: &str) {
        let fixture = Fixture::new(&["**"]);
        for path in [
            "b.txt",
            "src/lib.rs",
            "src/deep/er/x.rs",
            "target/debug/x",
            "a.txt",
        ] {
            fixture.file(path, "");
        }
        std::os::unix::fs::symlink("a.txt", fixture.root().join("link")).unwrap();
        let reply = fixture.reading("list", input);
        assert_eq!(reply.text, expected, "{input}");
    }

    #[test]
    fn a_tree_in_order_without_what_is_built() {
        check(
            "{}",
            ".git/ [not entered]\na.txt\nb.txt\nlink@\nsrc/\n  deep/\n  lib.rs\ntarget/ [not entered]\n",
        );
        check(
            r#"{"path":"src","depth":3}"#,
            "deep/\n  er/\n    x.rs\nlib.rs\n",
        );
        check(r#"{"path":"src/deep","depth":1}"#, "er/\n");
        check(
            r#"{"path":"a.txt"}"#,
            "failed to list a.txt: Not a directory (os error 20)",
        );
        check(r#"{"path":"/etc"}"#, "`/etc` is outside the repository");
    }

    #[test]
    fn a_large_folder_is_cut_with_advice() {
        let fixture = Fixture::new(&["**"]);
        for i in 0..=LIST_ENTRIES_MAX {
            fixture.file(&format!("f{i:04}"), "");
        }
        let reply = fixture.reading("list", "{}");
        assert_eq!(reply.text.lines().count(), LIST_ENTRIES_MAX + 1);
        assert!(reply.text.ends_with("list a folder of it, or less deep]"));
    }
}
