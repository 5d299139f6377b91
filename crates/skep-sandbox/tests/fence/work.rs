//! The work that a fence is for: build, test, commit.

use crate::stage::{Stage, User, everywhere, git, write};
use skep_sandbox::{
    FencePaths, IsolationLevel, changed_files, clean_checkout, commits, create_directories,
    ensure_vault, import_tip, link_caches, toolchain_environment,
};
use std::path::{Path, PathBuf};

#[tokio::test]
async fn an_edit_is_committed_imported_and_checked_out_again() {
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        stage.shell(
            "printf 'pub fn two() -> u32 { 2 }\\n' >> src/lib.rs
             printf '\\000\\001' > src/blob; rm src/deep/er.txt
             test -z \"$(git status --porcelain README.md)\"
             git add --all src; git commit --quiet -m 'add two'
             git commit --quiet --allow-empty -m 'second: nothing'
             test \"$(git log --format=%an -1)\" = 'Skep agent'",
        );
        // The tests own what `nobody` made: they read it as the engine of the same user would.
        let vault = ensure_vault(&stage.home, &stage.source).await.unwrap();
        let attempt_git = stage.spec.attempt_dir.join("git");
        let tip = import_tip(&vault, &attempt_git, "skep/att_1", &stage.base)
            .await
            .unwrap();
        let again = import_tip(&vault, &attempt_git, "skep/att_1", &stage.base).await;
        assert_eq!(again.unwrap(), tip, "importing twice is harmless");
        assert_eq!(
            git(&vault, &["rev-parse", "refs/skep/attempts/att_1"]),
            tip.as_str()
        );

        let subjects: Vec<String> = commits(&vault, &stage.base, &tip)
            .await
            .unwrap()
            .into_iter()
            .map(|(_, subject)| subject)
            .collect();
        assert_eq!(subjects, ["add two", "second: nothing"]);
        let changes: Vec<String> = changed_files(&vault, &stage.base, &tip)
            .await
            .unwrap()
            .iter()
            .map(|c| {
                format!(
                    "{} +{} -{} {:?} {}",
                    c.path, c.added, c.deleted, c.status, c.mode
                )
            })
            .collect();
        assert_eq!(
            changes,
            [
                "src/blob +0 -0 Added 100644",
                "src/deep/er.txt +0 -1 Deleted 000000",
                "src/lib.rs +1 -0 Modified 100644",
            ]
        );

        let checkout = stage.home.join("checkout");
        clean_checkout(&vault, &tip, &checkout).await.unwrap();
        let repo = stage.spec.attempt_dir.join("repo");
        let mut expected = files_below(&repo);
        expected.retain(|(path, _)| path != Path::new(".git"));
        assert_eq!(files_below(&checkout), expected, "{level} {user:?}");
        let refused = clean_checkout(&vault, &tip, &checkout).await.unwrap_err();
        assert_eq!(refused.code(), "repository_conflict");
    }
}

