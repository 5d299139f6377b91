//! Attempt repositories that have turned on the engine: nothing in them runs, nothing in them leads
//! the import elsewhere, and what does not hold together is refused.

use crate::stage::{FILES, Stage, User, commit_all, git, write};
use skep_sandbox::{
    AttemptRepository, Git, IsolationLevel, Oid, clean_checkout, ensure_vault, import_tip,
};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

struct Attempt {
    stage: Stage,
    vault: PathBuf,
    git_dir: PathBuf,
    repo: PathBuf,
}

/// An attempt that has made one good commit, from outside and as an agent of level `landlock`
/// could: the paths are the same.
async fn attempt() -> Attempt {
    let stage = Stage::new(IsolationLevel::Landlock, User::Own).await;
    let vault = ensure_vault(&stage.home, &stage.source).await.unwrap();
    let repo = stage.spec.attempt_dir.join("repo");
    let git_dir = stage.spec.attempt_dir.join("git");
    write(&repo.join("src/new.rs"), "// new\n");
    git(&repo, &["add", "--all"]);
    git(&repo, &["commit", "--quiet", "-m", "new"]);
    Attempt {
        stage,
        vault,
        git_dir,
        repo,
    }
}

impl Attempt {
    async fn import(&self) -> Result<Oid, &'static str> {
        import_tip(&self.vault, &self.git_dir, "skep/att_1", &self.stage.base)
            .await
            .map_err(|error| error.code())
    }

    fn pinned(&self) -> String {
        git(&self.vault, &["for-each-ref", "--format=%(refname)"])
    }
}

/// A program that leaves a mark when it runs.
fn trap(attempt: &Attempt) -> (PathBuf, PathBuf) {
    let mark = attempt.stage.outside.join("ran");
    let program = attempt.stage.outside.join("trap");
    let script = format!("#!/bin/sh\ntouch '{}'\ncat\n", mark.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    (program, mark)
}

/// Names the trap wherever an attempt could name a program, and commits attributes that would find
/// it.
fn set_traps(attempt: &Attempt, program: &Path, mark: &Path) {
    let program = program.display().to_string();
    for name in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.alternateRefsCommand",
        "core.pager",
        "core.editor",
        "diff.external",
        "diff.x.textconv",
        "diff.x.command",
        "filter.x.clean",
        "filter.x.smudge",
        "filter.x.process",
        "gpg.program",
        "credential.helper",
        "uploadpack.packObjectsHook",
    ] {
        git(&attempt.repo, &["config", name, &program]);
    }
    let hooks = attempt.git_dir.join("hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    git(
        &attempt.repo,
        &["config", "core.hooksPath", &hooks.display().to_string()],
    );
    for hook in [
        "post-checkout",
        "post-index-change",
        "pre-auto-gc",
        "reference-transaction",
        "post-update",
        "pre-receive",
        "update",
    ] {
        std::fs::copy(&program, hooks.join(hook)).unwrap();
    }
    // The same names committed, in case an attribute of the tree finds a driver.
    write(
        &attempt.repo.join(".gitattributes"),
        "* filter=x diff=x ident text eol=crlf\n",
    );
    write(&attempt.repo.join("src/ident.txt"), "$Id$\nline\n");
    let plumbing = |arguments: &[&str]| {
        let mut all = vec![
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
        ];
        all.extend(["-c", "filter.x.clean=", "-c", "filter.x.process="]);
        all.extend(arguments);
        git(&attempt.repo, &all)
    };
    plumbing(&["add", "--all"]);
    plumbing(&["commit", "--quiet", "-m", "with attributes"]);
    assert!(!mark.exists(), "the trap is set and has not sprung");
}

#[tokio::test]
async fn nothing_the_attempt_configured_runs_in_the_engine() {
    let attempt = attempt().await;
    let (program, mark) = trap(&attempt);
    set_traps(&attempt, &program, &mark);
    let tip = attempt.import().await.unwrap();
    let checkout = attempt.stage.home.join("checkout");
    clean_checkout(&attempt.vault, &tip, &checkout)
        .await
        .unwrap();
    skep_sandbox::changed_files(&attempt.vault, &attempt.stage.base, &tip)
        .await
        .unwrap();
    assert!(!mark.exists(), "nothing of the attempt's ran");
    let text = std::fs::read_to_string(checkout.join("src/ident.txt")).unwrap();
    assert_eq!(
        text, "$Id$\nline\n",
        "the tree is exact, whatever its attributes say"
    );

    // The same configuration does run a program where it is believed.
    let mut believed = Command::new("git");
    believed
        .current_dir(&attempt.repo)
        .args(["status", "--short"]);
    believed
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(mark.exists(), "the trap works");
}

