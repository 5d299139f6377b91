//! The scene: a folder with a fresh git repository, a configuration, and the model's script.

use crate::failure::Failure;
use skep_api::DispatchRequest;
use skep_sandbox::Git;
use skep_types::MicroUsd;
use std::path::{Path, PathBuf};

/// The files of the repository, each as it is before anybody has repaired it.
const FILES: &[(&str, &str)] = &[
    ("README.md", include_str!("../../demo/repo/README.md")),
    (
        "duration/Cargo.toml",
        include_str!("../../demo/repo/duration/Cargo.toml"),
    ),
    (
        "duration/Cargo.lock",
        include_str!("../../demo/repo/duration/Cargo.lock"),
    ),
    (
        "duration/src/lib.rs",
        include_str!("../../demo/repo/duration/src/lib.rs"),
    ),
    (
        "duration/tests/duration.rs",
        include_str!("../../demo/repo/duration/tests/duration.rs"),
    ),
    (
        "roman/Cargo.toml",
        include_str!("../../demo/repo/roman/Cargo.toml"),
    ),
    (
        "roman/Cargo.lock",
        include_str!("../../demo/repo/roman/Cargo.lock"),
    ),
    (
        "roman/src/lib.rs",
        include_str!("../../demo/repo/roman/src/lib.rs"),
    ),
    (
        "roman/tests/roman.rs",
        include_str!("../../demo/repo/roman/tests/roman.rs"),
    ),
];
const SCRIPT: &str = include_str!("../../demo/script.toml");
const CONFIG: &str = include_str!("../../demo/skep.toml");

/// What the scribe may spend: its first call fits, its second would not.
const SCRIBE_LIMIT: MicroUsd = MicroUsd(500_000);

/// Where the demonstration happens.
pub(crate) struct Scene {
    /// The folder that holds everything of it.
    pub(crate) folder: PathBuf,
    /// The repository.
    pub(crate) repo: PathBuf,
    /// The configuration.
    pub(crate) config: PathBuf,
}

/// One job of the demonstration.
pub(crate) struct Cast {
    /// The worker's name.
    pub(crate) worker: &'static str,
    /// What it is asked for.
    pub(crate) request: DispatchRequest,
}

impl Scene {
    /// Makes the repository, the configuration and the script in `folder`.
    pub(crate) async fn set(folder: PathBuf) -> Result<Self, Failure> {
        let sysroot = sysroot().await?;
        let scene = Self {
            repo: folder.join("repo"),
            config: folder.join("skep.toml"),
            folder,
        };
        for (path, text) in FILES {
            write(&scene.repo.join(path), text)?;
        }
        write(&scene.folder.join("script.toml"), SCRIPT)?;
        let root = toml::Value::String(sysroot.display().to_string()).to_string();
        write(&scene.config, &CONFIG.replace("\"SYSROOT\"", &root))?;
        scene.first_commit().await?;
        Ok(scene)
    }

    /// The jobs, all of them asked for at once.
    pub(crate) fn cast(&self) -> Vec<Cast> {
        let repo = self.repo.display().to_string();
        let builder = |worker, instruction: &str, package: &str| Cast {
            worker,
            request: DispatchRequest {
                instruction: instruction.to_owned(),
                repo: Some(repo.clone()),
                worker: Some(worker.to_owned()),
                scope: vec![format!("{package}/src/**")],
                checks: vec![format!("cargo test --manifest-path {package}/Cargo.toml")],
                ..DispatchRequest::default()
            },
        };
        let scribe = DispatchRequest {
            instruction: "Write a history of timekeeping, at length, to docs/history.md."
                .to_owned(),
            repo: Some(repo.clone()),
            worker: Some("scribe".to_owned()),
            scope: vec!["docs/**".to_owned()],
            checks: vec!["test -s docs/history.md".to_owned()],
            budget_micro_usd: Some(SCRIBE_LIMIT),
            ..DispatchRequest::default()
        };
        vec![
            builder(
                "mason",
                "Repair duration/src/lib.rs so that the tests of the duration crate pass.",
                "duration",
            ),
            builder(
                "smith",
                "Repair roman/src/lib.rs: Roman numerals with a smaller letter in front.",
                "roman",
            ),
            Cast {
                worker: "scribe",
                request: scribe,
            },
        ]
    }

    async fn first_commit(&self) -> Result<(), Failure> {
        let git = Git::discovering(&self.repo);
        let identity = [
            "-c",
            "user.name=Skep demo",
            "-c",
            "user.email=demo@skep.invalid",
        ];
        let commit = [
            &identity[..],
            &[
                "commit",
                "--quiet",
                "-m",
                "Two crates, each with a red test",
            ],
        ];
        for arguments in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["add", "--all"],
            &commit.concat(),
        ] {
            git.run(arguments).await.map_err(|error| {
                let hint = error
                    .hint()
                    .unwrap_or_else(|| "`skep doctor` checks git".to_owned());
                Failure::unreachable(error.code(), error.to_string(), hint)
            })?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    written
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| {
            Failure::usage(
                "folder_unusable",
                format!("{} cannot be written: {error}", path.display()),
                "name an empty folder on a disk with space with `--dir`",
            )
        })
}

/// The folder of the Rust toolchain, which the workers may read and run.
async fn sysroot() -> Result<PathBuf, Failure> {
    let missing = |reason: String| {
        Failure::unreachable(
            "cargo_missing",
            format!("the demonstration runs `cargo test`, and {reason}"),
            "install Rust, so that `rustc --print sysroot` answers",
        )
    };
    let output = tokio::process::Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .await
        .map_err(|error| missing(format!("rustc does not start: {error}")))?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && path.join("bin/cargo").exists() {
        Ok(path)
    } else {
        Err(missing(format!(
            "there is no cargo in {}",
            path.join("bin").display()
        )))
    }
}
