//! A stage for one attempt: a source repository, an attempt directory, something outside that must
//! not change, and an engine that runs as the user of the tests or as `nobody`.

use serde_json::Value;
use skep_sandbox::{
    AttemptRepository, FenceSpec, FencedCommand, IsolationLevel, Oid, ProcessLimits,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(crate) const NOBODY: u32 = 65534;

/// Whose engine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Own,
    /// An unprivileged user; only the superuser can become it.
    Nobody,
}

pub(crate) fn is_superuser() -> bool {
    rustix::process::geteuid().is_root()
}

/// Every level with every user that can be had.
pub(crate) fn everywhere() -> Vec<(IsolationLevel, User)> {
    let users: &[User] = if is_superuser() {
        &[User::Own, User::Nobody]
    } else {
        &[User::Own]
    };
    IsolationLevel::ALL
        .iter()
        .flat_map(|level| users.iter().map(|user| (*level, *user)))
        .collect()
}

pub(crate) struct Stage {
    _root: tempfile::TempDir,
    pub(crate) user: User,
    pub(crate) outside: PathBuf,
    pub(crate) source: PathBuf,
    pub(crate) home: PathBuf,
    pub(crate) base: Oid,
    pub(crate) spec: FenceSpec,
}

/// The files of the source repository.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("README.md", "read me\n"),
    ("src/lib.rs", "pub fn one() -> u32 { 1 }\n"),
    ("src/deep/er.txt", "deep\n"),
    ("tests/data.txt", "data\n"),
];

impl Stage {
    pub(crate) async fn new(level: IsolationLevel, user: User) -> Self {
        Self::with_files(level, user, FILES).await
    }

    /// A stage whose repository holds these files.
    pub(crate) async fn with_files(
        level: IsolationLevel,
        user: User,
        files: &[(&str, &str)],
    ) -> Self {
        let root = tempfile::tempdir().unwrap();
        open_to_all(root.path());
        let [source, outside, home, bin] =
            ["source", "outside", "home", "bin"].map(|name| root.path().join(name));
        for directory in [&source, &outside, &home, &bin] {
            std::fs::create_dir(directory).unwrap();
        }
        for (path, text) in files {
            write(&source.join(path), text);
        }
        write(&outside.join("secret"), "secret\n");
        write(&outside.join("inner/file"), "file\n");
        let base = commit_all(&source, "base");
        let attempt_dir = home.join("attempts/att_1");
        let repository =
            AttemptRepository::create(&source, &base, &attempt_dir, "skep/att_1", level)
                .await
                .unwrap();
        write(&repository.attempt_dir.join("in/task.md"), "task\n");
        let launcher = launcher_in(&bin);
        if user == User::Nobody {
            for directory in [&source, &outside, &home] {
                give_to_nobody(directory);
            }
        }
        let spec = FenceSpec {
            level,
            attempt_dir: repository.attempt_dir.clone(),
            writable: vec![PathBuf::from("src")],
            git_writable: true,
            read_only: Vec::new(),
            object_stores: repository.object_stores,
            gateway: false,
            limits: ProcessLimits::default(),
            launcher,
        };
        Self {
            _root: root,
            user,
            outside,
            source,
            home,
            base,
            spec,
        }
    }

    /// The command of these words, with an environment of its own.
    pub(crate) fn command(&self, argv: &[&str]) -> FencedCommand {
        let paths = self.spec.paths();
        FencedCommand {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: skep_sandbox::toolchain_environment(&self.spec.read_only, &paths),
            cwd: paths.repo,
        }
    }

    /// Runs a command to its end in a fence of this stage's spec.
    pub(crate) fn run(&self, argv: &[&str]) -> Outcome {
        self.run_command(&self.command(argv))
    }