/// The same for a repository that the engine does run git in: the user's hooks are for the user.
#[tokio::test]
async fn git_runs_nothing_that_a_repository_sets_up() {
    let attempt = attempt().await;
    let (program, mark) = trap(&attempt);
    let source = &attempt.stage.source;
    let hook = source.join(".git/hooks/reference-transaction");
    write(&hook, "");
    std::fs::copy(&program, &hook).unwrap();
    git(
        source,
        &["config", "core.fsmonitor", &program.display().to_string()],
    );
    let engine = Git::at(source.join(".git"));
    let base = engine.commit("HEAD").await.unwrap();
    assert_eq!(base, attempt.stage.base);
    engine
        .run(&["update-ref", "refs/heads/a", base.as_str()])
        .await
        .unwrap();
    assert!(!mark.exists(), "the engine ran the hook");
    git(source, &["update-ref", "refs/heads/b", base.as_str()]);
    assert!(mark.exists(), "the trap works");
}

/// What is done to the attempt, and the code the import answers with.
type Case = (&'static str, fn(&Attempt), &'static str);

const CASES: &[Case] = &[
    (
        "another alternate",
        |a| {
            let path = a.git_dir.join("objects/info/alternates");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, format!("{text}{}\n", a.stage.outside.display())).unwrap();
        },
        "import_alternates",
    ),
    (
        "no alternates",
        |a| {
            std::fs::remove_file(a.git_dir.join("objects/info/alternates")).unwrap();
        },
        "import_alternates",
    ),
    (
        "alternates by a link",
        |a| {
            let path = a.git_dir.join("objects/info/alternates");
            std::fs::remove_file(&path).unwrap();
            symlink(a.stage.spec.attempt_dir.join("alternates"), path).unwrap();
        },
        "import_suspicious",
    ),
    (
        "alternates over the network",
        |a| {
            write(
                &a.git_dir.join("objects/info/http-alternates"),
                "http://127.0.0.1:1/\n",
            );
        },
        "import_alternates",
    ),
    (
        "objects by a link",
        |a| {
            let objects = a.git_dir.join("objects");
            let moved = a.stage.outside.join("objects");
            std::fs::rename(&objects, &moved).unwrap();
            symlink(moved, objects).unwrap();
        },
        "import_suspicious",
    ),
    (
        "one object directory by a link",
        |a| {
            symlink(&a.stage.outside, a.git_dir.join("objects/zz")).unwrap();
        },
        "import_suspicious",
    ),
    (
        "one object by a link",
        |a| {
            let path = a.git_dir.join("objects/pack/pack-1.pack");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink("/etc/passwd", path).unwrap();
        },
        "import_suspicious",
    ),
    (
        "a pipe among the objects",
        |a| {
            let path = a.git_dir.join("objects/pack/pack-1.idx");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            make_pipe(&path);
        },
        "import_suspicious",
    ),
    (
        "refs by a link",
        |a| {
            let refs = a.git_dir.join("refs");
            let moved = a.stage.outside.join("refs");
            std::fs::rename(&refs, &moved).unwrap();
            symlink(moved, refs).unwrap();
        },
        "import_suspicious",
    ),
    (
        "the branch by a link",
        |a| {
            let path = branch(a);
            let moved = a.stage.outside.join("branch");
            std::fs::rename(&path, &moved).unwrap();
            symlink(moved, path).unwrap();
        },
        "import_suspicious",
    ),
    (
        "the branch as a pipe",
        |a| {
            std::fs::remove_file(branch(a)).unwrap();
            make_pipe(&branch(a));
        },
        "import_suspicious",
    ),
    (
        "a symbolic branch",
        |a| {
            std::fs::write(branch(a), "ref: refs/heads/other\n").unwrap();
        },
        "import_branch",
    ),
    (
        "no branch",
        |a| std::fs::remove_file(branch(a)).unwrap(),
        "import_branch",
    ),
    (
        "a branch that is no name",
        |a| {
            std::fs::write(branch(a), "--upload-pack=/bin/sh\n").unwrap();
        },
        "import_branch",
    ),
    (
        "an endless branch",
        |a| {
            std::fs::write(branch(a), "0".repeat(100_000)).unwrap();
        },
        "import_suspicious",
    ),
    (
        "a tip that does not exist",
        |a| {
            std::fs::write(branch(a), format!("{}\n", "1".repeat(40))).unwrap();
        },
        "import_objects",
    ),
    (
        "a tip that is a tree",
        |a| {
            let tree = git(&a.repo, &["rev-parse", "HEAD^{tree}"]);
            std::fs::write(branch(a), format!("{tree}\n")).unwrap();
        },
        "import_branch",
    ),
    (
        "a history of its own",
        |a| {
            let tree = git(&a.repo, &["rev-parse", "HEAD^{tree}"]);
            let orphan = git(&a.repo, &["commit-tree", "-m", "orphan", &tree]);
            std::fs::write(branch(a), format!("{orphan}\n")).unwrap();
        },
        "import_not_a_descendant",
    ),
    (
        "a missing object",
        |a| {
            let blob = git(&a.repo, &["rev-parse", "HEAD:src/new.rs"]);
            std::fs::remove_file(loose(a, &blob)).unwrap();
        },
        "import_objects",
    ),
    (
        "an object under another's name",
        |a| {
            let blob = git(&a.repo, &["rev-parse", "HEAD:src/new.rs"]);
            let other = git(&a.repo, &["hash-object", "-w", "src/lib.rs"]);
            let path = loose(a, &blob);
            std::fs::remove_file(&path).unwrap();
            write(&a.repo.join("src/evil.rs"), "// evil\n");
            let evil = git(&a.repo, &["hash-object", "-w", "src/evil.rs"]);
            assert_ne!(other, evil);
            std::fs::copy(loose(a, &evil), path).unwrap();
        },
        "import_objects",
    ),
    (
        "a tree with git's own directory in it",
        |a| {
            let blob = git(&a.repo, &["rev-parse", "HEAD:README.md"]);
            let evil = tree_with(a, ".git", &blob);
            let commit = git(&a.repo, &["commit-tree", "-p", "HEAD", "-m", "evil", &evil]);
            std::fs::write(branch(a), format!("{commit}\n")).unwrap();
        },
        "import_objects",
    ),
    (
        "a tree that climbs out",
        |a| {
            let blob = git(&a.repo, &["rev-parse", "HEAD:README.md"]);
            let evil = tree_with(a, "..", &blob);
            let commit = git(&a.repo, &["commit-tree", "-p", "HEAD", "-m", "evil", &evil]);
            std::fs::write(branch(a), format!("{commit}\n")).unwrap();
        },
        "import_objects",
    ),
];

