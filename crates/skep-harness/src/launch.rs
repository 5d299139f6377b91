//! How a harness is started: command line, whole environment, input files. Pure; starts nothing.
//!
//! Owns nothing. Invariant: the environment of a plan is everything the process gets, and the
//! virtual key stands in it under the names the contract lists and nowhere else.

use crate::limits::INSTRUCTION_BYTES_MAX;
use crate::review::ReviewReport;
use crate::task::{
    AgentLimits, AgentTask, CONTRACT_FILE, CONTRACT_SCHEMA_FILE, INSTRUCTION_FILE, REVIEW_FILE,
    REVIEW_SCHEMA_FILE, TASK_FILE,
};
use skep_stdx::Secret;
use skep_types::{AttemptId, JobId, ResultContract, Role, Scope};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The environment variables of a run that are Skep's own. A command that the agent runs gets none
/// of them.
pub mod variable {
    /// The job's id.
    pub const JOB_ID: &str = "SKEP_JOB_ID";
    /// The attempt's id.
    pub const ATTEMPT_ID: &str = "SKEP_ATTEMPT_ID";
    /// The path of the task as text.
    pub const INSTRUCTION_FILE: &str = "SKEP_INSTRUCTION_FILE";
    /// Where the result contract is to be left.
    pub const CONTRACT_FILE: &str = "SKEP_CONTRACT_FILE";
    /// Where an observer's review report is to be left.
    pub const REVIEW_FILE: &str = "SKEP_REVIEW_FILE";
    /// The gateway's address.
    pub const GATEWAY_URL: &str = "SKEP_GATEWAY_URL";
    /// The virtual key.
    pub const API_KEY: &str = "SKEP_API_KEY";
    /// The path of the own loop's task document.
    pub const TASK_FILE: &str = "SKEP_TASK_FILE";
    /// What all of them start with.
    pub const PREFIX: &str = "SKEP_";
}

/// The hidden command of the binary that runs [`crate::agent_main`].
pub const AGENT_COMMAND: &str = "__agent";

/// Where programs are found besides the toolchain.
const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Which harness runs the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HarnessKind {
    /// The own loop.
    Skep,
    /// Any command.
    Exec,
}

impl HarnessKind {
    /// The one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skep => "skep",
            Self::Exec => "exec",
        }
    }
}

impl fmt::Display for HarnessKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for HarnessKind {
    type Err = LaunchError;
    fn from_str(word: &str) -> Result<Self, LaunchError> {
        match word {
            "skep" => Ok(Self::Skep),
            "exec" => Ok(Self::Exec),
            _ => Err(LaunchError::UnknownHarness {
                word: word.to_owned(),
            }),
        }
    }
}

/// The folders of an attempt, as the process inside the fence sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPaths {
    /// The work tree.
    pub repo: PathBuf,
    /// The private HOME.
    pub home: PathBuf,
    /// The private TMPDIR.
    pub tmp: PathBuf,
    /// The build folder.
    pub target: PathBuf,
    /// The input files.
    pub input: PathBuf,
    /// The results.
    pub output: PathBuf,
}

/// Who commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitIdentity {
    /// The name in commits.
    pub name: String,
    /// The address in commits.
    pub email: String,
}

/// Everything a plan is made from.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt_id: AttemptId,
    /// What to do.
    pub instruction: String,
    /// What the worker may do.
    pub role: Role,
    /// What it may change.
    pub scope: Scope,
    /// The commands that the engine will run on the result.
    pub checks: Vec<String>,
    /// The commit the work starts from.
    pub base_commit: String,
    /// The model to ask for; a command may do without.
    pub model: Option<String>,
    /// The folders.
    pub paths: RunPaths,
    /// The gateway's address inside the fence, as in `http://127.0.0.1:7575`.
    pub gateway_url: String,
    /// The virtual key.
    pub key: Secret,
    /// The skep binary, as the process inside the fence sees it.
    pub agent_binary: PathBuf,
    /// The command of an `exec` worker.
    pub exec_command: Vec<String>,
    /// Who commits.
    pub identity: GitIdentity,
    /// Folders of programs that go before the system's.
    pub toolchain_path: Vec<PathBuf>,
    /// What the toolchain needs in the environment, as in `RUSTUP_HOME`.
    pub toolchain_env: Vec<(String, String)>,
    /// What the run may not exceed.
    pub limits: AgentLimits,
}

