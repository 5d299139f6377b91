//! `finish`: the result contract of a builder, the review report of an observer.
//!
//! Owns the contract file. Invariant: what the model claims stays as it claimed it. Git fills in
//! counts and commits, because counting is no claim; it never adds, drops or corrects a file, a
//! test or the status.

use super::{Reply, parse};
use crate::agent::chain;
use crate::agent::git::{Git, GitError};
use crate::agent::workspace::{Refusal, Workspace};
use crate::event::RefusedBy;
use crate::limits::{CONTRACT_FILES_MAX, SUBJECT_BYTES_MAX};
use crate::outcome::read_contract;
use crate::review::{Criterion, Defect, ReviewReport, ReviewVerdict};
use crate::task::{AgentTask, REVIEW_FILE};
use serde::{Deserialize, Serialize};
use skep_types::contract::{CommitMade, Deviation, FileChanged, FollowUp, TestRun};
use skep_types::{ContractStatus, ResultContract, Role};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a builder hands in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BuilderInput {
    status: ContractStatus,
    summary: String,
    commit: Option<String>,
    files_changed: Vec<String>,
    tests_run: Vec<TestRun>,
    #[serde(default)]
    deviations: Vec<Deviation>,
    #[serde(default)]
    follow_ups: Vec<FollowUp>,
    blocked_on: Option<String>,
}

/// What an observer hands in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObserverInput {
    summary: String,
    verdict: ReviewVerdict,
    criteria: Vec<Criterion>,
    defects: Vec<Defect>,
}

pub(crate) struct Finisher {
    git: Git,
    workspace: Arc<Workspace>,
    base_commit: String,
    contract_file: PathBuf,
    review_file: PathBuf,
}

impl Finisher {
    pub(crate) fn new(
        task: &AgentTask,
        git: Git,
        workspace: Arc<Workspace>,
        contract_file: PathBuf,
    ) -> Self {
        Self {
            git,
            workspace,
            base_commit: task.base_commit.clone(),
            contract_file,
            review_file: task.output.join(REVIEW_FILE),
        }
    }

    pub(super) async fn finish(&self, role: Role, input: &str) -> Reply {
        let done = match role {
            Role::Builder => match parse("finish", input) {
                Ok(input) => self.builder(input).await,
                Err(refusal) => Err(refusal),
            },
            Role::Observer | Role::Director => {
                parse("finish", input).and_then(|input| self.observer(input))
            }
        };
        match done {
            Ok(()) => Reply {
                finished: true,
                ..Reply::ok("finished")
            },
            Err(refusal) => refusal.into(),
        }
    }

    async fn builder(&self, input: BuilderInput) -> Result<(), Refusal> {
        if input.files_changed.len() > CONTRACT_FILES_MAX {
            return Err(Refusal::plain(format!(
                "`files_changed` names more than {CONTRACT_FILES_MAX} files; that is more than one task"
            )));
        }
        let left_out = self.commit(&input).await?;
        let commits = self
            .git
            .commits_since(&self.base_commit)
            .await
            .map_err(failed)?;
        let counts = self
            .git
            .counts_since(&self.base_commit)
            .await
            .map_err(failed)?;
        let count_of = |path: &str| counts.iter().find(|count| count.path == path);
        let mut contract = ResultContract {
            status: input.status,
            summary: input.summary,
            files_changed: input
                .files_changed
                .iter()
                .map(|path| FileChanged {
                    path: path.clone(),
                    added: count_of(path).map_or(0, |count| count.added),
                    deleted: count_of(path).map_or(0, |count| count.deleted),
                })
                .collect(),
            commits: commits
                .into_iter()
                .map(|(sha, subject)| CommitMade { sha, subject })
                .collect(),
            tests_run: input.tests_run,
            deviations: input.deviations,
            follow_ups: input.follow_ups,
            blocked_on: input.blocked_on,
        };
        if !left_out.is_empty() {
            contract.deviations.push(Deviation {
                what: format!("changes left uncommitted: {}", left_out.join(", ")),
                why: "the scope does not cover them".to_owned(),
            });
        }
        self.leave(&contract)
    }

    fn observer(&self, input: ObserverInput) -> Result<(), Refusal> {
        let report = ReviewReport {
            verdict: input.verdict,
            criteria: input.criteria,
            defects: input.defects,
        };
        put(&self.review_file, &report)?;
        self.leave(&ResultContract {
            status: ContractStatus::Done,
            summary: input.summary,
            files_changed: Vec::new(),
            commits: Vec::new(),
            tests_run: Vec::new(),
            deviations: Vec::new(),
            follow_ups: Vec::new(),
            blocked_on: None,
        })
    }