fn branch(attempt: &Attempt) -> PathBuf {
    attempt.git_dir.join("refs/heads/skep/att_1")
}

fn loose(attempt: &Attempt, oid: &str) -> PathBuf {
    let (directory, file) = oid.split_at(2);
    attempt.git_dir.join("objects").join(directory).join(file)
}

fn make_pipe(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

/// A tree with one entry of any name, which git's own commands would refuse to make.
fn tree_with(attempt: &Attempt, name: &str, blob: &str) -> String {
    let bytes: Vec<u8> = (0..blob.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&blob[at..at + 2], 16).unwrap())
        .collect();
    let tree = [format!("100644 {name}\0").as_bytes(), &bytes].concat();
    let file = attempt.stage.outside.join("tree");
    std::fs::write(&file, tree).unwrap();
    let file = file.display().to_string();
    git(
        &attempt.repo,
        &["hash-object", "-t", "tree", "--literally", "-w", &file],
    )
}

#[tokio::test]
async fn what_git_does_not_make_is_refused() {
    for (name, change, code) in CASES {
        let attempt = attempt().await;
        change(&attempt);
        assert_eq!(attempt.import().await, Err(*code), "{name}");
        assert_eq!(attempt.pinned(), "", "{name}: nothing is pinned");
    }
}

#[tokio::test]
async fn a_branch_in_packed_refs_and_packed_objects_are_found() {
    let attempt = attempt().await;
    git(&attempt.repo, &["pack-refs", "--all"]);
    git(&attempt.repo, &["repack", "-a", "-d", "-l", "--quiet"]);
    assert!(!branch(&attempt).exists());
    let tip = git(&attempt.repo, &["rev-parse", "HEAD"]);
    assert_eq!(attempt.import().await.map(|oid| oid.to_string()), Ok(tip));
}

