//! A level is what it says or it is refused, and the proof is what was measured.

use crate::stage::{Stage, User, everywhere, is_superuser};
use skep_sandbox::{FenceProof, FencedCommand, IsolationLevel, probe};
use std::io::Write;
use std::process::{Command, Stdio};

#[tokio::test]
async fn the_proof_is_what_is_so_inside() {
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        let outcome = stage.run(&["/bin/sh", "-c", "id -u; id -g; readlink /proc/self/ns/net"]);
        let proof: FenceProof = serde_json::from_value(outcome.0["proof"].clone()).unwrap();
        proof.verify(level).unwrap();
        let lines: Vec<&str> = outcome.stdout().lines().collect();
        assert_eq!(lines[0], proof.uid.to_string());
        assert_eq!(lines[1], proof.gid.to_string());
        let inode = |kind: &str| proof.namespaces.iter().find(|ns| ns.kind == kind);
        match level {
            IsolationLevel::Namespaces => {
                assert_eq!(lines[2], format!("net:[{}]", inode("net").unwrap().inode));
                assert_ne!(proof.uid, 0);
            }
            IsolationLevel::Landlock => {
                assert!(proof.namespaces.is_empty());
                assert!(proof.gaps.iter().any(|gap| gap == "mode_and_times"));
                let is_root = user == User::Own && is_superuser();
                assert_eq!(proof.gaps.iter().any(|gap| gap == "superuser"), is_root);
            }
        }
        for gap in &proof.gaps {
            assert!(skep_sandbox::gap_description(gap).is_some(), "{gap}");
        }
    }
}

/// Runs a command of a stage with an engine that another program starts.
pub(crate) fn run_through(
    stage: &Stage,
    command: &FencedCommand,
    program: &str,
    arguments: &[&str],
) -> serde_json::Value {
    let request = serde_json::json!({"spec": stage.spec, "command": command});
    let mut child = stage
        .as_user(Command::new(program).args(arguments))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(request.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
}

/// A command that leaves a file behind where it ran.
fn marking(stage: &Stage) -> FencedCommand {
    stage.command(&["/bin/sh", "-c", "echo ran > src/ran"])
}

fn ran(stage: &Stage) -> bool {
    stage.spec.attempt_dir.join("repo/src/ran").exists()
}

/// Where no user namespace can be made, the default level is refused and nothing runs; the lower
/// level, asked for by name, still works there.
#[tokio::test]
async fn a_machine_without_user_namespaces_is_told_so() {
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        let launcher = stage.spec.launcher.display().to_string();
        let script = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" run";
        let arguments = [
            "--user",
            "--map-root-user",
            "/bin/sh",
            "-c",
            script,
            &launcher,
        ];
        let outcome = run_through(&stage, &marking(&stage), "/usr/bin/unshare", &arguments);
        match level {
            IsolationLevel::Namespaces => {
                assert_eq!(
                    outcome["error"], "isolation_unavailable",
                    "{user:?} {outcome}"
                );
                let hint = outcome["hint"].as_str().unwrap();
                assert!(hint.contains("max_user_namespaces"), "{hint}");
                assert!(!ran(&stage), "nothing ran");
            }
            IsolationLevel::Landlock => {
                assert_eq!(outcome["status"]["code"], 0, "{user:?} {outcome}");
                assert!(ran(&stage));
            }
        }
    }
}

/// The kernel allows sixteen Landlock layers: on top of them a fence cannot have its own. Nor may a
/// process under Landlock mount anything, so the default level fails at its mounts already.
#[tokio::test]
async fn a_fence_without_landlock_does_not_stand() {
    for (level, user) in everywhere() {
        let stage = Stage::new(level, user).await;
        let launcher = stage.spec.launcher.display().to_string();
        let outcome = run_through(
            &stage,
            &marking(&stage),
            &launcher,
            &["stacked", "16", &launcher, "run"],
        );
        assert_eq!(
            outcome["error"], "isolation_unavailable",
            "{user:?} {outcome}"
        );
        let message = outcome["message"].as_str().unwrap();
        let step = match level {
            IsolationLevel::Namespaces => "cannot enter new namespaces",
            IsolationLevel::Landlock => "cannot apply landlock",
        };
        assert!(message.contains(step), "{user:?} {message}");
        assert!(!ran(&stage), "nothing ran");
    }
}

#[tokio::test]
async fn doctor_s_probe_agrees_with_what_stands() {
    let stage = Stage::new(IsolationLevel::Namespaces, User::Own).await;
    let probe = probe(&stage.spec.launcher).await.unwrap();
    for level in IsolationLevel::ALL {
        let missing: Vec<_> = probe.missing(*level).collect();
        assert!(probe.supports(*level), "{missing:?}");
    }
    for primitive in &probe.primitives {
        assert_eq!(
            primitive.remedy.is_some(),
            !primitive.available,
            "{primitive:?}"
        );
    }
}

#[tokio::test]
async fn a_program_that_is_no_launcher_is_an_error() {
    let mut stage = Stage::new(IsolationLevel::Namespaces, User::Own).await;
    stage.spec.launcher = "/bin/true".into();
    let command = stage.command(&["/bin/true"]);
    let error = skep_sandbox::start(&stage.spec, command).await.unwrap_err();
    assert_eq!(error.code(), "launcher_lost", "{error}");
}