    /// Commits what lies uncommitted inside the scope; returns what lies outside.
    async fn commit(&self, input: &BuilderInput) -> Result<Vec<String>, Refusal> {
        let changed = self.git.changed().await.map_err(failed)?;
        let scope = self.workspace.scope();
        let (inside, outside): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|path| scope.allows(path));
        if !inside.is_empty() {
            let subject = subject(input)?;
            self.git.commit(&inside, &subject).await.map_err(failed)?;
        }
        Ok(outside
            .iter()
            .map(|path| path.display().to_string())
            .collect())
    }

    /// Leaves a contract that the engine's own reader accepts, or says to the model why not.
    fn leave(&self, contract: &ResultContract) -> Result<(), Refusal> {
        let bytes = serde_json::to_vec_pretty(contract)
            .map_err(|error| Refusal::plain(format!("failed to write the contract: {error}")))?;
        read_contract(Some(&bytes)).map_err(|error| Refusal::plain(chain(&error)))?;
        put(&self.contract_file, contract)
    }
}

/// The commit's subject. Work that is given up on is kept under a subject of its own.
fn subject(input: &BuilderInput) -> Result<String, Refusal> {
    let given_up = matches!(
        input.status,
        ContractStatus::Blocked | ContractStatus::Failed
    );
    match input.commit.as_deref().map(str::trim) {
        Some(subject) if is_conventional(subject) => Ok(subject.to_owned()),
        None | Some("") if given_up => Ok("chore: keep unfinished work".to_owned()),
        _ => Err(Refusal::plain(format!(
            "there are uncommitted changes: give `commit` a conventional subject in one line of at most {SUBJECT_BYTES_MAX} bytes, as in `fix(parser): handle empty input`"
        ))),
    }
}