/// What only the attempt's own alternates could reach does not come along, even when it is named.
#[tokio::test]
async fn objects_of_other_repositories_do_not_come_along() {
    let attempt = attempt().await;
    let private = attempt.stage.outside.join("private");
    write(&private.join("secret"), "private\n");
    let secret = commit_all(&private, "private");
    let objects = private.join(".git/objects");
    let path = attempt.git_dir.join("objects/info/alternates");
    let honest = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{honest}{}\n", objects.display())).unwrap();
    let merge = git(
        &attempt.repo,
        &[
            "commit-tree",
            "-p",
            "HEAD",
            "-p",
            secret.as_str(),
            "-m",
            "m",
            "HEAD^{tree}",
        ],
    );
    std::fs::write(branch(&attempt), format!("{merge}\n")).unwrap();
    assert_eq!(attempt.import().await, Err("import_alternates"));
    // With the list put back, the commit that needs the other repository is incomplete.
    std::fs::write(&path, honest).unwrap();
    assert_eq!(attempt.import().await, Err("import_objects"));
    let mut has = Command::new("git");
    has.current_dir(&attempt.vault)
        .args(["cat-file", "-e", secret.as_str()]);
    assert!(
        !has.status().unwrap().success(),
        "the vault has nothing of it"
    );
}

#[tokio::test]
async fn nothing_done_is_imported_as_the_base() {
    let stage = Stage::new(IsolationLevel::Namespaces, User::Own).await;
    let vault = ensure_vault(&stage.home, &stage.source).await.unwrap();
    let git_dir = stage.spec.attempt_dir.join("git");
    let tip = import_tip(&vault, &git_dir, "skep/att_1", &stage.base)
        .await
        .unwrap();
    assert_eq!(tip, stage.base);
}

/// A second round begins where the first ended: at a commit that only the vault has.
#[tokio::test]
async fn an_attempt_can_begin_at_what_another_made() {
    let first = attempt().await;
    let tip = first.import().await.unwrap();
    let second = first.stage.home.join("attempts/att_2");
    let level = IsolationLevel::Namespaces;
    let repository = AttemptRepository::create(&first.vault, &tip, &second, "skep/att_2", level)
        .await
        .unwrap();
    let own = first.vault.join("objects").canonicalize().unwrap();
    let sources = first
        .stage
        .source
        .join(".git/objects")
        .canonicalize()
        .unwrap();
    assert_eq!(
        repository.object_stores,
        [own, sources],
        "the vault, then what it borrows from"
    );
    assert!(second.join("repo/src/new.rs").exists());
    let again = AttemptRepository::create(&first.vault, &tip, &second, "skep/att_2", level).await;
    assert_eq!(again.unwrap_err().code(), "repository_conflict");
}

#[tokio::test]
async fn sources_of_every_shape_have_a_vault() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source");
    for (path, text) in FILES {
        write(&source.join(path), text);
    }
    let base = commit_all(&source, "base");
    let linked = root.path().join("linked");
    git(
        &source,
        &["worktree", "add", "--quiet", &linked.display().to_string()],
    );
    let bare = root.path().join("bare.git");
    git(
        &source,
        &[
            "clone",
            "--quiet",
            "--bare",
            ".",
            &bare.display().to_string(),
        ],
    );
    write(&source.join("more"), "more\n");
    let later = commit_all(&source, "later");
    let shallow = root.path().join("shallow");
    let url = format!("file://{}", source.display());
    git(
        root.path(),
        &["clone", "--quiet", "--depth=1", &url, "shallow"],
    );

    let home = root.path().join("home");
    let vault = ensure_vault(&home, &source).await.unwrap();
    assert_eq!(
        ensure_vault(&home, &source.join("src")).await.unwrap(),
        vault
    );
    assert_eq!(
        ensure_vault(&home, &linked).await.unwrap(),
        vault,
        "a linked tree is the same"
    );
    assert_ne!(ensure_vault(&home, &bare).await.unwrap(), vault);
    let level = IsolationLevel::Landlock;
    for (name, source, base) in [
        ("a", &linked, &base),
        ("b", &bare, &base),
        ("c", &shallow, &later),
    ] {
        let vault = ensure_vault(&home, source).await.unwrap();
        let dir = home.join(name);
        AttemptRepository::create(source, base, &dir, "skep/x", level)
            .await
            .unwrap();
        write(&dir.join("repo/new"), "new\n");
        git(&dir.join("repo"), &["add", "--all"]);
        git(&dir.join("repo"), &["commit", "--quiet", "-m", "new"]);
        import_tip(&vault, &dir.join("git"), "skep/x", base)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error} {error:?}"));
    }
    let nowhere = ensure_vault(&home, root.path()).await.unwrap_err();
    assert_eq!(nowhere.code(), "not_a_repository");
}
