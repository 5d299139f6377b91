//! A test that must fail, put where the runner would find it. A check that still exits 0 with the
//! canary in place does not report failure, and its green means nothing.

/// One file that makes a working runner fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Canary {
    /// Where it goes, relative to the repository's root.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) content: &'static str,
}

const RUST: &str = "#[test]\nfn skep_canary_must_fail() {\n    panic!(\"canary\");\n}\n";
const PYTHON: &str = "import unittest\n\n\nclass SkepCanary(unittest.TestCase):\n    def test_skep_canary_must_fail(self):\n        self.fail(\"canary\")\n";

/// The canary for `command` in a repository of `files`, where one is known. A command that picks
/// its tests by name has none: the canary would rightly not be run.
pub(crate) fn canary(
    command: &str,
    files: &[String],
    manifest: impl Fn(&str) -> Option<String>,
) -> Option<Canary> {
    let words: Vec<&str> = command.split_whitespace().collect();
    // A pipeline or a list of commands hides which exit code counts.
    if command.contains(['|', ';', '&', '>', '<', '`', '$', '(']) {
        return None;
    }
    match words.as_slice() {
        ["cargo", "test", rest @ ..] | ["cargo", "nextest", "run", rest @ ..] => {
            cargo(rest, manifest)
        }
        [python, "-m", "pytest", rest @ ..] if is_python(python) => pytest(rest, files),
        ["pytest", rest @ ..] => pytest(rest, files),
        [python, "-m", "unittest", rest @ ..] if is_python(python) => unittest(rest),
        _ => None,
    }
}

/// Arguments of `cargo test` that leave it running every test.
const CARGO_HARMLESS: &[&str] = &[
    "--workspace",
    "--all",
    "--locked",
    "--offline",
    "--quiet",
    "-q",
    "--no-fail-fast",
    "--release",
    "--all-features",
    "--tests",
];

fn cargo(arguments: &[&str], manifest: impl Fn(&str) -> Option<String>) -> Option<Canary> {
    let (path, rest) = match arguments {
        ["--manifest-path", path, rest @ ..] => (*path, rest),
        rest => ("Cargo.toml", rest),
    };
    let folder = path.strip_suffix("Cargo.toml")?;
    let text = manifest(path)?;
    let usable = text.contains("[package]") && !text.contains("autotests");
    (usable && rest.iter().all(|word| CARGO_HARMLESS.contains(word))).then(|| Canary {
        path: format!("{folder}tests/skep_canary.rs"),
        content: RUST,
    })
}

fn is_python(word: &str) -> bool {
    word == "python" || word == "python3"
}

fn pytest(arguments: &[&str], files: &[String]) -> Option<Canary> {
    let mut folder = None;
    for word in arguments {
        let is_folder = files
            .iter()
            .any(|file| file.starts_with(&format!("{}/", word.trim_end_matches('/'))));
        match *word {
            "-q" | "-v" | "-x" | "-vv" | "-qq" => {}
            word if is_folder && folder.is_none() => {
                folder = Some(word.trim_end_matches('/').to_owned());
            }
            _ => return None,
        }
    }
    // Beside an existing test, so that `testpaths` and the like reach it.
    let beside = files.iter().filter_map(|file| {
        let (dir, name) = file.rsplit_once('/').unwrap_or(("", file));
        let inside = folder
            .as_deref()
            .is_none_or(|f| dir == f || dir.starts_with(&format!("{f}/")));
        (name.starts_with("test_") && name.ends_with(".py") && inside).then_some(dir)
    });
    let dir = beside
        .min()
        .map(str::to_owned)
        .or(folder)
        .unwrap_or_default();
    Some(python_canary(&dir))
}

fn unittest(arguments: &[&str]) -> Option<Canary> {
    let arguments = arguments.strip_prefix(&["discover"]).unwrap_or(arguments);
    let folder = match arguments {
        [] | ["-v" | "-q" | "-f" | "-b"] => "",
        ["-s", folder] => folder.trim_end_matches('/'),
        _ => return None,
    };
    Some(python_canary(folder))
}

fn python_canary(dir: &str) -> Canary {
    let path = match dir {
        "" | "." => "test_skep_canary.py".to_owned(),
        dir => format!("{dir}/test_skep_canary.py"),
    };
    Canary {
        path,
        content: PYTHON,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_known_command_has_its_place() {
        let files = ["pkg/a.py", "tests/unit/test_a.py", "tests/test_b.py"].map(str::to_owned);
        for (command, expected) in [
            ("cargo test", Some("tests/skep_canary.rs")),
            (
                "cargo test --locked --offline",
                Some("tests/skep_canary.rs"),
            ),
            (
                "cargo test --manifest-path a/Cargo.toml -q",
                Some("a/tests/skep_canary.rs"),
            ),
            ("cargo test parser", None),
            ("cargo test --lib", None),
            ("cargo test || true", None),
            ("python3 -m pytest", Some("tests/test_skep_canary.py")),
            (
                "python3 -m pytest -q tests/unit",
                Some("tests/unit/test_skep_canary.py"),
            ),
            ("pytest -k name", None),
            ("python3 -m unittest", Some("test_skep_canary.py")),
            (
                "python3 -m unittest discover -s tests",
                Some("tests/test_skep_canary.py"),
            ),
            ("python3 -m unittest pkg.test_a", None),
            ("make test", None),
        ] {
            let found = canary(command, &files, |_| {
                Some("[package]\nname = \"a\"".to_owned())
            });
            assert_eq!(found.map(|c| c.path).as_deref(), expected, "{command}");
        }
        assert_eq!(
            canary("cargo test", &files, |_| Some("[workspace]".to_owned())),
            None
        );
        assert_eq!(canary("cargo test", &files, |_| None), None);
    }
}
