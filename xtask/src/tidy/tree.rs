//! The files of the checkout and the crates of the workspace, read once for all rules.
//!
//! Files are those that git tracks or would track; what `.gitignore` names is not looked at.

use super::rust_text::RustText;
use crate::machine::{Package, Workspace};
use crate::process;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// What the rules look at.
pub(crate) struct Tree {
    /// The files by path from the root, with forward slashes.
    pub(crate) files: BTreeMap<String, File>,
    /// The crates of the workspace.
    pub(crate) crates: Vec<Crate>,
}

/// One file.
pub(crate) struct File {
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// Its text; `None` where it is not UTF-8.
    pub(crate) text: Option<String>,
    /// Its views, for the workspace's own Rust; Rust that is data has none.
    pub(crate) rust: Option<RustText>,
}

/// One crate of the workspace.
pub(crate) struct Crate {
    /// Its name.
    pub(crate) name: String,
    /// Its folder from the root.
    pub(crate) folder: String,
    /// What it is built with; tests and benches may use more.
    pub(crate) dependencies: Vec<String>,
}

impl Tree {
    /// Reads the checkout.
    pub(crate) fn read(workspace: &Workspace) -> Result<Self> {
        let list = process::output(
            Command::new("git")
                .args([
                    "ls-files",
                    "-z",
                    "--cached",
                    "--others",
                    "--exclude-standard",
                ])
                .current_dir(&workspace.root),
        )
        .context("tidy reads the files that git knows")?;
        let sources = source_folders(workspace);
        let mut files = BTreeMap::new();
        for path in list.split('\0').filter(|path| !path.is_empty()) {
            let full = workspace.root.join(path);
            // A deleted file stays in git's list until the deletion is staged.
            if full.is_file() {
                let bytes =
                    std::fs::read(&full).with_context(|| format!("failed to read {path}"))?;
                let source = sources.iter().any(|folder| full.starts_with(folder));
                files.insert(path.to_owned(), File::of(path, bytes, source));
            }
        }
        let crates = workspace
            .packages
            .iter()
            .map(|package| Crate::of(workspace, package))
            .collect();
        Ok(Self { files, crates })
    }

    /// The text of a file that may be missing.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.text.as_deref()
    }

    /// Every Rust file with its path and its text.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str, &RustText)> {
        self.files.iter().filter_map(|(path, file)| {
            Some((path.as_str(), file.text.as_deref()?, file.rust.as_ref()?))
        })
    }

    /// Files below a folder whose names end so, with their text.
    pub(crate) fn below<'a>(
        &'a self,
        folder: &'a str,
        ending: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.starts_with(folder) && path.ends_with(ending))
            .filter_map(|(path, file)| Some((path.as_str(), file.text.as_deref()?)))
    }

    /// The crate that a file belongs to.
    pub(crate) fn crate_of(&self, path: &str) -> Option<&str> {
        let owner = self.crates.iter().find(|owner| {
            path.strip_prefix(&owner.folder)
                .is_some_and(|rest| rest.starts_with('/'))
        })?;
        Some(&owner.name)
    }
}

/// Whether a file holds tests only.
pub(crate) fn is_test(path: &str) -> bool {
    path.starts_with("crates/skep-tests/")
        || path.ends_with("/tests.rs")
        || path.contains("/tests/")
}

/// The folders that cargo builds from. Rust elsewhere, as in the demo's repository, is data.
fn source_folders(workspace: &Workspace) -> Vec<&Path> {
    let targets = workspace
        .packages
        .iter()
        .flat_map(|package| &package.targets);
    targets
        .filter_map(|target| target.src_path.parent())
        .collect()
}

impl File {
    fn of(path: &str, bytes: Vec<u8>, source: bool) -> Self {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let text = String::from_utf8(bytes).ok();
        Self {
            bytes: size,
            rust: text
                .as_deref()
                .filter(|_| source && path.ends_with(".rs"))
                .map(RustText::of),
            text,
        }
    }
}

impl Crate {
    fn of(workspace: &Workspace, package: &Package) -> Self {
        let folder = package
            .manifest_path
            .parent()
            .and_then(|folder| folder.strip_prefix(&workspace.root).ok())
            .map_or(String::new(), |folder| {
                folder.to_string_lossy().into_owned()
            });
        let built_with = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind.as_deref() != Some("dev"));
        Self {
            name: package.name.clone(),
            folder,
            dependencies: built_with.map(|d| d.name.clone()).collect(),
        }
    }
}

#[cfg(test)]
impl Tree {
    /// A tree of these files, without crates.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(path, text)| {
                    (
                        (*path).to_owned(),
                        File::of(path, text.as_bytes().to_vec(), true),
                    )
                })
                .collect(),
            crates: Vec::new(),
        }
    }

    /// The same tree with crates under `crates/`, each with its dependencies.
    pub(crate) fn with_crates(mut self, crates: &[(&str, &[&str])]) -> Self {
        self.crates = crates
            .iter()
            .map(|(name, dependencies)| Crate {
                name: (*name).to_owned(),
                folder: format!("crates/{name}"),
                dependencies: dependencies.iter().map(|d| (*d).to_owned()).collect(),
            })
            .collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Dependency, Target};

    #[test]
    fn a_file_belongs_to_the_crate_with_its_whole_folder_name() {
        let tree = Tree::of(&[]).with_crates(&[("skep", &[]), ("skep-db", &[])]);
        assert_eq!(tree.crate_of("crates/skep-db/src/lib.rs"), Some("skep-db"));
        assert_eq!(tree.crate_of("crates/skep/src/main.rs"), Some("skep"));
        assert_eq!(tree.crate_of("docs/a.md"), None);
    }

    #[test]
    fn rust_outside_the_targets_is_data() {
        let package = Package {
            name: "a".to_owned(),
            manifest_path: "/r/crates/a/Cargo.toml".into(),
            dependencies: Vec::new(),
            targets: vec![Target {
                src_path: "/r/crates/a/src/lib.rs".into(),
            }],
        };
        let workspace = Workspace {
            root: "/r".into(),
            target: "/r/target".into(),
            packages: vec![package],
        };
        assert_eq!(source_folders(&workspace), [Path::new("/r/crates/a/src")]);
        assert!(
            File::of("crates/a/src/b.rs", Vec::new(), true)
                .rust
                .is_some()
        );
        assert!(
            File::of("crates/a/demo/b.rs", Vec::new(), false)
                .rust
                .is_none()
        );
    }

    #[test]
    fn what_only_tests_use_is_no_edge() {
        let workspace = Workspace {
            root: "/r".into(),
            target: "/r/target".into(),
            packages: Vec::new(),
        };
        let dependency = |name: &str, kind: Option<&str>| Dependency {
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
        };
        let package = Package {
            name: "a".to_owned(),
            manifest_path: "/r/crates/a/Cargo.toml".into(),
            dependencies: vec![
                dependency("b", None),
                dependency("c", Some("dev")),
                dependency("d", Some("build")),
            ],
            targets: Vec::new(),
        };
        let found = Crate::of(&workspace, &package);
        assert_eq!(found.folder, "crates/a");
        assert_eq!(found.dependencies, ["b", "d"]);
    }
}