/// `type(scope)!: words`, after conventionalcommits.org 1.0.0.
fn is_conventional(subject: &str) -> bool {
    let Some((kind, words)) = subject.split_once(": ") else {
        return false;
    };
    let kind = kind.strip_suffix('!').unwrap_or(kind);
    let kind = match kind.split_once('(') {
        Some((kind, scope)) if scope.len() > 1 && scope.ends_with(')') => kind,
        Some(_) => return false,
        None => kind,
    };
    subject.len() <= SUBJECT_BYTES_MAX
        && !subject.contains(char::is_control)
        && !words.trim().is_empty()
        && !kind.is_empty()
        && kind.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Writes a document beside its place and moves it there, so that it is whole or absent.
fn put(path: &Path, document: &impl Serialize) -> Result<(), Refusal> {
    let write = || -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(document)?;
        bytes.push(b'\n');
        let beside = path.with_extension("json.new");
        fs::write(&beside, bytes)?;
        fs::rename(&beside, path)
    };
    let name = path.file_name().map(Path::new).unwrap_or(path);
    write().map_err(|error| Refusal::io("write", name, &error))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` wants"
)]
fn failed(error: GitError) -> Refusal {
    let message = chain(&error);
    const WORDS: [&str; 2] = ["Read-only file system", "Permission denied"];
    let by = WORDS
        .iter()
        .any(|words| message.contains(words))
        .then_some(RefusedBy::Kernel);
    Refusal { by, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tools::fixture::Fixture;
    use serde_json::json;

    fn done(commit: &str, files: &[&str]) -> String {
        json!({"status": "DONE", "summary": "did it", "commit": commit, "files_changed": files,
            "tests_run": [{"command": "cargo test", "passed": 2, "failed": 0, "skipped": 0, "exit_code": 0}]})
        .to_string()
    }

    #[tokio::test]
    async fn what_is_uncommitted_is_committed_and_counted_by_git() {
        let fixture = Fixture::new(&["src/**"]);
        fixture.file("src/a.rs", "one\ntwo\n");
        fixture.commit("base: start");
        let base = fixture.head();
        fixture.set_base(&base);
        fixture.file("src/a.rs", "one\n2\nthree\n");
        fixture.commit("feat: by the model itself");
        fixture.file("src/new dir/b\u{e9}.rs", "x\n");
        fixture.file("outside.txt", "x");
        let reply = fixture
            .effect(
                "finish",
                &done(
                    "fix(a): the rest",
                    &["src/a.rs", "src/new dir/b\u{e9}.rs", "src/imagined.rs"],
                ),
            )
            .await;
        assert!(reply.finished, "{reply:?}");
        let contract = fixture.contract();
        assert_eq!(contract.status, ContractStatus::Done);
        let files: Vec<_> = contract
            .files_changed
            .iter()
            .map(|f| (f.path.as_str(), f.added, f.deleted))
            .collect();
        assert_eq!(
            files,
            [
                ("src/a.rs", 2, 1),
                ("src/new dir/b\u{e9}.rs", 1, 0),
                ("src/imagined.rs", 0, 0)
            ]
        );
        let subjects: Vec<_> = contract
            .commits
            .iter()
            .map(|c| c.subject.as_str())
            .collect();
        assert_eq!(subjects, ["feat: by the model itself", "fix(a): the rest"]);
        assert_eq!(contract.commits[1].sha, fixture.head());
        assert_eq!(contract.tests_run[0].passed, 2);
        assert_eq!(
            contract.deviations[0].what,
            "changes left uncommitted: outside.txt"
        );
        assert_eq!(fixture.git(&["status", "--porcelain"]), "?? outside.txt\n");
    }

    #[tokio::test]
    async fn what_was_staged_outside_the_scope_is_not_committed() {
        let fixture = Fixture::new(&["src/**"]);
        fixture.file("src/a.rs", "one\n");
        fixture.file("b.rs", "one\n");
        fixture.commit("base: start");
        fixture.set_base(&fixture.head());
        fixture.file("src/a.rs", "two\n");
        fixture.file("b.rs", "two\n");
        fixture.git(&["add", "--all"]);
        assert!(
            fixture
                .effect("finish", &done("fix: a", &["src/a.rs"]))
                .await
                .finished
        );
        assert_eq!(
            fixture.git(&["show", "--name-only", "--format=", "HEAD"]),
            "src/a.rs\n"
        );
    }

    #[tokio::test]
    async fn a_bad_hand_in_is_answered_and_nothing_is_left() {
        let fixture = Fixture::new(&["**"]);
        fixture.file("a", "1");
        fixture.commit("base: start");
        fixture.set_base(&fixture.head());
        fixture.file("a", "2");
        let negative = done("fix: a", &[]).replace("\"passed\":2", "\"passed\":-2");
        for (input, expected) in [
            ("{}".to_owned(), "missing field `status`"),
            (
                done("fix: a", &[]).replace("DONE", "OK"),
                "unknown contract status `OK`",
            ),
            (done("changed some things", &[]), "conventional subject"),
            (done("", &[]), "conventional subject"),
            (negative, "negative count"),
        ] {
            let reply = fixture.effect("finish", &input).await;
            assert!(
                !reply.finished && reply.text.contains(expected),
                "{input}: {reply:?}"
            );
            assert!(!fixture.contract_file().exists());
        }
    }

    #[tokio::test]
    async fn giving_up_needs_no_subject_and_keeps_the_work() {
        let fixture = Fixture::new(&["**"]);
        fixture.file("a", "1");
        fixture.commit("base: start");
        fixture.set_base(&fixture.head());
        fixture.file("a", "2");
        let input = json!({"status": "BLOCKED", "summary": "no way", "files_changed": ["a"], "tests_run": [], "blocked_on": "a key"});
        assert!(fixture.effect("finish", &input.to_string()).await.finished);
        assert_eq!(fixture.contract().blocked_on.as_deref(), Some("a key"));
        assert_eq!(
            fixture.contract().commits[0].subject,
            "chore: keep unfinished work"
        );
    }

    #[tokio::test]
    async fn an_observer_leaves_a_report_and_a_contract() {
        let fixture = Fixture::observer();
        let input = json!({"summary": "two defects", "verdict": "fix",
            "criteria": [{"criterion": "tests pass", "met": true, "evidence": "3 passed"}],
            "defects": [{"place": "a:1", "severity": "high", "what": "wrong", "evidence": "seen"}]});
        assert!(fixture.effect("finish", &input.to_string()).await.finished);
        assert_eq!(fixture.contract().summary, "two defects");
        assert!(fixture.contract().files_changed.is_empty());
        let report = fs::read(fixture.contract_file().with_file_name(REVIEW_FILE)).unwrap();
        let report = ReviewReport::read(Some(&report)).unwrap();
        assert_eq!(
            (report.verdict, report.defects.len()),
            (ReviewVerdict::Fix, 1)
        );
        let edit = fixture
            .effect("edit", r#"{"path":"a","old":"1","new":"2"}"#)
            .await;
        assert_eq!(edit.refused_by, Some(RefusedBy::Policy));
    }

    #[test]
    fn conventional_subjects() {
        for good in ["fix: a", "feat(parser)!: b c", "chore(x y): d"] {
            assert!(is_conventional(good), "{good}");
        }
        let long = format!("fix: {}", "x".repeat(SUBJECT_BYTES_MAX));
        for bad in [
            "",
            "fix",
            "fix:",
            "fix: ",
            "Fix: a",
            "fix(): a",
            "fix(a: b",
            ": a",
            "fix: a\nb",
            &long,
        ] {
            assert!(!is_conventional(bad), "{bad}");
        }
    }
}