    pub(crate) fn run_command(&self, command: &FencedCommand) -> Outcome {
        let request = serde_json::json!({"spec": self.spec, "command": command});
        let mut engine = self.engine("run", &request);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut engine.stdout.take().unwrap(), &mut text).unwrap();
        assert!(engine.wait().unwrap().success(), "{text}");
        Outcome(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// Runs a shell script that must succeed and returns what it printed.
    pub(crate) fn shell(&self, script: &str) -> String {
        let outcome = self.run(&["/bin/sh", "-ec", script]);
        assert_eq!(outcome.code(), Some(0), "{script}\n{}", outcome.0);
        outcome.stdout().to_owned()
    }

    /// Starts a helper of this stage's user on a request.
    pub(crate) fn engine(&self, mode: &str, request: &Value) -> Child {
        let mut engine = self
            .as_user(Command::new(&self.spec.launcher).arg(mode))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = engine.stdin.take().unwrap();
        stdin.write_all(request.to_string().as_bytes()).unwrap();
        engine
    }

    /// Runs the helper of this stage's user outside any fence.
    pub(crate) fn unfenced(&self, words: &[&str]) -> String {
        let output = self
            .as_user(Command::new(&self.spec.launcher).args(words))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn as_user<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        match self.user {
            User::Own => command,
            User::Nobody => command.uid(NOBODY).gid(NOBODY),
        }
    }

    /// Everything that a worker of this stage must leave alone, as it is now.
    pub(crate) fn outside_now(&self) -> Snapshot {
        let mut all = Snapshot::new();
        snapshot(&self.outside, &mut all);
        snapshot(&self.source, &mut all);
        snapshot(&self.spec.attempt_dir.join("in"), &mut all);
        snapshot(&self.spec.attempt_dir.join("repo"), &mut all);
        let own = self.spec.attempt_dir.join("repo/src");
        all.retain(|path, _| !path.starts_with(&own));
        let record = self.spec.attempt_dir.join("alternates");
        snapshot(&record, &mut all);
        all
    }
}

/// What a helper's `run` printed.
pub(crate) struct Outcome(pub(crate) Value);

impl Outcome {
    pub(crate) fn code(&self) -> Option<i64> {
        self.0["status"]["code"].as_i64()
    }

    pub(crate) fn stdout(&self) -> &str {
        self.0["stdout"].as_str().unwrap()
    }

    pub(crate) fn error(&self) -> Option<&str> {
        self.0["error"].as_str()
    }

    pub(crate) fn gaps(&self) -> Vec<&str> {
        let gaps = self.0["proof"]["gaps"].as_array().unwrap();
        gaps.iter().map(|gap| gap.as_str().unwrap()).collect()
    }

    /// What an escape was answered: nothing if it succeeded, otherwise the error's number.
    pub(crate) fn refusal(&self) -> Option<i32> {
        assert_eq!(self.error(), None, "{}", self.0);
        refusal_in(self.stdout())
    }
}

pub(crate) fn refusal_in(line: &str) -> Option<i32> {
    match line.split_whitespace().next() {
        Some("done") => None,
        Some(number) => Some(number.parse().unwrap_or_else(|_| panic!("{line}"))),
        None => panic!("the escape said nothing"),
    }
}

pub(crate) type Snapshot = BTreeMap<PathBuf, String>;

/// Content, mode, owner, links, time and attributes of everything below a path.
fn snapshot(path: &Path, into: &mut Snapshot) {
    let metadata = path.symlink_metadata().unwrap();
    let content = if metadata.is_file() {
        format!("{:?}", std::fs::read(path).unwrap())
    } else if metadata.is_symlink() {
        format!("{:?}", std::fs::read_link(path).unwrap())
    } else {
        String::new()
    };
    let mut attribute = [0_u8; 64];
    let attribute = rustix::fs::lgetxattr(path, "user.skep", &mut attribute).ok();
    let facts = format!(
        "{:o} {}:{} {} {}.{} {attribute:?} {content}",
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.nlink(),
        metadata.mtime(),
        metadata.mtime_nsec()
    );
    into.insert(path.to_owned(), facts);
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            snapshot(&entry.unwrap().path(), into);
        }
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// The helper where every user can execute it. An unprivileged user of the tests has it already;
/// others link it, or have another process copy it: a file that is open for writing in this one
/// could be inherited by a child and then not be executed.
fn launcher_in(directory: &Path) -> PathBuf {
    let helper = PathBuf::from(env!("CARGO_BIN_EXE_skep-fence-helper"));
    if !is_superuser() {
        return helper;
    }
    let launcher = directory.join("skep");
    if std::fs::hard_link(&helper, &launcher).is_err() {
        let copied = Command::new("cp")
            .args([&helper, &launcher])
            .status()
            .unwrap();
        assert!(copied.success());
    }
    launcher
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

pub(crate) fn give_to_nobody(path: &Path) {
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    let metadata = path.symlink_metadata().unwrap();
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give_to_nobody(&entry.unwrap().path());
        }
    }
}

/// Git as its user runs it, without this machine's settings.
pub(crate) fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=Test", "-c", "user.email=test@skep.invalid"])
        .args(["-c", "safe.directory=*", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {message}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes a repository of a directory, or adds to the one there, and commits everything in it.
pub(crate) fn commit_all(directory: &Path, subject: &str) -> Oid {
    git(directory, &["init", "--quiet"]);
    git(directory, &["add", "--all"]);
    git(
        directory,
        &["commit", "--quiet", "--allow-empty", "-m", subject],
    );
    git(directory, &["rev-parse", "HEAD"]).parse().unwrap()
}
