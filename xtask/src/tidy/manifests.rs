//! Manifests and the lock file: shared lints, honest folder names, one public registry.

use super::Finding;
use super::tree::Tree;

const PUBLIC_REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Every crate inherits the workspace's lints.
pub(super) fn lints(tree: &Tree) -> Vec<Finding> {
    let inherits = |text: &str| {
        text.parse::<toml::Table>().is_ok_and(|manifest| {
            let workspace = manifest
                .get("lints")
                .and_then(|lints| lints.get("workspace"));
            workspace.and_then(toml::Value::as_bool) == Some(true)
        })
    };
    manifests(tree)
        .filter(|(_, _, text)| !inherits(text))
        .map(|(_, path, _)| {
            Finding::of(
                path,
                "does not inherit the lints: add `[lints] workspace = true`",
            )
        })
        .collect()
}

/// A crate lies in a folder of its own name, so that a search for either finds both.
pub(super) fn folders(tree: &Tree) -> Vec<Finding> {
    manifests(tree)
        .filter(|(name, path, _)| *path != format!("crates/{name}/Cargo.toml") && *name != "xtask")
        .map(|(name, path, _)| Finding::of(path, format!("belongs in crates/{name}")))
        .collect()
}

/// The lock file names the public registry only.
pub(super) fn lockfile(tree: &Tree) -> Vec<Finding> {
    let text = tree.text("Cargo.lock").unwrap_or_default();
    text.lines()
        .zip(1..)
        .filter(|(line, _)| line.starts_with("source = ") && !line.contains(PUBLIC_REGISTRY))
        .map(|(_, line)| Finding::at("Cargo.lock", line, "is not from the public registry"))
        .collect()
}

fn manifests(tree: &Tree) -> impl Iterator<Item = (&str, String, &str)> {
    tree.crates.iter().filter_map(|member| {
        let path = format!("{}/Cargo.toml", member.folder);
        let text = tree.text(&path)?;
        Some((member.name.as_str(), path, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_without_the_lints_is_found() {
        let manifest = "[package]\nname = \"a\"\n[lints]\nworkspace = true\n";
        let tree =
            |text: &str| Tree::of(&[("crates/a/Cargo.toml", text)]).with_crates(&[("a", &[])]);
        assert_eq!(lints(&tree(manifest)), []);
        assert_eq!(lints(&tree(&manifest.replace("true", "false"))).len(), 1);
        assert_eq!(lints(&tree("[package]\nname = \"a\"\n")).len(), 1);
    }

    #[test]
    fn a_folder_with_another_name_is_found() {
        let mut tree = Tree::of(&[("crates/b/Cargo.toml", "")]).with_crates(&[("b", &[])]);
        assert_eq!(folders(&tree), []);
        tree.crates[0].name = "a".to_owned();
        assert_eq!(folders(&tree)[0].message, "belongs in crates/a");
    }

    #[test]
    fn a_private_source_is_found() {
        let lock =
            format!("source = \"{PUBLIC_REGISTRY}\"\nsource = \"git+https://example.org/x\"\n");
        let found = lockfile(&Tree::of(&[("Cargo.lock", &lock)]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, Some(2));
    }
}
