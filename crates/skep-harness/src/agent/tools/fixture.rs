//! A real repository with the tools of a builder or an observer, for the tests of the tools.

use super::finish::Finisher;
use super::{Reply, Toolbox};
use crate::agent::git::Git;
use crate::agent::workspace::Workspace;
use crate::task::{AgentLimits, AgentTask, CONTRACT_FILE, OUTPUTS_FOLDER};
use skep_types::{ResultContract, Role, Scope};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

pub(super) struct Fixture {
    folder: tempfile::TempDir,
    task: RefCell<AgentTask>,
}

impl Fixture {
    pub(super) fn new(scope: &[&str]) -> Self {
        Self::with_role(scope, Role::Builder)
    }

    pub(super) fn observer() -> Self {
        Self::with_role(&["**"], Role::Observer)
    }

    fn with_role(scope: &[&str], role: Role) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (repo, output) = (folder.path().join("repo"), folder.path().join("out"));
        fs::create_dir_all(&repo).unwrap();
        fs::create_dir_all(&output).unwrap();
        let task = AgentTask {
            instruction: "do it".to_owned(),
            role,
            scope: scope.iter().map(|glob| (*glob).to_owned()).collect(),
            checks: Vec::new(),
            model: "stub".to_owned(),
            base_commit: "HEAD".to_owned(),
            repo,
            output,
            limits: AgentLimits::default(),
        };
        let fixture = Self {
            folder,
            task: RefCell::new(task),
        };
        fixture.git(&["init", "--quiet"]);
        fixture.git(&["config", "user.name", "tester"]);
        fixture.git(&["config", "user.email", "tester@skep.invalid"]);
        fixture
    }

    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("repo")
    }

    pub(super) fn file(&self, path: &str, content: &str) {
        self.bytes(path, content.as_bytes());
    }

    pub(super) fn bytes(&self, path: &str, content: &[u8]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(super) fn content(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    pub(super) fn output(&self, number: u32) -> PathBuf {
        self.workspace().output(number)
    }

    pub(super) fn contract_file(&self) -> PathBuf {
        self.folder.path().join("out").join(CONTRACT_FILE)
    }

    pub(super) fn contract(&self) -> ResultContract {
        serde_json::from_slice(&fs::read(self.contract_file()).unwrap()).unwrap()
    }

    pub(super) fn set_base(&self, base: &str) {
        base.clone_into(&mut self.task.borrow_mut().base_commit);
    }

    pub(super) fn commit(&self, subject: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", subject]);
    }

    pub(super) fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    pub(super) fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.root())
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(super) fn reading(&self, name: &str, input: &str) -> Reply {
        super::reading(&self.workspace(), name, input)
    }

    pub(super) async fn effect(&self, name: &str, input: &str) -> Reply {
        let task = self.task.borrow().clone();
        let workspace = Arc::new(self.workspace());
        let environment = vec![("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())];
        let git = Git::at(self.root(), environment.clone());
        let finisher = Finisher::new(&task, git, Arc::clone(&workspace), self.contract_file());
        let toolbox = Toolbox::new(&task, workspace, environment, finisher);
        toolbox.call(name, input).await
    }

    fn workspace(&self) -> Workspace {
        let task = self.task.borrow();
        let scope = Scope::parse(&task.scope).unwrap();
        Workspace::open(
            Path::new(&task.repo),
            scope,
            task.output.join(OUTPUTS_FOLDER),
        )
        .unwrap()
    }
}