/// What to start.
#[derive(Clone, PartialEq, Eq)]
pub struct LaunchPlan {
    /// The command line.
    pub argv: Vec<String>,
    /// The whole environment, in the order of the names.
    pub env: Vec<(String, String)>,
    /// The working directory.
    pub cwd: PathBuf,
    /// Names in the input folder and their content.
    pub input_files: Vec<(String, Vec<u8>)>,
}

impl fmt::Debug for LaunchPlan {
    /// Without the values of the environment: the key is among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        let files: Vec<&str> = self.input_files.iter().map(|(n, _)| n.as_str()).collect();
        f.debug_struct("LaunchPlan")
            .field("argv", &self.argv)
            .field("env", &names)
            .field("cwd", &self.cwd)
            .field("input_files", &files)
            .finish()
    }
}

/// Why no plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// No such harness.
    #[error("`{word}` is not a harness (known: skep, exec)")]
    UnknownHarness {
        /// The word that was found.
        word: String,
    },
    /// There is nothing to do.
    #[error("instruction is empty")]
    InstructionEmpty,
    /// The instruction does not fit a conversation.
    #[error("instruction has {bytes} bytes; the limit is {max}")]
    InstructionTooLong {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The own loop needs a model.
    #[error("worker has no model")]
    NoModel,
    /// An `exec` worker needs a command.
    #[error("worker has no command")]
    NoCommand,
    /// The own loop has no tools for this role.
    #[error("harness {harness} cannot play the role {role}")]
    RoleUnsupported {
        /// The harness.
        harness: HarnessKind,
        /// The role.
        role: Role,
    },
    /// A path, a variable or an argument that cannot be handed to a process.
    #[error("{what} holds a character that cannot be handed to a process")]
    NotText {
        /// Which one.
        what: String,
    },
}

