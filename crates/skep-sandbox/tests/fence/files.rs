//! Ways out through the file tree.

use crate::stage::{Stage, User, everywhere, refusal_in};
use skep_sandbox::IsolationLevel;

/// What has to come of an attempt.
#[derive(Clone, Copy, PartialEq)]
enum Expected {
    /// Refused at both levels.
    Refused,
    /// Refused by mounts; without them it is a gap, and the proof names it.
    Gap(&'static str),
}
use Expected::{Gap, Refused};

/// Way, paths, what has to come of it, and whether the same succeeds without a fence: a way that
/// never works proves nothing.
type Case = (&'static str, &'static [&'static str], Expected, bool);

/// `{repo}`, `{git}`, `{in}`, `{tmp}` are inside paths; `{outside}`, `{source}`, `{home}` are the
/// host's, and so is everything behind `/proc/…/root`.
const CASES: &[Case] = &[
    ("write", &["{repo}/README.md"], Refused, true),
    ("append", &["{repo}/README.md"], Refused, true),
    ("truncate", &["{repo}/README.md"], Refused, true),
    ("unlink", &["{repo}/README.md"], Refused, true),
    ("create", &["{repo}/new"], Refused, true),
    ("mkdir", &["{repo}/new"], Refused, true),
    ("reopen", &["{repo}/README.md"], Refused, true),
    ("write", &["{repo}/src/../README.md"], Refused, true),
    ("write", &["{repo}/src/../../in/task.md"], Refused, true),
    ("write", &["{repo}/.git"], Refused, true),
    ("chmod", &["{repo}/README.md"], Gap("mode_and_times"), true),
    ("times", &["{repo}/README.md"], Gap("mode_and_times"), true),
    ("setxattr", &["{repo}/README.md"], Refused, true),
    ("chown", &["{repo}/README.md"], Refused, false),
    (
        "rename",
        &["{repo}/src/lib.rs", "{repo}/lib.rs"],
        Refused,
        true,
    ),
    (
        "rename",
        &["{repo}/README.md", "{repo}/src/README.md"],
        Refused,
        true,
    ),
    (
        "rename",
        &["{repo}/src/lib.rs", "{outside}/lib.rs"],
        Refused,
        true,
    ),
    (
        "rename",
        &["{outside}/secret", "{repo}/src/secret"],
        Refused,
        true,
    ),
    (
        "exchange",
        &["{repo}/src/lib.rs", "{repo}/README.md"],
        Refused,
        true,
    ),
    (
        "hardlink",
        &["{repo}/src/lib.rs", "{repo}/lib.rs"],
        Refused,
        true,
    ),
    (
        "hardlink_write",
        &["{repo}/src/link", "{repo}/README.md"],
        Refused,
        true,
    ),
    (
        "hardlink_write",
        &["{repo}/src/link", "{outside}/secret"],
        Refused,
        true,
    ),
    (
        "symlink_write",
        &["{repo}/src/link", "{repo}/README.md"],
        Refused,
        true,
    ),
    (
        "symlink_write",
        &["{repo}/src/link", "{outside}/secret"],
        Refused,
        true,
    ),
    (
        "symlink_directory",
        &["{repo}/src/link", "{outside}/inner"],
        Refused,
        true,
    ),
    ("write", &["{in}/task.md"], Refused, true),
    ("create", &["{in}/new"], Refused, true),
    ("write", &["{outside}/secret"], Refused, true),
    ("read", &["{outside}/secret"], Refused, true),
    ("list", &["{outside}"], Refused, true),
    ("chmod", &["{outside}/secret"], Gap("mode_and_times"), true),
    ("times", &["{outside}/secret"], Gap("mode_and_times"), true),
    ("setxattr", &["{outside}/secret"], Refused, true),
    ("write", &["/proc/self/root{outside}/secret"], Refused, true),
    ("write", &["/proc/1/root{outside}/secret"], Refused, false),
    ("read", &["/proc/1/environ"], Refused, false),
    (
        "write",
        &["/proc/self/cwd/../../../../outside/secret"],
        Refused,
        false,
    ),
    ("write", &["{source}/README.md"], Refused, true),
    (
        "create",
        &["{source}/.git/hooks/post-checkout"],
        Refused,
        true,
    ),
    ("append", &["{source}/.git/config"], Refused, true),
    ("read", &["{source}/.git/config"], Refused, true),
    ("create", &["{source}/.git/objects/new"], Refused, true),
    ("create", &["{home}/new"], Refused, true),
    ("list", &["{home}"], Refused, true),
    (
        "write",
        &["{git}/objects/info/alternates"],
        Gap("git_info"),
        true,
    ),
    ("create", &["/usr/skep-escape"], Refused, false),
    ("create", &["/etc/skep-escape"], Refused, false),
    ("read", &["/etc/shadow"], Refused, false),
    ("append", &["/proc/sys/vm/swappiness"], Refused, false),
    ("device", &["{tmp}/device"], Refused, false),
];

fn fill(template: &str, stage: &Stage) -> String {
    let paths = stage.spec.paths();
    [
        ("{repo}", &paths.repo),
        ("{git}", &paths.git),
        ("{in}", &paths.input),
        ("{tmp}", &paths.tmp),
        ("{outside}", &stage.outside),
        ("{source}", &stage.source),
        ("{home}", &stage.home),
    ]
    .into_iter()
    .fold(template.to_owned(), |text, (name, path)| {
        text.replace(name, &path.display().to_string())
    })
}

/// Whether an error's number is the fence's own answer: no permission, another mount, a read-only
/// one, or, where there is a root of its own, nothing there.
fn is_fenced(level: IsolationLevel, errno: Option<i32>) -> bool {
    let common = [Some(libc::EACCES), Some(libc::EPERM), Some(libc::EXDEV)];
    let of_mounts = [Some(libc::EROFS), Some(libc::ENOENT)];
    common.contains(&errno) || (level == IsolationLevel::Namespaces && of_mounts.contains(&errno))
}

#[tokio::test]
async fn nothing_outside_the_scope_can_be_changed() {
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        let before = stage.outside_now();
        for (way, paths, expected, _) in CASES {
            let gap = match expected {
                Gap(name) if level == IsolationLevel::Landlock => Some(*name),
                Gap(_) | Refused => None,
            };
            if gap.is_some() {
                continue;
            }
            let paths: Vec<String> = paths.iter().map(|path| fill(path, &stage)).collect();
            let program = stage.spec.launcher_inside().display().to_string();
            let mut argv = vec![program.as_str(), "escape", way];
            argv.extend(paths.iter().map(String::as_str));
            let outcome = stage.run(&argv);
            assert!(
                is_fenced(level, outcome.refusal()),
                "{level} {user:?} {way} {paths:?}: {}",
                outcome.stdout()
            );
            let after = stage.outside_now();
            assert_eq!(before, after, "{level} {user:?} {way} {paths:?}");
            // What an attempt left inside its scope must not stand in the way of the next.
            let link = stage.spec.attempt_dir.join("repo/src/link");
            if link.is_symlink() {
                std::fs::remove_file(link).unwrap();
            }
        }
    }
}

/// Each way does work where nothing holds it; and what level `landlock` does not hold is named.
#[tokio::test]
async fn the_ways_work_without_a_fence_and_gaps_are_named() {
    let level = IsolationLevel::Landlock;
    for (way, paths, expected, works) in CASES {
        let fresh = Stage::new(level, User::Own).await;
        let paths: Vec<String> = paths.iter().map(|path| fill(path, &fresh)).collect();
        if let Gap(name) = expected {
            let program = fresh.spec.launcher_inside().display().to_string();
            let mut argv = vec![program.as_str(), "escape", way];
            argv.extend(paths.iter().map(String::as_str));
            let outcome = fresh.run(&argv);
            assert_eq!(
                outcome.refusal(),
                None,
                "{way} {paths:?} is no gap any more"
            );
            assert!(outcome.gaps().contains(name), "{way}: {:?}", outcome.gaps());
        } else if *works {
            let mut words = vec!["escape", way];
            words.extend(paths.iter().map(String::as_str));
            let answer = fresh.unfenced(&words);
            assert_eq!(refusal_in(&answer), None, "{way} {paths:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn the_scope_and_the_private_directories_can_be_changed() {
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        stage.shell(
            "echo edited > src/lib.rs; mkdir src/new; echo x > src/new/file; chmod 755 src/new/file
             mv src/deep/er.txt src/new/moved; ln src/new/file src/new/link; rm -r src/deep
             for place in \"$HOME\" \"$TMPDIR\" \"$CARGO_TARGET_DIR\" \"$PWD/../out\"; do
                 echo y > \"$place/file\"; rm \"$place/file\"
             done
             cat ../in/task.md README.md > /dev/null",
        );
        if level == IsolationLevel::Namespaces {
            stage.shell("echo z > /tmp/file; echo z > /dev/shm/file");
        }
        let repo = stage.spec.attempt_dir.join("repo");
        let read = |path: &str| std::fs::read_to_string(repo.join(path)).unwrap();
        assert_eq!(read("src/lib.rs"), "edited\n");
        assert_eq!(read("src/new/moved"), "deep\n");
        assert!(!repo.join("src/deep").exists());
    }
}

#[tokio::test]
async fn an_observer_can_change_nothing_and_a_missing_directory_is_made() {
    for (level, user) in everywhere() {
        let mut stage = Stage::new(level, user).await;
        stage.spec.writable.clear();
        stage.spec.git_writable = false;
        let program = stage.spec.launcher_inside().display().to_string();
        for path in ["{repo}/src/lib.rs", "{git}/HEAD", "{git}/objects/new"] {
            let path = fill(path, &stage);
            let outcome = stage.run(&[&program, "escape", "write", &path]);
            assert!(
                is_fenced(level, outcome.refusal()),
                "{path}: {}",
                outcome.stdout()
            );
        }
        stage.spec.writable = vec!["fresh/part".into()];
        stage.shell("echo x > fresh/part/file");
        let made = stage.spec.attempt_dir.join("repo/fresh/part/file");
        assert_eq!(std::fs::read_to_string(made).unwrap(), "x\n");
    }
}

/// The work tree is what somebody committed: a link in the place of a scope's directory must not
/// open what it leads to.
#[tokio::test]
async fn a_link_in_the_place_of_a_directory_of_the_scope_stops_the_run() {
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        let repo = stage.spec.attempt_dir.join("repo");
        for (writable, link) in [
            ("evil", "evil"),
            ("evil/inner", "evil"),
            ("src/evil", "src/evil"),
        ] {
            let mut stage_spec = stage.spec.clone();
            stage_spec.writable = vec![writable.into()];
            let at = repo.join(link);
            std::os::unix::fs::symlink(&stage.outside, &at).unwrap();
            let before = stage.outside_now();
            let command = stage.command(&["/bin/true"]);
            let request = serde_json::json!({"spec": stage_spec, "command": command});
            let output = stage.engine("run", &request).wait_with_output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(
                text.contains("\"error\":\"fence_invalid\""),
                "{level} {writable}: {text}"
            );
            assert_eq!(before, stage.outside_now());
            std::fs::remove_file(&at).unwrap();
        }
    }
}
