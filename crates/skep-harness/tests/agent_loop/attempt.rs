//! An attempt's folders with a small repository, a run in them, and the turns that scripts are made of.

use crate::scripted::{Reply, ScriptedModel, call};
use serde_json::{Value, json};
use skep_harness::{
    AgentEnd, AgentLimits, AgentSetup, AgentTask, EndReason, HarnessEvent, HarnessKind, LineReader,
    RefusedBy, read_contract, run,
};
use skep_stdx::Secret;
use skep_types::{FailureClass, ResultContract, Role};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub(crate) const KEY: &str = "sk-skep-0123456789";

/// The folders of an attempt, with a repository of two files.
pub(crate) struct Attempt {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) base: String,
}

impl Attempt {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["repo/src", "out", "in", "home", "tmp", "target"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let mut attempt = Self {
            folder,
            base: String::new(),
        };
        attempt.file("src/sum.txt", "1 + 1 = 3\n");
        attempt.file("README.md", "a sum\n");
        attempt.git(&["init", "--quiet"]);
        attempt.git(&["config", "user.name", "tester"]);
        attempt.git(&["config", "user.email", "tester@skep.invalid"]);
        attempt.git(&["add", "--all"]);
        attempt.git(&["commit", "--quiet", "-m", "feat: start"]);
        attempt.base = attempt.git(&["rev-parse", "HEAD"]).trim().to_owned();
        attempt
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn file(&self, path: &str, content: &str) {
        fs::write(self.path("repo").join(path), content).unwrap();
    }

    pub(crate) fn content(&self, path: &str) -> String {
        fs::read_to_string(self.path("repo").join(path)).unwrap()
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.path("repo"))
            .args(["-c", "safe.directory=*"])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn task(&self) -> AgentTask {
        AgentTask {
            instruction: "Correct the sum in src/sum.txt.".to_owned(),
            role: Role::Builder,
            scope: vec!["src/**".to_owned()],
            checks: vec!["grep -q '1 + 1 = 2' src/sum.txt".to_owned()],
            model: "stub-large".to_owned(),
            base_commit: self.base.clone(),
            repo: self.path("repo"),
            output: self.path("out"),
            limits: AgentLimits {
                retry_base_ms: 1,
                model_retries_max: 2,
                ..AgentLimits::default()
            },
        }
    }

    pub(crate) fn setup(&self, url: &str) -> AgentSetup {
        AgentSetup {
            task: self.task(),
            gateway_url: url.to_owned(),
            key: Secret::new(KEY),
            contract_file: self.path("out/contract.json"),
            session_id: "session-1".to_owned(),
            command_environment: vec![(
                "PATH".to_owned(),
                "/usr/local/bin:/usr/bin:/bin".to_owned(),
            )],
        }
    }

    pub(crate) fn contract(&self) -> ResultContract {
        read_contract(fs::read(self.path("out/contract.json")).ok().as_deref()).unwrap()
    }
}

/// What a run left behind.
pub(crate) struct Ran {
    pub(crate) attempt: Attempt,
    pub(crate) model: ScriptedModel,
    pub(crate) end: AgentEnd,
    pub(crate) events: Vec<HarnessEvent>,
    pub(crate) raw_events: String,
}

impl Ran {
    pub(crate) async fn with(replies: Vec<Reply>, change: impl FnOnce(&mut AgentSetup)) -> Self {
        let attempt = Attempt::new();
        let model = ScriptedModel::start(replies).await;
        let mut setup = attempt.setup(&model.url);
        change(&mut setup);
        let mut output = Vec::new();
        let end = run(setup, &mut output).await;
        let raw_events = String::from_utf8(output).unwrap();
        Self {
            attempt,
            model,
            end,
            events: read_events(&raw_events),
            raw_events,
        }
    }

    pub(crate) async fn of(replies: Vec<Reply>) -> Self {
        Self::with(replies, |_| {}).await
    }

    /// Every tool call as name, success and wall.
    pub(crate) fn tool_calls(&self) -> Vec<(&str, bool, Option<RefusedBy>)> {
        tool_calls(&self.events)
    }

    pub(crate) fn assert_ended(&self, reason: EndReason, class: FailureClass) {
        assert!(
            matches!(&self.end, AgentEnd::Ended { reason: r, class: c, .. } if (*r, *c) == (reason, class)),
            "{:?}",
            self.end
        );
        assert_eq!(
            self.events.last(),
            Some(&HarnessEvent::Ended { reason, class })
        );
        assert!(!self.attempt.path("out/contract.json").exists());
    }
}

/// Every tool call among events as name, success and wall.
pub(crate) fn tool_calls(events: &[HarnessEvent]) -> Vec<(&str, bool, Option<RefusedBy>)> {
    let mut calls = Vec::new();
    for event in events {
        if let HarnessEvent::ToolCalled {
            name,
            ok,
            refused_by,
            ..
        } = event
        {
            calls.push((name.as_str(), *ok, *refused_by));
        }
    }
    calls
}

pub(crate) fn read_events(text: &str) -> Vec<HarnessEvent> {
    let mut reader = LineReader::new(HarnessKind::Skep);
    text.lines()
        .flat_map(|line| reader.read_line(line))
        .collect()
}

pub(crate) fn turn(name: &str, input: Value) -> Reply {
    Reply::Blocks(vec![call("t", name, input)])
}

pub(crate) fn finish_input() -> Value {
    json!({"status": "DONE", "summary": "corrected the sum", "commit": "fix: correct the sum",
        "files_changed": ["src/sum.txt"], "tests_run": []})
}

pub(crate) fn finish() -> Reply {
    turn("finish", finish_input())
}

pub(crate) fn edit_sum() -> Value {
    json!({"path": "src/sum.txt", "old": "= 3", "new": "= 2"})
}
