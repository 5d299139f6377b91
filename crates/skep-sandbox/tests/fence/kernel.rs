//! Ways out through the kernel's own doors: system calls, privileges, other processes.

use crate::levels::run_through;
use crate::stage::{NOBODY, Stage, User, everywhere, is_superuser, refusal_in};
use skep_sandbox::IsolationLevel;
use std::os::unix::fs::PermissionsExt;

/// The call, the fence's answer, and whether the same call has another answer without a fence.
const CALLS: &[(&str, i32, bool)] = &[
    ("mount", libc::EPERM, true),
    ("umount", libc::EPERM, true),
    ("fsopen", libc::EPERM, true),
    ("open_tree", libc::EPERM, true),
    ("mount_setattr", libc::EPERM, true),
    ("pivot_root", libc::EPERM, true),
    ("chroot", libc::EPERM, true),
    ("setns", libc::EPERM, true),
    ("unshare_user", libc::EPERM, true),
    ("clone_user", libc::EPERM, true),
    ("clone_net", libc::EPERM, true),
    ("clone3", libc::ENOSYS, true),
    ("trace_me", libc::EPERM, true),
    ("process_memory", libc::EPERM, true),
    ("keyring", libc::EPERM, true),
    ("add_key", libc::EPERM, true),
    ("bpf", libc::EPERM, true),
    ("perf", libc::EPERM, true),
    ("userfaultfd", libc::EPERM, true),
    ("io_uring", libc::ENOSYS, true),
    ("file_handle", libc::EPERM, true),
    ("terminal", libc::EPERM, true),
    ("module", libc::EPERM, true),
    ("kexec", libc::EPERM, true),
    ("swapon", libc::EPERM, true),
    ("reboot", libc::EPERM, true),
    // Without a fence these do not exist on every kernel either.
    ("newer_call", libc::ENOSYS, false),
    #[cfg(target_arch = "x86_64")]
    ("x32_call", libc::ENOSYS, false),
];

#[tokio::test]
async fn calls_that_no_work_needs_are_refused() {
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        let program = stage.spec.launcher_inside().display().to_string();
        for (call, expected, differs) in CALLS {
            let outcome = stage.run(&[&program, "escape", call]);
            assert_eq!(
                outcome.refusal(),
                Some(*expected),
                "{level} {user:?} {call}"
            );
            if *differs && user == User::Own && is_superuser() {
                let answer = refusal_in(&stage.unfenced(&["escape", call]));
                assert_ne!(answer, Some(*expected), "{call} without a fence");
            }
        }
        let semaphore = stage.run(&[&program, "escape", "semaphore"]).refusal();
        let expected = match level {
            IsolationLevel::Namespaces => None,
            IsolationLevel::Landlock => Some(libc::EPERM),
        };
        assert_eq!(
            semaphore, expected,
            "{level}: System V's IPC is a namespace's own or refused"
        );
    }
}

#[tokio::test]
async fn processes_outside_are_out_of_reach() {
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        let program = stage.spec.launcher_inside().display().to_string();
        // Somebody of the same user, who could be reached without a fence.
        let mut sleeper = std::process::Command::new("/bin/cat");
        let mut neighbour = stage
            .as_user(&mut sleeper)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = neighbour.id().to_string();
        for way in ["signal", "limit", "trace"] {
            let unfenced = refusal_in(&stage.unfenced(&["escape", way, &pid]));
            assert_eq!(unfenced, None, "{way} works without a fence");
            let outcome = stage.run(&[&program, "escape", way, &pid]);
            let expected = [Some(libc::EPERM), Some(libc::ESRCH)];
            assert!(
                expected.contains(&outcome.refusal()),
                "{level} {user:?} {way}"
            );
        }
        drop(neighbour.stdin.take());
        assert!(neighbour.wait().unwrap().success());
    }
}

#[tokio::test]
async fn a_program_with_the_set_user_bit_gains_nothing() {
    if !is_superuser() {
        return;
    }
    for level in IsolationLevel::ALL {
        let stage = Stage::new(*level, User::Nobody).await;
        let program = stage.spec.attempt_dir.join("repo/src/id");
        std::fs::copy("/usr/bin/id", &program).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
        let mut outside = std::process::Command::new(&program);
        let outside = stage.as_user(outside.arg("-u")).output().unwrap();
        assert_eq!(outside.stdout, b"0\n", "the bit works without a fence");
        let expected = match level {
            IsolationLevel::Namespaces => "1000\n".to_owned(),
            IsolationLevel::Landlock => format!("{NOBODY}\n"),
        };
        assert_eq!(stage.shell("./src/id -u"), expected, "{level}");
    }
}

#[tokio::test]
async fn a_worker_holds_what_it_was_given_and_nothing_else() {
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        let mut command = stage.command(&["/usr/bin/env"]);
        command.env = vec![
            ("ONE".to_owned(), "1".to_owned()),
            ("TWO".to_owned(), "a b".to_owned()),
        ];
        let outcome = stage.run_command(&command);
        let mut lines: Vec<&str> = outcome.stdout().lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["ONE=1", "TWO=a b"], "{level} {user:?}");
        // An engine that was itself started with a descriptor that is not for the worker.
        let count = "for fd in 0 1 2 3 4 5 6 7 8 9; do (: <&$fd) 2>/dev/null && echo $fd; done";
        let launcher = stage.spec.launcher.display().to_string();
        let leaking = [
            "-c",
            "exec 7</etc/passwd 9</etc/passwd \"$0\" run",
            &launcher,
        ];
        let command = stage.command(&["/bin/sh", "-c", &format!("{count}; true")]);
        let outcome = run_through(&stage, &command, "/bin/sh", &leaking);
        assert_eq!(outcome["stdout"], "0\n1\n2\n", "{level} {user:?} {outcome}");
        assert_eq!(stage.shell("umask; cat < /dev/stdin | wc -c"), "0022\n0\n");
    }
}

#[tokio::test]
async fn limits_hold() {
    for (level, user) in everywhere() {
        let machines = || std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
        let before = machines();
        let mut stage = Stage::new(level, user).await;
        stage.spec.limits.open_files_max = Some(64);
        stage.spec.limits.file_bytes_max = Some(4096);
        stage.spec.limits.data_bytes_max = Some(512 * 1024 * 1024);
        stage.spec.limits.processes_max = Some(600);
        let limits = stage.shell("ulimit -n; ulimit -f; ulimit -d; ulimit -c");
        assert_eq!(limits, "64\n8\n524288\n0\n", "{level} {user:?}");
        let big = stage.run(&[
            "/bin/sh",
            "-c",
            "head -c 100000 /dev/zero > \"$TMPDIR/big\"",
        ]);
        assert_ne!(big.code(), Some(0));
        let written = stage
            .spec
            .attempt_dir
            .join("tmp/big")
            .metadata()
            .unwrap()
            .len();
        assert_eq!(written, 4096, "{level} {user:?}");
        if !big.gaps().contains(&"process_count") {
            let forks = "import os, signal
made = 0
try:
    while made < 5000:
        if os.fork() == 0:
            signal.pause()
        made += 1
except OSError:
    pass
print(made < 600)";
            let outcome = stage.run(&["/usr/bin/python3", "-c", forks]);
            assert_eq!(outcome.stdout(), "True\n", "{level} {user:?} {}", outcome.0);
        }
        assert_eq!(machines(), before, "the machine's own limit is left alone");
    }
}
