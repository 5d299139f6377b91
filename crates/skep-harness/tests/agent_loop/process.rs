//! The loop as the process that a launch plan describes, under a user with no power.

use crate::attempt::{Attempt, KEY, edit_sum, finish, read_events, tool_calls, turn};
use crate::scripted::ScriptedModel;
use serde_json::json;
use skep_harness::{
    AgentLimits, GitIdentity, HarnessEvent, HarnessKind, RefusedBy, RunContext, RunPaths,
    launch_plan,
};
use skep_stdx::{ManualClock, Secret, SeededEntropy};
use skep_types::{AttemptId, Fence, JobId, Role, Scope};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

/// The process that the next test starts; alone it has no task and would fail.
#[test]
#[ignore = "the child process of another test"]
fn agent_process() {
    assert_eq!(skep_harness::agent_main(), std::process::ExitCode::SUCCESS);
}

fn context(attempt: &Attempt, url: &str) -> RunContext {
    let (clock, entropy) = (ManualClock::at(1), SeededEntropy::new(1));
    RunContext {
        job_id: JobId::new(&clock, &entropy),
        attempt_id: AttemptId::of(&JobId::new(&clock, &entropy), Fence(1)),
        instruction: attempt.task().instruction,
        role: Role::Builder,
        scope: Scope::parse(&["src/**"]).unwrap(),
        checks: Vec::new(),
        base_commit: attempt.base.clone(),
        model: Some("stub-large".to_owned()),
        paths: RunPaths {
            repo: attempt.path("repo"),
            home: attempt.path("home"),
            tmp: attempt.path("tmp"),
            target: attempt.path("target"),
            input: attempt.path("in"),
            output: attempt.path("out"),
        },
        gateway_url: url.to_owned(),
        key: Secret::new(KEY),
        agent_binary: attempt.path("skep"),
        exec_command: Vec::new(),
        identity: GitIdentity {
            name: "fixer".to_owned(),
            email: "fixer@skep.invalid".to_owned(),
        },
        toolchain_path: Vec::new(),
        toolchain_env: Vec::new(),
        limits: AgentLimits::default(),
    }
}

/// Hands the attempt to `nobody` where the tests run as root, because root passes every wall.
fn give_away(folder: &Path) -> Option<u32> {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let mut folders = vec![folder.to_owned()];
    while let Some(path) = folders.pop() {
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() {
            folders.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    Some(NOBODY)
}

#[tokio::test]
async fn as_a_process_it_keeps_its_key_and_says_which_wall_refused() {
    let attempt = Attempt::new();
    let look = "cat /proc/$PPID/environ /proc/$PPID/mem; env | grep -c -e SKEP_ -e 0123456789; git config user.name; git var GIT_AUTHOR_IDENT";
    let model = ScriptedModel::start(vec![
        turn("run", json!({"command": look})),
        turn("write", json!({"path": "src/locked", "content": "x"})),
        turn("edit", edit_sum()),
        finish(),
    ])
    .await;
    let plan = launch_plan(HarnessKind::Skep, &context(&attempt, &model.url)).unwrap();
    for (name, content) in &plan.input_files {
        fs::write(attempt.path("in").join(name), content).unwrap();
    }
    fs::copy(std::env::current_exe().unwrap(), attempt.path("skep")).unwrap();
    attempt.file("src/locked", "not yours");
    let locked = attempt.path("repo/src/locked");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o400)).unwrap();
    let nobody = give_away(attempt.folder.path());
    let mut command = tokio::process::Command::new(&plan.argv[0]);
    command
        .args([
            "--exact",
            "process::agent_process",
            "--ignored",
            "--nocapture",
        ])
        .env_clear()
        .envs(plan.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&plan.cwd);
    if let Some(nobody) = nobody {
        command.gid(nobody).uid(nobody);
    }
    let output = command.output().await.unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let asked = model.asked();
    let (shown, _) = asked[1].results().remove(0);
    assert_eq!(shown.matches("Permission denied").count(), 2, "{shown}");
    assert!(
        !shown.contains(KEY) && !shown.contains("[redacted]"),
        "{shown}"
    );
    assert!(
        shown.contains("\n0\n") && shown.contains("fixer <fixer@skep.invalid>"),
        "{shown}"
    );
    let events = read_events(&stdout);
    assert_eq!(
        tool_calls(&events),
        [
            ("run", true, None),
            ("write", false, Some(RefusedBy::Kernel)),
            ("edit", true, None),
            ("finish", true, None)
        ]
    );
    assert!(events.contains(&HarnessEvent::Finished {
        contract_written: true
    }));
    assert_eq!(attempt.contract().commits.len(), 1);
    assert_eq!(attempt.git(&["log", "-1", "--format=%an"]), "fixer\n");
}