impl LaunchError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownHarness { .. } => "harness_unknown",
            Self::InstructionEmpty => "instruction_empty",
            Self::InstructionTooLong { .. } => "instruction_too_long",
            Self::NoModel => "worker_without_model",
            Self::NoCommand => "worker_without_command",
            Self::RoleUnsupported { .. } => "role_unsupported",
            Self::NotText { .. } => "launch_not_text",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::UnknownHarness { .. } => "set `harness` to skep or exec",
            Self::InstructionEmpty => "say in a sentence what is to be done",
            Self::InstructionTooLong { .. } => {
                "put the details into a file of the repository and name it in the instruction"
            }
            Self::NoModel => "give the worker a `model`, or pass --model",
            Self::NoCommand => "give the worker a `command = [\"program\", \"argument\"]`",
            Self::RoleUnsupported { .. } => "use role builder or observer",
            Self::NotText { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// The plan of a run of `kind`.
///
/// # Errors
/// See [`LaunchError`]; nothing was started or written.
pub fn launch_plan(kind: HarnessKind, run: &RunContext) -> Result<LaunchPlan, LaunchError> {
    check_instruction(&run.instruction)?;
    let mut env = base_environment(run)?;
    let mut input_files = vec![
        (INSTRUCTION_FILE.to_owned(), run.instruction.clone().into()),
        (
            CONTRACT_SCHEMA_FILE.to_owned(),
            document(&ResultContract::json_schema()),
        ),
    ];
    if run.role == Role::Observer {
        let schema = document(&ReviewReport::json_schema());
        input_files.push((REVIEW_SCHEMA_FILE.to_owned(), schema));
        env.push(path_entry(
            variable::REVIEW_FILE,
            &run.paths.output.join(REVIEW_FILE),
        )?);
    }
    let argv = match kind {
        HarnessKind::Skep => {
            input_files.push((TASK_FILE.to_owned(), task_document(run)?));
            env.push(path_entry(
                variable::TASK_FILE,
                &run.paths.input.join(TASK_FILE),
            )?);
            let (_, binary) = path_entry("the agent's binary", &run.agent_binary)?;
            vec![binary, AGENT_COMMAND.to_owned()]
        }
        HarnessKind::Exec => {
            env.extend(sdk_environment(run));
            if run.exec_command.is_empty() {
                return Err(LaunchError::NoCommand);
            }
            run.exec_command.clone()
        }
    };
    check_text("an argument", &argv)?;
    for (name, value) in &env {
        check_text(name, std::slice::from_ref(value))?;
    }
    env.sort();
    Ok(LaunchPlan {
        argv,
        env,
        cwd: run.paths.repo.clone(),
        input_files,
    })
}

fn check_instruction(instruction: &str) -> Result<(), LaunchError> {
    if instruction.trim().is_empty() {
        return Err(LaunchError::InstructionEmpty);
    }
    if instruction.len() > INSTRUCTION_BYTES_MAX {
        return Err(LaunchError::InstructionTooLong {
            bytes: instruction.len(),
            max: INSTRUCTION_BYTES_MAX,
        });
    }
    Ok(())
}

/// What every harness gets. The toolchain's own entries win over the defaults.
fn base_environment(run: &RunContext) -> Result<Vec<(String, String)>, LaunchError> {
    let paths = &run.paths;
    let mut search_path = String::new();
    for folder in &run.toolchain_path {
        search_path += &path_entry("PATH", folder)?.1;
        search_path.push(':');
    }
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut env = vec![
        text(variable::JOB_ID, run.job_id.as_str()),
        text(variable::ATTEMPT_ID, run.attempt_id.as_str()),
        path_entry(
            variable::INSTRUCTION_FILE,
            &paths.input.join(INSTRUCTION_FILE),
        )?,
        path_entry(variable::CONTRACT_FILE, &paths.output.join(CONTRACT_FILE))?,
        text(variable::GATEWAY_URL, &run.gateway_url),
        text(variable::API_KEY, run.key.reveal()),
        path_entry("HOME", &paths.home)?,
        path_entry("TMPDIR", &paths.tmp)?,
        path_entry("CARGO_TARGET_DIR", &paths.target)?,
        text("PATH", &(search_path + SYSTEM_PATH)),
        text("LANG", "C.UTF-8"),
        text("CARGO_NET_OFFLINE", "true"),
        text("PYTHONDONTWRITEBYTECODE", "1"),
        text("PAGER", "cat"),
        text("TERM", "dumb"),
        text("GIT_AUTHOR_NAME", &run.identity.name),
        text("GIT_AUTHOR_EMAIL", &run.identity.email),
        text("GIT_COMMITTER_NAME", &run.identity.name),
        text("GIT_COMMITTER_EMAIL", &run.identity.email),
        text("GIT_CONFIG_GLOBAL", "/dev/null"),
        text("GIT_CONFIG_NOSYSTEM", "1"),
        text("GIT_TERMINAL_PROMPT", "0"),
    ];
    env.retain(|(name, _)| !run.toolchain_env.iter().any(|(n, _)| n == name));
    env.extend(run.toolchain_env.iter().cloned());
    Ok(env)
}

/// The names under which the vendors' libraries look for an address and a key.
fn sdk_environment(run: &RunContext) -> Vec<(String, String)> {
    let url = run.gateway_url.trim_end_matches('/');
    let key = run.key.reveal();
    [
        ("ANTHROPIC_BASE_URL", url.to_owned()),
        ("ANTHROPIC_API_KEY", key.to_owned()),
        ("OPENAI_BASE_URL", format!("{url}/v1")),
        ("OPENAI_API_KEY", key.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn task_document(run: &RunContext) -> Result<Vec<u8>, LaunchError> {
    if run.role == Role::Director {
        return Err(LaunchError::RoleUnsupported {
            harness: HarnessKind::Skep,
            role: run.role,
        });
    }
    let task = AgentTask {
        instruction: run.instruction.clone(),
        role: run.role,
        scope: run.scope.globs().to_vec(),
        checks: run.checks.clone(),
        model: run.model.clone().ok_or(LaunchError::NoModel)?,
        base_commit: run.base_commit.clone(),
        repo: run.paths.repo.clone(),
        output: run.paths.output.clone(),
        limits: run.limits.clone(),
    };
    // A path that is not text is the one thing that does not serialise.
    serde_json::to_vec_pretty(&task).map_err(|_| LaunchError::NotText {
        what: "a path of the attempt".to_owned(),
    })
}

fn document(schema: &serde_json::Value) -> Vec<u8> {
    format!("{schema:#}\n").into_bytes()
}

fn path_entry(name: &str, path: &Path) -> Result<(String, String), LaunchError> {
    match path.to_str() {
        Some(text) => Ok((name.to_owned(), text.to_owned())),
        None => Err(LaunchError::NotText {
            what: name.to_owned(),
        }),
    }
}

fn check_text(what: &str, texts: &[String]) -> Result<(), LaunchError> {
    if texts.iter().any(|text| text.contains('\0')) {
        return Err(LaunchError::NotText {
            what: what.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_stdx::{ManualClock, SeededEntropy};
    use skep_types::Fence;

    fn run(role: Role) -> RunContext {
        let (clock, entropy) = (ManualClock::at(1), SeededEntropy::new(1));
        RunContext {
            job_id: JobId::new(&clock, &entropy),
            attempt_id: AttemptId::of(&JobId::new(&clock, &entropy), Fence(1)),
            instruction: "Fix the parser.".to_owned(),
            role,
            scope: Scope::parse(&["src/**"]).unwrap(),
            checks: vec!["cargo test".to_owned()],
            base_commit: "0".repeat(40),
            model: Some("stub-large".to_owned()),
            paths: RunPaths {
                repo: "/skep/repo".into(),
                home: "/skep/home".into(),
                tmp: "/skep/tmp".into(),
                target: "/skep/target".into(),
                input: "/skep/in".into(),
                output: "/skep/out".into(),
            },
            gateway_url: "http://127.0.0.1:4000/".to_owned(),
            key: Secret::new("sk-skep-secret"),
            agent_binary: "/skep/bin/skep".into(),
            exec_command: vec!["./worker".to_owned(), "--go".to_owned()],
            identity: GitIdentity {
                name: "fixer (skep)".to_owned(),
                email: "fixer@skep.invalid".to_owned(),
            },
            toolchain_path: vec!["/opt/cargo/bin".into()],
            toolchain_env: vec![
                ("RUSTUP_HOME".to_owned(), "/opt/rustup".to_owned()),
                ("LANG".to_owned(), "C".to_owned()),
            ],
            limits: AgentLimits::default(),
        }
    }

    fn value<'a>(plan: &'a LaunchPlan, name: &str) -> Option<&'a str> {
        let mut found = plan.env.iter().filter(|(n, _)| n == name);
        let value = found.next().map(|(_, v)| v.as_str());
        assert!(found.next().is_none(), "{name} is there twice");
        value
    }

    #[test]
    fn a_command_finds_everything_that_the_contract_promises() {
        let context = run(Role::Builder);
        let plan = launch_plan(HarnessKind::Exec, &context).unwrap();
        assert_eq!(plan.argv, ["./worker", "--go"]);
        assert_eq!(plan.cwd, Path::new("/skep/repo"));
        for (name, expected) in [
            ("SKEP_JOB_ID", context.job_id.as_str()),
            ("SKEP_ATTEMPT_ID", context.attempt_id.as_str()),
            ("SKEP_INSTRUCTION_FILE", "/skep/in/instruction.md"),
            ("SKEP_CONTRACT_FILE", "/skep/out/contract.json"),
            ("SKEP_GATEWAY_URL", "http://127.0.0.1:4000/"),
            ("SKEP_API_KEY", "sk-skep-secret"),
            ("ANTHROPIC_BASE_URL", "http://127.0.0.1:4000"),
            ("ANTHROPIC_API_KEY", "sk-skep-secret"),
            ("OPENAI_BASE_URL", "http://127.0.0.1:4000/v1"),
            ("OPENAI_API_KEY", "sk-skep-secret"),
            ("HOME", "/skep/home"),
            ("TMPDIR", "/skep/tmp"),
            ("CARGO_TARGET_DIR", "/skep/target"),
            ("PATH", "/opt/cargo/bin:/usr/local/bin:/usr/bin:/bin"),
            ("RUSTUP_HOME", "/opt/rustup"),
            ("LANG", "C"),
            ("GIT_AUTHOR_NAME", "fixer (skep)"),
        ] {
            assert_eq!(value(&plan, name), Some(expected), "{name}");
        }
        assert_eq!(value(&plan, "SKEP_REVIEW_FILE"), None);
        assert_eq!(value(&plan, "SKEP_TASK_FILE"), None);
        let names: Vec<_> = plan.input_files.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["instruction.md", "contract.schema.json"]);
        assert_eq!(plan.input_files[0].1, b"Fix the parser.");
        assert!(!format!("{plan:?}").contains("secret"));
    }

    #[test]
    fn the_own_loop_gets_its_task_and_no_names_for_libraries() {
        let context = run(Role::Observer);
        let plan = launch_plan(HarnessKind::Skep, &context).unwrap();
        assert_eq!(plan.argv, ["/skep/bin/skep", "__agent"]);
        assert_eq!(value(&plan, "SKEP_TASK_FILE"), Some("/skep/in/task.json"));
        assert_eq!(
            value(&plan, "SKEP_REVIEW_FILE"),
            Some("/skep/out/review.json")
        );
        assert_eq!(value(&plan, "ANTHROPIC_API_KEY"), None);
        let (_, task) = plan
            .input_files
            .iter()
            .find(|(n, _)| n == TASK_FILE)
            .unwrap();
        let text = String::from_utf8(task.clone()).unwrap();
        assert!(!text.contains("secret") && !text.contains(context.attempt_id.as_str()));
        let task: AgentTask = serde_json::from_str(&text).unwrap();
        assert_eq!(task.model, "stub-large");
        assert_eq!(task.scope, ["src/**"]);
        assert!(
            plan.input_files
                .iter()
                .any(|(n, _)| n == REVIEW_SCHEMA_FILE)
        );
    }

    fn check_refused(kind: HarnessKind, change: impl FnOnce(&mut RunContext), code: &str) {
        let mut context = run(Role::Builder);
        change(&mut context);
        let error = launch_plan(kind, &context).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }

    #[test]
    fn what_cannot_run_is_refused_with_a_code() {
        use HarnessKind::{Exec, Skep};
        check_refused(
            Skep,
            |c| c.instruction = " \n".to_owned(),
            "instruction_empty",
        );
        check_refused(
            Exec,
            |c| c.instruction = "x".repeat(10 << 20),
            "instruction_too_long",
        );
        check_refused(Skep, |c| c.model = None, "worker_without_model");
        check_refused(Exec, |c| c.exec_command.clear(), "worker_without_command");
        check_refused(Skep, |c| c.role = Role::Director, "role_unsupported");
        check_refused(
            Exec,
            |c| c.exec_command[1] = "a\0b".to_owned(),
            "launch_not_text",
        );
        check_refused(
            Exec,
            |c| c.identity.name = "a\0b".to_owned(),
            "launch_not_text",
        );
        let unknown = "claude".parse::<HarnessKind>().unwrap_err();
        assert_eq!(unknown.code(), "harness_unknown");
        assert!(unknown.hint().is_some());
        let mut without_model = run(Role::Builder);
        without_model.model = None;
        assert!(launch_plan(Exec, &without_model).is_ok());
    }
}
