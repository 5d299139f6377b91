//! How tools that live in read-only toolchain roots find themselves, and their caches, inside a
//! fence.
//!
//! A root is recognised by what is in it, never by its name alone: a `toolchains` directory makes
//! a rustup home, `versions` and `shims` make pyenv, `index` and `cache` a cargo registry, and
//! `bin` goes into `PATH`. What a tool wants to write goes to the attempt's own directories.

use crate::spec::FencePaths;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The system's own part of `PATH`, last.
const SYSTEM_PATH: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The environment in which the tools of these roots work inside, sorted by name: `PATH`, `HOME`,
/// `TMPDIR`, and what cargo, rustup and Python need. The caller adds what is its own.
pub fn toolchain_environment(roots: &[PathBuf], paths: &FencePaths) -> Vec<(String, String)> {
    let mut search = Vec::new();
    let mut found = BTreeMap::new();
    for root in roots {
        search.extend(programs_of(root));
        if root.join("toolchains").is_dir() {
            found.insert("RUSTUP_HOME", root.clone());
        }
        if is_pyenv(root) {
            found.insert("PYENV_ROOT", root.clone());
        }
    }
    search.extend(SYSTEM_PATH.iter().map(PathBuf::from));
    let search: Vec<String> = search.iter().map(|path| text(path)).collect();

    let mut environment: BTreeMap<&str, String> = found
        .into_iter()
        .map(|(name, path)| (name, text(&path)))
        .collect();
    environment.extend([
        ("CARGO_HOME", text(&paths.home.join(".cargo"))),
        ("CARGO_NET_OFFLINE", "true".to_owned()),
        ("CARGO_TARGET_DIR", text(&paths.target)),
        ("HOME", text(&paths.home)),
        ("LANG", "C.UTF-8".to_owned()),
        ("LOGNAME", "skep".to_owned()),
        ("PATH", search.join(":")),
        // Compiled Python goes beside the target and not between the sources.
        ("PYTHONPYCACHEPREFIX", text(&paths.target.join("pycache"))),
        ("RUSTUP_AUTO_INSTALL", "0".to_owned()),
        ("SHELL", "/bin/sh".to_owned()),
        ("TMPDIR", text(&paths.tmp)),
        ("USER", "skep".to_owned()),
    ]);
    environment
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Puts links into an attempt's private home, where `CARGO_HOME` is, to the caches among these
/// roots. Call it before the fence is raised; again is harmless.
///
/// # Errors
/// When the home cannot be written.
pub fn link_caches(roots: &[PathBuf], attempt_dir: &Path) -> io::Result<()> {
    let cargo_home = FencePaths::on_host(attempt_dir).home.join(".cargo");
    std::fs::create_dir_all(&cargo_home)?;
    for root in roots {
        // A whole CARGO_HOME may be a root, or only its registry.
        for cache in [root.clone(), root.join("registry")] {
            if is_registry(&cache) {
                link(&cache, &cargo_home.join("registry"))?;
            }
        }
        let checkouts = root.join("git/db");
        if checkouts.is_dir() {
            link(&root.join("git"), &cargo_home.join("git"))?;
        }
    }
    Ok(())
}

fn link(target: &Path, at: &Path) -> io::Result<()> {
    match symlink(target, at) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The directories of a root that belong into `PATH`.
fn programs_of(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if root.file_name().is_some_and(|name| name == "bin") {
        found.push(root.to_owned());
    }
    if is_pyenv(root) {
        found.push(root.join("shims"));
    }
    if root.join("bin").is_dir() {
        found.push(root.join("bin"));
    }
    found
}

fn is_pyenv(root: &Path) -> bool {
    root.join("shims").is_dir() && root.join("versions").is_dir()
}

fn is_registry(path: &Path) -> bool {
    path.join("index").is_dir() && path.join("cache").is_dir()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::IsolationLevel;

    #[test]
    fn a_root_is_recognised_by_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let roots: Vec<PathBuf> = ["cargo/bin", "cargo/registry", "rustup", "pyenv", "other"]
            .iter()
            .map(|name| dir.path().join(name))
            .collect();
        for path in [
            "cargo/bin",
            "cargo/registry/index",
            "cargo/registry/cache",
            "rustup/toolchains",
            "pyenv/shims",
            "pyenv/versions",
            "pyenv/bin",
            "other",
            "attempt/home",
        ] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        let attempt = dir.path().join("attempt");
        let paths = FencePaths::inside(IsolationLevel::Namespaces, &attempt);
        let environment: BTreeMap<_, _> =
            toolchain_environment(&roots, &paths).into_iter().collect();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let expected = format!(
            "{}:{}:{}:{}",
            at("cargo/bin"),
            at("pyenv/shims"),
            at("pyenv/bin"),
            SYSTEM_PATH.join(":")
        );
        assert_eq!(environment["PATH"], expected);
        assert_eq!(environment["RUSTUP_HOME"], at("rustup"));
        assert_eq!(environment["PYENV_ROOT"], at("pyenv"));
        assert_eq!(environment["CARGO_HOME"], "/skep/home/.cargo");

        for _ in 0..2 {
            link_caches(&roots, &attempt).unwrap();
        }
        let link = attempt.join("home/.cargo/registry");
        assert_eq!(
            std::fs::read_link(link).unwrap(),
            dir.path().join("cargo/registry")
        );
    }
}