fn files_below(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let relative = path.strip_prefix(root).unwrap().to_owned();
                found.push((relative, std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The toolchain roots of whoever runs the tests, as an operator would list them.
fn rust_roots() -> Vec<PathBuf> {
    let home = std::env::home_dir().unwrap();
    let directory = |variable: &str, default: &str| {
        std::env::var_os(variable).map_or_else(|| home.join(default), PathBuf::from)
    };
    let cargo = directory("CARGO_HOME", ".cargo");
    [
        cargo.join("bin"),
        cargo.join("registry"),
        directory("RUSTUP_HOME", ".rustup"),
    ]
    .into_iter()
    .filter(|path| path.is_dir())
    .collect()
}

/// A crate with a dependency, because that is what needs the registry.
const CRATE: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\nbitflags = \"2\"\n",
    ),
    (
        "src/lib.rs",
        "bitflags::bitflags! { pub struct F: u32 { const A = 1; } }\n#[test]\nfn flags() { assert_eq!(F::A.bits(), 1); }\n",
    ),
    (
        "tests/it.rs",
        "#[test]\nfn outside() { assert_eq!(small::F::A.bits(), 1); }\n",
    ),
];

#[tokio::test]
async fn cargo_test_works_inside() {
    for level in IsolationLevel::ALL {
        let mut stage = Stage::with_files(*level, User::Own, CRATE).await;
        stage.spec.read_only = rust_roots();
        // Cargo writes the lock file beside the manifest.
        stage.spec.writable = vec![".".into()];
        link_caches(&stage.spec.read_only, &stage.spec.attempt_dir).unwrap();
        let outcome = stage.run(&["cargo", "test"]);
        assert_eq!(outcome.code(), Some(0), "{level} {}", outcome.0);
        assert_eq!(
            outcome.stdout().matches("1 passed").count(),
            2,
            "{}",
            outcome.0
        );
        let built = stage.spec.attempt_dir.join("target/debug");
        assert!(built.is_dir(), "the target directory is the attempt's own");
    }
}

const PYTHON: &[(&str, &str)] = &[
    ("src/small/__init__.py", "def two():\n    return 2\n"),
    (
        "src/test_small.py",
        "import tempfile, unittest, small\n\nclass Two(unittest.TestCase):\n    def test_two(self):\n        with tempfile.TemporaryFile() as file:\n            file.write(b'x')\n        self.assertEqual(small.two(), 2)\n",
    ),
];

#[tokio::test]
async fn python_s_tests_work_inside() {
    let has_pytest = std::process::Command::new("/usr/bin/python3")
        .args(["-c", "import pytest"])
        .status()
        .is_ok_and(|status| status.success());
    for (level, user) in everywhere() {
        let stage = Stage::with_files(level, user, PYTHON).await;
        let outcome = stage.run(&["/bin/sh", "-c", "cd src && python3 -m unittest -v"]);
        assert_eq!(outcome.code(), Some(0), "{level} {user:?} {}", outcome.0);
        assert!(outcome.0["stderr"].as_str().unwrap().contains("Ran 1 test"));
        if has_pytest {
            let outcome = stage.run(&["/bin/sh", "-c", "cd src && /usr/bin/python3 -m pytest -q"]);
            assert_eq!(outcome.code(), Some(0), "{level} {user:?} {}", outcome.0);
            assert!(outcome.stdout().contains("1 passed"), "{}", outcome.0);
        }
        let compiled = stage.spec.attempt_dir.join("repo/src/small/__pycache__");
        assert!(
            !compiled.exists(),
            "compiled Python stays out of the sources"
        );
    }
}

/// A Python that lives in a root of its own, by way of pyenv's shims.
#[tokio::test]
async fn a_python_in_a_toolchain_root_works_inside() {
    let root = std::env::var_os("PYENV_ROOT").map_or_else(
        || std::env::home_dir().unwrap().join(".pyenv"),
        PathBuf::from,
    );
    if !root.join("shims/python3").exists() {
        return;
    }
    for level in IsolationLevel::ALL {
        let mut stage = Stage::with_files(*level, User::Own, PYTHON).await;
        stage.spec.read_only = vec![root.clone()];
        let script = "cd src && python3 -m unittest && python3 -c 'import sys; print(sys.prefix)'";
        let prefix = stage.shell(script);
        assert!(
            Path::new(prefix.trim()).starts_with(root.join("versions")),
            "{level} {prefix}"
        );
    }
}

/// The engine's own checks run in a fence too: around an exact tree, without git and without
/// anybody to reach.
#[tokio::test]
async fn a_clean_checkout_can_be_checked_in_a_fence() {
    for level in IsolationLevel::ALL {
        let mut stage = Stage::new(*level, User::Own).await;
        let vault = ensure_vault(&stage.home, &stage.source).await.unwrap();
        let check = stage.home.join("checks/1");
        create_directories(&check).unwrap();
        clean_checkout(&vault, &stage.base, &check.join("repo"))
            .await
            .unwrap();
        stage.spec.attempt_dir = check.canonicalize().unwrap();
        stage.spec.writable = vec![".".into()];
        stage.spec.git_writable = false;
        stage.spec.object_stores.clear();
        assert_eq!(
            stage.shell("cat README.md; echo built > built; ls -A"),
            "read me\nREADME.md\nbuilt\nsrc\ntests\n"
        );
    }
}

#[tokio::test]
async fn the_environment_points_into_the_attempt() {
    for level in IsolationLevel::ALL {
        let stage = Stage::new(*level, User::Own).await;
        let paths = FencePaths::inside(*level, &stage.spec.attempt_dir);
        let environment = toolchain_environment(&[], &paths);
        let value = |name: &str| {
            let found = environment.iter().find(|(known, _)| known == name);
            PathBuf::from(&found.unwrap().1)
        };
        assert_eq!(value("HOME"), paths.home);
        assert_eq!(value("TMPDIR"), paths.tmp);
        assert_eq!(value("CARGO_TARGET_DIR"), paths.target);
        write(
            &stage.spec.attempt_dir.join("home/.profile"),
            "export FROM_PROFILE=1\n",
        );
        let home = stage.shell("cd; pwd; test -f .profile");
        assert_eq!(Path::new(home.trim()), paths.home);
    }
}
